//! A page that is lent moves to another page of its block, so that the run around it can be free or poisoned.
//!
//! ```text
//!   memmap page    read-only; TLBI; copied -> the copy, read-only; TLBI -> writable; TLBI here
//!   the table      copied; one for the other in a window (4K)
//! ```

use super::{MemmapPages, Site, own_leaf};
use crate::entry::descriptor::Descriptor;
use crate::error::{Error, Resource, Result};
use crate::frame::Frames;
use crate::frame::block::{BlockState, MemoryBlock};
use crate::frame::links::Links;
use crate::frame::page::PageKind;
use crate::machine::{self, Machine};
use crate::pfn::Pfn;

impl<M: Machine> Frames<M> {
    /// Whether the page at `pfn` is lent by a block on demand to its own memmap.
    pub fn is_lent(&self, pfn: Pfn) -> bool {
        self.block_of(pfn).is_some_and(|block| block.demand.is_some())
            && self.pages().get(pfn).kind() == PageKind::MemmapSelf
    }

    /// Moves what is in the lent page `from` to another page of its block, and frees it.
    ///
    /// # Errors
    /// `Out` when the block has no free page, or serves no allocations; nothing has changed then.
    pub(crate) fn relocate(&mut self, from: Pfn) -> Result<()> {
        self.may_fail(Resource::Frames { order: 0 })?;
        let out = Error::Out(Resource::Frames { order: 0 });
        let serves = matches!(self.state_of(from), Some(BlockState::Online(_)));
        serves.then(|| self.move_lent(from)).flatten().ok_or(out)
    }

    /// A page that has just become free may have been lent at once: what moved there moves back, or elsewhere.
    pub(crate) fn empty_lent(&mut self, pfn: Pfn) {
        if self.is_lent(pfn) {
            let moved = self.move_lent(pfn);
            debug_assert!(moved.is_some(), "where it was is free");
        }
    }

    /// Moves lent pages of a block to pages that are set aside, while there are both.
    pub(super) fn gather(&mut self, site: &Site) {
        let outside = |block: &MemoryBlock| {
            let first = block.demand.map(|demand| demand.outside);
            first.filter(|first| *first != 0 && block.free.has_aside())
        };
        while let Some(first) = outside(&self.blocks.as_slice()[site.block]) {
            let from = Links::new(site.start, 0).pfn_of(first);
            if self.move_lent(from).is_none() {
                return;
            }
        }
    }

    /// [`Self::relocate`], in any block on demand. `None` when it has no free page.
    pub(in crate::frame) fn move_lent(&mut self, from: Pfn) -> Option<()> {
        let start = from.align_down(self.granule().section_order);
        // Before the struct page may be read-only.
        let number = self.pages().get(from).as_lent().memmap_page();
        let to = self.take_lent(self.blocks.index_of(start.get())?, number)?;
        let site = self.site_of(start)?;
        match number {
            Some(number) => self.move_memmap_page(&site, number, to),
            None => self.move_table(&site, to),
        }
        // Again: the entries may be in another table now.
        let site = self.site_of(start)?;
        self.free_lent_page(&site, from);
        Some(())
    }

    fn move_memmap_page(&mut self, site: &Site, number: u64, to: Pfn) {
        let g = self.granule();
        let page = MemmapPages::one(number);
        let old = self.entry_at(site, number);
        self.set_leaf(&site.slot(number), old.read_only());
        self.invalidate_pages(site, &page);
        machine::copy_frame(&self.machine, old.address(g), to.address(g), g.page_size);
        let new = own_leaf(to.address(g));
        self.set_leaf(&site.slot(number), new.read_only());
        self.invalidate_pages(site, &page);
        self.set_leaf(&site.slot(number), new);
        self.invalidate_pages_here(site, &page);
    }

    fn move_table(&mut self, site: &Site, to: Pfn) {
        let g = self.granule();
        let Some(slot) = self.table_slot(site) else { return };
        machine::copy_frame(&self.machine, site.table, to.address(g), g.page_size);
        self.swap_table(&slot, Descriptor::table(to.address(g)));
    }
}
