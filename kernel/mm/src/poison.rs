//! Pages that must not be used any more (Linux: `PG_hwpoison`, soft offlining). A poisoned page is on no free list and
//! counts as reserved while its block is online; its contents have moved away before.
//!
//! Its block can go offline and be removed, as in Linux, whose scanner skips such pages as well. The mark stays on the
//! struct page while the block is offline, so that the page is not free either when the block is online again (Linux refuses
//! that: `memory_block_online` answers EHWPOISON since 6.2). It is forgotten when the memory is removed.

use crate::error::{PageError, PageNeeds, Result};
use crate::frame::block::BlockState;
use crate::frame::page::PageKind;
use crate::machine::Machine;
use crate::migrate::batch::migrate_page;
use crate::mm::Mm;
use crate::pfn::Pfn;

impl<M: Machine> Mm<M> {
    /// Takes `pfn` out of use; returns where the tenant's page that was there is now.
    ///
    /// # Errors
    /// `PageError::NotPresent`; `PageError::Poisoned` when it is already; `PageError::Pinned`, `HugeError::Taken` or
    /// `PageError::Unmovable` when it cannot be emptied; `PageError::State` for a hole, an unplugged page, and in a block that is offline;
    /// `Out` when there is no page to move to. Nothing has changed then. `Out` of the heap, for the record of a block on demand
    /// that has just become free: what was in the page has moved then.
    pub fn poison(&mut self, pfn: Pfn) -> Result<Option<Pfn>> {
        let (kind, head) = self.frames.use_of(pfn)?;
        let refs = self.frames.pages().get(head).refs();
        let moved = match kind {
            PageKind::Free => {
                self.frames.unfold(pfn)?;
                None
            }
            PageKind::Tenant if refs <= 1 => Some(migrate_page(&mut self.space, &mut self.frames, pfn)?),
            PageKind::Tenant | PageKind::Pinned => return Err(PageError::Pinned { pfn, refs }.into()),
            PageKind::HugeTlb => {
                self.hugetlb_dissolve(head)?;
                None
            }
            PageKind::MemmapSelf if self.frames.is_lent(pfn) && self.frames.zone_of(pfn).is_some() => {
                self.frames.relocate(pfn)?;
                None
            }
            PageKind::Poisoned => return Err(PageError::Poisoned(pfn).into()),
            PageKind::Tail | PageKind::Hole | PageKind::Unplugged => {
                return Err(PageError::State { pfn, is: kind, needs: PageNeeds::FreeOrTenant }.into());
            }
            _ => return Err(PageError::Unmovable { pfn, kind }.into()),
        };
        self.frames.empty_lent(pfn);
        self.frames.take_free(pfn, 0, PageKind::Poisoned)?;
        if let Some(block) = self.frames.block_of_mut(pfn) {
            block.poisoned += 1;
        }
        Ok(moved)
    }

    /// The page is good after all: free again, or no longer marked in a block that is offline.
    ///
    /// # Errors
    /// `PageError::NotPresent`, or `PageError::State` when it is not poisoned.
    pub fn unpoison(&mut self, pfn: Pfn) -> Result<()> {
        let (kind, _) = self.frames.use_of(pfn)?;
        if kind != PageKind::Poisoned {
            return Err(PageError::State { pfn, is: kind, needs: PageNeeds::Poisoned }.into());
        }
        let Some(block) = self.frames.block_of_mut(pfn) else {
            return Err(PageError::NotPresent(pfn).into());
        };
        block.poisoned -= 1;
        if block.state != BlockState::Offline {
            self.frames.uncharge(PageKind::Poisoned, 1);
            self.frames.put_back(pfn, 0);
        } else if block.demand.is_some() {
            self.frames.put_back(pfn, 0);
        } else {
            self.frames.pages().own(pfn).clear_head();
        }
        Ok(())
    }
}
