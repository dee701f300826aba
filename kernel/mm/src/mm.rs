//! The memory of a machine: page frames, the address space, and what uses them, in one value behind one lock.

use crate::debug::bugs::Bug;
use crate::device::devices::Devices;
use crate::error::Result;
use crate::frame::Frames;
use crate::granule::Granule;
use crate::hotplug::notify::Chain;
use crate::hugetlb::HugeTlb;
use crate::machine::Machine;
use crate::migrate::compact::{self, Compacted};
use crate::migrate::tenant::Tenants;
use crate::space::table::KernelSpace;
use crate::stop::Stop;

/// The memory of a machine.
pub struct Mm<M: Machine> {
    pub(crate) frames: Frames<M>,
    pub(crate) space: KernelSpace<M>,
    pub(crate) devices: Devices,
    pub(crate) tenants: Tenants,
    /// The pools of huge pages.
    pub hugetlb: HugeTlb,
    /// The notifiers, which are asked before memory goes online or offline.
    pub notifiers: Chain,
}

impl<M: Machine> Mm<M> {
    /// The page frames.
    pub const fn frames(&self) -> &Frames<M> {
        &self.frames
    }
    /// The page frames, to change.
    pub const fn frames_mut(&mut self) -> &mut Frames<M> {
        &mut self.frames
    }
    /// The kernel's address space.
    pub const fn space(&self) -> &KernelSpace<M> {
        &self.space
    }
    /// The address space and the page frames, to change both at once: mapping takes table pages from the frames.
    pub const fn parts_mut(&mut self) -> (&mut KernelSpace<M>, &mut Frames<M>) {
        (&mut self.space, &mut self.frames)
    }
    /// The granule.
    #[inline(always)]
    pub const fn granule(&self) -> Granule {
        self.space.granule()
    }
    /// The devices.
    pub const fn devices(&self) -> &Devices {
        &self.devices
    }
    /// Puts a fault in on purpose, or none.
    pub const fn set_bug(&mut self, bug: Option<Bug>) {
        self.frames.hooks.set(bug);
        self.space.hooks.set(bug);
    }

    /// Sees to it that zone Normal has a free run of `1 << order` pages.
    ///
    /// # Errors
    /// `Out` when no such run can be made, or a page finds no place to move to.
    pub fn compact(&mut self, order: u32) -> Result<Compacted> {
        self.compact_unless(order, &mut |_| false)
    }

    /// [`Self::compact`], unless `stop`, asked before each page that moves with how many have moved, ends it. These stay
    /// where they are.
    ///
    /// # Errors
    /// As [`Self::compact`], and `Error::Interrupted`.
    pub fn compact_unless(&mut self, order: u32, stop: Stop<'_>) -> Result<Compacted> {
        compact::compact(&mut self.space, &mut self.frames, order, stop)
    }
}
