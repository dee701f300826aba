//! Who holds a device's pages, and its end: teardown waits for the last hold (Linux: `percpu_ref_kill`, then the wait in
//! `memunmap_pages`).
//!
//! A hold is counted on the page itself, so that a refusal can name the page, and on the device, so that a device without holds
//! is known without a search of its pages.

use crate::device::pagemap::{DeviceState, Pagemap};
use crate::error::{DeviceError, Error, PageError, PageNeeds, Result};
use crate::frame::page::PageKind;
use crate::machine::Machine;
use crate::mm::Mm;
use crate::pfn::Pfn;

/// What became of a device that shall go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Teardown {
    /// It is gone.
    Gone,
    /// It goes with the last hold on its pages; this is the first page that is held.
    Waits {
        /// The page.
        pfn: Pfn,
        /// The holds on it.
        holds: u32,
    },
}

impl<M: Machine> Mm<M> {
    /// Take down the device whose first range starts at `start`: at once, or with the last hold on its pages. Nothing new
    /// may hold them from here on.
    ///
    /// # Errors
    /// `NoDevice`.
    pub fn memunmap_pages(&mut self, start: Pfn) -> Result<Teardown> {
        let g = self.granule();
        let device =
            self.devices.get_mut(start.get()).ok_or(Error::Device(DeviceError::Absent(start.address(g))))?;
        device.state = DeviceState::Dying;
        match self.first_held(start) {
            Some((pfn, holds)) => Ok(Teardown::Waits { pfn, holds }),
            None => {
                self.undo_memremap(start);
                Ok(Teardown::Gone)
            }
        }
    }

    /// The first page of a device that is held, and how often.
    pub fn first_held(&self, start: Pfn) -> Option<(Pfn, u32)> {
        let device = self.devices.get(start.get()).filter(|device| device.holds > 0)?;
        let pages = self.frames.pages();
        // The first ends the search.
        let held = device.each_head(&mut |pfn| match pages.get(pfn).refs() {
            0 => Ok(()),
            refs => Err(Error::Page(PageError::Pinned { pfn, refs })),
        });
        match held {
            Err(Error::Page(PageError::Pinned { pfn, refs })) => Some((pfn, refs)),
            _ => None,
        }
    }

    /// Hold a device's page: all of the compound page that it is in, by its head.
    pub(crate) fn hold_device(&mut self, pfn: Pfn) -> Result<()> {
        let g = self.granule();
        let device = self.usable_device(pfn, PageNeeds::UsableOfDevice)?;
        if device.state != DeviceState::Live {
            return Err(Error::Device(DeviceError::Dying(device.start().address(g))));
        }
        let page = self.frames.pages().own(device.head_of(pfn));
        page.set_refs(page.refs() + 1);
        self.count_hold(pfn, 1);
        Ok(())
    }

    /// Let go of a device's page; the last hold on a device that shall go takes it down.
    pub(crate) fn release_device(&mut self, pfn: Pfn) -> Result<()> {
        let pfn = self.usable_device(pfn, PageNeeds::Held)?.head_of(pfn);
        let page = self.frames.pages().own(pfn);
        let Some(holds) = page.refs().checked_sub(1) else {
            return Err(Error::Page(PageError::State { pfn, is: PageKind::Device, needs: PageNeeds::Held }));
        };
        page.set_refs(holds);
        self.count_hold(pfn, -1);
        let gone = self.device_of(pfn).filter(|d| d.state == DeviceState::Dying && d.holds == 0);
        if let Some(start) = gone.map(Pagemap::start) {
            self.undo_memremap(start);
        }
        Ok(())
    }

    /// The device of a page that is not set aside.
    fn usable_device(&self, pfn: Pfn, needs: PageNeeds) -> Result<&Pagemap> {
        let device = self.device_of(pfn).ok_or(Error::Page(PageError::NotPresent(pfn)))?;
        if device.set_aside().contains(pfn) {
            return Err(Error::Page(PageError::State { pfn, is: PageKind::DeviceMemmap, needs }));
        }
        Ok(device)
    }

    fn count_hold(&mut self, pfn: Pfn, by: i64) {
        let start = self.device_of(pfn).map(Pagemap::start);
        if let Some(device) = start.and_then(|start| self.devices.get_mut(start.get())) {
            device.holds = device.holds.saturating_add_signed(by);
        }
    }
}
