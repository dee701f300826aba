//! Compound pages: a run of pages that is one page. Its tails say its order, so that each finds its head by itself:
//!
//! ```text
//!   head            tails, all of them the same 64 bytes
//!  [HugeTlb, 9]    [Tail, 9][Tail, 9][Tail, 9] ... [Tail, 9]         head = pfn aligned down to 1 << 9
//! ```
//! Any other run keeps zeroed tails: who makes a compound page writes them, and who dissolves it clears them again.

use crate::error::{Error, Resource, Result};
use crate::frame::block::BlockState;
use crate::frame::page::PageKind;
use crate::frame::zone::ZoneKind;
use crate::machine::{self, Machine};
use crate::migrate::compact::alloc_or_compact;
use crate::mm::Mm;
use crate::pfn::{Pfn, PfnRange};

const KIND: PageKind = PageKind::HugeTlb;

impl<M: Machine> Mm<M> {
    /// A huge page out of free memory: a run of zone Normal, or whole free blocks side by side.
    pub(super) fn new_compound(&mut self, order: u32) -> Result<Pfn> {
        let g = self.granule();
        let head = if order > g.section_order {
            self.alloc_blocks(order)?
        } else {
            alloc_or_compact(&mut self.space, &mut self.frames, order, KIND)?
        };
        self.mark_compound(head, order);
        Ok(head)
    }

    /// The head and the tails of a huge page that is in no pool yet.
    pub(super) fn mark_compound(&self, head: Pfn, order: u32) {
        let pages = self.frames.pages();
        pages.own(head).clear_head();
        pages.own(head).set_head(KIND, order);
        pages.set_tails(PfnRange { start: head + 1, end: head + (1 << order) }, order);
    }

    /// The inverse of [`Self::new_compound`]. All of its struct pages can be written.
    pub(super) fn dissolve_compound(&mut self, head: Pfn, order: u32) {
        let g = self.granule();
        let run = PfnRange::new(head, 1 << order);
        machine::zero_mapped(self.space.machine(), self.space.layout().memmap(run));
        self.frames.uncharge(KIND, run.len());
        for (start, order) in run.chunks(g.section_order) {
            self.frames.put_back(start, order);
        }
    }

    /// Whole free blocks for a huge page that is larger than one.
    fn alloc_blocks(&mut self, order: u32) -> Result<Pfn> {
        let g = self.granule();
        let resource = Resource::FreeBlocks { bytes: g.page_size << order };
        self.frames.may_fail(resource)?;
        let run = self.free_blocks(order).ok_or(Error::Out(resource))?;
        for start in run.blocks(g) {
            let taken = self.frames.take_from(start, g.section_order);
            debug_assert_eq!(taken, Some(start), "a block that is all free is one run");
        }
        self.frames.pages().mark(run.start, order, KIND);
        self.frames.charge(KIND, run.len());
        Ok(run.start)
    }

    /// The first whole free blocks of one zone that are `1 << order` pages, aligned, Normal's before Movable's. What hosts its
    /// own memmap, or has holes, is never free as a whole.
    fn free_blocks(&self, order: u32) -> Option<PfnRange> {
        let g = self.granule();
        let free = |start: Pfn, zone| {
            let block = self.frames.blocks.get(start.get());
            block.is_some_and(|b| b.state == BlockState::Online(zone) && b.free.pages() == g.section_pages)
        };
        ZoneKind::ALL.into_iter().find_map(|zone| {
            let starts = self.frames.zone(zone).blocks().iter().filter(|start| start.is_aligned(order));
            let mut runs = starts.map(|start| PfnRange::new(*start, 1 << order));
            runs.find(|run| run.blocks(g).all(|start| free(start, zone)))
        })
    }
}
