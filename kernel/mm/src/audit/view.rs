//! The auditor's view of struct pages and of what their memory belongs to: it does not fault on what it is there to find, and
//! it does not look up again what it has just looked up beside it. An audit goes in the order of addresses and changes
//! nothing, so that a section, a device or a translation that was found holds for the neighbours too.

use core::cell::Cell;

use crate::device::pagemap::Pagemap;
use crate::frame::block::MemoryBlock;
use crate::frame::page::{PAGE_BYTES, Page};
use crate::frame::section::{Backing, Section};
use crate::list::Keyed;
use crate::machine::Machine;
use crate::mm::Mm;
use crate::pfn::{Pfn, PfnRange};

/// A sorted list that is asked for one item after the other: the next one is found without a search.
pub(super) struct Ascending<'a, T> {
    items: &'a [T],
    /// Where the last item was that was found.
    at: Cell<usize>,
}

impl<'a, T: Keyed> Ascending<'a, T> {
    pub(super) const fn new(items: &'a [T]) -> Self {
        Self { items, at: Cell::new(0) }
    }

    /// The item with this key.
    pub(super) fn get(&self, key: u64) -> Option<&'a T> {
        let last = self.at.get();
        let near = [last, last + 1].into_iter().find(|i| self.items.get(*i).is_some_and(|t| t.key() == key));
        let at = near.or_else(|| self.items.binary_search_by_key(&key, Keyed::key).ok())?;
        self.at.set(at);
        self.items.get(at)
    }
}

/// What memory belongs to, asked for one page after the other.
pub(super) struct Place<'a, M: Machine> {
    mm: &'a Mm<M>,
    sections: Ascending<'a, Section>,
    blocks: Ascending<'a, MemoryBlock>,
    /// Pages that are this device's, or no device's.
    device: Cell<(PfnRange, Option<&'a Pagemap>)>,
}

impl<'a, M: Machine> Place<'a, M> {
    pub(super) fn new(mm: &'a Mm<M>) -> Self {
        let device = Cell::new((PfnRange::default(), None));
        let (sections, blocks) =
            (Ascending::new(mm.frames.sections.as_slice()), Ascending::new(mm.frames.blocks.as_slice()));
        Self { mm, sections, blocks, device }
    }

    /// The section that `pfn` is in, if it is present.
    pub(super) fn section(&self, pfn: Pfn) -> Option<&'a Section> {
        self.sections.get(pfn.align_down(self.mm.granule().section_order).get())
    }

    /// The memory block that `pfn` is in.
    pub(super) fn block(&self, pfn: Pfn) -> Option<&'a MemoryBlock> {
        self.blocks.get(pfn.align_down(self.mm.granule().section_order).get())
    }

    /// Whether `pfn` is in a block on demand.
    pub(super) fn is_on_demand(&self, pfn: Pfn) -> bool {
        match self.block(pfn) {
            Some(block) => block.demand.is_some(),
            None => self.mm.frames.extent_of(pfn).is_some(),
        }
    }

    /// The device that `pfn` is a page of.
    fn device(&self, pfn: Pfn) -> Option<&'a Pagemap> {
        let (pages, device) = self.device.get();
        if pages.contains(pfn) {
            return device;
        }
        let mut found = (PfnRange { start: Pfn::default(), end: Pfn::new(u64::MAX) }, None);
        for device in self.mm.devices.iter() {
            for range in device.ranges() {
                if range.contains(pfn) {
                    found = (*range, Some(device));
                } else if found.1.is_none() && range.end <= pfn {
                    found.0.start = found.0.start.max(range.end);
                } else if found.1.is_none() {
                    found.0.end = found.0.end.min(range.start);
                }
            }
        }
        self.device.set(found);
        found.1
    }

    /// The altmap that the memmap of `pfn` comes from, if it comes from one.
    pub(super) fn altmap(&self, pfn: Pfn) -> Option<Pfn> {
        let backing = match self.device(pfn) {
            Some(device) => device.backing(),
            None => match self.section(pfn) {
                Some(section) => section.backing,
                None => self.mm.frames.extent_of(pfn).map(|_| Backing::Demand)?,
            },
        };
        match backing {
            Backing::Altmap(base) => Some(base),
            Backing::Demand => Some(pfn.align_down(self.mm.granule().section_order)),
            Backing::Boot | Backing::Ram => None,
        }
    }

    /// Whether a page of `pages` is valid.
    pub(super) fn any_valid(&self, pages: PfnRange) -> bool {
        let g = self.mm.granule();
        let mut at = pages.start.align_down(g.subsection_order);
        while at < pages.end {
            let folded = || self.mm.frames.extent_of(at).is_some_and(|extent| extent.present);
            if self.section(at).map_or_else(folded, |section| section.is_valid(g, at)) {
                return true;
            }
            at = at + g.subsection_pages;
        }
        false
    }
}

/// The struct pages.
pub(super) struct View<'a, M: Machine> {
    pub(super) mm: &'a Mm<M>,
    pub(super) place: Place<'a, M>,
    /// Pages whose struct pages can be read.
    readable: Cell<PfnRange>,
}

impl<'a, M: Machine> View<'a, M> {
    pub(super) fn new(mm: &'a Mm<M>) -> Self {
        Self { mm, place: Place::new(mm), readable: Cell::new(PfnRange::default()) }
    }

    /// The struct page of `pfn`, if it is valid and mapped.
    pub(super) fn page(&self, pfn: Pfn) -> Option<&'a Page> {
        if !self.readable.get().contains(pfn) {
            self.readable.set(self.readable_around(pfn)?);
        }
        Some(self.mm.frames.pages().get(pfn))
    }

    /// The valid pages around `pfn` whose struct pages lie in one leaf.
    #[inline(never)]
    fn readable_around(&self, pfn: Pfn) -> Option<PfnRange> {
        let (g, layout) = (self.mm.granule(), self.mm.space.layout());
        // Valid first: the struct page of a pfn out of nowhere has no address.
        let valid = match self.place.section(pfn) {
            Some(section) if !section.is_valid(g, pfn) => return None,
            Some(section) if section.is_all_valid(g) => section.pages(g),
            Some(_) => PfnRange::new(pfn.align_down(g.subsection_order), g.subsection_pages),
            None => self.mm.frames.extent_of(pfn).filter(|extent| extent.present)?.pages,
        };
        let path = self.mm.space.path(layout.page_address(pfn));
        let leaf = path.leaf()?.slot.span;
        let first = layout.pfn_of_page(leaf.start)?;
        let mapped = PfnRange::new(first, leaf.len() / PAGE_BYTES);
        Some(PfnRange { start: valid.start.max(mapped.start), end: valid.end.min(mapped.end) })
    }

    /// The head of the compound page that `pfn` says it is a tail of, and the page's order.
    pub(super) fn compound_head(&self, pfn: Pfn) -> Option<(Pfn, u32)> {
        let order = self.page(pfn)?.tail_order().filter(|order| *order < u64::BITS)?;
        Some((pfn.align_down(order), order))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct At(u64);
    impl Keyed for At {
        fn key(&self) -> u64 {
            self.0
        }
    }

    #[test]
    fn what_is_asked_for_is_found_in_any_order_and_nothing_else_is() {
        let items = [2, 3, 5, 8, 13, 21].map(At);
        let list = Ascending::new(&items);
        for first in 0..24 {
            for key in [first, first, first + 1, 0, first, 23, first] {
                let expected = items.iter().find(|item| item.0 == key).map(|item| item.0);
                assert_eq!(list.get(key).map(|item| item.0), expected, "{key} after others");
            }
        }
        assert!(Ascending::<At>::new(&[]).get(0).is_none());
    }
}
