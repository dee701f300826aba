//! Memory comes and goes: what a DIMM (dimms.rs) and a region of the device tree (regions.rs) have in common. The steps are
//! the model's; here they get their log lines, their figures, and the policy.

use core::fmt;

use hotmap_mm::addr::{Bytes, PhysAddr, PhysRange};
use hotmap_mm::error::Result;
use hotmap_mm::granule::Granule;
use hotmap_mm::hotplug::block::{BlockState, MemoryBlock, Source};
use hotmap_mm::hotplug::range::HotRange;
use hotmap_mm::hotplug::steps::{MemmapHome, Step};
use hotmap_mm::machine::Machine;
use hotmap_mm::model::Mm;
use hotmap_mm::pfn::PfnRange;
use hotmap_mm::zone::ZoneKind;

use crate::meter::{self, Meter};
use crate::{klog, kprintln};

/// What to do with new memory.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// Where its memmap goes.
    pub home: MemmapHome,
    /// Whether it goes online at once.
    pub online: bool,
}

/// Whose memory it is, as its log lines begin: `dimm0`, `dt@80000000`.
#[derive(Clone, Copy, Debug)]
pub struct Name {
    /// Where the memory comes from.
    pub source: Source,
    /// Its first byte.
    pub start: PhysAddr,
    /// Its NUMA node; 0 where nothing is said.
    pub node: u32,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.source {
            Source::DeviceTree => write!(f, "{}@{:x}", self.source, self.start.get()),
            source => write!(f, "{source}"),
        }
    }
}

/// The seven steps for `len` bytes at the name's address, or the first five where memory waits for `online`.
///
/// # Errors
/// Why it was refused; every step is undone then.
pub fn bring_in<G: Granule, M: Machine>(
    mm: &mut Mm<G, M>,
    name: Name,
    len: u64,
    policy: Policy,
) -> Result<()> {
    let mut meter = Meter::start(mm);
    let range = HotRange::new(mm, name.start, len, name.source)?.on_node(name.node);
    let remote = mm.warnings().remote_memmap;
    let bytes = range.pages().addresses::<G>();
    let done = |mm: &Mm<G, M>, step| {
        let so_far = meter.stop(mm);
        match step {
            Step::InitialisePages => print_figures("add", bytes, so_far),
            Step::GoOnline => print_figures("online", bytes, so_far),
            _ => return tell_step(mm, name, &range, policy.home, step),
        }
        tell_step(mm, name, &range, policy.home, step);
        meter = Meter::start(mm);
    };
    if policy.online {
        mm.plug(&range, policy.home, ZoneKind::Movable, done)?;
    } else {
        mm.add_telling(&range, policy.home, done)?;
    }
    if mm.warnings().remote_memmap > remote {
        let node = name.node;
        kprintln!(
            "warning: {name} is on node {node}, and its memmap is not (this is said once; memmap=self avoids it)"
        );
    }
    Ok(())
}

/// Migrate, offline, and the steps backwards.
///
/// # Errors
/// Why it cannot go; it is as it was then.
pub fn take_away<G: Granule, M: Machine>(mm: &mut Mm<G, M>, name: Name, range: PhysRange) -> Result<()> {
    let pages = PfnRange::inside::<G>(range);
    let all_offline = HotRange::blocks::<G>(pages)
        .all(|start| mm.block_of(start).is_some_and(|b| b.state == BlockState::Offline));
    if !all_offline {
        let meter = Meter::start(mm);
        let offlined = mm.offline_range(pages)?;
        klog!("{name}: offline, {} pages migrated", offlined.migrated);
        print_figures("offline", range, meter.stop(mm));
    }
    let meter = Meter::start(mm);
    mm.remove(range)?;
    print_figures("remove", range, meter.stop(mm));
    Ok(())
}

/// What the blocks of `range` are: `online`, `offline` or `mixed`.
pub fn state_of<G: Granule, M: Machine>(mm: &Mm<G, M>, range: PhysRange) -> &'static str {
    let pages = PfnRange::inside::<G>(range);
    let mut blocks = mm.blocks().iter().filter(|b| pages.contains(b.start));
    let online = |b: &MemoryBlock| b.state.zone().is_some();
    match blocks.next().map(online) {
        Some(first) if blocks.any(|b| online(b) != first) => "mixed",
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

/// One log line for each of the seven steps: what it found to do.
fn tell_step<G: Granule, M: Machine>(
    mm: &Mm<G, M>,
    name: Name,
    range: &HotRange,
    home: MemmapHome,
    step: Step,
) {
    if crate::console::is_quiet() {
        return;
    }
    let pages = range.pages();
    let blocks = HotRange::blocks::<G>(pages).count();
    let block = mm.block_of(pages.start);
    let memmap = block.map_or(0, |b| b.memmap_pages);
    let head = format_args!("{name}: {} {}", step.number(), step.name());
    match step {
        Step::ClaimSections => klog!("{head}: {blocks} of {}", Bytes(G::SECTION_SIZE)),
        Step::MapLinear => {
            let va = mm.layout().linear(pages.start.address::<G>());
            let leaf = mm.tables().path(mm.machine(), va).leaf().map_or(0, |s| s.slot.span.len());
            klog!("{head}: at {va} by {} leaves", Bytes(leaf));
        }
        Step::ChooseBacking => match home {
            MemmapHome::SelfHosted => klog!("{head}: self-hosted, {memmap} pages at the start of each block"),
            // It may reach over the first block; a struct page is 64 bytes.
            MemmapHome::SelfRange | MemmapHome::Given(_) => {
                klog!("{head}: self-hosted, {} pages at the start of the range", pages.len() * 64 / G::SIZE);
            }
            MemmapHome::Ram => klog!("{head}: system RAM"),
        },
        Step::PopulateVmemmap => {
            let va = mm.layout().page_address(pages.start);
            let leaf = mm.tables().path(mm.machine(), va).leaf().map_or(0, |s| s.slot.span.len());
            klog!("{head}: {} at {va} by {} leaves", Bytes(pages.len() * 64), Bytes(leaf));
        }
        Step::InitialisePages => klog!("{head}: {} cleared at once", pages.len()),
        Step::JoinZone => {
            klog!("{head}: {}", block.and_then(|b| b.state.zone()).map_or("none", ZoneKind::name))
        }
        Step::GoOnline => {
            let free =
                HotRange::blocks::<G>(pages).filter_map(|start| mm.block_of(start)).map(|b| b.free.pages());
            klog!("{head}: {} free pages", free.sum::<u64>());
        }
    }
}
