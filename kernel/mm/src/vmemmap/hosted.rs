//! Self-hosted memmap that is not at its block's start. What this kernel adds has its memmap in the first pages of each
//! block or of the range, and `MemoryBlock::usable` leaves those out; a driver may keep other pages of a block for memmap
//! (RFC 3/5). The mark on the struct page says so, and the block counts them (`memmap_inside`): no scanner touches them,
//! they stay marked while the block is offline, and the audit holds the marks against the count (I6). No altmap hands them
//! out, so that no entry maps them yet (I3).

use crate::error::{PageError, PageNeeds, Result};
use crate::frame::block::BlockState;
use crate::frame::page::PageKind;
use crate::machine::Machine;
use crate::mm::Mm;
use crate::pfn::Pfn;

impl<M: Machine> Mm<M> {
    /// From now on the `1 << order` pages at `pfn`, which are free, hold memmap of their own block.
    ///
    /// # Errors
    /// `PageError::NotPresent`; `PageError::State` when the pages are not an aligned part of a free run, or their block is on
    /// demand. Nothing has changed then.
    pub fn host_memmap(&mut self, pfn: Pfn, order: u32) -> Result<()> {
        let (is, head) = self.frames.use_of(pfn)?;
        if self.frames.block_of(pfn).is_some_and(|block| block.demand.is_some()) {
            return Err(PageError::State { pfn, is, needs: PageNeeds::NotOnDemand }.into());
        }
        let inside = pfn.is_aligned(order) && self.frames.pages().get(head).order() >= order;
        if is != PageKind::Free || !inside {
            return Err(PageError::State { pfn, is, needs: PageNeeds::FreeRun }.into());
        }
        self.frames.take_free(pfn, order, PageKind::MemmapSelf)?;
        if let Some(block) = self.frames.block_of_mut(pfn) {
            block.memmap_inside += 1 << order;
        }
        Ok(())
    }

    /// The inverse of [`Self::host_memmap`]: the run at `pfn` is free again.
    ///
    /// # Errors
    /// `PageError::NotPresent`; `PageError::State` when that is no such run, or its block is not online.
    pub fn unhost_memmap(&mut self, pfn: Pfn) -> Result<()> {
        let g = self.granule();
        let (is, head) = self.frames.use_of(pfn)?;
        let order = self.frames.pages().get(head).order();
        let ours = self.frames.block_of(pfn).is_some_and(|block| {
            let online = matches!(block.state, BlockState::Online(_)) && block.demand.is_none();
            online && block.usable(g).contains(head)
        });
        if is != PageKind::MemmapSelf || head != pfn || !ours {
            return Err(PageError::State { pfn, is, needs: PageNeeds::MemmapInside }.into());
        }
        if let Some(block) = self.frames.block_of_mut(pfn) {
            block.memmap_inside -= 1 << order;
        }
        self.frames.uncharge(PageKind::MemmapSelf, 1 << order);
        self.frames.put_back(pfn, order);
        Ok(())
    }
}
