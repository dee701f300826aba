//! Memory slots as QEMU has them (hw/acpi/memory_hotplug.c, hw/acpi/generic_event_device.c): the registers that a driver reads and
//! writes, and what the monitor does on the other side of them.
//!
//! ```text
//!  monitor: insert   -> flags ENABLED|INSERTING, event -> driver acknowledges, adds the memory, reports by _OST
//!  monitor: request_removal -> flag REMOVING, event    -> driver reports, takes the memory away, ejects
//! ```

use std::cell::RefCell;
use std::ops::Range;
use std::rc::Rc;

use super::Registers;
use crate::machine::Emulated;

/// The event of the generic event device that a slot has a flag to handle (`ACPI_GED_MEM_HOTPLUG_EVT`).
const EVENT: u64 = 1;
/// What a slot's address is aligned to: QEMU's for memory of the host.
const ALIGN: u64 = 2 << 20;

/// A slot's flags (docs/specs/acpi_mem_hotplug.rst, 0x14).
const ENABLED: u64 = 1;
const INSERTING: u64 = 2;
const REMOVING: u64 = 4;
/// What is written there.
const ACK_INSERT: u64 = 2;
const ACK_REMOVE: u64 = 4;
const EJECT: u64 = 8;

/// A DIMM.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Dimm {
    /// Its physical address.
    pub address: u64,
    /// Its size in bytes.
    pub size: u64,
    /// Its NUMA node.
    pub node: u32,
}

impl Dimm {
    fn range(&self) -> Range<u64> {
        self.address..self.address + self.size
    }
}

/// What the driver told: QMP's events.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Told {
    /// `ACPI_DEVICE_OST`: how an event went.
    Ost {
        /// The slot.
        slot: u32,
        /// The event that it is about.
        event: u32,
        /// The status.
        status: u32,
    },
    /// `DEVICE_DELETED`: the DIMM is ejected.
    Deleted {
        /// The slot.
        slot: u32,
    },
}

/// Why the monitor refuses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// There is no such slot.
    NoSlot(u32),
    /// The slot is in use.
    InUse(u32),
    /// All slots are in use.
    Full,
    /// There is no DIMM in the slot.
    Empty(u32),
    /// The size is no multiple of 2 MiB, or zero.
    Size(u64),
    /// Other memory is there, or the address is outside of what is for DIMMs, or not aligned.
    Address(u64),
    /// Nowhere is so much free for a DIMM.
    NoRoom(u64),
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {
            Self::NoSlot(slot) => write!(f, "the machine has no memory slot {slot}"),
            Self::InUse(slot) => write!(f, "slot {slot} is in use"),
            Self::Full => f.write_str("all memory slots are in use"),
            Self::Empty(slot) => write!(f, "slot {slot} is empty"),
            Self::Size(size) => write!(f, "{size:#x} bytes: the size of a DIMM is a multiple of 2 MiB"),
            Self::Address(address) => {
                write!(f, "{address:#x}: a DIMM's address is a multiple of 2 MiB, above boot RAM, and free")
            }
            Self::NoRoom(size) => write!(f, "{size:#x} bytes: no room of this size is left for DIMMs"),
        }
    }
}

#[derive(Clone, Copy, Default)]
struct Slot {
    dimm: Option<Dimm>,
    flags: u64,
}

struct State {
    machine: Emulated,
    /// Where DIMMs may be.
    room: Range<u64>,
    slots: Vec<Slot>,
    selected: usize,
    events: u64,
    ost_event: u32,
    told: Vec<Told>,
}

/// The slots; clones are the same.
#[derive(Clone)]
pub struct Slots(Rc<RefCell<State>>);

impl Slots {
    /// `count` empty slots, whose DIMMs are in `room`.
    pub fn new(machine: &Emulated, count: u32, room: Range<u64>) -> Self {
        let slots = vec![Slot::default(); count as usize];
        let machine = machine.clone();
        Self(Rc::new(RefCell::new(State {
            machine,
            room,
            slots,
            selected: 0,
            events: 0,
            ost_event: 0,
            told: Vec::new(),
        })))
    }

    /// Puts a DIMM into `slot`, or the first empty one, at `address`, or where there is room first, and raises the event.
    /// Returns the slot and the address.
    ///
    /// # Errors
    /// [`Refused`]; nothing has changed.
    pub fn insert(
        &self,
        slot: Option<u32>,
        address: Option<u64>,
        size: u64,
        node: u32,
    ) -> Result<(u32, Dimm), Refused> {
        self.0.borrow_mut().insert(slot, address, size, node)
    }

    /// Asks the driver to give the DIMM in `slot` back (`device_del`).
    ///
    /// # Errors
    /// [`Refused::NoSlot`], [`Refused::Empty`].
    pub fn request_removal(&self, slot: u32) -> Result<(), Refused> {
        let mut state = self.0.borrow_mut();
        let entry = state.slots.get_mut(slot as usize).ok_or(Refused::NoSlot(slot))?;
        if entry.dimm.is_none() {
            return Err(Refused::Empty(slot));
        }
        entry.flags |= REMOVING;
        state.events |= EVENT;
        Ok(())
    }

    /// The DIMMs, by slot.
    pub fn dimms(&self) -> Vec<(u32, Dimm)> {
        (0..).zip(&self.0.borrow().slots).filter_map(|(number, slot)| Some((number, slot.dimm?))).collect()
    }

    /// What the driver told since the last call.
    pub fn take_told(&self) -> Vec<Told> {
        std::mem::take(&mut self.0.borrow_mut().told)
    }

    /// The event selector.
    pub fn events(&self) -> Rc<RefCell<dyn Registers>> {
        Rc::new(RefCell::new(EventSelector(self.clone())))
    }

    /// The slot registers.
    pub fn registers(&self) -> Rc<RefCell<dyn Registers>> {
        Rc::new(RefCell::new(SlotRegisters(self.clone())))
    }
}

impl State {
    fn insert(
        &mut self,
        slot: Option<u32>,
        address: Option<u64>,
        size: u64,
        node: u32,
    ) -> Result<(u32, Dimm), Refused> {
        let number = match slot {
            Some(slot) if slot as usize >= self.slots.len() => return Err(Refused::NoSlot(slot)),
            Some(slot) if self.slots[slot as usize].dimm.is_some() => return Err(Refused::InUse(slot)),
            Some(slot) => slot as usize,
            None => self.slots.iter().position(|slot| slot.dimm.is_none()).ok_or(Refused::Full)?,
        };
        if size == 0 || !size.is_multiple_of(ALIGN) {
            return Err(Refused::Size(size));
        }
        let address = match address {
            Some(address) if self.is_room(address, size) => address,
            Some(address) => return Err(Refused::Address(address)),
            None => self.find_room(size).ok_or(Refused::NoRoom(size))?,
        };
        let dimm = Dimm { address, size, node };
        self.machine.plug(address, size);
        // A flag that was set in the empty slot stays: QEMU keeps it.
        let flags = self.slots[number].flags | ENABLED | INSERTING;
        self.slots[number] = Slot { dimm: Some(dimm), flags };
        self.events |= EVENT;
        Ok((u32::try_from(number).unwrap_or(u32::MAX), dimm))
    }

    /// Whether a DIMM may be at `address`.
    fn is_room(&self, address: u64, size: u64) -> bool {
        let Some(end) = address.checked_add(size) else { return false };
        let free = |dimm: Dimm| dimm.range().end <= address || end <= dimm.address;
        address.is_multiple_of(ALIGN)
            && self.room.start <= address
            && end <= self.room.end
            && self.slots.iter().filter_map(|slot| slot.dimm).all(free)
    }

    /// The lowest address where there is room: the start, or the end of a DIMM.
    fn find_room(&self, size: u64) -> Option<u64> {
        let ends = self.slots.iter().filter_map(|slot| Some(slot.dimm?.range().end));
        let mut places: Vec<u64> = ends.chain([self.room.start]).collect();
        places.sort_unstable();
        places.into_iter().find(|at| self.is_room(*at, size))
    }

    fn load(&self, offset: usize, bytes: usize) -> u64 {
        let Some(slot) = self.slots.get(self.selected) else { return 0 };
        let (address, size) = slot.dimm.map_or((0, 0), |dimm| (dimm.address, dimm.size));
        let word = match offset {
            0x00 => address,
            0x04 => address >> 32,
            0x08 => size,
            0x0c => size >> 32,
            0x10 => slot.dimm.map_or(0, |dimm| u64::from(dimm.node)),
            0x14 => slot.flags,
            _ => u64::MAX,
        };
        word & (u64::MAX >> (64 - 8 * bytes))
    }

    fn store(&mut self, offset: usize, value: u64) {
        let word = u32::try_from(value & 0xffff_ffff).unwrap_or(u32::MAX);
        if offset == 0 {
            self.selected = word as usize;
            return;
        }
        let number = self.selected;
        let Some(slot) = self.slots.get_mut(number) else { return };
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        match offset {
            0x04 => self.ost_event = word,
            0x08 => self.told.push(Told::Ost { slot: number, event: self.ost_event, status: word }),
            0x14 if value & ACK_INSERT != 0 => slot.flags &= !INSERTING,
            0x14 if value & ACK_REMOVE != 0 => slot.flags &= !REMOVING,
            0x14 if value & EJECT != 0 => self.eject(number),
            _ => {}
        }
    }

    /// The DIMM is gone, and the flag of a request to remove it stays.
    fn eject(&mut self, number: u32) {
        let slot = &mut self.slots[number as usize];
        let Some(dimm) = slot.dimm.take() else { return };
        slot.flags &= !ENABLED;
        self.machine.unplug(dimm.address);
        self.told.push(Told::Deleted { slot: number });
    }
}

struct EventSelector(Slots);

impl Registers for EventSelector {
    fn load(&mut self, offset: usize, _bytes: usize) -> u64 {
        let mut state = self.0.0.borrow_mut();
        if offset == 0 { std::mem::take(&mut state.events) } else { 0 }
    }
    fn store(&mut self, _offset: usize, _bytes: usize, _value: u64) {}
}

struct SlotRegisters(Slots);

impl Registers for SlotRegisters {
    fn load(&mut self, offset: usize, bytes: usize) -> u64 {
        self.0.0.borrow().load(offset, bytes)
    }
    fn store(&mut self, offset: usize, _bytes: usize, value: u64) {
        self.0.0.borrow_mut().store(offset, value);
    }
}

#[cfg(test)]
mod tests;
