//! Linux 6.12's figures: the same QEMU and machine, a 1 GiB DIMM, measured the same way.

use hotmap_client::geometry::Granule;

/// One row, in millions of guest instructions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Linux {
    /// The granule.
    pub granule: Granule,
    /// Which build.
    pub build: &'static str,
    /// Adding the memory.
    pub add: f64,
    /// Onlining it.
    pub online: f64,
    /// Offlining it with nothing in use: from, to.
    pub offline: (f64, f64),
    /// Removing it.
    pub remove: f64,
    /// System RAM that it costs with a self-hosted memmap.
    pub ram_self: &'static str,
    /// System RAM that it costs with the memmap in system RAM.
    pub ram: &'static str,
    /// From reset to init.
    pub boot: f64,
    /// The image file.
    pub image: &'static str,
}

/// The rows; there are none for 64K.
pub const ROWS: [Linux; 3] = [
    Linux {
        granule: Granule::K4,
        // A minimal build with a block-mapped linear map.
        build: "best",
        add: 1.24,
        online: 16.8,
        offline: (16.2, 16.2),
        remove: 0.16,
        ram_self: "8-12 kB",
        ram: "16388 kB",
        boot: 226.0,
        image: "8.6 MB",
    },
    Linux {
        granule: Granule::K4,
        // Debian's.
        build: "stock",
        add: 5.74,
        online: 17.8,
        offline: (18.6, 31.6),
        remove: 12.5,
        ram_self: "2056 kB",
        ram: "18444 kB",
        boot: 1010.0,
        image: "31-38 MB",
    },
    Linux {
        granule: Granule::K16,
        build: "16K",
        add: 1.42,
        online: 4.2,
        offline: (4.6, 4.6),
        remove: 3.1,
        ram_self: "not available",
        ram: "4608 kB",
        boot: 208.0,
        image: "9.1 MB",
    },
];

/// What 1 GiB more of a virtio memory device costs Linux, and 1 GiB less, online and offline included, in millions of guest
/// instructions: Debian's kernels on QEMU 10, CPU max, November 2026. Its memmap is in system RAM.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LinuxResize {
    /// The granule.
    pub granule: Granule,
    /// Which build.
    pub build: &'static str,
    /// 1 GiB more.
    pub up: f64,
    /// 1 GiB less.
    pub down: f64,
}

/// The rows; there are none for 64K.
pub const RESIZES: [LinuxResize; 3] = [
    LinuxResize { granule: Granule::K4, build: "6.12.107", up: 23.7, down: 141.6 },
    LinuxResize { granule: Granule::K4, build: "7.2.13", up: 23.9, down: 68.3 },
    LinuxResize { granule: Granule::K16, build: "7.2.13, 16K", up: 6.2, down: 17.1 },
];

impl Linux {
    /// The four operations together, at Linux's best.
    pub fn life(&self) -> f64 {
        self.add + self.online + self.offline.0 + self.remove
    }
}

/// The goal for the four operations together on neoverse-n1, in guest instructions.
pub const fn goal(granule: Granule) -> u64 {
    match granule {
        Granule::K4 => 800_000,
        Granule::K16 => 300_000,
        Granule::K64 => 200_000,
    }
}

/// The goal from reset to the prompt with 1 GiB, in guest instructions.
pub const BOOT_GOAL: u64 = 5_000_000;

/// The goal for the image, in bytes.
pub const IMAGE_GOAL: u64 = 1 << 20;

/// The rows at a granule.
pub fn rows(granule: Granule) -> impl Iterator<Item = &'static Linux> {
    ROWS.iter().filter(move |row| row.granule == granule)
}

#[cfg(test)]
mod tests {
    use super::{goal, rows};
    use hotmap_client::geometry::Granule;

    #[test]
    fn linuxs_best_life_at_4k_is_34_million() {
        let best = rows(Granule::K4).next().expect("a row");
        assert!((best.life() - 34.4).abs() < 1e-9, "{}", best.life());
    }

    /// The goal at 4K is a fortieth of Linux's best, generously rounded down.
    #[test]
    fn the_goal_is_a_fortieth() {
        let best = rows(Granule::K4).next().expect("a row");
        let goal = goal(Granule::K4) as f64 / 1e6;
        assert!(goal <= best.life() / 40.0 && goal > best.life() / 50.0);
    }

    #[test]
    fn there_is_no_row_at_64k() {
        assert_eq!(rows(Granule::K64).count(), 0);
    }
}
