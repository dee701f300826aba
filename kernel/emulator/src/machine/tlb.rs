//! A TLB that forgets nothing by itself: the worst that the architecture allows. It holds every translation, and every table
//! entry, that was ever valid, until an invalidation reaches it. Since an entry that is still in the tables is nothing new,
//! only those that are no longer there are kept: the stale ones. After all maintenance is done there are none.

use std::ops::Range;

use super::violation::Rule;
use crate::arch::spec::{Leaf, Spec};
use crate::arch::walker::{Everything, Walk};

/// An entry that is no longer in the tables, and may still be in a TLB.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stale {
    /// The first virtual address that it covers.
    pub va: u64,
    /// How many bytes it covers.
    pub size: u64,
    /// The physical address that it leads to.
    pub pa: u64,
    /// How many bytes are there.
    pub bytes: u64,
    /// The leaf; `None` for an entry that led to a table.
    pub leaf: Option<Leaf>,
}

impl Stale {
    fn end(&self) -> u64 {
        self.va.saturating_add(self.size)
    }
    pub(crate) fn covers(&self, va: u64, size: u64) -> bool {
        self.va < va.saturating_add(size) && va < self.end()
    }
    pub(crate) fn reaches(&self, pa: u64, bytes: u64) -> bool {
        self.pa < pa + bytes && pa < self.pa + self.bytes
    }
}

/// The stale entries.
#[derive(Default)]
pub(crate) struct Tlb {
    stale: Vec<Stale>,
}

impl Tlb {
    pub(crate) fn entries(&self) -> &[Stale] {
        &self.stale
    }

    /// Whether an access to `va`, which the tables translate by `walk`, may go wrong: by an entry that does not say what the
    /// tables say, or allows less than this access.
    pub(crate) fn misleads(&self, va: u64, walk: Option<&Walk>, write: bool) -> Option<Stale> {
        let stale = self.stale.iter().copied().find(|s| s.covers(va, 1))?;
        let harmless = stale.leaf.zip(walk).is_some_and(|(old, now)| {
            old.pa + (va - stale.va) == now.leaf.pa + (va - now.va)
                && old.memory == now.leaf.memory
                && (old.writable || !write)
        });
        (!harmless).then_some(stale)
    }

    /// What a new entry at `va` that leads to `come` collides with, other than with itself: for the same addresses, or for
    /// the same memory. Rule, virtual and physical address.
    pub(crate) fn collisions(
        &self,
        spec: &Spec,
        va: u64,
        size: u64,
        come: &Everything,
    ) -> Vec<(Rule, u64, u64)> {
        if come.leaves.is_empty() && come.tables.is_empty() {
            return Vec::new();
        }
        let again = |s: &Stale| {
            come.leaves.iter().any(|l| s.leaf == Some(l.leaf) && (s.va, s.size) == (l.va, l.size))
        };
        let mut found = Vec::new();
        for s in self.stale.iter().filter(|s| !again(s)) {
            if s.covers(va, size) {
                found.push((Rule::MakeBeforeInvalidate, va, s.pa));
            }
            let leaves = come.leaves.iter().map(|l| (l.leaf.pa, l.size));
            let memory = leaves.chain(come.tables.iter().map(|t| (t.pa, spec.page)));
            let reused = memory.filter(|m| s.reaches(m.0, m.1));
            found.extend(reused.map(|m| (Rule::ReuseWhileCached, s.va, m.0)));
        }
        found
    }

    /// All that `gone` was is no longer in the tables.
    pub(crate) fn add(&mut self, spec: &Spec, gone: &Everything) {
        for l in &gone.leaves {
            let leaf = Some(l.leaf);
            self.stale.push(Stale { va: l.va, size: l.size, pa: l.leaf.pa, bytes: l.size, leaf });
        }
        for t in &gone.tables {
            // The entry that led to it is in a table one level above.
            let size = spec.levels[t.level - 1].size();
            self.stale.push(Stale { va: t.va, size, pa: t.pa, bytes: spec.page, leaf: None });
        }
    }

    /// TLBI by address for every `stride` bytes of the range: leaves, and table entries too when `tables`.
    pub(crate) fn invalidate(&mut self, range: &Range<u64>, stride: u64, tables: bool) {
        let first = range.start & !(stride - 1);
        self.stale.retain(|s| {
            let skip = s.va.saturating_sub(first).div_ceil(stride);
            let operation = first + skip * stride;
            let hit = operation < range.end.min(s.end());
            !hit || (s.leaf.is_none() && !tables)
        });
    }

    /// Whether an entry for one of these virtual addresses is left.
    pub(crate) fn leads_from(&self, range: &Range<u64>) -> bool {
        self.stale.iter().any(|s| s.covers(range.start, range.end - range.start))
    }

    /// The entries that lead to memory in `pa..pa + len`.
    pub(crate) fn leading_to(&self, pa: u64, len: u64) -> Vec<Stale> {
        self.stale.iter().copied().filter(|s| s.reaches(pa, len)).collect()
    }
}
