//! Counting pages by use, and remembering which ones without remembering each.
//!
//! A set of frames is summed up in one number: F(end) - F(start) over its runs, for a function F that mixes all bits. The
//! sum does not depend on how the set is cut into runs or on their order, so what is collected head by head and what is
//! collected leaf by leaf can be compared. Two sets of the same size that differ, or one with a frame twice, have the same
//! sum once in 2^64.

use crate::frame::page::PageKind;
use crate::pfn::Pfn;

/// Pages by use.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    pages: [u64; PageKind::COUNT],
    sums: [u64; PageKind::COUNT],
}

/// The finaliser of splitmix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014).
fn mix(value: u64) -> u64 {
    let z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

impl Tally {
    /// Counts `pages` pages from `start`.
    pub(super) fn add(&mut self, kind: PageKind, start: Pfn, pages: u64) {
        let i = kind as usize;
        self.pages[i] += pages;
        let run = mix(start.get() + pages).wrapping_sub(mix(start.get()));
        self.sums[i] = self.sums[i].wrapping_add(run);
    }
    /// The pages of a kind.
    pub(super) const fn pages(&self, kind: PageKind) -> u64 {
        self.pages[kind as usize]
    }
    /// Whether the other tally has the same frames of a kind.
    pub(super) const fn same_frames(&self, other: &Self, kind: PageKind) -> bool {
        self.sums[kind as usize] == other.sums[kind as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const K: PageKind = PageKind::MemmapRam;

    fn tally(runs: &[(u64, u64)]) -> Tally {
        let mut tally = Tally::default();
        for (start, pages) in runs {
            tally.add(K, Pfn::new(*start), *pages);
        }
        tally
    }

    #[test]
    fn a_set_is_the_same_however_it_is_cut_and_ordered() {
        let whole = tally(&[(512, 512), (4096, 1)]);
        assert!(whole.same_frames(&tally(&[(4096, 1), (768, 256), (512, 256)]), K));
        assert_eq!(whole.pages(K), 513);
    }

    #[test]
    fn a_frame_that_is_there_twice_or_is_another_shows() {
        let right = tally(&[(8, 1), (9, 1), (10, 1)]);
        for wrong in [[(8, 1), (9, 1), (9, 1)], [(8, 1), (9, 1), (11, 1)], [(8, 1), (8, 1), (11, 1)]] {
            let wrong = tally(&wrong);
            assert_eq!(wrong.pages(K), right.pages(K));
            assert!(!wrong.same_frames(&right, K));
        }
    }
}
