//! After a merge: the memmap pages in which no run begins any more share the image's zero page again, and their frames are
//! free. This needs no page and cannot fail.
//!
//! ```text
//!   own frame, all zero: read-only; TLBI -> shared; TLBI -> the frame is free, and may merge in turn
//! ```
//! When all that is not free is lent to the memmap itself, the block collapses: it maps the image, and nothing is lent.
//!
//! A page that is set aside may have become free by that: lent pages elsewhere move there, as many as there is room for; the
//! others stay.

use super::image::fill_head;
use super::{MemmapPages, Site, split_pages};
use crate::entry::descriptor::Descriptor;
use crate::frame::Frames;
use crate::frame::block::{BlockState, MemoryBlock};
use crate::frame::memmap::{aside_order, described_order};
use crate::frame::pages::Pages;
use crate::granule::MAX_ORDERS;
use crate::machine::{self, Checkpoint, Machine};
use crate::pfn::Pfn;

impl<M: Machine> Frames<M> {
    /// The `1 << order` pages at `pfn` have become part of a free run of `1 << merged`, in a block on demand.
    #[cold]
    pub(in crate::frame) fn after_merge(&mut self, pfn: Pfn, order: u32, merged: u32) {
        let g = self.granule();
        let Some(block) = self.index_of(pfn.align_down(g.section_order)) else { return };
        let MemoryBlock { free, memmap_inside, .. } = &self.blocks.as_slice()[block];
        let idle = free.pages() + memmap_inside == g.section_pages;
        // Nothing to give back, nothing to collapse, nowhere to move to.
        let none_ends = merged <= order.max(described_order(g)) && !self.hooks.shares_early();
        if none_ends && !idle && !free.is_set_aside(pfn) {
            return;
        }
        let Some(site) = self.site_at(block) else { return };
        if idle {
            return self.collapse(&site);
        }
        let (mut frames, mut pages) = (None, split_pages(g, pfn, order, merged));
        if self.hooks.shares_early() {
            pages.push((pfn.align_down(merged) - site.start) >> described_order(g));
        }
        self.unmap_own(&site, &pages, &mut frames);
        self.free_lent(&site, frames);
        self.gather(&site);
    }

    /// The `1 << order` pages at `pfn` of a block on demand, set aside and not counted any more, are free, and what else that
    /// makes free.
    #[cold]
    pub(in crate::frame) fn free_set_aside(&mut self, pfn: Pfn, order: u32) {
        let g = self.granule();
        let struct_pages = Pages::new(&self.machine, self.layout);
        let Some(block) = self.blocks.get_mut(pfn.align_down(g.section_order).get()) else { return };
        struct_pages.own(pfn).clear_head();
        let merged = block.free.free_any(&struct_pages, pfn, order);
        let state = block.state;
        if let Some(zone) = state.zone() {
            let zone = &mut self.zones[zone as usize];
            zone.free += 1 << order;
            if matches!(state, BlockState::Online(_)) {
                zone.note_freed();
            }
        }
        self.after_merge(pfn, order, merged);
    }

    /// Gives back the memmap pages inside of the run of `1 << order` pages at `run`, which is one run now: for what joins runs
    /// without freeing them. Nothing to do in a block that is not on demand.
    pub(crate) fn give_back_inside(&mut self, run: Pfn, order: u32) {
        let g = self.granule();
        let start = run.align_down(g.section_order);
        let Some(site) = self.site_of(start) else { return };
        let described = described_order(g);
        let (first, end) = ((run - start) >> described, (run + (1 << order) - start) >> described);
        let (mut frames, mut pages) = (None, MemmapPages::default());
        for number in first + 1..end {
            if self.entry_at(&site, number).is_shared() {
                continue;
            }
            pages.push(number);
            if pages.count == MAX_ORDERS {
                self.unmap_own(&site, &core::mem::take(&mut pages), &mut frames);
            }
        }
        self.unmap_own(&site, &pages, &mut frames);
        self.free_lent(&site, frames);
        self.gather(&site);
    }

    /// Frees a page that was lent and is not any more.
    pub(super) fn free_lent_page(&mut self, site: &Site, frame: Pfn) {
        self.pages().own(frame).as_stacked().set_below(None);
        self.free_lent(site, Some(frame));
    }

    /// Frees frames that no entry maps any more, a stack of them, and what their merging gives back in turn.
    fn free_lent(&mut self, site: &Site, mut frames: Option<Pfn>) {
        let g = self.granule();
        while let Some(frame) = frames {
            frames = self.pages().get(frame).as_stacked().below();
            let merged = self.free_one_lent(site, frame);
            if merged > described_order(g) {
                self.unmap_own(site, &split_pages(g, frame, 0, merged), &mut frames);
            }
        }
    }

    /// A page that was lent is free. Returns the order of the run that it is part of now.
    fn free_one_lent(&mut self, site: &Site, frame: Pfn) -> u32 {
        self.count_lent(site, -1);
        self.clear_lent(site, frame);
        let struct_pages = Pages::new(&self.machine, self.layout);
        self.blocks.at_mut(site.block).free.free_any(&struct_pages, frame, 0)
    }

    /// Lets memmap pages of a block that are all zero share the image's again; puts what they mapped on the stack `frames`.
    fn unmap_own(&mut self, site: &Site, pages: &MemmapPages, frames: &mut Option<Pfn>) {
        let Some(image) = self.demand.image else { return };
        if pages.is_empty() || self.hooks.keeps_private_memmap() {
            return;
        }
        let g = self.granule();
        self.make_read_only(site, pages);
        for number in pages.numbers() {
            let frame = Pfn::containing(g, self.entry_at(site, number).address(g));
            self.set_leaf(&site.slot(number), image.leaf(number));
            self.pages().own(frame).as_stacked().set_below(*frames);
            *frames = Some(frame);
        }
        self.invalidate_pages(site, pages);
        self.machine.checkpoint(Checkpoint::Done("share memmap pages again"));
        self.demand.figures.given_back += pages.count as u64;
    }

    fn make_read_only(&mut self, site: &Site, pages: &MemmapPages) {
        for number in pages.numbers() {
            let leaf = self.entry_at(site, number);
            self.set_leaf(&site.slot(number), leaf.read_only());
        }
        self.invalidate_pages(site, pages);
    }

    /// A block of which nothing is used but for its memmap is the image again.
    fn collapse(&mut self, site: &Site) {
        let g = self.granule();
        let Some(image) = self.demand.image else { return };
        match image.table.zip(self.table_slot(site)) {
            Some((table, slot)) => self.swap_table(&slot, Descriptor::table(table).shared()),
            None => self.share_all(site),
        }
        self.machine.checkpoint(Checkpoint::Done("map the image again"));
        let block = self.blocks.at_mut(site.block);
        let lent = block.memmap_inside;
        block.free.set_whole(g.section_order, 1 << aside_order(g));
        self.count_lent(site, -lent.cast_signed());
        self.demand.figures.given_back += lent - u64::from(g.shares_tables());
        self.fold(site.start);
    }

    /// Every memmap page of a block says what the image says, and shares it.
    fn share_all(&mut self, site: &Site) {
        let g = self.granule();
        let Some(image) = self.demand.image else { return };
        let mut at = 0;
        while at < g.section_memmap >> g.page_shift {
            let mut pages = MemmapPages::default();
            while at < g.section_memmap >> g.page_shift && pages.count < MAX_ORDERS {
                let entry = self.entry_at(site, at);
                if !entry.is_shared() {
                    let frame = entry.address(g);
                    match at {
                        0 => fill_head(&self.machine, g, frame),
                        _ => machine::zero_frame(&self.machine, frame, g.page_size),
                    }
                    pages.push(at);
                }
                at += 1;
            }
            self.make_read_only(site, &pages);
            for number in pages.numbers() {
                self.set_leaf(&site.slot(number), image.leaf(number));
            }
            self.invalidate_pages(site, &pages);
        }
    }
}
