//! Virtio over MMIO (virtio 1.2, 4.2): the device tree names places for devices, and each place's registers say whether one
//! is there.

use hotmap_devicetree::VirtioMmio;
use virtio_drivers::transport::DeviceType;

use super::found::{Device, Found, Name, Registers, is_wanted, range};
use super::refusal::Refusal;

/// Offsets of the registers that are read here, and the first one's value, "virt".
const MAGIC: u64 = 0x00;
const DEVICE_ID: u64 = 0x08;
const MAGIC_VALUE: u32 = 0x7472_6976;

/// Finds the devices that the kernel drives. `read` gives the word at a physical address; `None` where nothing answers.
/// An empty place costs one read: its device ID is 0.
pub fn scan(places: &[VirtioMmio], mut read: impl FnMut(u64) -> Option<u32>, found: &mut Found) {
    for place in places {
        let start = place.region.start;
        let kind = match read(start + DEVICE_ID) {
            None | Some(0 | u32::MAX) => continue,
            Some(id) => DeviceType::try_from(id).ok().filter(|kind| is_wanted(*kind)),
        };
        let (Some(kind), Some(MAGIC_VALUE)) = (kind, read(start + MAGIC)) else { continue };
        let name = Name::Mmio(start);
        if place.coherent {
            let registers = Registers::Mmio(range(place.region));
            found.add(Device { name, kind, interrupt: place.interrupt, registers });
        } else {
            found.refuse(name, Refusal::NotCoherent);
        }
    }
}
