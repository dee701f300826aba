//! The three granules and the VMSAv8-64 descriptors (Arm ARM DDI 0487, D8.2 and D8.3), as plain numbers.
//!
//! Everything here is for stage 1, the upper half (TTBR1_EL1), 48-bit virtual and physical addresses, no LPA2.

/// What one level of a walk resolves.
#[derive(Clone, Copy, Debug)]
pub struct Level {
    /// The lowest bit of the virtual address that indexes the level's tables.
    pub low: u32,
    /// How many bits index them.
    pub bits: u32,
    /// Whether an entry may be a block (at level 3: a page).
    pub leaf: bool,
    /// How many entries share a Contiguous bit (Arm ARM, "The Contiguous bit"); 1 where there is none.
    pub run: u64,
}

impl Level {
    /// The bytes that one entry covers.
    pub const fn size(&self) -> u64 {
        1 << self.low
    }
    /// How many entries a table has.
    pub const fn entries(&self) -> u64 {
        1 << self.bits
    }
    /// The index of the entry for `va`.
    pub const fn index(&self, va: u64) -> u64 {
        (va >> self.low) & (self.entries() - 1)
    }
}

/// A granule.
#[derive(Debug)]
pub struct Spec {
    /// Its name: `4k`, `16k`, `64k`.
    pub name: &'static str,
    /// The page size in bytes.
    pub page: u64,
    /// The level at which a walk of 48 bits starts.
    pub first: usize,
    /// The levels; those below `first` are not used.
    pub levels: [Level; 4],
}

const NONE: Level = Level { low: 63, bits: 0, leaf: false, run: 1 };

/// Arm ARM D8.2.8: bits 47:39, 38:30, 29:21, 20:12.
pub static SPEC_4K: Spec = Spec {
    name: "4k",
    page: 0x1000,
    first: 0,
    levels: [
        Level { low: 39, bits: 9, leaf: false, run: 1 },
        Level { low: 30, bits: 9, leaf: true, run: 16 },
        Level { low: 21, bits: 9, leaf: true, run: 16 },
        Level { low: 12, bits: 9, leaf: true, run: 16 },
    ],
};

/// Arm ARM D8.2.9: bits 47, 46:36, 35:25, 24:14.
pub static SPEC_16K: Spec = Spec {
    name: "16k",
    page: 0x4000,
    first: 0,
    levels: [
        Level { low: 47, bits: 1, leaf: false, run: 1 },
        Level { low: 36, bits: 11, leaf: false, run: 1 },
        Level { low: 25, bits: 11, leaf: true, run: 32 },
        Level { low: 14, bits: 11, leaf: true, run: 128 },
    ],
};

/// Arm ARM D8.2.10: bits 47:42, 41:29, 28:16.
pub static SPEC_64K: Spec = Spec {
    name: "64k",
    page: 0x1_0000,
    first: 1,
    levels: [
        NONE,
        Level { low: 42, bits: 6, leaf: false, run: 1 },
        Level { low: 29, bits: 13, leaf: true, run: 32 },
        Level { low: 16, bits: 13, leaf: true, run: 32 },
    ],
};

/// Bits 63:48 of an address that TTBR1_EL1 translates.
pub const UPPER_HALF: u64 = 0xffff_0000_0000_0000;

/// A leaf: a block or a page.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Leaf {
    /// The output address.
    pub pa: u64,
    /// Whether EL1 may write: AP\[2\] is clear.
    pub writable: bool,
    /// Whether EL1 may execute: PXN is clear.
    pub executable: bool,
    /// AttrIndx and SH: what memory it is.
    pub memory: u64,
    /// Whether the access flag is set: without it the first access faults.
    pub accessed: bool,
    /// nG.
    pub non_global: bool,
    /// The Contiguous bit.
    pub contiguous: bool,
}

/// What an entry says to a walk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Entry {
    /// Bit 0 is clear: a translation fault.
    Invalid,
    /// The next table's address, and whether the entry takes write or execute permission away (APTable, PXNTable).
    Table {
        /// The table's address.
        pa: u64,
        /// APTable\[1\]: nothing below is writable.
        read_only: bool,
        /// PXNTable: nothing below is executable at EL1.
        no_execute: bool,
    },
    /// A block or page.
    Leaf(Leaf),
    /// An encoding that the architecture reserves, with the reason.
    Reserved(&'static str),
}

/// Bits 4:2 (AttrIndx) and 9:8 (SH).
const MEMORY: u64 = 0x31c;
/// Output and table addresses stop below bit 48.
const ADDRESS: u64 = 0x0000_ffff_ffff_ffff;
/// Bits 51:48: more address bits with LPA2 or LPA, RES0 without.
const RES0: u64 = 0x000f_0000_0000_0000;

const fn bit(raw: u64, n: u32) -> bool {
    raw >> n & 1 == 1
}

impl Spec {
    /// Reads the entry `raw` of a table of `level`.
    pub fn decode(&self, level: usize, raw: u64) -> Entry {
        if !bit(raw, 0) {
            return Entry::Invalid;
        }
        if raw & RES0 != 0 {
            return Entry::Reserved("bits 51:48 are RES0 in 48-bit descriptors");
        }
        match (level, bit(raw, 1)) {
            (3, true) => self.leaf(level, raw),
            (3, false) => Entry::Reserved("at level 3 bit 1 must be set"),
            (_, true) => Entry::Table {
                pa: raw & ADDRESS & !(self.page - 1),
                read_only: bit(raw, 62),
                no_execute: bit(raw, 59),
            },
            (_, false) if self.levels[level].leaf => self.leaf(level, raw),
            (_, false) => Entry::Reserved("no blocks at this level"),
        }
    }

    fn leaf(&self, level: usize, raw: u64) -> Entry {
        let size = self.levels[level].size();
        let pa = raw & ADDRESS & !(self.page - 1);
        // Bit 16 is nT in a block; everything else between the page and the block size is RES0.
        if pa & (size - 1) & !(1 << 16) != 0 {
            return Entry::Reserved("the output address of a block is not aligned to its size");
        }
        Entry::Leaf(Leaf {
            pa: pa & !(size - 1),
            writable: !bit(raw, 7),
            executable: !bit(raw, 53),
            memory: raw & MEMORY,
            accessed: bit(raw, 10),
            non_global: bit(raw, 11),
            contiguous: bit(raw, 52),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_granule_resolves_48_bits_without_a_gap() {
        for spec in [&SPEC_4K, &SPEC_16K, &SPEC_64K] {
            let mut top = 48;
            for level in &spec.levels[spec.first..] {
                assert_eq!(level.low + level.bits, top, "{}", spec.name);
                top = level.low;
            }
            assert_eq!(1 << top, spec.page);
            // A full table fills a page; the first level's may be smaller.
            assert!(spec.levels[spec.first + 1..].iter().all(|l| l.entries() * 8 == spec.page));
        }
    }

    // Raw values put together by hand from the Arm ARM's figures.
    #[test]
    fn descriptors_decode_as_the_figures_say() {
        assert_eq!(SPEC_4K.decode(2, 0x0060_0000_8000_0700), Entry::Invalid);
        let Entry::Leaf(block) = SPEC_4K.decode(2, 0x0060_0000_8000_0705) else { panic!("a block") };
        assert_eq!((block.pa, block.writable, block.executable), (0x8000_0000, true, false));
        assert!(block.accessed && !block.contiguous && !block.non_global);
        let Entry::Leaf(code) = SPEC_64K.decode(3, 0x0050_0000_8001_0787) else { panic!("a page") };
        assert_eq!((code.pa, code.writable, code.executable), (0x8001_0000, false, true));
        assert!(code.contiguous);
        let table = Entry::Table { pa: 0x1234_4000, read_only: false, no_execute: false };
        assert_eq!(SPEC_16K.decode(1, 0x1234_4003), table);
        for (level, raw) in [(0, 0x8000_0701), (3, 0x8000_0701), (2, 0x8010_0701), (3, 0x0001_0000_8000_0703)]
        {
            assert!(matches!(SPEC_4K.decode(level, raw), Entry::Reserved(_)), "level {level}, {raw:#x}");
        }
    }
}
