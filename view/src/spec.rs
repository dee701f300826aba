//! The levels of a walk for each granule (Arm ARM D8.2.8 to D8.2.10): stage 1, TTBR1_EL1, 48 bits, no LPA2.

use hotmap_client::geometry::Granule;

/// What one level resolves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Level {
    /// The lowest bit of the address that indexes the level's tables.
    pub low: u32,
    /// How many bits index them.
    pub bits: u32,
    /// Whether an entry may be a block.
    pub block: bool,
}

impl Level {
    /// Bytes that an entry covers.
    pub(crate) const fn size(self) -> u64 {
        1 << self.low
    }
    /// Entries of a table.
    pub(crate) const fn entries(self) -> u64 {
        1 << self.bits
    }
    pub(crate) const fn index(self, va: u64) -> u64 {
        va >> self.low & (self.entries() - 1)
    }
}

/// The levels of one granule.
#[derive(Debug)]
pub(crate) struct Spec {
    /// Bits of an address within a page.
    pub page_shift: u32,
    /// The level at which a walk starts.
    pub first: usize,
    /// By number; those below `first` are not used.
    levels: [Level; 4],
}

const NONE: Level = Level { low: 0, bits: 0, block: false };

/// Bits 47:39, 38:30, 29:21, 20:12.
static K4: Spec = Spec {
    page_shift: 12,
    first: 0,
    levels: [
        Level { low: 39, bits: 9, block: false },
        Level { low: 30, bits: 9, block: true },
        Level { low: 21, bits: 9, block: true },
        Level { low: 12, bits: 9, block: false },
    ],
};
/// Bits 47, 46:36, 35:25, 24:14.
static K16: Spec = Spec {
    page_shift: 14,
    first: 0,
    levels: [
        Level { low: 47, bits: 1, block: false },
        Level { low: 36, bits: 11, block: false },
        Level { low: 25, bits: 11, block: true },
        Level { low: 14, bits: 11, block: false },
    ],
};
/// Bits 47:42, 41:29, 28:16.
static K64: Spec = Spec {
    page_shift: 16,
    first: 1,
    levels: [
        NONE,
        Level { low: 42, bits: 6, block: false },
        Level { low: 29, bits: 13, block: true },
        Level { low: 16, bits: 13, block: false },
    ],
};

/// The last level: its entries are pages.
pub(crate) const LAST: usize = 3;
/// Bits 63:48 of an address that TTBR1_EL1 translates.
pub(crate) const UPPER_HALF: u64 = 0xffff_0000_0000_0000;

impl Spec {
    pub(crate) const fn of(granule: Granule) -> &'static Self {
        match granule {
            Granule::K4 => &K4,
            Granule::K16 => &K16,
            Granule::K64 => &K64,
        }
    }
    pub(crate) const fn level(&self, level: usize) -> Level {
        self.levels[level]
    }
    /// Bytes of a page.
    pub(crate) const fn page(&self) -> u64 {
        1 << self.page_shift
    }
    /// Pages in `bytes`.
    pub(crate) const fn pages(&self, bytes: u64) -> u64 {
        bytes >> self.page_shift
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hotmap_client::geometry::GRANULES;

    #[test]
    fn the_levels_resolve_48_bits_without_a_gap() {
        for granule in GRANULES {
            let (spec, mut top) = (Spec::of(granule), 48);
            for level in spec.first..=LAST {
                assert_eq!(spec.level(level).low + spec.level(level).bits, top, "{granule}");
                top = spec.level(level).low;
            }
            assert_eq!((1 << top, spec.page()), (granule.bytes(), granule.bytes()));
        }
    }
}
