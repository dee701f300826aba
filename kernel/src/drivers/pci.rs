//! PCI Express by its configuration space (ECAM): which functions are virtio devices that the kernel drives, where their
//! registers go, and which interrupt they have.
//!
//! ```text
//!   scan      bus 0: vendor words of 32 devices -> functions of interest
//!   bars      size each base address register, place it in a window of the host
//!   snapshot  copy the 256 bytes, check the capabilities, keep what the transport reads
//! ```
//! Devices behind a bridge are not looked for. Runs with the MMU off, before anything is mapped: a machine without such a
//! device costs one read for each place on the bus.
//!
//! Sources: PCI Local Bus Specification 3.0, chapter 6 (configuration space); PCI Express Base Specification 4.0, 7.2.2
//! (ECAM).

use heapless::Vec;
use hotmap_devicetree::{Pci, Region};
use virtio_drivers::transport::DeviceType;
use virtio_drivers::transport::pci::VIRTIO_VENDOR_ID;
use virtio_drivers::transport::pci::bus::{Command, ConfigurationAccess, DeviceFunction};

use super::virtio::found::{CAPACITY, Device, Found, Name, Registers, is_wanted};
use super::virtio::refusal::Refusal;
use bars::{Bars, COMMAND, Rooms};
use snapshot::Snapshot;

pub mod bars;
#[cfg(target_os = "none")]
pub mod ecam;
pub mod snapshot;

/// Devices on a bus, and functions of a device.
const DEVICES: u8 = 32;
const FUNCTIONS: u8 = 8;

/// Offsets in configuration space of the words that are read here.
const ID: u8 = 0x00;
const HEADER: u8 = 0x0c;
const INTERRUPT: u8 = 0x3c;

/// In the word at [`HEADER`]: the layout (0 device, 1 bridge), and that there are other functions.
const LAYOUT_SHIFT: u32 = 16;
const LAYOUT_MASK: u32 = 0x7f;
const MULTIFUNCTION: u32 = 1 << 23;
/// What a virtio device's number is counted from in its PCI device ID (virtio 1.2, 4.1.2).
const VIRTIO_DEVICE_ID: u32 = 0x1040;
/// The transitional console's device ID (virtio 1.2, 4.1.2.1). It has the modern registers too.
const TRANSITIONAL_CONSOLE: u32 = 0x1003;

/// A function that was found, before its registers have a place.
struct Candidate {
    at: DeviceFunction,
    kind: DeviceType,
    bars: Bars,
}

/// Finds the virtio devices on the host's first bus that the kernel drives, and gives their registers places in those windows
/// of `host` that `is_free` lets pass, below `reach`.
pub fn scan<C: ConfigurationAccess>(
    config: &mut C,
    host: &Pci,
    reach: u64,
    is_free: impl Fn(Region) -> Result<(), Refusal>,
    found: &mut Found,
) {
    let mut rooms = Rooms::new(host, reach);
    let mut candidates: Vec<Candidate, CAPACITY> = Vec::new();
    for device in 0..DEVICES {
        let mut functions = 1;
        let mut function = 0;
        while function < functions {
            let at = DeviceFunction { bus: host.first_bus, device, function };
            function += 1;
            let id = config.read_word(at, ID);
            if is_absent(id) {
                continue;
            }
            let header = config.read_word(at, HEADER);
            if at.function == 0 && header & MULTIFUNCTION != 0 {
                functions = FUNCTIONS;
            }
            if header >> LAYOUT_SHIFT & LAYOUT_MASK == 0 {
                look(config, at, id, &mut rooms, &mut candidates, found);
            }
        }
    }
    if !candidates.is_empty()
        && let Err(refusal) = rooms.keep_free(is_free)
    {
        found.refuse(Name::Host, refusal);
    }
    for candidate in candidates {
        let name = Name::Pci(candidate.at);
        match bring_up(config, host, &candidate, &mut rooms) {
            Ok(device) => found.add(device),
            Err(refusal) => found.refuse(name, refusal),
        }
    }
}

/// Whether a function answers: all ones is what an empty place reads as (PCI 3.0, 6.1), all zeros what memory does that
/// nothing is behind.
const fn is_absent(id: u32) -> bool {
    matches!(id & 0xffff, 0 | 0xffff)
}

/// Takes a function that answers for a candidate, or for something whose registers have a place already.
fn look<C: ConfigurationAccess>(
    config: &mut C,
    at: DeviceFunction,
    id: u32,
    rooms: &mut Rooms,
    candidates: &mut Vec<Candidate, CAPACITY>,
    found: &mut Found,
) {
    let kind = virtio_type(id).filter(|kind| is_wanted(*kind));
    let decodes = || config.read_word(at, COMMAND) & u32::from(Command::MEMORY_SPACE.bits()) != 0;
    if kind.is_none() && !decodes() {
        return;
    }
    match (Bars::read(config, at), kind) {
        (Ok(bars), Some(kind)) => {
            bars.occupy(rooms);
            if candidates.push(Candidate { at, kind, bars }).is_err() {
                found.refuse(Name::Pci(at), Refusal::TooMany(CAPACITY));
            }
        }
        (Ok(bars), None) => bars.occupy(rooms),
        (Err(refusal), Some(_)) => found.refuse(Name::Pci(at), refusal),
        (Err(_), None) => {}
    }
}

/// The device type by the vendor and device ID.
fn virtio_type(id: u32) -> Option<DeviceType> {
    if id & 0xffff != u32::from(VIRTIO_VENDOR_ID) {
        return None;
    }
    match id >> 16 {
        TRANSITIONAL_CONSOLE => Some(DeviceType::Console),
        number => DeviceType::try_from(number.checked_sub(VIRTIO_DEVICE_ID)?).ok(),
    }
}

/// Places a candidate's registers and lets it answer to them.
fn bring_up<C: ConfigurationAccess>(
    config: &mut C,
    host: &Pci,
    candidate: &Candidate,
    rooms: &mut Rooms,
) -> Result<Device, Refusal> {
    let Candidate { at, kind, bars } = candidate;
    if !host.coherent {
        return Err(Refusal::NotCoherent);
    }
    let placed = bars.place(config, *at, rooms)?;
    let snapshot = Snapshot::take(config, *at, &placed)?;
    // The upper half is the status, whose bits a one clears.
    config.write_word(*at, COMMAND, (Command::MEMORY_SPACE | Command::BUS_MASTER).bits().into());
    let pin = config.read_word(*at, INTERRUPT).to_le_bytes()[1];
    let interrupt = host.interrupt(at.bus, at.device, at.function, pin);
    Ok(Device { name: Name::Pci(*at), kind: *kind, interrupt, registers: Registers::Pci(snapshot) })
}

#[cfg(test)]
mod tests;
