//! Memory hotplug as QEMU's ACPI does it: the Generic Event Device says that something happened, the slot registers say
//! to which DIMM. The DSDT announces both windows ([`super::acpi`]); they are used as its code would use them.
//!
//! Sources: QEMU `docs/specs/acpi_mem_hotplug.rst` (the slot registers), `hw/acpi/memory_hotplug.c` (what they do),
//! `docs/specs/acpi_hw_reduced_hotplug.rst` and `hw/acpi/generic_event_device.c` (the event selector), ACPI 6.5, 6.3.5
//! "_OST" (event and status codes).
//!
//! ```text
//!  device_add:  flags ENABLED|INSERTING -> ack_insert -> memory added  -> report(INSERTION, SUCCESS)
//!  device_del:  flags ENABLED|REMOVING  -> ack_remove -> memory removed -> eject, ack_remove  (QMP: DEVICE_DELETED)
//!                                                     -> memory in use  -> report(EJECT_REQUEST, BUSY)
//! ```
//! QEMU keeps REMOVING in a slot that is ejected, and the next DIMM there would start with it. A second device_del may
//! set it between `ack_remove` and `eject`, so it is acknowledged once more after the eject.
#![expect(unsafe_code, reason = "the registers' addresses come from outside; rule M4")]

use core::fmt;

use tock_registers::fields::FieldValue;
use tock_registers::register_bitfields;

use super::mmio::{Register, Window};

/// The most slots that a machine can have (`ACPI_MAX_RAM_SLOTS`).
pub const MAX_SLOTS: u32 = 256;

/// Bytes of the event selector (`ACPI_GED_EVT_SEL_LEN`).
pub const EVENTS_BYTES: usize = 4;
/// Bytes of the slot registers (`MEMORY_HOTPLUG_IO_LEN`).
pub const SLOTS_BYTES: usize = 0x18;

register_bitfields![u32,
    /// `ACPI_GED_MEM_HOTPLUG_EVT`, `ACPI_GED_PWR_DOWN_EVT`, `ACPI_GED_NVDIMM_HOTPLUG_EVT`.
    EVENTS [
        DIMM OFFSET(0) NUMBITS(1) [],
        POWER_DOWN OFFSET(1) NUMBITS(1) [],
        NVDIMM OFFSET(2) NUMBITS(1) []
    ],
    /// acpi_mem_hotplug.rst, read access, 0x14.
    FLAGS [
        ENABLED OFFSET(0) NUMBITS(1) [],
        INSERTING OFFSET(1) NUMBITS(1) [],
        REMOVING OFFSET(2) NUMBITS(1) []
    ],
    /// acpi_mem_hotplug.rst, write access, 0x14.
    CONTROL [
        ACK_INSERT OFFSET(1) NUMBITS(1) [],
        ACK_REMOVE OFFSET(2) NUMBITS(1) [],
        EJECT OFFSET(3) NUMBITS(1) []
    ]
];

/// The event selector: one 32-bit read returns the events and clears them (`ACPI_GED_EVT_SEL_OFFSET`).
const EVENT_SELECTOR: Register<u32, EVENTS::Register> = Register::at(0x00);

/// The slot registers when they are read.
mod read {
    use super::{FLAGS, Register};

    pub(super) const ADDRESS_LOW: Register<u32> = Register::at(0x00);
    pub(super) const ADDRESS_HIGH: Register<u32> = Register::at(0x04);
    pub(super) const SIZE_LOW: Register<u32> = Register::at(0x08);
    pub(super) const SIZE_HIGH: Register<u32> = Register::at(0x0c);
    pub(super) const NODE: Register<u32> = Register::at(0x10);
    pub(super) const FLAGS: Register<u32, FLAGS::Register> = Register::at(0x14);
    /// Reserved bytes: all ones in a slot that exists, zero in one that does not.
    pub(super) const RESERVED: Register<u16> = Register::at(0x16);
}

/// The slot registers when they are written.
mod write {
    use super::{CONTROL, Register};

    pub(super) const SELECT: Register<u32> = Register::at(0x00);
    pub(super) const OST_EVENT: Register<u32> = Register::at(0x04);
    pub(super) const OST_STATUS: Register<u32> = Register::at(0x08);
    pub(super) const CONTROL: Register<u32, CONTROL::Register> = Register::at(0x14);
}

/// The events that the selector returned.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Events(pub u32);

impl Events {
    /// A DIMM's slot has a flag to handle.
    pub fn dimm(self) -> bool {
        EVENTS::DIMM.is_set(self.0)
    }
    /// The power button was pressed.
    pub fn power_down(self) -> bool {
        EVENTS::POWER_DOWN.is_set(self.0)
    }
    /// An NVDIMM was plugged.
    pub fn nvdimm(self) -> bool {
        EVENTS::NVDIMM.is_set(self.0)
    }
}

/// A slot's flags.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Flags(pub u32);

impl Flags {
    /// There is a DIMM in the slot.
    pub fn enabled(self) -> bool {
        FLAGS::ENABLED.is_set(self.0)
    }
    /// Its insertion is not acknowledged yet.
    pub fn inserting(self) -> bool {
        FLAGS::INSERTING.is_set(self.0)
    }
    /// A request to remove it is not acknowledged yet.
    pub fn removing(self) -> bool {
        FLAGS::REMOVING.is_set(self.0)
    }
}

/// What is in a slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Slot {
    /// Which one.
    pub number: u32,
    /// The DIMM's physical address.
    pub address: u64,
    /// Its size in bytes.
    pub size: u64,
    /// Its NUMA node.
    pub node: u32,
    /// What happened to it.
    pub flags: Flags,
}

/// The event that an OST report is about (ACPI 6.5, 6.3.5 "_OST", source event codes, and the notification values).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OstEvent {
    /// Device Check, 1: an insertion.
    DeviceCheck,
    /// Eject Request, 3: a removal.
    EjectRequest,
}

impl OstEvent {
    /// Its number.
    pub const fn code(self) -> u32 {
        match self {
            Self::DeviceCheck => 1,
            Self::EjectRequest => 3,
        }
    }
}

/// How it went (ACPI 6.5, 6.3.5 "_OST", status codes).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OstStatus {
    /// 0: done.
    Success,
    /// 1: it failed, for no reason that has a code.
    Failure,
    /// 0x82, for a removal: the device is in use.
    Busy,
    /// 0x84, for a removal: it has begun.
    EjectPending,
}

impl OstStatus {
    /// Its number.
    pub const fn code(self) -> u32 {
        match self {
            Self::Success => 0x00,
            Self::Failure => 0x01,
            Self::Busy => 0x82,
            Self::EjectPending => 0x84,
        }
    }
}

/// There is no such slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoSlot(pub u32);

impl fmt::Display for NoSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the machine has no memory slot {}", self.0)
    }
}

/// The slot registers are none: why.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotSlots {
    /// Bits of a slot's flags are set that no QEMU sets.
    Flags(u32),
    /// The reserved bytes of slot 0 are zero, as of a slot that does not exist.
    NoSlots,
    /// A slot exists beyond the last that there can be.
    TooMany,
}

impl fmt::Display for NotSlots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("dimms: what answers at the slot registers is none: ")?;
        match self {
            Self::Flags(flags) => {
                write!(f, "the flags of slot 0 are {flags:#x}, of which bits 0 to 2 are used")
            }
            Self::NoSlots => f.write_str("it has no slot 0"),
            Self::TooMany => write!(f, "it has a slot {MAX_SLOTS}; the most slots are {MAX_SLOTS}"),
        }
    }
}

/// The event selector and the slot registers.
#[derive(Debug)]
pub struct Ged {
    events: Window,
    slots: Window,
    count: u32,
}

impl Ged {
    /// The device whose event selector is at `ged_base` and whose slot registers are at `slots_base`, and how many slots it
    /// has.
    ///
    /// # Safety
    /// M4. The registers exist only where ACPI announces them: elsewhere they abort.
    ///
    /// # Errors
    /// [`NotSlots`].
    pub unsafe fn new(ged_base: usize, slots_base: usize) -> Result<Self, NotSlots> {
        // SAFETY: M4, which the caller promises.
        let (events, slots) =
            unsafe { (Window::new(ged_base, EVENTS_BYTES), Window::new(slots_base, SLOTS_BYTES)) };
        let mut ged = Self { events, slots, count: 0 };
        ged.count = count_slots(|slot| {
            ged.slots.set(write::SELECT, slot);
            (ged.slots.get(read::FLAGS), ged.slots.get(read::RESERVED))
        })?;
        Ok(ged)
    }

    /// How many slots the machine has.
    pub fn slot_count(&self) -> u32 {
        self.count
    }

    /// Reads the events that are pending, which clears them.
    pub fn take_events(&mut self) -> Events {
        Events(self.events.get(EVENT_SELECTOR))
    }

    fn select(&mut self, slot: u32) -> Result<(), NoSlot> {
        if slot >= self.count {
            return Err(NoSlot(slot));
        }
        self.slots.set(write::SELECT, slot);
        Ok(())
    }

    /// Reads a slot's flags.
    ///
    /// # Errors
    /// [`NoSlot`], here and below.
    pub fn flags(&mut self, slot: u32) -> Result<Flags, NoSlot> {
        self.select(slot)?;
        Ok(Flags(self.slots.get(read::FLAGS)))
    }

    /// Reads a slot; `None` if it is empty.
    ///
    /// # Errors
    /// [`NoSlot`].
    pub fn slot(&mut self, slot: u32) -> Result<Option<Slot>, NoSlot> {
        let flags = self.flags(slot)?;
        if !flags.enabled() {
            return Ok(None);
        }
        let mut wide = |low, high| {
            let high = u64::from(self.slots.get(high));
            high << 32 | u64::from(self.slots.get(low))
        };
        let address = wide(read::ADDRESS_LOW, read::ADDRESS_HIGH);
        let size = wide(read::SIZE_LOW, read::SIZE_HIGH);
        Ok(Some(Slot { number: slot, address, size, node: self.slots.get(read::NODE), flags }))
    }

    /// Acknowledges an insertion: the flag goes.
    ///
    /// # Errors
    /// [`NoSlot`].
    pub fn ack_insert(&mut self, slot: u32) -> Result<(), NoSlot> {
        self.control(slot, CONTROL::ACK_INSERT::SET)
    }

    /// Acknowledges a removal request: clears the flag, also in an empty slot. Call it before and after [`Ged::eject`].
    ///
    /// # Errors
    /// [`NoSlot`].
    pub fn ack_remove(&mut self, slot: u32) -> Result<(), NoSlot> {
        self.control(slot, CONTROL::ACK_REMOVE::SET)
    }

    /// Takes the DIMM out: its memory aborts from now on, and QMP says DEVICE_DELETED.
    ///
    /// # Errors
    /// [`NoSlot`].
    pub fn eject(&mut self, slot: u32) -> Result<(), NoSlot> {
        self.control(slot, CONTROL::EJECT::SET)
    }

    /// Reports how an event went; QMP says ACPI_DEVICE_OST.
    ///
    /// # Errors
    /// [`NoSlot`].
    pub fn report(&mut self, slot: u32, event: OstEvent, status: OstStatus) -> Result<(), NoSlot> {
        self.select(slot)?;
        self.slots.set(write::OST_EVENT, event.code());
        // Writing the status is what sends the report.
        self.slots.set(write::OST_STATUS, status.code());
        Ok(())
    }

    fn control(&mut self, slot: u32, bit: FieldValue<u32, CONTROL::Register>) -> Result<(), NoSlot> {
        self.select(slot)?;
        self.slots.write(write::CONTROL, bit);
        Ok(())
    }
}

/// How many slots there are, by the flags and the reserved bytes of each. `memory_hotplug.c` answers reads of a reserved
/// offset with all ones, and any read with zero while a slot that does not exist is selected. A bus that answers every read
/// with the same has no slots.
fn count_slots(mut look: impl FnMut(u32) -> (u32, u16)) -> Result<u32, NotSlots> {
    let (flags, reserved) = look(0);
    let used = FLAGS::ENABLED::SET + FLAGS::INSERTING::SET + FLAGS::REMOVING::SET;
    if flags & !used.mask() != 0 {
        return Err(NotSlots::Flags(flags));
    }
    if reserved == 0 {
        return Err(NotSlots::NoSlots);
    }
    let mut exists = |slot| look(slot).1 != 0;
    if exists(MAX_SLOTS) {
        return Err(NotSlots::TooMany);
    }
    Ok((1..MAX_SLOTS).find(|&slot| !exists(slot)).unwrap_or(MAX_SLOTS))
}

#[cfg(test)]
mod tests;
