//! Pages that are held, so that their block cannot go offline, nor their device be taken down.

use crate::device::holds::release_device;
use crate::error::{PageError, PageNeeds, Result};
use crate::frame::page::PageKind;
use crate::machine::Machine;
use crate::mm::Mm;
use crate::pfn::Pfn;

impl<M: Machine> Mm<M> {
    /// Takes a page off the free list, or holds a page in use, so that its block cannot go offline.
    ///
    /// # Errors
    /// `PageError::NotPresent`; `PageError::State` when the page is neither free nor a tenant's nor pinned.
    pub fn pin(&mut self, pfn: Pfn) -> Result<()> {
        let (kind, head) = self.frames.use_of(pfn)?;
        match kind {
            PageKind::Device | PageKind::DeviceMemmap => self.devices.hold(&self.frames, pfn)?,
            PageKind::Free => {
                self.frames.unfold(pfn)?;
                self.frames.take_free(pfn, 0, PageKind::Pinned)?;
            }
            PageKind::Tenant | PageKind::Pinned => {
                let page = self.frames.pages().own(head);
                page.set_refs(page.refs() + 1);
            }
            _ => {
                return Err(PageError::State { pfn, is: kind, needs: PageNeeds::FreeTenantOrDevice }.into());
            }
        }
        Ok(())
    }

    /// Drops one hold of [`Self::pin`]; a page that was free goes back to the free list with the last.
    ///
    /// # Errors
    /// `PageError::NotPresent`, or `PageError::State` when the page is not held.
    pub fn unpin(&mut self, pfn: Pfn) -> Result<()> {
        let (kind, head) = self.frames.use_of(pfn)?;
        if kind.is_device() {
            return release_device(&mut self.space, &mut self.frames, &mut self.devices, pfn);
        }
        let refs = self.frames.pages().get(head).refs();
        match kind {
            PageKind::Pinned if refs == 1 => self.frames.free(head),
            PageKind::Pinned | PageKind::Tenant if refs > 1 => {
                self.frames.pages().own(head).set_refs(refs - 1)
            }
            _ => return Err(PageError::State { pfn, is: kind, needs: PageNeeds::Pinned }.into()),
        }
        Ok(())
    }
}
