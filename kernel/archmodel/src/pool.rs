//! Host model. A node's free RAM: runs of pages, the lowest that fits first, so that tests can say which comes next.

use std::collections::BTreeMap;

use hotmap_mm::pfn::{Pfn, PfnRange};

/// Free runs: first page and length. Neighbours are always joined, so that two pools with the same pages are equal.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Pool(BTreeMap<u64, u64>);

impl Pool {
    /// All of `range` is free.
    pub fn new(range: PfnRange) -> Self {
        Self(BTreeMap::from([(range.start.get(), range.len())]))
    }

    /// The lowest free run of `pages` pages, a power of two, naturally aligned as a buddy allocator's.
    pub fn take(&mut self, pages: u64) -> Option<Pfn> {
        let (run, len, first) = self.0.iter().find_map(|(&run, &len)| {
            let first = run.next_multiple_of(pages);
            (first + pages <= run + len).then_some((run, len, first))
        })?;
        self.0.remove(&run);
        self.insert(run, first - run);
        self.insert(first + pages, run + len - first - pages);
        Some(Pfn::new(first))
    }

    /// Give pages back.
    ///
    /// # Panics
    /// When one of them is free already.
    pub fn give(&mut self, first: Pfn, pages: u64) {
        let (mut start, mut len) = (first.get(), pages);
        let after = self.0.range(start..).next().map(|(&run, &len)| (run, len));
        let before = self.0.range(..start).next_back().map(|(&run, &len)| (run, len));
        assert!(after.is_none_or(|(run, _)| start + len <= run), "{first} is given back twice");
        assert!(before.is_none_or(|(run, len)| run + len <= start), "{first} is given back twice");
        if let Some((run, more)) = after.filter(|&(run, _)| run == start + len) {
            self.0.remove(&run);
            len += more;
        }
        if let Some((run, more)) = before.filter(|&(run, len)| run + len == start) {
            start = run;
            len += more;
        }
        self.insert(start, len);
    }

    /// How many pages are free.
    pub fn free_pages(&self) -> u64 {
        self.0.values().sum()
    }

    /// Whether a page is free.
    pub fn contains(&self, pfn: Pfn) -> bool {
        self.0.range(..=pfn.get()).next_back().is_some_and(|(run, len)| pfn.get() < run + len)
    }

    fn insert(&mut self, run: u64, len: u64) {
        if len > 0 {
            self.0.insert(run, len);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_aligned_run_comes_first_and_pages_given_back_join_their_neighbours() {
        let full = Pool::new(PfnRange::new(Pfn::new(3), 13));
        let mut pool = full.clone();
        assert_eq!(pool.take(4), Some(Pfn::new(4)));
        assert_eq!(pool.take(1), Some(Pfn::new(3)));
        assert_eq!(pool.take(8), Some(Pfn::new(8)));
        assert_eq!((pool.take(1), pool.free_pages()), (None, 0));
        for (first, pages) in [(3, 1), (8, 8), (4, 4)] {
            pool.give(Pfn::new(first), pages);
        }
        assert_eq!(pool, full);
    }

    #[test]
    #[should_panic(expected = "pfn 0x6 is given back twice")]
    fn a_page_is_given_back_once() {
        let mut pool = Pool::new(PfnRange::new(Pfn::new(0), 8));
        pool.give(Pfn::new(6), 1);
    }
}
