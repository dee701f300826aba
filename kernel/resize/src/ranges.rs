//! A set of addresses as few sorted ranges.

use alloc::vec::Vec;
use core::ops::Range;

use hotmap_mm::error::Result;
use hotmap_mm::list;

/// Ranges of addresses, ascending; none touches the next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranges(Vec<Range<u64>>);

impl Ranges {
    /// None.
    pub const fn new() -> Self {
        Self(Vec::new())
    }
    /// The ranges, ascending.
    pub fn as_slice(&self) -> &[Range<u64>] {
        &self.0
    }
    /// The bytes in them.
    pub fn total(&self) -> u64 {
        self.0.iter().map(|range| range.end - range.start).sum()
    }
    /// The bytes of the list itself.
    pub const fn bytes(&self) -> usize {
        self.0.len() * size_of::<Range<u64>>()
    }
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    /// Makes room for `changes` calls of [`Self::insert`] and [`Self::remove`], which cannot fail then.
    ///
    /// # Errors
    /// `Out` when the heap has no room.
    pub fn reserve(&mut self, changes: usize) -> Result<()> {
        list::reserve(&mut self.0, changes)
    }

    /// Adds `range`, of which nothing may be there.
    pub fn insert(&mut self, range: Range<u64>) {
        debug_assert!(self.bytes_in(&range) == 0, "{range:x?} is there already");
        let at = self.0.partition_point(|r| r.end < range.start);
        let joined = self.0[at..].partition_point(|r| r.start <= range.end);
        if joined == 0 {
            debug_assert!(self.0.len() < self.0.capacity(), "without room");
            return self.0.insert(at, range);
        }
        let last = &self.0[at + joined - 1];
        self.0[at] = range.start.min(self.0[at].start)..range.end.max(last.end);
        self.0.drain(at + 1..at + joined);
    }

    /// Removes `range`, all of which has to be there.
    pub fn remove(&mut self, range: Range<u64>) {
        let at = self.0.partition_point(|r| r.end <= range.start);
        let Some(found) = self.0.get(at).filter(|r| r.start <= range.start && range.end <= r.end).cloned()
        else {
            debug_assert!(false, "{range:x?} is not there");
            return;
        };
        let (before, after) = (found.start..range.start, range.end..found.end);
        match (before.is_empty(), after.is_empty()) {
            (true, true) => drop(self.0.remove(at)),
            (true, false) => self.0[at] = after,
            (false, true) => self.0[at] = before,
            (false, false) => {
                debug_assert!(self.0.len() < self.0.capacity(), "without room");
                self.0[at] = before;
                self.0.insert(at + 1, after);
            }
        }
    }

    /// Becomes what `other` is.
    ///
    /// # Errors
    /// `Out` when the heap has no room; nothing has changed then.
    pub fn copy_from(&mut self, other: &Self) -> Result<()> {
        list::reserve(&mut self.0, other.0.len())?;
        self.0.clear();
        self.0.extend_from_slice(&other.0);
        Ok(())
    }
    /// The parts of them in `window`, ascending.
    pub fn inside(&self, window: Range<u64>) -> impl DoubleEndedIterator<Item = Range<u64>> + '_ {
        let first = self.0.partition_point(|r| r.end <= window.start);
        let count = self.0[first..].partition_point(|r| r.start < window.end);
        self.0[first..first + count].iter().map(move |r| r.start.max(window.start)..r.end.min(window.end))
    }
    /// How many bytes of them are in `window`.
    pub fn bytes_in(&self, window: &Range<u64>) -> u64 {
        self.inside(window.clone()).map(|r| r.end - r.start).sum()
    }
    /// The first part of `window` that is in none of them.
    pub fn first_gap(&self, window: Range<u64>) -> Option<Range<u64>> {
        let mut start = window.start;
        for range in self.inside(window.clone()) {
            if start < range.start {
                return Some(start..range.start);
            }
            start = range.end;
        }
        (start < window.end).then_some(start..window.end)
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn neighbours_are_one_range_and_a_hole_makes_two() {
        let mut ranges = Ranges::new();
        assert!(ranges.reserve(4).is_ok());
        ranges.insert(2..4);
        ranges.insert(6..8);
        ranges.insert(4..6);
        assert_eq!(ranges.as_slice(), vec![2..8]);
        ranges.remove(3..5);
        assert_eq!(ranges.as_slice(), vec![2..3, 5..8]);
        assert_eq!((ranges.total(), ranges.bytes_in(&(0..6))), (4, 2));
        assert_eq!(ranges.first_gap(2..9), Some(3..5));
        assert_eq!(ranges.first_gap(5..9), Some(8..9));
        assert_eq!(ranges.first_gap(5..8), None);
    }

    proptest! {
        // The oracle is a set of numbers.
        #[test]
        fn ranges_say_what_a_set_of_numbers_says(steps in prop::collection::vec((0u64..40, 1u64..12), 1..40)) {
            let (mut ranges, mut set) = (Ranges::new(), alloc::collections::BTreeSet::new());
            for (start, len) in steps {
                let range = start..start + len;
                prop_assert!(ranges.reserve(1).is_ok());
                let inside = range.clone().filter(|n| set.contains(n)).count() as u64;
                prop_assert_eq!(ranges.bytes_in(&range), inside);
                let gap = range.clone().find(|n| !set.contains(n));
                prop_assert_eq!(ranges.first_gap(range.clone()).map(|r| r.start), gap);
                if inside == 0 {
                    ranges.insert(range.clone());
                    set.extend(range);
                } else if inside == len {
                    ranges.remove(range.clone());
                    set.retain(|n| !range.contains(n));
                }
                prop_assert_eq!(ranges.total(), set.len() as u64);
                prop_assert!(ranges.as_slice().windows(2).all(|two| two[0].end < two[1].start));
                prop_assert!(set.iter().all(|n| ranges.bytes_in(&(*n..n + 1)) == 1));
            }
        }
    }
}
