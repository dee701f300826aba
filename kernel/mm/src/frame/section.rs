//! Sections: which memory is present, in subsections of 2 MiB, and what holds its memmap (Linux: `struct mem_section`).

use crate::granule::{Granule, SUBSECTION_SHIFT};
use crate::list::Keyed;
use crate::pfn::{Pfn, PfnRange};

/// The subsections of a section, as a bitmap wide enough for every granule.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Subsections([u64; 4]);

impl Subsections {
    /// None.
    pub const NONE: Self = Self([0; 4]);

    /// All of a section.
    pub fn all(g: Granule) -> Self {
        let mut bits = [0; 4];
        bits[..g.subsections / 64].fill(u64::MAX);
        Self(bits)
    }

    /// Whether these are all of a section.
    pub fn is_all(&self, g: Granule) -> bool {
        self.0[..g.subsections / 64].iter().all(|word| *word == u64::MAX)
    }

    /// The subsections that `range` touches, of the section that starts at `section`.
    pub fn touched(g: Granule, section: Pfn, range: PfnRange) -> Self {
        let mut bits = [0; 4];
        let first = range.start.get().saturating_sub(section.get()) / g.subsection_pages;
        let last = (range.end.get().saturating_sub(section.get())).div_ceil(g.subsection_pages);
        let last = last.min(g.subsections as u64);
        for (word, low) in bits.iter_mut().zip((0..).step_by(64)) {
            let (from, to) = (first.clamp(low, low + 64), last.clamp(low, low + 64));
            if from < to {
                *word = u64::MAX >> (64 - (to - from)) << (from - low);
            }
        }
        Self(bits)
    }
    /// Whether no subsection is set.
    pub const fn is_empty(&self) -> bool {
        let [a, b, c, d] = self.0;
        a | b | c | d == 0
    }
    /// Whether subsection `i` is set.
    pub fn contains(&self, i: usize) -> bool {
        self.0[i / 64] & (1 << (i % 64)) != 0
    }
    /// Sets those of `other` too.
    pub fn add(&mut self, other: Self) {
        for (word, more) in self.0.iter_mut().zip(other.0) {
            *word |= more;
        }
    }
    /// Unset those of `other`.
    pub fn remove(&mut self, other: Self) {
        for (word, less) in self.0.iter_mut().zip(other.0) {
            *word &= !less;
        }
    }
    /// Whether one of `other` is set.
    pub fn overlaps(&self, other: Self) -> bool {
        self.0.iter().zip(other.0).any(|(word, others)| word & others != 0)
    }
    /// How many are set.
    pub const fn count(&self) -> u32 {
        let [a, b, c, d] = self.0;
        a.count_ones() + b.count_ones() + c.count_ones() + d.count_ones()
    }
}

/// What holds a section's memmap.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Backing {
    /// Boot memory: allocated before the buddy allocator ran.
    Boot,
    /// Frames of system RAM.
    Ram,
    /// Memory of the added range itself: the altmap whose range starts at this page. One altmap may serve several sections.
    Altmap(Pfn),
    /// The image of a free block, until a run begins in a page of it; then frames of the block itself, page by page.
    Demand,
}

/// A section that has present memory.
#[derive(Clone, Debug)]
pub struct Section {
    /// The section's first page.
    pub start: Pfn,
    /// What is present of it: memory and devices.
    pub present: Subsections,
    /// How many of these are devices': which ones, the devices know.
    pub device_subsections: u32,
    /// Whether it was there at boot: all of its memmap exists then, also where memory is absent.
    pub early: bool,
    /// What holds its memmap.
    pub backing: Backing,
    /// Huge pages whose memmap lies in this section's and is shared.
    pub optimised: u32,
    /// The frames of its memmap when one block leaf mapped it, while pages map it for huge pages that share.
    pub memmap_run: Option<Pfn>,
}

impl Section {
    /// The section's pages, present or not.
    pub fn pages(&self, g: Granule) -> PfnRange {
        PfnRange::new(self.start, g.section_pages)
    }

    /// A section that is claimed and of which nothing is present yet.
    pub const fn claimed(start: Pfn) -> Self {
        let present = Subsections::NONE;
        let backing = Backing::Ram;
        Self { start, present, device_subsections: 0, early: false, backing, optimised: 0, memmap_run: None }
    }

    /// The part of `range` that lies in the section.
    pub fn part_of(&self, g: Granule, range: PfnRange) -> PfnRange {
        let own = self.pages(g);
        PfnRange { start: own.start.max(range.start), end: own.end.min(range.end) }
    }

    /// The part of `range`, a device's, that lies in the section is present.
    pub(crate) fn add_device(&mut self, g: Granule, range: PfnRange) {
        if self.is_inside(g, range) {
            // Nothing else can have been there. A large device is mostly this.
            self.present = Subsections::all(g);
            self.device_subsections = Subsections::all(g).count();
            return;
        }
        let touched = Subsections::touched(g, self.start, self.part_of(g, range));
        self.present.add(touched);
        self.device_subsections += touched.count();
    }
    /// The inverse of [`Self::add_device`]; with `stale`, a fault on purpose, the memory stays listed as present.
    pub(crate) fn remove_device(&mut self, g: Granule, range: PfnRange, stale: bool) {
        if self.is_inside(g, range) && !stale {
            (self.present, self.device_subsections) = (Subsections::NONE, 0);
            return;
        }
        let touched = Subsections::touched(g, self.start, self.part_of(g, range));
        self.device_subsections -= touched.count();
        if !stale {
            self.present.remove(touched);
        }
    }
    fn is_inside(&self, g: Granule, range: PfnRange) -> bool {
        range.start <= self.start && self.start + g.section_pages <= range.end
    }

    /// Whether some of it is memory, which makes it a memory block.
    pub fn has_memory(&self) -> bool {
        self.present.count() != self.device_subsections
    }

    /// Which subsection `pfn`, a page of this section, is in.
    fn subsection(&self, g: Granule, pfn: Pfn) -> usize {
        (((pfn - self.start) << g.page_shift) >> SUBSECTION_SHIFT) as usize
    }

    /// Whether `pfn`, a page of this section, is valid: it has a struct page (I1).
    pub fn is_valid(&self, g: Granule, pfn: Pfn) -> bool {
        self.early || self.present.contains(self.subsection(g, pfn))
    }
    /// Whether all its pages are valid.
    pub fn is_all_valid(&self, g: Granule) -> bool {
        self.early || self.present.is_all(g)
    }
}

impl Keyed for Section {
    fn key(&self) -> u64 {
        self.start.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::granule::Granule;

    #[test]
    fn a_range_touches_the_subsections_that_it_shares_bytes_with() {
        let all = Subsections::touched(
            Granule::K64,
            Pfn::new(0),
            PfnRange::new(Pfn::new(0), Granule::K64.section_pages),
        );
        assert_eq!(all.count(), 256);
        let section = Pfn::new(32768);
        let one = Subsections::touched(Granule::K4, section, PfnRange::new(section + 512, 1));
        assert_eq!((one.count(), one.contains(1), one.contains(0)), (1, true, false));
        let two = Subsections::touched(Granule::K4, section, PfnRange::new(section + 511, 2));
        assert_eq!(two.count(), 2);
        // 2 MiB are 32 pages at 64K: subsections 62 to 129 are in three words.
        let many = Subsections::touched(
            Granule::K64,
            Pfn::new(0),
            PfnRange::new(Pfn::new(63 * 32 - 1), 67 * 32 + 1),
        );
        assert_eq!(many.0, [0b11 << 62, u64::MAX, 0b11, 0]);
        assert!(Subsections::touched(Granule::K4, section, PfnRange::new(section, 0)).is_empty());
    }

    #[test]
    fn subsections_are_empty_when_no_word_has_a_bit() {
        assert!(Subsections::NONE.is_empty());
        for words in 1..16_u64 {
            // The same bits in each word that has some: they must not cancel.
            let some = Subsections([0, 1, 2, 3].map(|word| (words >> word & 1) * 0b101));
            assert!(!some.is_empty(), "{some:?}");
        }
    }

    #[test]
    fn a_section_has_memory_beside_a_device_that_fills_a_part() {
        let g = Granule::K4;
        let mut section = Section::claimed(Pfn::new(g.section_pages));
        assert!(!section.has_memory());
        section.present = Subsections::touched(g, section.start, PfnRange::new(section.start, 512));
        assert!(section.has_memory());
        section.add_device(g, PfnRange::new(section.start + 512, 1024));
        assert_eq!((section.has_memory(), section.device_subsections, section.present.count()), (true, 2, 3));
        section.remove_device(g, PfnRange::new(section.start + 512, 1024), false);
        assert_eq!((section.has_memory(), section.device_subsections, section.present.count()), (true, 0, 1));
    }

    #[test]
    fn a_device_that_fills_a_section_takes_it_and_leaves_it_whole() {
        let g = Granule::K4;
        let mut section = Section::claimed(Pfn::new(g.section_pages));
        // It begins before the section and ends behind it.
        let device = PfnRange { start: Pfn::new(0), end: section.start + 2 * g.section_pages };
        section.add_device(g, device);
        assert_eq!(section.device_subsections, 64);
        assert!(!section.has_memory());
        section.remove_device(g, device, false);
        assert!(section.present.is_empty() && section.device_subsections == 0);
    }
}
