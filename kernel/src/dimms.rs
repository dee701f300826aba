//! DIMMs: from a slot's registers to the memory model and back, and what QEMU hears of it.
//!
//! ```text
//!  insert:  flags enabled|insert -> ack -> seven steps -> OST (1, 0), or their undoing -> OST (1, 1)
//!  remove:  flags enabled|remove -> ack -> OST (3, 0x84) -> migrate, steps backwards -> eject, or OST (3, 0x82)
//! ```

use core::fmt;

use alloc::vec::Vec;

use hotmap_mm::addr::{Bytes, PhysAddr, PhysRange};
use hotmap_mm::error::{Error, Resource, Result};
use hotmap_mm::granule::Granule;
use hotmap_mm::hotplug::block::{BlockState, Source};
use hotmap_mm::hotplug::range::HotRange;
use hotmap_mm::hotplug::steps::{MemmapHome, Step};
use hotmap_mm::list;
use hotmap_mm::machine::Machine;
use hotmap_mm::model::Mm;
use hotmap_mm::pfn::PfnRange;
use hotmap_mm::zone::ZoneKind;

use crate::drivers::ged::Slot;
use crate::meter::Meter;
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
    /// Whether its memory could not be added: it waits to be ejected.
    pub refused: bool,
}

/// What to do with new memory.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// Where its memmap goes.
    pub home: MemmapHome,
    /// Whether it goes online at once.
    pub online: bool,
}

/// The DIMMs in their slots.
#[derive(Default)]
pub struct Dimms {
    present: Vec<Dimm>,
}

/// The figures of one operation, for `bench=on`.
struct Figures<'a> {
    operation: &'a str,
    range: PhysRange,
    meter: Meter,
}

impl fmt::Display for Figures<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "bench: {} {} {}", self.operation, self.range.len(), self.meter)
    }
}

impl Dimms {
    /// None.
    pub const fn new() -> Self {
        Self { present: Vec::new() }
    }
    /// Make room for every slot's DIMM, once: none is ever too many to be listed.
    ///
    /// # Errors
    /// `Out` when the heap has no room.
    pub fn reserve(&mut self, slots: u32) -> Result<()> {
        list::reserve(&mut self.present, slots as usize)
    }
    /// Note that the memory of the DIMM in `slot` is not here any more.
    pub fn refuse(&mut self, slot: u32) {
        self.present.iter_mut().filter(|d| d.slot == slot).for_each(|d| d.refused = true);
    }
    /// All of them, by slot.
    pub fn all(&self) -> &[Dimm] {
        &self.present
    }
    /// The DIMM in `slot`.
    pub fn in_slot(&self, slot: u32) -> Option<&Dimm> {
        self.present.iter().find(|d| d.slot == slot)
    }

    /// A DIMM has come: bring it in, or list it as refused.
    ///
    /// # Errors
    /// Why it was refused; nothing else has changed then.
    pub fn insert<G: Granule, M: Machine>(
        &mut self,
        mm: &mut Mm<G, M>,
        slot: &Slot,
        policy: Policy,
    ) -> Result<()> {
        let start = PhysAddr::new(slot.address);
        let room = mm.may_fail(Resource::Heap { bytes: size_of::<Dimm>() });
        let room = room.and_then(|()| list::reserve(&mut self.present, 1));
        let result = room.and_then(|()| add(mm, slot, policy));
        let range = PhysRange::checked_new(start, slot.size).unwrap_or(PhysRange { start, end: start });
        let at = self.present.partition_point(|d| d.slot < slot.number);
        // Room for every slot was made at boot. Without it, what was refused is not listed, and can be ejected all the same.
        if self.present.len() < self.present.capacity() {
            let refused = result.is_err();
            self.present.insert(at, Dimm { slot: slot.number, range, node: slot.node, refused });
        }
        match &result {
            Ok(()) => klog!("dimm{}: {range} ({}) is here", slot.number, Bytes(range.len())),
            Err(error) => kprintln!("dimm{}: refused: {error}", slot.number),
        }
        result
    }

    /// A DIMM shall go: migrate, offline, remove. It is off the list then, and may be ejected.
    ///
    /// # Errors
    /// Why it cannot go; it is online as before then.
    pub fn remove<G: Granule, M: Machine>(&mut self, mm: &mut Mm<G, M>, slot: u32) -> Result<()> {
        let Some(at) = self.present.iter().position(|d| d.slot == slot) else {
            klog!("dimm{slot}: is gone before it was here");
            return Ok(());
        };
        let dimm = self.present[at];
        if !dimm.refused {
            take_away(mm, &dimm)?;
        }
        self.present.remove(at);
        klog!("dimm{slot}: {} is gone", dimm.range);
        Ok(())
    }
}

/// The seven steps, or the first five where memory waits for `online`; an error has undone them.
fn add<G: Granule, M: Machine>(mm: &mut Mm<G, M>, slot: &Slot, policy: Policy) -> Result<()> {
    let mut meter = Meter::start(mm);
    let range = HotRange::new(mm, PhysAddr::new(slot.address), slot.size, Source::Dimm(slot.number))?;
    let bytes = range.pages().addresses::<G>();
    let done = |mm: &Mm<G, M>, step| {
        let so_far = meter.stop(mm);
        match step {
            Step::InitialisePages => Figures { operation: "add", range: bytes, meter: so_far }.print(),
            Step::GoOnline => Figures { operation: "online", range: bytes, meter: so_far }.print(),
            _ => return tell_step(mm, slot.number, &range, step),
        }
        tell_step(mm, slot.number, &range, step);
        meter = Meter::start(mm);
    };
    if policy.online {
        mm.plug(&range, policy.home, ZoneKind::Movable, done)
    } else {
        mm.add_telling(&range, policy.home, done)
    }
}

fn take_away<G: Granule, M: Machine>(mm: &mut Mm<G, M>, dimm: &Dimm) -> Result<()> {
    let pages = PfnRange::inside::<G>(dimm.range);
    let all_offline = HotRange::blocks::<G>(pages)
        .all(|start| mm.block_of(start).is_some_and(|b| b.state == BlockState::Offline));
    if !all_offline {
        let meter = Meter::start(mm);
        let offlined = mm.offline_range(pages).inspect_err(|error| refuse(dimm, error))?;
        klog!("dimm{}: offline, {} pages migrated", dimm.slot, offlined.migrated);
        Figures { operation: "offline", range: dimm.range, meter: meter.stop(mm) }.print();
    }
    let meter = Meter::start(mm);
    mm.remove(dimm.range).inspect_err(|error| refuse(dimm, error))?;
    Figures { operation: "remove", range: dimm.range, meter: meter.stop(mm) }.print();
    Ok(())
}

fn refuse(dimm: &Dimm, error: &Error) {
    kprintln!("dimm{}: refused: {error}", dimm.slot);
}

impl Figures<'_> {
    fn print(&self) {
        if crate::meter::is_on() {
            crate::kprintln!("{self}");
        }
    }
}

/// One log line for each of the seven steps: what it found to do.
fn tell_step<G: Granule, M: Machine>(mm: &Mm<G, M>, slot: u32, range: &HotRange, step: Step) {
    if crate::console::is_quiet() {
        return;
    }
    let pages = range.pages();
    let blocks = HotRange::blocks::<G>(pages).count();
    let block = mm.block_of(pages.start);
    let memmap = block.map_or(0, |b| b.memmap_pages);
    let head = format_args!("dimm{slot}: {} {}", step.number(), step.name());
    match step {
        Step::ClaimSections => klog!("{head}: {blocks} of {}", Bytes(G::SECTION_SIZE)),
        Step::MapLinear => {
            let va = mm.layout().linear(pages.start.address::<G>());
            let leaf = mm.tables().path(mm.machine(), va).leaf().map_or(0, |s| s.slot.span.len());
            klog!("{head}: at {va} by {} leaves", Bytes(leaf));
        }
        Step::ChooseBacking if memmap > 0 => {
            klog!("{head}: self-hosted, {memmap} pages at the start of each block")
        }
        Step::ChooseBacking => klog!("{head}: system RAM"),
        Step::PopulateVmemmap => {
            let va = mm.layout().page_address(pages.start);
            let leaf = mm.tables().path(mm.machine(), va).leaf().map_or(0, |s| s.slot.span.len());
            klog!("{head}: {} at {va} by {} leaves", Bytes(pages.len() * 64), Bytes(leaf));
        }
        Step::InitialisePages => klog!("{head}: {} cleared at once", pages.len()),
        Step::JoinZone => {
            klog!("{head}: {}", block.and_then(|b| b.state.zone()).map_or("none", ZoneKind::name))
        }
        Step::GoOnline => klog!("{head}: {} free pages", blocks as u64 * block.map_or(0, |b| b.free.pages())),
    }
}
