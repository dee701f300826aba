//! How many pages of vmemmap are mapped, and how many frames are behind them. A table that several entries lead to is read once.

use std::collections::BTreeMap;

use crate::descriptor::Entry;
use crate::layout;
use crate::spec::{LAST, UPPER_HALF};
use crate::translation::Tables;

/// Pages of vmemmap, and frames.
pub(super) struct Counted {
    pub mapped: u64,
    pub frames: u64,
    /// Frames to which several pages lead.
    pub shared: u64,
    /// Whether each table could be read.
    pub complete: bool,
}

struct Count<'t, 'm> {
    tables: &'t Tables<'m>,
    vmemmap: std::ops::Range<u64>,
    /// By level: tables that translate addresses of vmemmap alone, and how many ways lead to each.
    waiting: [BTreeMap<u64, u64>; LAST + 1],
    /// Frames: the first page, how many pages, and how many ways lead there.
    leaves: Vec<(u64, u64, u64)>,
    complete: bool,
}

/// Counts what the tables map in vmemmap, which begins at `start`.
pub(super) fn frames(tables: &Tables<'_>, start: u64) -> Counted {
    let vmemmap = layout::vmemmap(start);
    let waiting = [const { BTreeMap::new() }; LAST + 1];
    let mut count = Count { tables, vmemmap, waiting, leaves: Vec::new(), complete: true };
    count.edge(tables.root, tables.spec.first, UPPER_HALF);
    for level in tables.spec.first..=LAST {
        for (pa, ways) in std::mem::take(&mut count.waiting[level]) {
            let Some(entries) = tables.table(pa, level) else {
                count.complete = false;
                continue;
            };
            entries.iter().for_each(|raw| count.entry(level, *raw, ways));
        }
    }
    count.sum()
}

impl Count<'_, '_> {
    /// A table that translates other addresses as well.
    fn edge(&mut self, pa: u64, level: usize, va: u64) {
        let shape = self.tables.spec.level(level);
        let Some(entries) = self.tables.table(pa, level) else {
            self.complete = false;
            return;
        };
        for (index, raw) in (0..).zip(entries.iter()) {
            let first = va + (index << shape.low);
            let last = first + (shape.size() - 1);
            if last < self.vmemmap.start || self.vmemmap.end <= first {
                continue;
            }
            if self.vmemmap.start <= first && last < self.vmemmap.end {
                self.entry(level, *raw, 1);
            } else if let Entry::Table { pa, .. } = Entry::decode(self.tables.spec, level, *raw) {
                self.edge(pa, level + 1, first);
            }
        }
    }

    fn entry(&mut self, level: usize, raw: u64, ways: u64) {
        match Entry::decode(self.tables.spec, level, raw) {
            Entry::Table { pa, .. } => {
                let sum = self.waiting[level + 1].entry(pa).or_default();
                *sum = sum.saturating_add(ways);
            }
            Entry::Leaf(leaf) => {
                let pages = self.tables.spec.pages(self.tables.spec.level(level).size());
                self.leaves.push((leaf.pa, pages, ways));
            }
            Entry::Invalid | Entry::Reserved(_) => {}
        }
    }

    fn sum(mut self) -> Counted {
        self.leaves.sort_unstable();
        let (mut mapped, mut frames, mut shared) = (0_u64, 0_u64, 0_u64);
        for same in self.leaves.chunk_by(|a, b| (a.0, a.1) == (b.0, b.1)) {
            let (pages, ways) = (same[0].1, same.iter().fold(0_u64, |sum, leaf| sum.saturating_add(leaf.2)));
            mapped = mapped.saturating_add(pages.saturating_mul(ways));
            frames += pages;
            shared += if ways > 1 { pages } else { 0 };
        }
        Counted { mapped, frames, shared, complete: self.complete }
    }
}
