//! Linux's figures: the recorded run of `make bench-linux` (docs/evidence/linux.md), and the goals.

use crate::linux::record::{Column, Home, Operation, Part, Record, Row};
use hotmap_client::geometry::{GIB, Granule};
use std::sync::OnceLock;

/// The recorded run.
///
/// # Panics
/// When docs/evidence/linux.json is not a record; a test reads it.
pub fn record() -> &'static Record {
    static RECORD: OnceLock<Record> = OnceLock::new();
    let text = include_str!("../../../docs/evidence/linux.json");
    RECORD.get_or_init(|| serde_json::from_str(text).expect("docs/evidence/linux.json is a record"))
}

/// Which record it is, for people.
pub fn source() -> String {
    let Record { date, qemu, cpu, .. } = record();
    format!("Linux: docs/evidence/linux.md, recorded on {date} ({qemu}, CPU {cpu})")
}

/// The life of a 1 GiB DIMM under a Linux, in millions of guest instructions.
#[derive(Clone, Debug, PartialEq)]
pub struct Linux {
    /// Version and flavour.
    pub build: String,
    /// Whether the memmap is in the DIMM: where it can be removed so.
    pub is_self_hosted: bool,
    /// Adding the memory.
    pub add: f64,
    /// Onlining it.
    pub online: f64,
    /// Offlining it with nothing in use.
    pub offline: f64,
    /// Removing it.
    pub remove: f64,
    /// From reset to init.
    pub boot: f64,
    /// Bytes of system RAM that it costs.
    pub ram: u64,
}

impl Linux {
    /// The four operations together.
    pub fn life(&self) -> f64 {
        self.add + self.online + self.offline + self.remove
    }

    fn of(column: &Column, home: Home) -> Option<Self> {
        let count = |operation| column.number(Row::new(Part::Life, home, GIB, operation));
        let millions = |operation| count(operation).map(|count| count as f64 / 1e6);
        Some(Self {
            build: column.name.clone(),
            is_self_hosted: home == Home::SelfHosted,
            add: millions(Operation::Add)?,
            online: millions(Operation::Online)?,
            offline: millions(Operation::Offline)?,
            remove: millions(Operation::Remove)?,
            boot: column.number(Row::guest(Operation::Boot))? as f64 / 1e6,
            ram: count(Operation::SystemRam)?,
        })
    }
}

/// Each Linux at a granule that can add a DIMM and remove it: with the memmap in the DIMM, or else in system RAM.
pub fn rows(granule: Granule) -> Vec<Linux> {
    let life = |column| Linux::of(column, Home::SelfHosted).or_else(|| Linux::of(column, Home::Ram));
    record().linux(granule).filter_map(life).collect()
}

/// The same with the memmap in system RAM.
pub fn rows_in_ram(granule: Granule) -> Vec<Linux> {
    record().linux(granule).filter_map(|column| Linux::of(column, Home::Ram)).collect()
}

/// Each image's bytes.
pub fn images() -> Vec<u64> {
    let columns = record().columns.iter().filter(|column| !column.is_hotmap());
    columns.filter_map(|column| column.number(Row::guest(Operation::Image))).collect()
}

/// What 1 GiB more of a virtio memory device costs Linux, and 1 GiB less, online and offline included, in millions of guest
/// instructions. Its memmap is in system RAM.
#[derive(Clone, Debug, PartialEq)]
pub struct LinuxResize {
    /// Version and flavour.
    pub build: String,
    /// 1 GiB more.
    pub up: f64,
    /// 1 GiB less.
    pub down: f64,
}

/// The rows at a granule.
pub fn resizes(granule: Granule) -> Vec<LinuxResize> {
    let resize = |column: &Column| {
        let count = |operation| column.number(Row::new(Part::Resize, Home::Ram, GIB, operation));
        let (up, down) = (count(Operation::Up)? as f64 / 1e6, count(Operation::Down)? as f64 / 1e6);
        Some(LinuxResize { build: column.name.clone(), up, down })
    };
    record().linux(granule).filter_map(resize).collect()
}

/// The goal for the four operations together on neoverse-n1, in guest instructions: at 4K a sixtieth of what the best Linux in
/// the record needs. Debian has no Linux that takes DIMMs at 16K or 64K: those goals are at most thrice what hotmap needs there,
/// and six times, and keep what was reached.
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

#[cfg(test)]
mod tests {
    use super::{goal, images, record, resizes, rows};
    use hotmap_client::geometry::Granule;

    #[test]
    fn the_goal_at_4k_is_a_sixtieth_of_the_best_linux() {
        let best = rows(Granule::K4).iter().map(super::Linux::life).fold(f64::INFINITY, f64::min);
        let goal = goal(Granule::K4) as f64 / 1e6;
        assert!(goal <= best / 60.0 && goal > best / 80.0, "{best}");
    }

    /// The record has what `make bench` shows: two kernels with 4K pages, one with 16K pages that resizes virtio memory.
    #[test]
    fn the_record_has_every_kernel() {
        assert_eq!(record().missing, Vec::<String>::new());
        assert!(rows(Granule::K4).len() >= 2 && rows(Granule::K64).is_empty());
        assert!(resizes(Granule::K4).len() >= 2 && !resizes(Granule::K16).is_empty());
        assert!(images().iter().all(|bytes| *bytes > 8_000_000));
    }

    /// What hotmap does and a Linux with the same page size does not has a reason.
    #[test]
    fn each_row_has_a_figure_or_a_reason_of_every_kernel() {
        for granule in [Granule::K4, Granule::K16] {
            let ours = record().of(granule).find(|column| column.is_hotmap()).expect("hotmap");
            assert!(ours.cells.len() > 40, "{granule}: {} rows", ours.cells.len());
            for (row, linux) in
                ours.cells.iter().flat_map(|cell| record().linux(granule).map(|linux| (cell.row, linux)))
            {
                assert!(linux.get(row).is_some(), "{}: {row:?}", linux.name);
            }
        }
    }
}
