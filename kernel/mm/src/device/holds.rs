//! Holds on a device's pages, and its end: teardown waits for the last hold (Linux: `percpu_ref_kill`, then the wait in
//! `memunmap_pages`).
//!
//! A hold is counted on the page itself, so that a refusal can name the page, and on the device, so that a device without
//! holds is known without a search of its pages.

use crate::device::devices::Devices;
use crate::device::memremap::undo_memremap;
use crate::device::pagemap::{DeviceState, Pagemap};
use crate::device::range::DeviceRange;
use crate::error::{DeviceError, PageError, PageNeeds, Result};
use crate::frame::Frames;
use crate::frame::page::PageKind;
use crate::machine::Machine;
use crate::mm::Mm;
use crate::pfn::Pfn;
use crate::space::table::KernelSpace;

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
    /// Takes down the device whose first range starts at `start`: at once, or with the last hold on its pages. Nothing new
    /// may hold them from here on.
    ///
    /// # Errors
    /// `DeviceError::Absent`.
    pub fn memunmap_pages(&mut self, start: Pfn) -> Result<Teardown> {
        let device = self.devices.range_of(&self.frames, start)?;
        self.devices.set_state(start, DeviceState::Dying);
        match self.devices.first_held(&self.frames, start) {
            Some((pfn, holds)) => Ok(Teardown::Waits { pfn, holds }),
            None => {
                undo_memremap(&mut self.space, &mut self.frames, &mut self.devices, &device);
                Ok(Teardown::Gone)
            }
        }
    }
}

/// Drops a hold on a device's page; the last hold on a device that shall go takes it down.
///
/// # Errors
/// `PageError::NotPresent`; `PageError::State` when the page is not held.
pub(crate) fn release_device<M: Machine>(
    space: &mut KernelSpace<M>,
    frames: &mut Frames<M>,
    devices: &mut Devices,
    pfn: Pfn,
) -> Result<()> {
    if let Some(device) = devices.release(frames, pfn)? {
        undo_memremap(space, frames, devices, &device);
    }
    Ok(())
}

impl Devices {
    /// The first page of the device at `start` that is held, and how often.
    pub(crate) fn first_held<M: Machine>(&self, frames: &Frames<M>, start: Pfn) -> Option<(Pfn, u32)> {
        let device = self.pagemaps.get(start.get()).filter(|device| device.holds > 0)?;
        let pages = frames.pages();
        device.heads().map(|pfn| (pfn, pages.get(pfn).refs())).find(|(_, holds)| *holds > 0)
    }

    /// Holds a device's page: all of the compound page that it is in, by its head.
    ///
    /// # Errors
    /// `PageError::NotPresent`; `PageError::State` when it is set aside; `DeviceError::Dying`.
    pub(crate) fn hold<M: Machine>(&mut self, frames: &Frames<M>, pfn: Pfn) -> Result<()> {
        let device = self.usable(pfn, PageNeeds::UsableOfDevice)?;
        if device.state != DeviceState::Live {
            return Err(DeviceError::Dying(device.start().address(frames.granule())).into());
        }
        let page = frames.pages().own(device.head_of(pfn));
        page.set_refs(page.refs() + 1);
        device.holds += 1;
        Ok(())
    }

    /// The inverse of [`Self::hold`]. Returns the device if it shall go, and this was the last hold.
    fn release<M: Machine>(&mut self, frames: &Frames<M>, pfn: Pfn) -> Result<Option<DeviceRange>> {
        let device = self.usable(pfn, PageNeeds::Held)?;
        let pfn = device.head_of(pfn);
        let page = frames.pages().own(pfn);
        let (is, needs) = (PageKind::Device, PageNeeds::Held);
        let holds = page.refs().checked_sub(1).ok_or(PageError::State { pfn, is, needs })?;
        page.set_refs(holds);
        device.holds = device.holds.saturating_sub(1);
        let (start, last) = (device.start(), device.state == DeviceState::Dying && device.holds == 0);
        last.then(|| self.range_of(frames, start)).transpose()
    }

    /// The device of a page that is not set aside.
    fn usable(&mut self, pfn: Pfn, needs: PageNeeds) -> Result<&mut Pagemap> {
        let device = self.pagemaps.iter_mut().find(|device| device.contains(pfn));
        let device = device.ok_or(PageError::NotPresent(pfn))?;
        if device.set_aside().contains(pfn) {
            return Err(PageError::State { pfn, is: PageKind::DeviceMemmap, needs }.into());
        }
        Ok(device)
    }
}
