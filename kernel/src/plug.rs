//! Memory is added and removed: the common part of a DIMM (dimms.rs) and a region of the device tree (regions.rs). The model
//! does the steps; this file adds the policy, the log lines and the figures.

use core::fmt;

use hotmap_mm::addr::{Bytes, PhysAddr, PhysRange};
use hotmap_mm::error::Result;
use hotmap_mm::frame::block::{BlockState, Source};
use hotmap_mm::frame::page::PAGE_BYTES;
use hotmap_mm::frame::zone::ZoneKind;
use hotmap_mm::hotplug::range::HotRange;
use hotmap_mm::hotplug::{home::MemmapHome, step::Step};
use hotmap_mm::machine::Machine;
use hotmap_mm::mm::Mm;
use hotmap_mm::pfn::PfnRange;

use crate::attention;
use crate::meter::{self, Meter};
use crate::{klog, kprintln};

/// What to do with new memory.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// Where its memmap lies.
    pub home: MemmapHome,
    /// Whether it goes online at once.
    pub online: bool,
}

/// The name with which log lines begin: `dimm0`, `dt@80000000`.
#[derive(Clone, Copy, Debug)]
pub struct Name {
    /// Where the memory comes from.
    pub source: Source,
    /// Its first byte.
    pub start: PhysAddr,
    /// Its NUMA node, or 0 if none is named.
    pub node: u32,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.source {
            Source::DeviceTree | Source::Boot => write!(f, "{}@{:x}", self.source, self.start.get()),
            source => write!(f, "{source}"),
        }
    }
}

/// Adds `len` bytes at the name's address: all seven steps, or with `online=manual` the first five.
///
/// # Errors
/// Why it was refused; every step is undone.
pub fn bring_in<M: Machine>(mm: &mut Mm<M>, name: Name, len: u64, policy: Policy) -> Result<()> {
    let g = mm.granule();
    let mut meter = Meter::start(&mm.frames().counts());
    let range = HotRange::new(mm, name.start, len, name.source)?.on_node(name.node);
    let remote = mm.frames().warnings.remote_memmap;
    let bytes = range.pages().addresses(g);
    let done = |mm: &Mm<M>, step| {
        let so_far = meter.stop(|| mm.frames().counts());
        match step {
            Step::InitialisePages => print_figures("add", bytes, so_far),
            Step::GoOnline => print_figures("online", bytes, so_far),
            _ => return log_step(mm, name, &range, policy.home, step),
        }
        log_step(mm, name, &range, policy.home, step);
        meter = Meter::start(&mm.frames().counts());
    };
    if policy.online {
        mm.plug(&range, policy.home, ZoneKind::Movable, done)?;
    } else {
        mm.add_memory(&range, policy.home, done)?;
    }
    if mm.frames().warnings.remote_memmap > remote {
        let node = name.node;
        kprintln!(
            "warning: {name} is on node {node}, and its memmap is not (this is said once; memmap=self avoids it)"
        );
    }
    klog!("{name}: {bytes} ({}) is here", Bytes(bytes.len()));
    Ok(())
}

/// Takes `range` offline, migrating pages in use, and removes it. Ctrl-C on the console ends the offline.
///
/// # Errors
/// Why it cannot be removed; it is as it was, but for pages that have migrated.
pub fn take_away<M: Machine>(mm: &mut Mm<M>, name: Name, range: PhysRange) -> Result<()> {
    // Checked before anything goes offline, and with all that can run out.
    let removal = mm.prepare_removal(range)?;
    if let Err(error) = take_offline(mm, name, range, removal.pages()) {
        mm.cancel_removal(removal);
        return Err(error);
    }
    let meter = Meter::start(&mm.frames().counts());
    mm.finish_removal(removal);
    print_figures("remove", range, meter.stop(|| mm.frames().counts()));
    klog!("{name}: {range} is gone");
    Ok(())
}

/// Takes the blocks of `range` offline that are not.
fn take_offline<M: Machine>(mm: &mut Mm<M>, name: Name, range: PhysRange, pages: PfnRange) -> Result<()> {
    if mm.frames().states_of(pages).all(|state| state == BlockState::Offline) {
        return Ok(());
    }
    let meter = Meter::start(&mm.frames().counts());
    let mut stop = attention::of_offline(&name, mm, pages);
    let offlined = mm.offline_pages_unless(pages, &mut stop)?;
    klog!("{name}: offline, {} pages migrated", offlined.migrated);
    print_figures("offline", range, meter.stop(|| mm.frames().counts()));
    Ok(())
}

/// Whether any memory block of `range` is present.
pub fn is_present<M: Machine>(mm: &Mm<M>, range: PhysRange) -> bool {
    mm.frames().states_of(PfnRange::inside(mm.granule(), range)).next().is_some()
}

/// The state of the blocks of `range`: `online`, `offline` or `mixed`.
pub fn state_of<M: Machine>(mm: &Mm<M>, range: PhysRange) -> &'static str {
    let mut online =
        mm.frames().states_of(PfnRange::inside(mm.granule(), range)).map(|state| state.zone().is_some());
    match online.next() {
        Some(first) if online.any(|online| online != first) => "mixed",
        Some(true) => "online",
        _ => "offline",
    }
}

/// The figures of one operation, for `bench=on`.
fn print_figures(operation: &str, range: PhysRange, meter: Meter) {
    if meter::is_on() {
        crate::kprintln!("bench: {operation} {} {meter}", range.len());
    }
}

/// Logs one line for each of the seven steps: what it did.
fn log_step<M: Machine>(mm: &Mm<M>, name: Name, range: &HotRange, home: MemmapHome, step: Step) {
    if crate::console::is_quiet() {
        return;
    }
    let (g, pages) = (mm.granule(), range.pages());
    let blocks = || pages.blocks(g).filter_map(|start| mm.frames().block_of(start));
    let first = mm.frames().block_of(pages.start);
    let leaf = |va| Bytes(mm.space().path(va).leaf().map_or(0, |step| step.slot.span.len()));
    let head = format_args!("{name}: {} {}", step.number(), step.name());
    match step {
        Step::ClaimSections => klog!("{head}: {} of {}", blocks().count(), Bytes(g.section_size)),
        Step::MapLinear => {
            let va = mm.space().layout().linear(pages.start.address(g));
            klog!("{head}: at {va} by {} leaves", leaf(va));
        }
        Step::ChooseBacking => match home {
            MemmapHome::SelfHosted => {
                let memmap = first.map_or(0, |block| block.memmap_pages);
                klog!("{head}: self-hosted, {memmap} pages at the start of each block");
            }
            // The memmap may reach over the first block.
            MemmapHome::SelfRange { .. } | MemmapHome::Given(_) => {
                let memmap = pages.len() * PAGE_BYTES / g.page_size;
                klog!("{head}: self-hosted, {memmap} pages at the start of the range");
            }
            MemmapHome::Ram => klog!("{head}: system RAM"),
            MemmapHome::Demand => klog!("{head}: on demand, pages of each block as it is used"),
        },
        Step::PopulateVmemmap if home == MemmapHome::Demand => {
            klog!("{head}: {} are the image of a free block", Bytes(pages.len() * PAGE_BYTES));
        }
        Step::PopulateVmemmap => {
            let va = mm.space().layout().page_address(pages.start);
            klog!("{head}: {} at {va} by {} leaves", Bytes(pages.len() * PAGE_BYTES), leaf(va));
        }
        Step::InitialisePages if home == MemmapHome::Demand => {
            klog!("{head}: {} that the image describes", pages.len());
        }
        Step::InitialisePages => klog!("{head}: {} cleared at once", pages.len()),
        Step::JoinZone => {
            klog!("{head}: {}", first.and_then(|block| block.state.zone()).map_or("none", ZoneKind::name));
        }
        Step::GoOnline => {
            klog!("{head}: {} free pages", blocks().map(|block| block.free.pages()).sum::<u64>());
        }
    }
}
