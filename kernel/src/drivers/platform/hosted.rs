//! The devices of an emulated machine: memory slots, and virtio memory. The host raises their events, and calls
//! [`Kernel::service`](crate::kernel::Kernel::service).
#![expect(unsafe_code, reason = "hands register addresses to the driver; rule M4")]

use hotmap_emulator::devices::slots::Slots;
use hotmap_emulator::devices::virtio_mem::Model;
use virtio_mem::Fault;

use crate::drivers::ged::{EVENTS_BYTES, Ged, SLOTS_BYTES};
use crate::drivers::mmio::hosted::attach;
use crate::drivers::nvdimm::{Nvdimm, Port};
use crate::drivers::virtio::found::Name;
use crate::meter::Spent;
use crate::vmems::Driven;

/// Where QEMU's virt has the event selector and the slot registers (hw/arm/virt.c, VIRT_ACPI_GED, VIRT_PCDIMM_ACPI).
const EVENTS_BASE: usize = 0x0908_0000;
const SLOTS_BASE: usize = 0x0907_0000;

/// A device that there is none of.
pub enum Nothing {}

/// A virtio memory device.
pub type MemoryDevice = Model;

/// The devices.
#[derive(Default)]
pub struct Platform {
    /// The memory-hotplug registers, where the machine has them.
    pub ged: Option<Ged>,
    /// No NVDIMM register.
    pub nvdimm: Option<Nvdimm<Nothing>>,
    /// The virtio devices of type memory, until their driver takes them.
    memory: Vec<Model>,
}

impl Platform {
    /// These devices, of which this thread's kernel alone has drivers. Slots that are none are logged and left out.
    pub fn with(slots: &Slots, memory: Vec<Model>) -> Self {
        attach(EVENTS_BASE, EVENTS_BYTES, slots.events());
        attach(SLOTS_BASE, SLOTS_BYTES, slots.registers());
        // SAFETY: M4: devices were attached at both addresses, so that no access reaches the host's memory.
        let ged = unsafe { Ged::new(EVENTS_BASE, SLOTS_BASE) };
        Self { ged: ged.ok(), nvdimm: None, memory }
    }

    /// Hands out the virtio memory devices.
    pub fn take_memory_devices(
        &mut self,
    ) -> impl Iterator<Item = (Name, Result<MemoryDevice, Fault>)> + use<> {
        let found = core::mem::take(&mut self.memory);
        // Where QEMU's virt has the registers of its transports (hw/arm/virt.c, VIRT_MMIO).
        let names = (0x0a00_0000..).step_by(0x200).map(Name::Mmio);
        names.zip(found.into_iter().map(Ok))
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

impl Driven for Model {
    fn take_interrupt(&mut self) -> bool {
        Self::take_interrupt(self)
    }
    fn restart(&mut self) -> Result<(), Fault> {
        Ok(())
    }
    fn waited(&self) -> Spent {
        Spent::default()
    }
}
