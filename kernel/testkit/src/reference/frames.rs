//! Sets of page frames as intervals: what is free is what is left of a block after everything in use is taken out.

use std::ops::Range;

/// A set of page frames: disjoint intervals, ascending, none touching the next.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Frames {
    runs: Vec<Range<u64>>,
}

impl Frames {
    /// The frames of all `runs`, which may overlap.
    pub fn of(runs: impl IntoIterator<Item = Range<u64>>) -> Self {
        let mut sorted: Vec<_> = runs.into_iter().filter(|r| !r.is_empty()).collect();
        sorted.sort_by_key(|r| r.start);
        let mut set = Self::default();
        for run in sorted {
            match set.runs.last_mut() {
                Some(last) if run.start <= last.end => last.end = last.end.max(run.end),
                _ => set.runs.push(run),
            }
        }
        set
    }

    /// The frames of `whole` that are not in the set.
    pub fn complement(&self, whole: Range<u64>) -> Self {
        let (mut at, mut rest) = (whole.start, Vec::new());
        for run in self.within(whole.clone()).runs {
            rest.push(at..run.start);
            at = run.end;
        }
        rest.push(at..whole.end);
        Self::of(rest)
    }

    /// The frames of the set that are not in `other`.
    pub fn without(&self, other: &Self) -> Self {
        Self::of(self.runs.iter().flat_map(|run| other.complement(run.clone()).runs))
    }

    /// The frames of the set that are in `window`.
    pub fn within(&self, window: Range<u64>) -> Self {
        Self::of(self.runs.iter().map(|r| r.start.max(window.start)..r.end.min(window.end)))
    }

    /// The intervals.
    pub fn runs(&self) -> Vec<Range<u64>> {
        self.runs.clone()
    }
    /// How many frames.
    pub fn len(&self) -> u64 {
        self.runs.iter().map(|r| r.end - r.start).sum()
    }
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }
    /// Whether `frame` is in the set.
    pub fn contains(&self, frame: u64) -> bool {
        self.runs.iter().any(|r| r.contains(&frame))
    }
    /// The lowest frame.
    pub fn first(&self) -> Option<u64> {
        self.runs.first().map(|r| r.start)
    }
    /// The `n`-th frame, counted from the lowest, from 0.
    pub fn nth(&self, n: u64) -> Option<u64> {
        let mut left = n;
        for run in &self.runs {
            if left < run.end - run.start {
                return Some(run.start + left);
            }
            left -= run.end - run.start;
        }
        None
    }
    /// Whether the set has a naturally aligned run of `1 << order` frames: a buddy allocator can serve it exactly then.
    pub fn has_run(&self, order: u32) -> bool {
        let size = 1 << order;
        self.runs.iter().any(|r| r.start.next_multiple_of(size) + size <= r.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_the_complement() {
        let used = Frames::of([4..6, 0..2, 5..9, 12..12]);
        assert_eq!(used.len(), 7);
        let free = used.complement(1..12);
        assert_eq!(free, Frames::of([2..4, 9..12]));
        assert_eq!((free.nth(0), free.nth(2), free.nth(4), free.nth(5)), (Some(2), Some(9), Some(11), None));
        assert!(free.contains(3) && !free.contains(4));
        assert!(free.has_run(1) && !Frames::of([3..4, 4..5]).has_run(1));
    }
}
