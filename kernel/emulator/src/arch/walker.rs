//! A table walk as the hardware does it, over raw bytes: nothing is known here but the root and how to read 64 bits of
//! physical memory.

use super::spec::{Entry, Leaf, Spec, UPPER_HALF};

/// Physical memory as a walker sees it.
pub trait Memory {
    /// The 64 bits at `pa`.
    fn read(&self, pa: u64) -> u64;
    /// All entries of a table.
    fn read_table(&self, pa: u64, entries: u64) -> Vec<u64> {
        (0..entries).map(|i| self.read(pa + i * 8)).collect()
    }
}

/// An entry that a walk has read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Read {
    /// The level of the table.
    pub level: usize,
    /// The entry's own address.
    pub at: u64,
    /// Its bits.
    pub raw: u64,
}

/// A translation that worked.
#[derive(Clone, Copy, Debug)]
pub struct Walk {
    /// The virtual address of the leaf's first byte.
    pub va: u64,
    /// The leaf's size in bytes.
    pub size: u64,
    /// The leaf, with what the tables above take away.
    pub leaf: Leaf,
    /// The entries that were read, the first level's first; unused ones are `None`.
    pub reads: [Option<Read>; 4],
}

/// Why a translation failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The address is not one that TTBR1_EL1 translates.
    NotUpperHalf,
    /// An invalid entry at this level.
    Translation(usize),
    /// A reserved encoding.
    Reserved(usize, &'static str),
    /// The access flag is clear.
    AccessFlag,
}

/// Translates `va` with the tables under `root`.
///
/// # Errors
/// The fault that the hardware would take.
pub fn walk(spec: &Spec, memory: &impl Memory, root: u64, va: u64) -> Result<Walk, Fault> {
    if va & UPPER_HALF != UPPER_HALF {
        return Err(Fault::NotUpperHalf);
    }
    let (mut table, mut reads) = (root, [None; 4]);
    let (mut read_only, mut no_execute) = (false, false);
    for level in spec.first..4 {
        let shape = spec.levels[level];
        let at = table + shape.index(va) * 8;
        let raw = memory.read(at);
        reads[level] = Some(Read { level, at, raw });
        match spec.decode(level, raw) {
            Entry::Invalid => return Err(Fault::Translation(level)),
            Entry::Reserved(why) => return Err(Fault::Reserved(level, why)),
            Entry::Table { pa, read_only: ro, no_execute: nx } => {
                table = pa;
                read_only |= ro;
                no_execute |= nx;
            }
            Entry::Leaf(leaf) if !leaf.accessed => return Err(Fault::AccessFlag),
            Entry::Leaf(leaf) => {
                let leaf = Leaf {
                    writable: leaf.writable && !read_only,
                    executable: leaf.executable && !no_execute,
                    ..leaf
                };
                return Ok(Walk { va: va & !(shape.size() - 1), size: shape.size(), leaf, reads });
            }
        }
    }
    unreachable!("level 3 holds no tables")
}

/// A leaf and where it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct MappedLeaf {
    /// The virtual address of its first byte.
    pub va: u64,
    /// Its size in bytes.
    pub size: u64,
    /// What it says.
    pub leaf: Leaf,
}

/// A table and where it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct MappedTable {
    /// Its level.
    pub level: usize,
    /// The first virtual address that it serves.
    pub va: u64,
    /// Its own address.
    pub pa: u64,
    /// How many of its entries are valid.
    pub live: u64,
}

/// All that tables say.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Everything {
    /// The leaves, by virtual address.
    pub leaves: Vec<MappedLeaf>,
    /// The tables, parents before children, the root first.
    pub tables: Vec<MappedTable>,
    /// Entries with a reserved encoding: their address and the reason.
    pub reserved: Vec<(u64, &'static str)>,
    /// Entries that are invalid but not zero: their address.
    pub remembered: Vec<u64>,
}

impl Everything {
    /// Whether every address translates to the same place with the same attributes by both.
    pub fn translates_as(&self, other: &Self) -> bool {
        self.runs() == other.runs()
    }

    fn runs(&self) -> Vec<(u64, u64, Leaf)> {
        let mut runs: Vec<(u64, u64, Leaf)> = Vec::new();
        for l in &self.leaves {
            match runs.last_mut() {
                Some((va, size, leaf))
                    if *va + *size == l.va && Leaf { pa: leaf.pa + *size, ..*leaf } == l.leaf =>
                {
                    *size += l.size;
                }
                _ => runs.push((l.va, l.size, l.leaf)),
            }
        }
        runs
    }
}

/// Reads every entry of the tables under `root`.
pub fn everything(spec: &Spec, memory: &impl Memory, root: u64) -> Everything {
    let mut all = Everything::default();
    below(spec, memory, spec.first, root, UPPER_HALF, &mut all);
    all
}

/// Reads every entry of the table `pa` of `level`, which serves addresses from `va` on, and of the tables below it.
pub fn below(spec: &Spec, memory: &impl Memory, level: usize, pa: u64, va: u64, all: &mut Everything) {
    let shape = spec.levels[level];
    let mine = all.tables.len();
    all.tables.push(MappedTable { level, va, pa, live: 0 });
    for (index, raw) in (0..).zip(memory.read_table(pa, shape.entries())) {
        if raw == 0 {
            continue;
        }
        let (at, entry_va) = (pa + index * 8, va + (index << shape.low));
        match spec.decode(level, raw) {
            Entry::Invalid => {
                all.remembered.push(at);
                continue;
            }
            Entry::Reserved(why) => all.reserved.push((at, why)),
            Entry::Table { pa, .. } => below(spec, memory, level + 1, pa, entry_va, all),
            Entry::Leaf(leaf) => all.leaves.push(MappedLeaf { va: entry_va, size: shape.size(), leaf }),
        }
        all.tables[mine].live += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::spec::{SPEC_4K, SPEC_64K};
    use std::collections::BTreeMap;

    struct Sparse(BTreeMap<u64, u64>);
    impl Memory for Sparse {
        fn read(&self, pa: u64) -> u64 {
            self.0.get(&pa).copied().unwrap_or(0)
        }
    }

    /// Tables for one page and one block, put together by hand.
    fn two_leaves() -> Sparse {
        // Level 0 index 0x120, level 1 index 4, level 2 indices 2 and 3, level 3 index 5.
        Sparse(BTreeMap::from([
            (0x1000 + 0x120 * 8, 0x2003),
            (0x2000 + 4 * 8, 0x3003),
            (0x3000 + 2 * 8, 0x4003),
            (0x3000 + 3 * 8, 0x0060_0000_4020_0705),
            (0x4000 + 5 * 8, 0x0060_0000_8000_1707),
        ]))
    }
    const BASE: u64 = 0xffff_9000_0000_0000 + (4 << 30);

    #[test]
    fn a_walk_indexes_each_level_with_its_own_bits() {
        let memory = two_leaves();
        let page = walk(&SPEC_4K, &memory, 0x1000, BASE + (2 << 21) + (5 << 12) + 7).expect("mapped");
        assert_eq!((page.leaf.pa, page.size, page.va), (0x8000_1000, 0x1000, BASE + (2 << 21) + (5 << 12)));
        let block = walk(&SPEC_4K, &memory, 0x1000, BASE + (3 << 21) + 0x1f_ffff).expect("mapped");
        assert_eq!((block.leaf.pa, block.size), (0x4020_0000, 0x20_0000));
        let fault = |va| walk(&SPEC_4K, &memory, 0x1000, va).expect_err("not mapped");
        assert_eq!(fault(BASE + (2 << 21)), Fault::Translation(3));
        assert_eq!(fault(BASE), Fault::Translation(2));
        assert_eq!(fault(0xffff_0000_0000_0000), Fault::Translation(0));
        assert_eq!(fault(0x0000_9000_0000_0000), Fault::NotUpperHalf);
    }

    #[test]
    fn a_table_may_take_permissions_away_from_all_below() {
        let mut memory = two_leaves();
        memory.0.insert(0x1000 + 0x120 * 8, 0x2003 | 1 << 62);
        let page = walk(&SPEC_4K, &memory, 0x1000, BASE + (3 << 21)).expect("mapped");
        assert!(!page.leaf.writable);
    }

    #[test]
    fn everything_is_every_leaf_and_every_table() {
        let all = everything(&SPEC_4K, &two_leaves(), 0x1000);
        assert_eq!(all.leaves.iter().map(|l| l.leaf.pa).collect::<Vec<_>>(), [0x8000_1000, 0x4020_0000]);
        let tables = all.tables.iter().map(|t| (t.level, t.live)).collect::<Vec<_>>();
        assert_eq!(tables, [(0, 1), (1, 1), (2, 2), (3, 1)]);
        assert!(all.reserved.is_empty() && all.remembered.is_empty());
    }

    #[test]
    fn an_invalid_entry_that_is_not_zero_is_remembered_and_not_followed() {
        let memory = Sparse(BTreeMap::from([(0x1_0000, 0x2_0002)]));
        let all = everything(&SPEC_64K, &memory, 0x1_0000);
        assert_eq!((all.remembered, all.tables.len(), all.leaves.len()), (vec![0x1_0000], 1, 0));
    }
}
