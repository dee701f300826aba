//! DIMMs: from a slot's registers to the memory model and back, and the reports to QEMU.
//!
//! ```text
//!  insert:  flags enabled|insert -> ack -> seven steps -> OST (1, 0), or undo -> OST (1, 1)
//!  remove:  flags enabled|remove -> ack -> OST (3, 0x84) -> migrate, steps backwards -> eject, or OST (3, 0x82)
//! ```

use alloc::vec::Vec;

use hotmap_mm::addr::{PhysAddr, PhysRange};
use hotmap_mm::error::{Error, Resource, Result};
use hotmap_mm::frame::block::Source;
use hotmap_mm::list;
use hotmap_mm::machine::Machine;
use hotmap_mm::mm::Mm;

use crate::drivers::ged::Slot;
use crate::plug::{self, Name, Policy};
use crate::{klog, kprintln};

/// A DIMM in a slot.
#[derive(Clone, Copy, Debug)]
pub struct Dimm {
    /// The slot.
    pub slot: u32,
    /// Its memory.
    pub range: PhysRange,
    /// Its NUMA node.
    pub node: u32,
    /// Why its memory could not be added: then it waits to be ejected.
    pub refusal: Option<Error>,
}

/// The DIMMs in their slots.
#[derive(Default)]
pub struct Dimms {
    present: Vec<Dimm>,
}

impl Dimms {
    /// Makes an empty list.
    pub const fn new() -> Self {
        Self { present: Vec::new() }
    }
    /// Reserves room for every slot's DIMM, once, so that each can be listed.
    ///
    /// # Errors
    /// `Out` when the heap has no room.
    pub fn reserve(&mut self, slots: u32) -> Result<()> {
        list::reserve(&mut self.present, slots as usize)
    }
    /// All of them, by slot.
    pub fn all(&self) -> &[Dimm] {
        &self.present
    }
    /// The DIMM in `slot`.
    pub fn in_slot(&self, slot: u32) -> Option<&Dimm> {
        self.present.iter().find(|d| d.slot == slot)
    }

    /// Adds a DIMM's memory and lists the DIMM, as present or as refused.
    ///
    /// # Errors
    /// Why it was refused; nothing else has changed.
    pub fn insert<M: Machine>(&mut self, mm: &mut Mm<M>, slot: &Slot, policy: Policy) -> Result<()> {
        let start = PhysAddr::new(slot.address);
        let room = mm.frames_mut().may_fail(Resource::Heap { bytes: size_of::<Dimm>() });
        let room = room.and_then(|()| list::reserve(&mut self.present, 1));
        let name = Name { source: Source::Dimm(slot.number), start, node: slot.node };
        let result = room.and_then(|()| plug::bring_in(mm, name, slot.size, policy));
        let range = PhysRange::checked_new(start, slot.size).unwrap_or(PhysRange { start, end: start });
        let at = self.present.partition_point(|d| d.slot < slot.number);
        // Room for every slot was reserved at boot. Without it, a refused DIMM is not listed, and can be ejected all the
        // same.
        if self.present.len() < self.present.capacity() {
            let refusal = result.err();
            self.present.insert(at, Dimm { slot: slot.number, range, node: slot.node, refusal });
        }
        result.inspect_err(|error| kprintln!("dimm{}: refused: {error}", slot.number))
    }

    /// Takes a DIMM's memory offline, migrating pages in use, removes it, and takes the DIMM off the list: it may be ejected.
    ///
    /// # Errors
    /// Why it cannot be removed; it is online as before.
    pub fn remove<M: Machine>(&mut self, mm: &mut Mm<M>, slot: u32) -> Result<()> {
        let Some(at) = self.present.iter().position(|d| d.slot == slot) else {
            klog!("dimm{slot}: ejected before it was added");
            return Ok(());
        };
        let dimm = self.present[at];
        // Without a block, its memory was removed and could not be added again (a self-test found the heap full).
        if dimm.refusal.is_some() || !plug::is_present(mm, dimm.range) {
            klog!("dimm{slot}: {} is gone", dimm.range);
        } else {
            let name = Name { source: Source::Dimm(slot), start: dimm.range.start, node: dimm.node };
            plug::take_away(mm, name, dimm.range)
                .inspect_err(|error| kprintln!("dimm{slot}: refused: {error}"))?;
        }
        self.present.remove(at);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
