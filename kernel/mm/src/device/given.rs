//! A device whose memory the system has.

use crate::device::range::DeviceRange;
use crate::hotplug::home::MemmapHome;
use crate::list::Keyed;
use crate::pfn::PfnRange;

/// A device whose memory the system has.
#[derive(Clone, Debug)]
pub struct Kmem {
    pub(super) device: DeviceRange,
    pub(super) memory: PfnRange,
    pub(super) home: MemmapHome,
}

impl Kmem {
    /// The device's pages.
    pub fn device(&self) -> PfnRange {
        self.device.ranges.as_slice()[0]
    }
    /// What it was, and will be.
    pub const fn as_device(&self) -> &DeviceRange {
        &self.device
    }
    /// The whole memory blocks inside.
    pub const fn memory(&self) -> PfnRange {
        self.memory
    }
}

impl Keyed for Kmem {
    fn key(&self) -> u64 {
        self.device().start.get()
    }
}
