//! What an entry of a table says to a walk (Arm ARM D8.3, "Translation table descriptor formats").

use serde::Serialize;

use crate::spec::{LAST, Spec};

/// The type of an entry.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum EntryType {
    /// Bit 0 is clear.
    Invalid,
    /// Leads to a table of the next level.
    Table,
    /// Maps what the entry covers, above the last level.
    Block,
    /// Maps a page, at the last level.
    Page,
    /// An encoding that the architecture reserves.
    Reserved,
}

/// A block or a page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Leaf {
    /// The output address.
    pub pa: u64,
    /// AP\[2\] is set.
    pub read_only: bool,
    /// PXN is clear.
    pub executable: bool,
    /// AttrIndx.
    pub memory: u64,
    /// AF.
    pub accessed: bool,
    /// Software's bit 56: other entries lead to the same frame.
    pub shared: bool,
}

/// An entry, decoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Entry {
    Invalid,
    Table {
        pa: u64,
        /// APTable\[1\].
        read_only: bool,
        /// PXNTable.
        no_execute: bool,
    },
    Leaf(Leaf),
    Reserved(&'static str),
}

/// Output and table addresses end below bit 48.
pub(crate) const ADDRESS: u64 = 0x0000_ffff_ffff_ffff;
/// More address bits with LPA2; RES0 without.
const RES0: u64 = 0x0003_0000_0000_0000;

const fn bit(raw: u64, bit: u32) -> bool {
    raw >> bit & 1 != 0
}

impl Entry {
    /// The entry `raw` of a table of `level`.
    pub(crate) const fn decode(spec: &Spec, level: usize, raw: u64) -> Self {
        if !bit(raw, 0) {
            return Self::Invalid;
        }
        if raw & RES0 != 0 {
            return Self::Reserved("bits 49:48 are RES0 where addresses have 48 bits");
        }
        let pa = raw & ADDRESS & !(spec.page() - 1);
        match (level, bit(raw, 1)) {
            (LAST, false) => Self::Reserved("at level 3 bit 1 must be set"),
            (LAST, true) => Self::leaf(raw, pa),
            (_, true) => Self::Table { pa, read_only: bit(raw, 62), no_execute: bit(raw, 59) },
            (_, false) if !spec.level(level).block => Self::Reserved("no blocks at this level"),
            // Bit 16 is nT; the other bits below the output address are RES0.
            (_, false) if pa & (spec.level(level).size() - 1) & !(1 << 16) != 0 => {
                Self::Reserved("the output address of a block is not a multiple of its size")
            }
            (_, false) => Self::leaf(raw, pa & !(spec.level(level).size() - 1)),
        }
    }

    const fn leaf(raw: u64, pa: u64) -> Self {
        Self::Leaf(Leaf {
            pa,
            read_only: bit(raw, 7),
            executable: !bit(raw, 53),
            memory: raw >> 2 & 7,
            accessed: bit(raw, 10),
            shared: bit(raw, 56),
        })
    }

    /// Its type, in a table of `level`.
    pub(crate) const fn entry_type(&self, level: usize) -> EntryType {
        match self {
            Self::Invalid => EntryType::Invalid,
            Self::Table { .. } => EntryType::Table,
            Self::Leaf(_) if level == LAST => EntryType::Page,
            Self::Leaf(_) => EntryType::Block,
            Self::Reserved(_) => EntryType::Reserved,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hotmap_client::geometry::Granule;

    // Raw values put together by hand from the Arm ARM's figures.
    #[test]
    fn descriptors_decode_as_the_figures_say() {
        let (k4, k16, k64) = (Spec::of(Granule::K4), Spec::of(Granule::K16), Spec::of(Granule::K64));
        assert_eq!(Entry::decode(k4, 2, 0x0060_0000_8000_0704), Entry::Invalid);
        let Entry::Leaf(block) = Entry::decode(k4, 2, 0x0160_0000_8000_0705) else { panic!("a block") };
        assert_eq!((block.pa, block.read_only, block.executable), (0x8000_0000, false, false));
        assert!(block.shared && block.accessed && block.memory == 1);
        let Entry::Leaf(nt) = Entry::decode(k4, 2, 0x0060_0000_8001_0305) else { panic!("nT is no address") };
        assert_eq!((nt.pa, nt.accessed), (0x8000_0000, false));
        let Entry::Leaf(code) = Entry::decode(k64, 3, 0x0050_0000_8001_0787) else { panic!("a page") };
        assert_eq!((code.pa, code.read_only, code.executable), (0x8001_0000, true, true));
        let table = Entry::Table { pa: 0x1234_4000, read_only: false, no_execute: false };
        assert_eq!(Entry::decode(k16, 1, 0x1234_4003), table);
        for (level, raw) in [(0, 0x8000_0701), (3, 0x8000_0701), (2, 0x8010_0701), (3, 0x0001_0000_8000_0703)]
        {
            assert!(matches!(Entry::decode(k4, level, raw), Entry::Reserved(_)), "level {level}, {raw:#x}");
        }
    }
}
