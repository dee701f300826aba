//! How many tables a mapping will need: the specification's largest-leaf rule over the tables as they are.

use std::collections::BTreeSet;

use hotmap_emulator::arch::spec::{Entry, Spec};
use hotmap_emulator::arch::walker::Memory;

/// A mapping that is about to be made.
#[derive(Clone, Copy, Debug)]
pub struct Mapping {
    /// Its first virtual address.
    pub va: u64,
    /// The physical address of its first byte.
    pub pa: u64,
    /// Its length in bytes.
    pub len: u64,
    /// No leaf is larger.
    pub max_leaf: u64,
}

/// A table that is missing: its level, and the first virtual address that it would serve.
pub type Missing = BTreeSet<(usize, u64)>;

/// How many tables are missing for `mapping` under `root`.
pub fn tables(spec: &Spec, memory: &impl Memory, root: u64, mapping: Mapping) -> u64 {
    all_tables(spec, memory, root, &[mapping]).len() as u64
}

/// The tables that are missing for all of `mappings`, which may share some.
pub fn all_tables(spec: &Spec, memory: &impl Memory, root: u64, mappings: &[Mapping]) -> Missing {
    let mut all = Missing::new();
    mappings.iter().for_each(|m| missing(spec, memory, spec.first, Some(root), *m, &mut all));
    all
}

/// Below `table`, which may not exist yet.
fn missing(
    spec: &Spec,
    memory: &impl Memory,
    level: usize,
    table: Option<u64>,
    m: Mapping,
    all: &mut Missing,
) {
    let (shape, end) = (spec.levels[level], m.va + m.len);
    let mut va = m.va;
    while va < end {
        let first = va & !(shape.size() - 1);
        let next = first.saturating_add(shape.size()).min(end);
        let part = Mapping { va, pa: m.pa + (va - m.va), len: next - va, ..m };
        match table.map(|t| spec.decode(level, memory.read(t + shape.index(va) * 8))) {
            Some(Entry::Table { pa, .. }) => missing(spec, memory, level + 1, Some(pa), part, all),
            Some(Entry::Leaf(_) | Entry::Reserved(_)) => {}
            Some(Entry::Invalid) | None => {
                let whole = part.len == shape.size() && part.pa.is_multiple_of(shape.size());
                if !(shape.leaf && whole && shape.size() <= m.max_leaf) {
                    all.insert((level + 1, first));
                    missing(spec, memory, level + 1, None, part, all);
                }
            }
        }
        va = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hotmap_emulator::arch::spec::{SPEC_4K, SPEC_64K};
    use std::collections::BTreeMap;

    struct Sparse(BTreeMap<u64, u64>);
    impl Memory for Sparse {
        fn read(&self, pa: u64) -> u64 {
            self.0.get(&pa).copied().unwrap_or(0)
        }
    }

    const VA: u64 = 0xffff_0000_0000_0000;

    #[test]
    fn tables_are_missing_down_to_the_largest_leaf_that_fits() {
        let nothing = Sparse(BTreeMap::new());
        let need =
            |spec, len, max_leaf| tables(spec, &nothing, 0x1000, Mapping { va: VA, pa: 0, len, max_leaf });
        assert_eq!(need(&SPEC_4K, 1 << 30, 1 << 30), 1, "a level 1 table for a 1 GiB block");
        assert_eq!(need(&SPEC_4K, 1 << 30, 128 << 20), 2, "and a level 2 table for 2 MiB blocks");
        assert_eq!(need(&SPEC_4K, 0x20_1000, 1 << 30), 3, "and a level 3 table for what is left");
        assert_eq!(need(&SPEC_4K, 3 << 30, 128 << 20), 4);
        assert_eq!(need(&SPEC_64K, 512 << 20, 512 << 20), 1);
        assert_eq!(need(&SPEC_64K, 0x1_0000, 512 << 20), 2);
    }

    #[test]
    fn tables_that_exist_are_not_missing() {
        let one = Sparse(BTreeMap::from([(0x1000, 0x2003)]));
        let mapping = Mapping { va: VA, pa: 0, len: 1 << 30, max_leaf: 128 << 20 };
        assert_eq!(tables(&SPEC_4K, &one, 0x1000, mapping), 1);
        let elsewhere = Mapping { va: VA + (512 << 30), ..mapping };
        assert_eq!(tables(&SPEC_4K, &one, 0x1000, elsewhere), 2);
    }
}
