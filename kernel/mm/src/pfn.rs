//! Page frame numbers: which granule page of physical memory, counted from physical zero.

use core::fmt;
use core::ops::{Add, Sub};

use crate::addr::{PhysAddr, PhysRange};
use crate::granule::Granule;

/// A page frame number. Its physical address depends on the granule: `pfn << page_shift`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(transparent)]
pub struct Pfn(u64);

impl Pfn {
    /// Page frame `raw`.
    pub const fn new(raw: u64) -> Self {
        Self(raw)
    }
    /// The number itself.
    pub const fn get(self) -> u64 {
        self.0
    }
    /// The frame that contains `address`.
    pub fn containing(g: Granule, address: PhysAddr) -> Self {
        Self(address.get() >> g.page_shift)
    }
    /// The address of the frame's first byte.
    pub fn address(self, g: Granule) -> PhysAddr {
        PhysAddr::new(self.0 << g.page_shift)
    }
    /// The largest multiple of `1 << order` pages that is not above the frame.
    pub const fn align_down(self, order: u32) -> Self {
        Self(self.0 & !((1 << order) - 1))
    }
    /// The smallest multiple of `1 << order` pages that is not below the frame.
    pub const fn align_up(self, order: u32) -> Self {
        Self(self.0 + ((1 << order) - 1)).align_down(order)
    }
    /// Whether the frame starts a naturally aligned run of `1 << order` pages.
    pub const fn is_aligned(self, order: u32) -> bool {
        self.0 & ((1 << order) - 1) == 0
    }
    /// The buddy of the run of `1 << order` pages that starts here.
    pub const fn buddy(self, order: u32) -> Self {
        Self(self.0 ^ (1 << order))
    }
}

impl Add<u64> for Pfn {
    type Output = Self;
    fn add(self, pages: u64) -> Self {
        Self(self.0 + pages)
    }
}
impl Sub<Pfn> for Pfn {
    type Output = u64;
    fn sub(self, other: Self) -> u64 {
        self.0 - other.0
    }
}
impl fmt::Display for Pfn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pfn {:#x}", self.0)
    }
}
impl fmt::Debug for Pfn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
/// A half-open range of page frames.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PfnRange {
    /// The first frame of the range.
    pub start: Pfn,
    /// The first frame after the range.
    pub end: Pfn,
}

impl PfnRange {
    /// `pages` frames from `start`.
    pub fn new(start: Pfn, pages: u64) -> Self {
        Self { start, end: start + pages }
    }
    /// The whole frames inside `range`; bytes of a frame that is only partly inside are left out.
    pub fn inside(g: Granule, range: PhysRange) -> Self {
        let start = Pfn(range.start.get().div_ceil(g.page_size));
        Self { start, end: Pfn((range.end.get() >> g.page_shift).max(start.0)) }
    }
    /// How many frames.
    pub const fn len(&self) -> u64 {
        self.end.0.saturating_sub(self.start.0)
    }
    /// Whether there is no frame in the range.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Whether `pfn` is in the range.
    pub fn contains(&self, pfn: Pfn) -> bool {
        self.start <= pfn && pfn < self.end
    }
    /// The bytes of the range.
    pub fn addresses(&self, g: Granule) -> PhysRange {
        PhysRange { start: self.start.address(g), end: self.end.address(g) }
    }
    /// Whether the two ranges share a frame.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.start < other.end && other.start < self.end
    }
    /// The range cut at section boundaries.
    pub fn sections(self, g: Granule) -> impl Iterator<Item = Self> {
        let mut at = self.start;
        core::iter::from_fn(move || {
            let start = (at < self.end).then_some(at)?;
            at = (start.align_down(g.section_order) + g.section_pages).min(self.end);
            Some(Self { start, end: at })
        })
    }
    /// The first page of each section that the range touches.
    pub fn section_starts(self, g: Granule) -> impl ExactSizeIterator<Item = Pfn> {
        let first = self.start.align_down(g.section_order);
        #[expect(clippy::cast_possible_truncation, reason = "a model has less than 2^22 sections")]
        let count = (self.end - first).div_ceil(g.section_pages) as usize;
        (0..count).map(move |i| first + i as u64 * g.section_pages)
    }
    /// The first page of each of the memory blocks that the range, whole blocks, is.
    pub fn blocks(self, g: Granule) -> impl DoubleEndedIterator<Item = Pfn> + Clone {
        (0..self.len() / g.section_pages).map(move |i| self.start + i * g.section_pages)
    }
    /// The range cut into naturally aligned powers of two, largest first where alignment allows, no run larger than
    /// `1 << max_order` pages: as few runs as a buddy allocator can hold.
    pub fn chunks(self, max_order: u32) -> Chunks {
        Chunks { rest: self, max_order }
    }
}

/// Iterator of [`PfnRange::chunks`]: pairs of a first frame and an order.
pub struct Chunks {
    rest: PfnRange,
    max_order: u32,
}

impl Iterator for Chunks {
    type Item = (Pfn, u32);
    fn next(&mut self) -> Option<(Pfn, u32)> {
        let len = self.rest.len();
        if len == 0 {
            return None;
        }
        let start = self.rest.start;
        let order = start.0.trailing_zeros().min(len.ilog2()).min(self.max_order);
        self.rest.start = start + (1 << order);
        Some((start, order))
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::granule::Granule;
    use std::vec::Vec;

    #[test]
    fn chunks_cover_the_range_once_aligned_and_largest_first() {
        for (start, len) in [(512, 32768 - 512), (1, 1000), (0, 4096), (7, 1), (3, 0)] {
            let chunks: Vec<_> = PfnRange::new(Pfn::new(start), len).chunks(10).collect();
            let mut at = start;
            for (pfn, order) in &chunks {
                assert_eq!(pfn.get(), at);
                assert_eq!(pfn.get() % (1 << order), 0);
                assert!(*order <= 10);
                at += 1 << order;
            }
            assert_eq!(at, start + len);
        }
        // 126 MiB after a 2 MiB memmap: 2 + 4 + 8 + 16 + 32 + 64 MiB.
        assert_eq!(PfnRange::new(Pfn::new(512), 32768 - 512).chunks(15).count(), 6);
    }

    #[test]
    fn a_range_is_cut_at_section_boundaries() {
        let parts: Vec<_> =
            PfnRange::new(Pfn::new(32768 - 512), 32768 + 1024).sections(Granule::K4).collect();
        let cut = |start, len| PfnRange::new(Pfn::new(start), len);
        assert_eq!(parts, [cut(32768 - 512, 512), cut(32768, 32768), cut(65536, 512)]);
        assert_eq!(cut(7, 0).sections(Granule::K4).count(), 0);
        assert!(cut(0, 2).overlaps(&cut(1, 4)) && !cut(0, 2).overlaps(&cut(2, 4)));
    }

    #[test]
    fn a_frame_that_is_partly_outside_is_left_out() {
        let bytes = PhysRange { start: PhysAddr::new(0x1001), end: PhysAddr::new(0x3fff) };
        let r = PfnRange::inside(Granule::K4, bytes);
        assert_eq!((r.start.get(), r.end.get()), (2, 3));
        let tiny = PhysRange { start: PhysAddr::new(0x1001), end: PhysAddr::new(0x1fff) };
        assert!(PfnRange::inside(Granule::K4, tiny).is_empty());
    }
}
