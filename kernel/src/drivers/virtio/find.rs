//! Finds the devices at boot, with the MMU off, and opens their transports later, when the kernel has mapped them.
#![expect(unsafe_code, reason = "hands register addresses to the scanners; rules B1, M4, M9")]

use hotmap_devicetree::{InterruptKind, MachineDescription, Region};
use hotmap_mm::addr::{PhysAddr, PhysRange};
use hotmap_mm::layout;

use virtio_drivers::transport::DeviceType;

use super::found::{Device, Found, Name, range};
use super::hal::KernelHal;
use super::refusal::Refusal;
use super::transport::VirtioTransport;
use super::{console, mmio};
use crate::arch::probe::probe_read32;
use crate::arch::{cpu, word};
use crate::drivers::pci::{self, ecam};
use crate::drivers::windows::{self, Loaded, Occupant};

/// A device for its driver.
pub struct VirtioDevice {
    /// What messages call it.
    pub name: Name,
    /// Its type.
    pub device_type: DeviceType,
    /// What its driver talks through.
    pub transport: VirtioTransport,
    /// Its interrupt's SPI, level-triggered and enabled; `None`: the device is polled.
    pub interrupt: Option<u32>,
}

/// Finds the devices that the kernel drives. Runs with the MMU off, with exceptions installed: where the device tree says that
/// there is a bus, there may be nothing.
pub fn find(machine: &MachineDescription, loaded: &Loaded, found: &mut Found) {
    let reach = (1 << cpu::features().usable_pa_bits()).min(layout::DEVICES.len());
    if let Err(refusal) = find_pci(machine, loaded, reach, found) {
        found.refuse(Name::Host, refusal);
    }
    find_mmio(machine, loaded, reach, found);
    // SAFETY: M9: boot looks once.
    unsafe { console::remember(found) };
}

/// That `range` is below `reach`, and nothing else is there.
fn check(machine: &MachineDescription, loaded: &Loaded, reach: u64, range: PhysRange) -> Result<(), Refusal> {
    if range.start.get() == 0 || range.end.get() > reach {
        return Err(Refusal::OutOfReach(range));
    }
    // A bus's configuration space does not conflict with all of it.
    let other =
        |(what, by): &(Occupant, PhysRange)| *what != Occupant::PciConfiguration || !by.covers(&range);
    match windows::conflict(machine, loaded, range).filter(other) {
        Some((what, by)) => Err(Refusal::Taken { range, what, by }),
        None => Ok(()),
    }
}

fn find_pci(
    machine: &MachineDescription,
    loaded: &Loaded,
    reach: u64,
    found: &mut Found,
) -> Result<(), Refusal> {
    let Some(region) = machine.pci.ecam else { return Ok(()) };
    let bytes = region.size.min(ecam::BUS_BYTES);
    let bus = PhysRange { start: PhysAddr::new(region.start), end: PhysAddr::new(region.start + bytes) };
    check(machine, loaded, reach, bus)?;
    // SAFETY: B1, M4: the MMU is off, and the device tree has nothing else there.
    let mut config = unsafe { ecam::Ecam::new(word(region.start), word(bytes)) };
    if !config.answers() {
        return Err(Refusal::NoAnswer(bus));
    }
    let is_free = |window: Region| check(machine, loaded, reach, range(window));
    pci::scan(&mut config, &machine.pci, reach, is_free, found);
    Ok(())
}

fn find_mmio(machine: &MachineDescription, loaded: &Loaded, reach: u64, found: &mut Found) {
    let places = &machine.virtio_mmio;
    let (Some(start), Some(end)) = (
        places.iter().map(|place| place.region.start).min(),
        places.iter().map(|place| place.region.end()).max(),
    ) else {
        return;
    };
    let read = |at| {
        // SAFETY: B1, M4: the MMU is off; the registers that are read say what the device is, and change nothing.
        unsafe { probe_read32(word(at)) }
    };
    // QEMU's are side by side: one check for all.
    let all = PhysRange { start: PhysAddr::new(start), end: PhysAddr::new(end) };
    if check(machine, loaded, reach, all).is_ok() {
        return mmio::scan(places, read, found);
    }
    for place in places {
        match check(machine, loaded, reach, range(place.region)) {
            Ok(()) => mmio::scan(core::slice::from_ref(place), read, found),
            Err(refusal) => found.refuse(Name::Mmio(place.region.start), refusal),
        }
    }
}

/// Opens the transports of all devices of type `kind`; one that is not what it should be is logged and left out.
pub fn open(found: &Found, kind: DeviceType) -> alloc::vec::Vec<VirtioDevice> {
    let mut devices = alloc::vec::Vec::new();
    for device in found.devices.iter().filter(|device| device.kind == kind) {
        match open_one(device) {
            // The heap has room at boot, or the device is left out.
            Ok(device) if devices.try_reserve(1).is_ok() => devices.push(device),
            Ok(_) => {}
            Err(refusal) => crate::klog!("{}: {refusal}", device.name),
        }
    }
    devices
}

fn open_one(device: &Device) -> Result<VirtioDevice, Refusal> {
    // SAFETY: M4: boot has mapped the registers, and this is their only driver: the console's, which uses others, is the
    // way out.
    let transport = unsafe { VirtioTransport::open::<KernelHal>(device) }?;
    let spi = device.interrupt.filter(|interrupt| interrupt.kind == InterruptKind::Spi);
    let interrupt = spi.map(|interrupt| interrupt.number);
    Ok(VirtioDevice { name: device.name, device_type: device.kind, transport, interrupt })
}
