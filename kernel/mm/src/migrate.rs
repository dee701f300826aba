//! Moving a page in use: copy it, let its mapping point to the copy by break-before-make, free the original
//! (Linux: `migrate_pages`, for the one kind of movable page that exists here).

use crate::addr::VirtAddr;
use crate::bugs::Bug;
use crate::error::{Error, Result};
use crate::machine::{self, Machine};
use crate::model::{Mm, Mobility};
use crate::page::PageKind;
use crate::paging::flush::TlbDebt;
use crate::paging::live_update::Contents;
use crate::pfn::Pfn;

impl<M: Machine> Mm<M> {
    /// Move the tenant's page `from` to a page of a block that is online, and free it.
    ///
    /// The order is what makes it safe: the mapping is broken and its translations are gone before the copy, so that no
    /// write can be lost between copy and remap.
    ///
    /// # Errors
    /// `Out` when there is no page to move to; nothing has changed then.
    pub(crate) fn migrate(&mut self, from: Pfn) -> Result<Pfn> {
        let g = self.granule();
        let va = VirtAddr::new(self.pages().get(from).private());
        let to = self.alloc(0, PageKind::Tenant, Mobility::Movable)?;
        let (machine, tables) = (self.machine.clone(), self.tables);
        let copy = || machine::copy_frame(&machine, from.address(g), to.address(g), g.page_size);
        let exchanged = if self.has_bug(Bug::NoBbm) {
            copy();
            tables.switch_page(&machine, va, to.address(g), Contents::Same)
        } else {
            tables.exchange_page(&machine, va, to.address(g), |debt: TlbDebt| {
                self.pay(debt);
                copy();
            })
        };
        if let Err(error) = exchanged {
            self.free(to);
            return Err(error);
        }
        self.pages().own(to).set_private(va.get());
        self.count_tenant(to, 1);
        self.count_tenant(from, -1);
        self.free(from);
        Ok(to)
    }

    /// Keep the block's count of tenants' pages.
    pub(crate) fn count_tenant(&mut self, pfn: Pfn, by: i64) {
        if let Some(block) = self.block_of_mut(pfn) {
            block.tenant_pages = block.tenant_pages.saturating_add_signed(by);
        }
    }

    /// Take a page off the free list, or hold a page in use, so that its block cannot go offline.
    ///
    /// # Errors
    /// `NotPresent`; `PageState` when the page is neither free nor a tenant's nor pinned.
    pub fn pin(&mut self, pfn: Pfn) -> Result<()> {
        let (kind, head) = self.use_of(pfn)?;
        match kind {
            PageKind::Device | PageKind::DeviceMemmap => self.hold_device(pfn)?,
            PageKind::Free => self.take_free(pfn, 0, PageKind::Pinned),
            PageKind::Tenant | PageKind::Pinned => {
                let page = self.pages().own(head);
                page.set_refs(page.refs() + 1);
            }
            _ => return Err(Error::PageState { pfn, is: kind, needs: "free, a tenant's or a device's" }),
        }
        Ok(())
    }

    /// Take `1 << order` free pages off their list, for `kind`.
    pub(crate) fn take_free(&mut self, pfn: Pfn, order: u32, kind: PageKind) {
        let g = self.granule();
        let pages = crate::pages::Pages::new(&self.machine, self.layout);
        let Some(block) = self.blocks.get_mut(pfn.align_down(g.section_order).get()) else { return };
        let Some(zone) = block.state.zone() else { return };
        let (PageKind::Free, head) = pages.use_of(pfn) else { return };
        block.free.take_run(&pages, head, pfn, order);
        pages.mark(pfn, order, kind);
        self.zones[zone as usize].free -= 1 << order;
        if let Some(count) = self.counts.of_mut(kind) {
            *count += 1 << order;
        }
    }

    /// Drop one hold of [`Self::pin`]; a page that was free goes back to the free list with the last.
    ///
    /// # Errors
    /// `NotPresent`, or `PageState` when the page is not held.
    pub fn unpin(&mut self, pfn: Pfn) -> Result<()> {
        let (kind, head) = self.use_of(pfn)?;
        if kind.is_device() {
            return self.release_device(pfn);
        }
        let refs = self.pages().get(head).refs();
        match kind {
            PageKind::Pinned if refs == 1 => self.free(head),
            PageKind::Pinned | PageKind::Tenant if refs > 1 => self.pages().own(head).set_refs(refs - 1),
            _ => return Err(Error::PageState { pfn, is: kind, needs: "pinned" }),
        }
        Ok(())
    }
}
