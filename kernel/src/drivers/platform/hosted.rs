//! A machine without devices of its own: what is plugged, the host plugs by a call.

use core::ops::Range;

use virtio_mem::{Answer, BlockState, Config, Device, Fault};

use crate::drivers::ged::Ged;
use crate::drivers::nvdimm::{Nvdimm, Port};
use crate::drivers::virtio::found::Name;
use crate::vmems::Driven;

/// A device that there is none of.
pub enum Nothing {}

/// No virtio memory device.
pub type MemoryDevice = Nothing;

/// The devices.
#[derive(Default)]
pub struct Platform {
    /// No memory slots.
    pub ged: Option<Ged>,
    /// No NVDIMM register.
    pub nvdimm: Option<Nvdimm<Nothing>>,
}

impl Platform {
    /// There are none.
    pub fn take_memory_devices(
        &mut self,
    ) -> impl Iterator<Item = (Name, Result<MemoryDevice, Fault>)> + use<> {
        core::iter::empty()
    }

    /// No interrupt waits.
    pub const fn rearm_virtio(&mut self) {}
}

impl Port for Nothing {
    fn put(&mut self, _offset: usize, _word: u32) {
        match *self {}
    }
    fn call(&mut self) {
        match *self {}
    }
    fn get(&mut self, _offset: usize) -> u8 {
        match *self {}
    }
}

impl Device for Nothing {
    fn config(&mut self) -> Result<Config, Fault> {
        match *self {}
    }
    fn plug(&mut self, _blocks: Range<u64>) -> Result<Answer, Fault> {
        match *self {}
    }
    fn unplug(&mut self, _blocks: Range<u64>) -> Result<Answer, Fault> {
        match *self {}
    }
    fn unplug_all(&mut self) -> Result<Answer, Fault> {
        match *self {}
    }
    fn state(&mut self, _blocks: Range<u64>) -> Result<BlockState, Fault> {
        match *self {}
    }
}

impl Driven for Nothing {
    fn take_interrupt(&mut self) -> bool {
        match *self {}
    }
    fn restart(&mut self) -> Result<(), Fault> {
        match *self {}
    }
    fn waited(&self) -> u64 {
        match *self {}
    }
}
