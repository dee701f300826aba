//! The walk from `root`, with the tables that it has read.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use crate::budget::{self, Budget};
use crate::descriptor::{Entry, Leaf};
use crate::error::{Fault, FaultKind, Unreadable};
use crate::memory::Memory;
use crate::spec::{LAST, Spec, UPPER_HALF};

/// An entry that a walk has read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    pub level: usize,
    pub table: u64,
    pub index: u64,
    pub raw: u64,
}

/// What an address translates to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Translation {
    /// The first virtual address of the leaf.
    pub va: u64,
    /// Bytes of the leaf.
    pub size: u64,
    /// The leaf, with what the tables above it take away.
    pub leaf: Leaf,
}

/// The entries of a table.
type Table = Rc<[u64]>;

/// Translation tables. Each is read once.
pub(crate) struct Tables<'m> {
    pub spec: &'static Spec,
    pub root: u64,
    memory: &'m dyn Memory,
    /// By address and number of entries; `None` where there is no memory.
    read: RefCell<BTreeMap<(u64, u64), Option<Table>>>,
    budget: Budget,
}

impl<'m> Tables<'m> {
    pub(crate) fn new(spec: &'static Spec, memory: &'m dyn Memory, root: u64) -> Self {
        Self { spec, root, memory, read: RefCell::default(), budget: Budget::new(budget::TABLES) }
    }

    pub(crate) fn memory(&self) -> &'m dyn Memory {
        self.memory
    }

    /// Whether no further table is read, however many there are.
    pub(crate) fn is_spent(&self) -> bool {
        self.budget.is_spent()
    }

    /// The entries of the table `pa` of `level`; `None` when there is no memory, or after too many tables.
    pub(crate) fn table(&self, pa: u64, level: usize) -> Option<Table> {
        let entries = self.spec.level(level).entries();
        let mut read = self.read.borrow_mut();
        if let Some(found) = read.get(&(pa, entries)) {
            return found.clone();
        }
        let found = if self.budget.take(1) { self.read_table(pa, entries).ok() } else { None };
        read.insert((pa, entries), found.clone());
        found
    }

    fn read_table(&self, pa: u64, entries: u64) -> Result<Table, Unreadable> {
        let bytes = usize::try_from(entries * 8).map_err(|_| Unreadable { pa })?;
        let mut table = vec![0; bytes];
        self.memory.read(pa, &mut table)?;
        let (words, _) = table.as_chunks::<8>();
        Ok(words.iter().map(|word| u64::from_le_bytes(*word)).collect())
    }

    /// The entry `index` of the table `pa` of `level`.
    fn entry(&self, pa: u64, level: usize, index: u64) -> Option<u64> {
        self.table(pa, level)?.get(usize::try_from(index).ok()?).copied()
    }

    /// Translates `va`; `step` sees each entry that is read.
    pub(crate) fn walk(&self, va: u64, mut step: impl FnMut(Step)) -> Result<Translation, Fault> {
        if va & UPPER_HALF != UPPER_HALF {
            return Err(Fault::new(
                0,
                FaultKind::NotUpperHalf,
                "TTBR1_EL1 translates addresses from 0xffff000000000000 on",
            ));
        }
        let (mut table, mut read_only, mut no_execute) = (self.root, false, false);
        for level in self.spec.first..=LAST {
            let shape = self.spec.level(level);
            let index = shape.index(va);
            let Some(raw) = self.entry(table, level, index) else {
                return Err(Fault::new(
                    level,
                    FaultKind::NoMemory,
                    "there is no memory where the table is to be",
                ));
            };
            step(Step { level, table, index, raw });
            match Entry::decode(self.spec, level, raw) {
                Entry::Invalid => {
                    return Err(Fault::new(level, FaultKind::Translation, "the entry is invalid"));
                }
                Entry::Reserved(why) => return Err(Fault::new(level, FaultKind::Reserved, why)),
                Entry::Leaf(leaf) if !leaf.accessed => {
                    return Err(Fault::new(level, FaultKind::AccessFlag, "the access flag is clear"));
                }
                Entry::Leaf(leaf) => {
                    let leaf = Leaf {
                        read_only: leaf.read_only || read_only,
                        executable: leaf.executable && !no_execute,
                        ..leaf
                    };
                    return Ok(Translation { va: va & !(shape.size() - 1), size: shape.size(), leaf });
                }
                Entry::Table { pa, read_only: ro, no_execute: nx } => {
                    table = pa;
                    read_only |= ro;
                    no_execute |= nx;
                }
            }
        }
        // Unreachable: an entry of the last level is never a table.
        Err(Fault::new(LAST, FaultKind::Reserved, "the last level has no tables"))
    }
}
