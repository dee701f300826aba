//! The numbers per granule: the tests' own copy of docs/reference/memory-map.md.
//!
//! The kernel computes these from levels and shifts; here they are literals, so that a wrong computation shows.

use std::fmt;
use std::str::FromStr;

/// Bytes of one KiB.
pub const KIB: u64 = 1 << 10;
/// Bytes of one MiB.
pub const MIB: u64 = 1 << 20;
/// Bytes of one GiB.
pub const GIB: u64 = 1 << 30;
/// Bytes of one `struct Page`, at every granule.
pub const PAGE_STRUCT_BYTES: u64 = 64;
/// Where `virt` puts boot RAM (QEMU `hw/arm/virt.c`, `VIRT_MEM`).
pub const RAM_BASE: u64 = 0x4000_0000;

/// A translation granule: the size of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Granule {
    /// 4 KiB pages.
    K4,
    /// 16 KiB pages.
    K16,
    /// 64 KiB pages.
    K64,
}

/// Every granule, smallest first.
pub const GRANULES: [Granule; 3] = [Granule::K4, Granule::K16, Granule::K64];

impl Granule {
    /// The page size in bytes.
    pub const fn bytes(self) -> u64 {
        match self {
            Self::K4 => 4 * KIB,
            Self::K16 => 16 * KIB,
            Self::K64 => 64 * KIB,
        }
    }

    /// As the boot argument `granule=` and `scripts/qemu --granule` spell it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::K4 => "4k",
            Self::K16 => "16k",
            Self::K64 => "64k",
        }
    }

    /// The smallest huge page whose memmap is more than two pages: it is eight. Bytes.
    pub const fn huge_page_worth_sharing(self) -> u64 {
        match self {
            Self::K4 => 2 * MIB,
            Self::K16 => 32 * MIB,
            Self::K64 => 512 * MIB,
        }
    }

    /// A section, which is a memory block: the unit that goes online and offline. Bytes.
    pub const fn block(self) -> u64 {
        match self {
            Self::K4 | Self::K16 => 128 * MIB,
            Self::K64 => 512 * MIB,
        }
    }

    /// The memmap of one block: the `struct Page`s of all of its pages. Bytes.
    pub const fn memmap_per_block(self) -> u64 {
        match self {
            Self::K4 => 2 * MIB,
            Self::K16 | Self::K64 => 512 * KIB,
        }
    }

    /// Granule pages in `bytes`.
    pub const fn pages(self, bytes: u64) -> u64 {
        bytes / self.bytes()
    }

    /// Usable granule pages of a block that is self-hosted.
    pub const fn usable_pages_per_block(self) -> u64 {
        self.pages(self.block() - self.memmap_per_block())
    }

    /// The largest leaf of the linear map at level 2 (`block at level 2` in the design). Bytes.
    pub const fn level2_block(self) -> u64 {
        match self {
            Self::K4 => 2 * MIB,
            Self::K16 => 32 * MIB,
            Self::K64 => 512 * MIB,
        }
    }
}

impl fmt::Display for Granule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Granule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        GRANULES
            .into_iter()
            .find(|granule| granule.name().eq_ignore_ascii_case(text))
            .ok_or_else(|| format!("a granule is 4k, 16k or 64k, not '{text}'"))
    }
}

/// A size as QEMU writes it: `64M`, `1G`.
pub fn size_text(bytes: u64) -> String {
    match bytes {
        _ if bytes >= GIB && bytes.is_multiple_of(GIB) => format!("{}G", bytes / GIB),
        _ if bytes >= MIB && bytes.is_multiple_of(MIB) => format!("{}M", bytes / MIB),
        _ if bytes >= KIB && bytes.is_multiple_of(KIB) => format!("{}K", bytes / KIB),
        _ => bytes.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::{GIB, GRANULES, Granule, KIB, MIB, PAGE_STRUCT_BYTES, size_text};

    /// The literals agree with the one rule behind them: 64 bytes per page.
    #[test]
    fn a_blocks_memmap_is_64_bytes_for_each_of_its_pages() {
        for granule in GRANULES {
            let by_rule = granule.block() / granule.bytes() * PAGE_STRUCT_BYTES;
            assert_eq!(granule.memmap_per_block(), by_rule, "{granule}");
        }
    }

    #[test]
    fn the_designs_page_counts() {
        assert_eq!(Granule::K4.pages(Granule::K4.memmap_per_block()), 512);
        assert_eq!(Granule::K16.pages(Granule::K16.memmap_per_block()), 32);
        assert_eq!(Granule::K64.pages(Granule::K64.memmap_per_block()), 8);
    }

    #[test]
    fn granules_are_read_as_they_are_written() {
        for granule in GRANULES {
            assert_eq!(granule.to_string().parse(), Ok(granule));
        }
        assert_eq!("64K".parse(), Ok(Granule::K64));
        assert!("8k".parse::<Granule>().is_err());
    }

    #[test]
    fn sizes_are_written_in_the_largest_whole_unit() {
        assert_eq!(size_text(GIB), "1G");
        assert_eq!(size_text(GIB + 512 * MIB), "1536M");
        assert_eq!(size_text(4 * KIB), "4K");
        assert_eq!(size_text(3), "3");
    }
}
