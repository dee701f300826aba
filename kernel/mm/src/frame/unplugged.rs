//! Parts of a memory block that are not plugged: there is no memory behind their pages now (Linux: `PG_offline`, which
//! drivers/virtio/virtio_mem.c sets). They have struct pages and a place in the linear map, as the rest of their block, and
//! are in no count of present pages.
//!
//! ```text
//!   block   [ memmap | free | tenants ][ unplugged 2^n ][ unplugged 2^m ][ free ]      runs with a head each, as all others
//!   plug    the runs are cut at the ends of what is plugged, and put on the free lists
//!   unplug  what is in use moves away; what is free comes off the free lists
//! ```
//! The mark stays while the block is offline, as that of a poisoned page.

use crate::error::{Error, PageError, Resource, Result};
use crate::frame::Frames;
use crate::frame::block::BlockState;
use crate::frame::page::PageKind;
use crate::machine::Machine;
use crate::pfn::{Pfn, PfnRange};

impl<M: Machine> Frames<M> {
    /// The parts of the block of `pfn` that are plugged, ascending: all of it as one where nothing is unplugged.
    pub fn plugged_parts(&self, pfn: Pfn) -> impl Iterator<Item = PfnRange> + '_ {
        self.parts(pfn, false)
    }

    /// The parts of the block of `pfn` that are not plugged, ascending; neighbours are one.
    pub fn unplugged_parts(&self, pfn: Pfn) -> impl Iterator<Item = PfnRange> + '_ {
        self.parts(pfn, true)
    }

    /// One look at a struct page for each subsection, of which all pages are plugged or none.
    fn parts(&self, pfn: Pfn, unplugged: bool) -> impl Iterator<Item = PfnRange> + '_ {
        let g = self.granule();
        let start = pfn.align_down(g.section_order);
        let len = if self.state_of(start).is_some() { g.section_pages } else { 0 };
        let any = self.blocks.get(start.get()).is_some_and(|block| block.unplugged != 0);
        let is = move |at| any && self.pages().use_of(at).0 == PageKind::Unplugged;
        let mut rest = PfnRange::new(start, len);
        let mut skip = move |while_is: bool| {
            let from = rest.start;
            while !rest.is_empty() && is(rest.start) == while_is {
                rest.start = if any { rest.start + g.subsection_pages } else { rest.end };
            }
            PfnRange { start: from, end: rest.start }
        };
        core::iter::from_fn(move || {
            skip(!unplugged);
            Some(skip(unplugged)).filter(|part| !part.is_empty())
        })
    }

    /// `by` more pages of the block at `start` are without memory. Before the last of them is freed: that may end its record.
    fn count_unplugged(&mut self, start: Pfn, by: i64) {
        let Some(block) = self.blocks.get_mut(start.get()) else { return };
        block.unplugged = block.unplugged.wrapping_add_signed(by);
        block.present = block.present.wrapping_add_signed(-by);
        if let Some(zone) = block.state.zone() {
            let present = &mut self.zones[zone as usize].present;
            *present = present.wrapping_add_signed(-by);
            self.counts.present = self.counts.present.wrapping_add_signed(-by);
        }
    }

    /// Takes what is free of `part`, pages of one block with a record, off the free lists. Pages of it that are lent move to
    /// others of the block. To be followed by [`Self::unplug_held`] or [`Self::put_held`].
    ///
    /// # Errors
    /// `Out`: the block has no page to lend. `PageError::Stays` with a lent page that finds no room in its block.
    pub(crate) fn hold_free(&mut self, part: PfnRange) -> Result<()> {
        // First all that is free, so that no lent page moves to where it has to leave.
        while self.hold_runs(part)? || self.move_lent_out(part)? {}
        Ok(())
    }

    /// Takes the free runs of `part`; whether there was one.
    fn hold_runs(&mut self, part: PfnRange) -> Result<bool> {
        let g = self.granule();
        let (mut at, mut found) = (part.start, false);
        while at < part.end {
            let (kind, head) = self.pages().use_of(at);
            let end = head + (1 << self.pages().get(head).order());
            let inside = PfnRange { start: at, end: end.min(part.end) };
            let run = inside.chunks(g.section_order).next().filter(|_| kind == PageKind::Free);
            let Some((pfn, order)) = run else {
                at = end;
                continue;
            };
            self.hold(pfn, order)?;
            (at, found) = (pfn + (1 << order), true);
        }
        Ok(found)
    }

    fn hold(&mut self, pfn: Pfn, order: u32) -> Result<()> {
        let resource = Resource::Frames { order };
        // A split of a run on demand takes pages.
        if self.is_on_demand(pfn) {
            self.may_fail(resource)?;
        }
        self.take_at(pfn, order).ok_or(Error::Out(resource))?;
        self.pages().mark(pfn, order, PageKind::Unplugged);
        Ok(())
    }

    /// Moves the pages of `part` that are lent, of which nothing is free; whether there was one.
    fn move_lent_out(&mut self, part: PfnRange) -> Result<bool> {
        let (mut at, mut found) = (part.start, false);
        while at < part.end && self.is_on_demand(at) {
            let (_, head) = self.pages().use_of(at);
            let end = head + (1 << self.pages().get(head).order());
            if self.is_lent(at) {
                let out = Resource::Frames { order: 0 };
                self.may_fail(out)?;
                self.move_lent(at).ok_or(PageError::Stays { pfn: at, tries: 1, out })?;
                found = true;
            }
            at = end;
        }
        Ok(found)
    }

    /// All of `pages` is held: it has no memory from here on, and is one run for each aligned part.
    pub(crate) fn unplug_held(&mut self, pages: PfnRange) {
        self.count_unplugged(pages.start.align_down(self.granule().section_order), pages.len().cast_signed());
        for (pfn, order) in pages.chunks(self.granule().section_order) {
            self.join_unplugged(pfn, order);
        }
    }

    /// The inverse of [`Self::hold_free`]: what is held of `pages`, of which nothing was unplugged, is free again.
    pub(crate) fn put_held(&mut self, pages: PfnRange) {
        let mut at = pages.start;
        while at < pages.end {
            let (kind, head) = self.pages().use_of(at);
            let order = self.pages().get(head).order();
            if kind == PageKind::Unplugged {
                self.put_back(at, order);
            }
            at = head + (1 << order);
        }
        // A block that was unfolded for what could not be held.
        let start = pages.start.align_down(self.granule().section_order);
        if self.blocks.get(start.get()).is_some_and(|block| block.is_image(self.granule())) {
            self.fold(start);
        }
    }

    /// Pages of an offline block have no memory from here on: pages without a head, of a block that is not on demand.
    pub(crate) fn mark_unplugged(&mut self, pages: PfnRange) {
        let g = self.granule();
        self.count_unplugged(pages.start.align_down(g.section_order), pages.len().cast_signed());
        pages.chunks(g.section_order).for_each(|(pfn, o)| self.pages().mark(pfn, o, PageKind::Unplugged));
    }

    /// The unplugged runs in the `1 << order` pages at `run`, which are all of it, become one.
    fn join_unplugged(&mut self, run: Pfn, order: u32) {
        let (pages, mut at) = (self.pages(), run);
        if pages.get(run).order() == order {
            return;
        }
        while at < run + (1 << order) {
            let next = at + (1 << pages.get(at).order());
            pages.own(at).clear_head();
            at = next;
        }
        pages.mark(run, order, PageKind::Unplugged);
        self.give_back_inside(run, order);
    }

    /// Cuts the unplugged run around `at`, so that one begins there.
    ///
    /// ```text
    ///   [              order 4              ]      at: 4 pages behind the head
    ///   [ order 2 |at: order 2|   order 3   ]
    /// ```
    /// # Errors
    /// `Out` when a block on demand has no page to lend for the memmap of the parts; nothing has changed then.
    fn cut_unplugged(&mut self, at: Pfn) -> Result<()> {
        let (kind, head) = self.pages().use_of(at);
        let from = self.pages().get(head).order();
        let halves = || Halves { run: head, order: from, at };
        if kind != PageKind::Unplugged {
            return Ok(());
        }
        for (upper, _) in halves() {
            if let Err(error) = self.populate_head(upper) {
                self.give_back_inside(head, from);
                return Err(error);
            }
        }
        for (upper, order) in halves() {
            self.pages().mark(upper, order, PageKind::Unplugged);
            self.pages().own(upper.buddy(order)).set_head(PageKind::Unplugged, order);
        }
        Ok(())
    }

    /// `pages`, all of them unplugged, have memory from here on: they are free, or as the rest of their block, which is offline.
    ///
    /// # Errors
    /// `Out`, as [`Self::cut_unplugged`]; nothing has changed then.
    pub(crate) fn plug_unplugged(&mut self, pages: PfnRange) -> Result<()> {
        let g = self.granule();
        let start = pages.start.align_down(g.section_order);
        let head = self.pages().use_of(pages.start).1;
        let from = self.pages().get(head).order();
        self.cut_unplugged(pages.start)?;
        if pages.end < start + g.section_pages
            && let Err(error) = self.cut_unplugged(pages.end)
        {
            self.join_unplugged(head, from);
            return Err(error);
        }
        self.count_unplugged(start, -pages.len().cast_signed());
        let keeps_lists = self.is_on_demand(start) || self.state_of(start) != Some(BlockState::Offline);
        let mut at = pages.start;
        while at < pages.end {
            let order = self.pages().get(at).order();
            if keeps_lists {
                self.put_back(at, order);
            } else {
                self.pages().own(at).clear_head();
            }
            at = at + (1 << order);
        }
        Ok(())
    }
}

/// The halves into which a run is cut, again and again, until one begins at `at`: the upper of each two, and its order.
struct Halves {
    run: Pfn,
    order: u32,
    at: Pfn,
}

impl Iterator for Halves {
    type Item = (Pfn, u32);
    fn next(&mut self) -> Option<(Pfn, u32)> {
        if self.run == self.at {
            return None;
        }
        self.order -= 1;
        let upper = self.run + (1 << self.order);
        if self.at >= upper {
            self.run = upper;
        }
        Some((upper, self.order))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn a_run_is_halved_until_one_begins_there() {
        let halves = |at| {
            let halves = Halves { run: Pfn::new(64), order: 4, at: Pfn::new(at) };
            halves.map(|(pfn, order)| (pfn.get(), order)).collect::<Vec<_>>()
        };
        assert_eq!(halves(64), []);
        assert_eq!(halves(72), [(72, 3)]);
        assert_eq!(halves(68), [(72, 3), (68, 2)]);
        assert_eq!(halves(77), [(72, 3), (76, 2), (78, 1), (77, 0)]);
    }
}
