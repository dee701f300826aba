//! The part of an added range that is set aside for its own memmap (Linux: `struct vmem_altmap`).
//!
//! ```text
//!  base_pfn    reserve              free                       rest of the range
//!  |-----------|--------------------------------------------|------------------->
//!              | align + alloc used | still free             |
//!                                                            ^ offset(): the first usable page
//! ```
//! The visible account is Linux's: `alloc` pages in use, `align` pages lost to padding. What is handed out next is not
//! computed from it: charging back lowers `alloc` only, so after a free that was not the last allocation the sum would
//! name a page that is in use. A cursor that only moves back over the very last allocation, or when nothing is in use,
//! keeps I2.

use crate::error::{AltmapError, Error, Resource, Result};
use crate::frame::page::PAGE_BYTES;
use crate::granule::Granule;
use crate::list::{Keyed, List};
use crate::pfn::{Pfn, PfnRange};

/// An altmap; all fields count pages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Altmap {
    base_pfn: Pfn,
    reserve: u64,
    free: u64,
    align: u64,
    alloc: u64,
    cursor: u64,
}

/// Where an altmap stood, to go back to.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    align: u64,
    alloc: u64,
    cursor: u64,
}

impl Altmap {
    /// `free` pages from `base_pfn + reserve` on, none in use.
    pub const fn new(base_pfn: Pfn, reserve: u64, free: u64) -> Self {
        Self { base_pfn, reserve, free, align: 0, alloc: 0, cursor: 0 }
    }

    /// The altmap that the memmap of `pages`, whole sections, fills: at their start, nothing kept back.
    pub fn for_memory(g: Granule, pages: PfnRange) -> Self {
        Self::new(pages.start, 0, pages.len() / g.section_pages * (g.section_memmap >> g.page_shift))
    }

    /// The altmap that the memmap of a device needs, after `reserve` pages that its driver keeps: what populating takes,
    /// when no part of `pages` has its memmap already.
    pub fn for_device(g: Granule, pages: PfnRange, reserve: u64) -> Self {
        Self::for_parts(g, pages.start, pages.sections(g), reserve, 0)
    }

    /// The altmap at `start` for the memmap of `parts`, each in one section, and `more` pages after it: tried out on one
    /// that has room for anything.
    pub(crate) fn for_parts(
        g: Granule,
        start: Pfn,
        parts: impl Iterator<Item = PfnRange>,
        reserve: u64,
        more: u64,
    ) -> Self {
        let mut trial = Self::new(start, reserve, u64::MAX >> 1);
        for part in parts {
            let taken = trial.take_for(g, part);
            debug_assert!(taken.is_ok(), "a device has fewer pages than that");
        }
        Self::new(start, reserve, trial.cursor + more)
    }

    /// Takes what populating `part`, pages of one section, takes: a block for a section that fills one, else the pages of
    /// memmap that describe nothing but `part`.
    fn take_for(&mut self, g: Granule, part: PfnRange) -> Result<()> {
        let block = g.pmd_size >> g.page_shift;
        if part.len() * PAGE_BYTES == g.pmd_size {
            return self.allocate(block).map(drop);
        }
        let per_page = g.page_size / PAGE_BYTES;
        let (first, end) = (part.start.get().div_ceil(per_page), part.end.get() / per_page);
        match end.saturating_sub(first) {
            0 => Ok(()),
            pages => self.allocate_pages(pages).map(drop),
        }
    }

    /// The pages that the first block of memmap would lose to padding: none where memmap is base pages.
    pub fn padding_for(&self, g: Granule) -> u64 {
        let block = if g.section_memmap == g.pmd_size { g.pmd_size >> g.page_shift } else { 1 };
        let next = self.base_pfn.get() + self.reserve;
        next.next_multiple_of(block) - next
    }

    /// Takes `bytes`, as [`Self::allocate`] takes pages.
    ///
    /// # Errors
    /// `AltmapError::NotWholePages`, and as there.
    pub fn allocate_bytes(&mut self, g: Granule, bytes: u64) -> Result<Pfn> {
        if !bytes.is_multiple_of(g.page_size) {
            return Err(AltmapError::NotWholePages { bytes, page: g.page_size }.into());
        }
        self.allocate(bytes >> g.page_shift)
    }

    /// Checks that the altmap belongs to `range`: it starts where the range starts, and ends inside.
    ///
    /// # Errors
    /// `AltmapError::Misplaced` or `AltmapError::TooLarge`.
    pub fn check_range(&self, g: Granule, range: PfnRange) -> Result<()> {
        let (pages, of) = (self.reserve.saturating_add(self.free), range.len());
        if self.base_pfn != range.start {
            let base = self.base_pfn.address(g);
            return Err(AltmapError::Misplaced { base, range: range.addresses(g) }.into());
        }
        if pages > of {
            return Err(AltmapError::TooLarge { pages, range: range.addresses(g), of }.into());
        }
        Ok(())
    }

    /// The same altmap with nothing in use.
    pub const fn unused(&self) -> Self {
        Self::new(self.base_pfn, self.reserve, self.free)
    }

    /// Takes `pages` pages, aligned to the lowest set bit of `pages`.
    ///
    /// # Errors
    /// `Out` when they and the padding do not fit. There is no fallback.
    pub fn allocate(&mut self, pages: u64) -> Result<Pfn> {
        let out = Error::Out(Resource::Altmap { pages });
        if pages == 0 {
            return Err(out);
        }
        let next = self.base_pfn.get() + self.reserve + self.cursor;
        let natural = 1 << pages.trailing_zeros();
        let padding = next.next_multiple_of(natural) - next;
        if pages + padding > self.free - self.cursor {
            return Err(out);
        }
        self.align += padding;
        self.alloc += pages;
        self.cursor += padding + pages;
        Ok(Pfn::new(next + padding))
    }

    /// Takes up to `most` pages one by one, as many as follow each other: as that many calls of `allocate(1)`, at the cost of
    /// one. Returns the first and how many.
    ///
    /// # Errors
    /// `Out` when there is none.
    pub fn allocate_pages(&mut self, most: u64) -> Result<(Pfn, u64)> {
        let pages = most.min(self.free - self.cursor);
        if pages == 0 {
            return Err(Error::Out(Resource::Altmap { pages: most }));
        }
        let first = self.base_pfn + self.reserve + self.cursor;
        self.alloc += pages;
        self.cursor += pages;
        Ok((first, pages))
    }

    /// Gives `pages` pages back that start at `pfn`.
    pub fn release(&mut self, pfn: Pfn, pages: u64) {
        // What was never handed out cannot come back: if it did, a page in use would be handed out next.
        let Some(alloc) = self.alloc.checked_sub(pages) else {
            debug_assert!(false, "{pages} pages come back to an altmap that has {} out", self.alloc);
            return;
        };
        self.alloc = alloc;
        if self.alloc == 0 {
            (self.cursor, self.align) = (0, 0);
        } else if pfn + pages == self.frames().start + self.cursor {
            self.cursor -= pages;
        }
    }

    /// Where the altmap stands.
    pub const fn mark(&self) -> Mark {
        Mark { align: self.align, alloc: self.alloc, cursor: self.cursor }
    }
    /// Goes back to where it stood: everything handed out since must have come back.
    pub fn rewind(&mut self, mark: Mark) {
        (self.align, self.alloc, self.cursor) = (mark.align, mark.alloc, mark.cursor);
    }
    /// The pages that are not handed out: those kept back at the start, and those that are left at the end.
    pub fn idle(&self) -> [PfnRange; 2] {
        let frames = self.frames();
        let next = frames.start + self.cursor;
        [PfnRange { start: self.base_pfn, end: frames.start }, PfnRange { start: next, end: frames.end }]
    }
    /// Charges one page too many: a fault to put in on purpose (I2).
    pub fn charge_for_nothing(&mut self) {
        self.alloc += 1;
    }

    /// The first page of the range.
    pub const fn base_pfn(&self) -> Pfn {
        self.base_pfn
    }
    /// Pages at the start that stay out of it.
    pub const fn reserve(&self) -> u64 {
        self.reserve
    }
    /// Pages set aside.
    pub const fn free(&self) -> u64 {
        self.free
    }
    /// Pages lost to padding.
    pub const fn align(&self) -> u64 {
        self.align
    }
    /// Pages in use.
    pub const fn alloc(&self) -> u64 {
        self.alloc
    }
    /// How many pages of the range come before its usable memory.
    pub const fn offset(&self) -> u64 {
        self.reserve + self.free
    }
    /// The frames that the altmap hands out from.
    pub fn frames(&self) -> PfnRange {
        PfnRange::new(self.base_pfn + self.reserve, self.free)
    }
}

impl Keyed for Altmap {
    fn key(&self) -> u64 {
        self.base_pfn.get()
    }
}

/// All altmaps, by the first page of their range. A frame that holds memmap goes back to the altmap that it lies in, and to
/// system RAM when it lies in none: "an altmap's page freed as RAM", and the reverse, cannot be said.
#[derive(Debug, Default)]
pub struct Altmaps(List<Altmap>);

impl Altmaps {
    /// None.
    pub(super) const fn new() -> Self {
        Self(List::new())
    }
    /// Makes room for `more`; inserting that many cannot fail then.
    ///
    /// # Errors
    /// `Out` when the heap has no room.
    pub(crate) fn reserve(&mut self, more: usize) -> Result<()> {
        self.0.reserve(more)
    }
    /// A new one, for which room was reserved.
    pub(crate) fn insert(&mut self, altmap: Altmap) {
        self.0.insert(altmap);
    }
    /// Takes those out whose range starts in `pages`; returns how many of their pages are still in use.
    pub(crate) fn remove_in(&mut self, pages: PfnRange) -> u64 {
        let keys = pages.start.get()..pages.end.get();
        let in_use = self.0.range(keys.clone()).iter().map(Altmap::alloc).sum();
        self.0.remove_where(keys, |_| true);
        self.0.shrink();
        in_use
    }
    /// The altmap whose range starts at `base`.
    pub(crate) fn get(&self, base: Pfn) -> Option<&Altmap> {
        self.0.get(base.get())
    }
    /// The altmap whose range starts at `base`.
    pub(crate) fn get_mut(&mut self, base: Pfn) -> Option<&mut Altmap> {
        self.0.get_mut(base.get())
    }
    /// The altmap that hands out `frame`, if there is one.
    pub(crate) fn with_frame_mut(&mut self, frame: Pfn) -> Option<&mut Altmap> {
        let below = self.0.range_mut(0..frame.get() + 1);
        below.last_mut().filter(|altmap| altmap.frames().contains(frame))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::granule::Granule;

    #[test]
    fn allocation_is_aligned_to_the_lowest_set_bit_and_padding_is_accounted() {
        let mut odd = Altmap::new(Pfn::new(0x8_0001), 0, 16);
        assert_eq!(odd.allocate(3), Ok(Pfn::new(0x8_0001)));
        assert_eq!((odd.align(), odd.alloc()), (0, 3));
        let mut off_by_one = Altmap::new(Pfn::new(0x8_0001), 0, 2048);
        assert_eq!(off_by_one.allocate(512), Ok(Pfn::new(0x8_0200)));
        assert_eq!((off_by_one.align(), off_by_one.alloc()), (511, 512));
    }

    #[test]
    fn one_page_short_is_out_of_memory_and_changes_nothing() {
        let mut a = Altmap::new(Pfn::new(0x8_0000), 0, 511);
        let before = a;
        assert_eq!(a.allocate(512), Err(Error::Out(Resource::Altmap { pages: 512 })));
        assert_eq!(a, before);
        for _ in 0..511 {
            a.allocate(1).expect("free");
        }
        assert_eq!(a.allocate(1), Err(Error::Out(Resource::Altmap { pages: 1 })));
    }

    #[test]
    fn a_frame_in_use_is_never_handed_out_again() {
        let mut a = Altmap::new(Pfn::new(0x100), 2, 6);
        let first = a.allocate(1).expect("free");
        let second = a.allocate(1).expect("free");
        assert_eq!((first.get(), second.get()), (0x102, 0x103));
        a.release(first, 1);
        let third = a.allocate(1).expect("free");
        assert_ne!(third, second);
        assert_eq!(a.alloc(), 2);
        a.release(third, 1);
        a.release(second, 1);
        assert_eq!((a.alloc(), a.align()), (0, 0));
        assert_eq!(a.allocate(2), Ok(Pfn::new(0x102)));
    }

    #[test]
    fn a_run_of_pages_is_as_that_many_single_pages() {
        let (mut run, mut single) = (Altmap::new(Pfn::new(0x101), 0, 5), Altmap::new(Pfn::new(0x101), 0, 5));
        assert_eq!(run.allocate_pages(3), Ok((Pfn::new(0x101), 3)));
        for i in 0..3 {
            assert_eq!(single.allocate(1), Ok(Pfn::new(0x101 + i)));
        }
        assert_eq!(run, single);
        assert_eq!(run.allocate_pages(8), Ok((Pfn::new(0x104), 2)));
        assert_eq!(run.allocate_pages(8), Err(Error::Out(Resource::Altmap { pages: 8 })));
    }

    #[test]
    fn what_is_not_whole_pages_is_refused_and_changes_nothing() {
        let mut a = Altmap::new(Pfn::new(0x8_0000), 0, 512);
        let before = a;
        let refused = Err(Error::Altmap(AltmapError::NotWholePages { bytes: 4097, page: 4096 }));
        assert_eq!((a.allocate_bytes(Granule::K4, 4097), a), (refused, before));
        assert_eq!(a.allocate_bytes(Granule::K4, 8192), Ok(Pfn::new(0x8_0000)));
    }

    #[test]
    fn an_altmap_belongs_to_the_start_of_its_range() {
        let range = PfnRange::new(Pfn::new(0x8_0000), 1024);
        assert_eq!(Altmap::new(Pfn::new(0x8_0000), 512, 512).check_range(Granule::K4, range), Ok(()));
        let refusal = |base, reserve| {
            let altmap = Altmap::new(Pfn::new(base), reserve, 512);
            altmap.check_range(Granule::K4, range).expect_err("refused")
        };
        assert!(matches!(refusal(0x8_0001, 0), Error::Altmap(AltmapError::Misplaced { .. })));
        let too_large = |error| matches!(error, Error::Altmap(AltmapError::TooLarge { of: 1024, .. }));
        assert!(too_large(refusal(0x8_0000, 513)) && too_large(refusal(0x8_0000, u64::MAX)));
    }

    #[test]
    fn padding_needs_room_too() {
        let mut a = Altmap::new(Pfn::new(0x8_0000), 0, 600);
        a.allocate(1).expect("free");
        let before = a;
        // 511 pages of padding and 512 pages, where 599 are left.
        assert_eq!((a.allocate(512), a), (Err(Error::Out(Resource::Altmap { pages: 512 })), before));
    }

    #[test]
    fn an_altmap_goes_back_to_where_it_stood() {
        let mut a = Altmap::new(Pfn::new(0x8_0001), 0, 2048);
        a.allocate(1).expect("free");
        let (before, mark) = (a, a.mark());
        a.allocate(512).expect("free");
        assert_ne!((a.alloc(), a.align()), (before.alloc(), before.align()));
        a.rewind(mark);
        assert_eq!(a, before);
    }
}
