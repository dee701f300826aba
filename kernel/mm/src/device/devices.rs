//! The devices: those that have page maps, and those whose memory the system has.

use core::ops::Deref;

use crate::device::given::Kmem;
use crate::device::pagemap::{DeviceState, Pagemap};
use crate::device::range::DeviceRange;
use crate::error::{DeviceError, RangeError, Result};
use crate::frame::Frames;
use crate::frame::altmap::Altmap;
use crate::granule::Granule;
use crate::list::List;
use crate::machine::Machine;
use crate::pfn::{Pfn, PfnRange};

/// The devices of a machine. It is the list of their page maps, by the address of their first range.
#[derive(Clone, Debug, Default)]
pub struct Devices {
    pub(super) pagemaps: List<Pagemap>,
    pub(super) kmem: List<Kmem>,
}

impl Deref for Devices {
    type Target = [Pagemap];
    fn deref(&self) -> &[Pagemap] {
        self.pagemaps.as_slice()
    }
}

impl Devices {
    /// No device yet.
    pub(crate) const fn new() -> Self {
        Self { pagemaps: List::new(), kmem: List::new() }
    }

    /// The devices whose memory the system has.
    pub fn kmem(&self) -> &[Kmem] {
        self.kmem.as_slice()
    }

    /// The device that `pfn` is a page of.
    pub fn of(&self, pfn: Pfn) -> Option<&Pagemap> {
        self.iter().find(|device| device.contains(pfn))
    }

    /// The device whose first range starts at `start`.
    ///
    /// # Errors
    /// `DeviceError::Absent`.
    pub(super) fn at(&self, g: Granule, start: Pfn) -> Result<&Pagemap> {
        self.pagemaps.get(start.get()).ok_or(DeviceError::Absent(start.address(g)).into())
    }

    /// What the device at `start` was made of.
    ///
    /// # Errors
    /// `DeviceError::Absent`.
    pub(crate) fn range_of<M: Machine>(&self, frames: &Frames<M>, start: Pfn) -> Result<DeviceRange> {
        let Pagemap { ranges, kind, compound, dedup, node, .. } = *self.at(frames.granule(), start)?;
        let altmap = frames.altmaps.get(start).map(Altmap::unused);
        Ok(DeviceRange { ranges, kind, altmap, compound, dedup, node })
    }

    /// Refuses pages of a device whose memory the system has: the device claims them, also while nothing is present there.
    ///
    /// # Errors
    /// `RangeError::Exists`.
    pub(crate) fn refuse_claimed(&self, g: Granule, pages: PfnRange) -> Result<()> {
        match self.kmem().iter().map(Kmem::device).find(|device| device.overlaps(&pages)) {
            Some(device) => {
                let (range, present) = (pages.addresses(g), device.start.address(g));
                Err(RangeError::Exists { range, present }.into())
            }
            None => Ok(()),
        }
    }

    pub(crate) fn set_state(&mut self, start: Pfn, state: DeviceState) {
        if let Some(pagemap) = self.pagemaps.get_mut(start.get()) {
            pagemap.state = state;
        }
    }
}
