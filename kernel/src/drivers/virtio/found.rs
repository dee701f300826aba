//! What boot finds.

use core::fmt;

use heapless::Vec;
use hotmap_devicetree::{Interrupt, Region};
use hotmap_mm::addr::{PhysAddr, PhysRange};
use virtio_drivers::transport::DeviceType;
use virtio_drivers::transport::pci::bus::DeviceFunction;

use super::refusal::Refusal;
use crate::drivers::pci::snapshot::Snapshot;

/// How many devices are taken.
pub const CAPACITY: usize = 16;
/// How many reasons are kept why a device is not used.
const REFUSALS: usize = 8;

/// Whether there is a driver for it: memory, and the console as the way out.
pub const fn is_wanted(kind: DeviceType) -> bool {
    matches!(kind, DeviceType::Memory | DeviceType::Console)
}

/// A device, as messages name it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Name {
    /// The PCI host itself.
    Host,
    /// `pci 0:2.0`
    Pci(DeviceFunction),
    /// `virtio-mmio@a000000`, by its registers' address.
    Mmio(u64),
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host => f.write_str("pci"),
            Self::Pci(at) => write!(f, "pci {:x}:{:x}.{}", at.bus, at.device, at.function),
            Self::Mmio(start) => write!(f, "virtio-mmio@{start:x}"),
        }
    }
}

/// Where a device's registers are.
#[expect(clippy::large_enum_variant, reason = "boot has no heap")]
#[derive(Clone, Debug)]
pub enum Registers {
    /// One region.
    Mmio(PhysRange),
    /// Structures, by the copy of its configuration space.
    Pci(Snapshot),
}

/// A device that was found.
#[derive(Clone, Debug)]
pub struct Device {
    /// What messages call it.
    pub name: Name,
    /// Its type.
    pub kind: DeviceType,
    /// Its interrupt, if the device tree knows it.
    pub interrupt: Option<Interrupt>,
    /// Its registers.
    pub registers: Registers,
}

impl Device {
    /// Its registers, range by range.
    pub fn ranges(&self) -> impl Iterator<Item = PhysRange> + '_ {
        let ranges = match &self.registers {
            Registers::Mmio(range) => core::slice::from_ref(range),
            Registers::Pci(snapshot) => snapshot.structures(),
        };
        ranges.iter().copied().filter(|range| !range.is_empty())
    }
}

/// What boot found.
#[derive(Debug)]
pub struct Found {
    /// The devices, those of PCI first, by their places.
    pub devices: Vec<Device, CAPACITY>,
    /// Why others are not used; what does not fit is dropped.
    pub refusals: Vec<(Name, Refusal), REFUSALS>,
}

impl Found {
    /// Nothing.
    pub const fn new() -> Self {
        Self { devices: Vec::new(), refusals: Vec::new() }
    }

    /// Adds a device, if it fits.
    pub fn add(&mut self, device: Device) {
        if let Err(device) = self.devices.push(device) {
            self.refuse(device.name, Refusal::TooMany(CAPACITY));
        }
    }

    /// Notes why a device is not used.
    pub fn refuse(&mut self, name: Name, refusal: Refusal) {
        let _ = self.refusals.push((name, refusal));
    }

    /// All registers, to be mapped.
    pub fn ranges(&self) -> impl Iterator<Item = PhysRange> + '_ {
        self.devices.iter().flat_map(Device::ranges)
    }
}

impl Default for Found {
    fn default() -> Self {
        Self::new()
    }
}

/// The range of a region of the device tree.
pub(super) fn range(region: Region) -> PhysRange {
    PhysRange { start: PhysAddr::new(region.start), end: PhysAddr::new(region.end()) }
}
