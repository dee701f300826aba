//! The memmap of a device's compound pages, of which only two pages have memory of their own: the head's, and one page of
//! tails that is mapped for all the others (Linux: `vmemmap_populate_compound_pages`). The first says what the head says;
//! the second is only read.
//!
//! ```text
//!  memmap of a compound page     |head's|tails|tails|tails| ...        |head's|tails| ...
//!  frames                           h      t   (t)   (t)                  H      T      or t again: `TailScope::Device`
//! ```
//! A page of tails counts the entries that map it, in its own first struct page, which is reached through the linear map: it
//! may lie in an altmap, whose own struct pages go in the same pass. A table that is shared counts in its frame's struct page
//! the entries that lead to it; its own entries count once, while there is one.

use crate::addr::{PhysAddr, VirtRange};
use crate::device::compound::TailScope;
use crate::device::pagemap::Pagemap;
use crate::error::Result;
use crate::granule::LAST_LEVEL;
use crate::machine::{self, Machine};
use crate::model::Mm;
use crate::paging::descriptor::Descriptor;
use crate::paging::shared::SharedFrame;
use crate::paging::table::TableFrames;
use crate::pfn::{Pfn, PfnRange};
use crate::vmemmap::supply::Supply;

/// Entries of one page of tails that are gone, and not counted off yet.
#[derive(Clone, Copy, Default)]
pub(super) struct Tails {
    frame: PhysAddr,
    entries: u64,
}

impl<M: Machine> Mm<M> {
    /// Step 4 of [`crate::hotplug::steps`] for a device whose compound pages share: all of it, or nothing. What is set aside
    /// is described page by page.
    ///
    /// # Errors
    /// `Out`.
    pub(crate) fn populate_shared(&mut self, device: &Pagemap) -> Result<()> {
        self.populate_range(device.set_aside())?;
        let supply = self.supply_of(device.start());
        let (order, mut tail) = (device.compound().order(), None);
        let populated = device.each_head(&mut |head| {
            if device.compound().tails() == TailScope::Page {
                tail = None;
            }
            self.populate_compound(PfnRange::new(head, 1 << order), supply, &mut tail)
        });
        match populated {
            Ok(()) => self.machine.publish(),
            // What is not mapped is passed over.
            Err(_) => device.ranges().iter().rev().for_each(|range| self.depopulate(*range)),
        }
        populated
    }

    /// Map the memmap of one compound page, with the page of tails that there is, or a new one. The head's page is not cleared
    /// yet.
    ///
    /// # Errors
    /// `Out`; the tails may be mapped then, and are counted.
    fn populate_compound(
        &mut self,
        pages: PfnRange,
        supply: Supply,
        tail: &mut Option<SharedFrame>,
    ) -> Result<()> {
        let g = self.granule();
        let memmap = self.layout.memmap(pages);
        let mut shared = match *tail {
            Some(shared) => shared,
            None => self.make_tail(pages.len().trailing_zeros(), supply)?,
        };
        let (machine, tables) = (self.machine.clone(), self.tables);
        // Before the head's page, so that a new table is filled in one go.
        let tails = VirtRange { start: memmap.start + g.page_size, end: memmap.end };
        let mapped = tables.map_shared(&machine, self, tails, &mut shared);
        if shared.entries == 0 {
            self.release_memmap(PfnRange::new(Pfn::containing(g, shared.pa), 1));
        } else {
            machine::page_in(&machine, shared.pa, 0).set_private(shared.entries);
            *tail = Some(shared);
        }
        mapped?;
        let (head, _) = self.memmap_pages(supply, 1)?;
        self.map_memmap(memmap.start, head, g.page_size, g.page_size)?;
        Ok(())
    }

    /// A page of tails that nobody maps yet.
    fn make_tail(&mut self, order: u32, supply: Supply) -> Result<SharedFrame> {
        let g = self.granule();
        let (frame, _) = self.memmap_pages(supply, 1)?;
        let frame = frame.address(g);
        self.pages().fill_tail_page(frame, order);
        Ok(SharedFrame::new(frame))
    }

    /// `entries` more entries of a page of tails are gone.
    pub(super) fn forget_tail(&mut self, tails: &mut Tails, frame: PhysAddr, entries: u64) {
        if tails.frame != frame {
            self.release_tails(core::mem::replace(tails, Tails { frame, entries: 0 }));
        }
        tails.entries += entries;
    }

    /// An entry that led to a shared table is gone: with the last of them go the table, and its entries.
    pub(super) fn forget_shared_table(&mut self, tails: &mut Tails, table: PhysAddr) {
        let g = self.granule();
        if self.unshare_table(table) {
            let entry = machine::entry(&self.machine, table, 0).load(core::sync::atomic::Ordering::Relaxed);
            let frame = Descriptor::from_bits(entry).address(g);
            self.forget_tail(tails, frame, g.entries(LAST_LEVEL) as u64);
            self.free_table(table);
        }
    }

    /// Count entries off; a page of tails goes back to where it came from with the last of them.
    pub(super) fn release_tails(&mut self, tails: Tails) {
        let g = self.granule();
        if tails.entries == 0 {
            return;
        }
        let page = machine::page_in(&self.machine, tails.frame, 0);
        let left = page.private().saturating_sub(tails.entries);
        page.set_private(left);
        if left == 0 {
            self.release_memmap(PfnRange::new(Pfn::containing(g, tails.frame), 1));
        }
    }
}
