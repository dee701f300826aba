//! Memory to try things with: the newest DIMM, taken away from the model for as long as a test has it (the DIMM itself stays
//! in its slot), and the newest memory block of boot RAM. Both only while they are not in use.

use hotmap_mm::addr::PhysRange;
use hotmap_mm::device::given::Kmem;
use hotmap_mm::device::holds::Teardown;
use hotmap_mm::device::pagemap::Pagemap;
use hotmap_mm::error::Result;
use hotmap_mm::frame::block::{BlockState, MemoryBlock, Source};
use hotmap_mm::frame::counts::Counts;
use hotmap_mm::frame::section::Backing;
use hotmap_mm::frame::zone::ZoneKind;
use hotmap_mm::hotplug::home::MemmapHome;
use hotmap_mm::hotplug::range::HotRange;
use hotmap_mm::pfn::{Pfn, PfnRange};

use super::check::{Outcome, skip};
use super::expected::{Expected, starts};
use hotmap_kernel::kernel::Kernel;

const NO_DIMM: &str = "no DIMM: plug one first";
const BUSY_DIMM: &str = "no DIMM is unused, in one state, and the newest of its zone";
const NO_BOOT_BLOCK: &str = "the newest block of zone Normal is not unused boot memory";

/// A DIMM that the model has forgotten for the moment.
pub(super) struct Spare {
    /// Its memory.
    pub(super) range: PhysRange,
    /// Its pages.
    pub(super) pages: PfnRange,
    /// Where it had its memmap.
    pub(super) home: MemmapHome,
    /// The zone that it was in, unless it was offline.
    pub(super) zone: Option<ZoneKind>,
    /// The pages by use while it was there.
    pub(super) before: Counts,
    slot: u32,
}

impl Spare {
    /// Its memory, validated anew.
    pub(super) fn validate(&self, kernel: &Kernel) -> Result<HotRange> {
        HotRange::new(&kernel.mm, self.range.start, self.range.len(), Source::Dimm(self.slot))
    }
    /// How many blocks it is.
    pub(super) fn blocks(&self, kernel: &Kernel) -> u64 {
        self.pages.len() / kernel.section_pages()
    }
}

/// Runs `body` without the newest DIMM's memory, and adds the memory again, whatever `body` did with it.
pub(super) fn with_spare(kernel: &mut Kernel, body: fn(&mut Kernel, &Spare) -> Outcome) -> Outcome {
    let spare = find(kernel)?;
    take_out(kernel, spare.pages)?;
    let outcome = body(kernel, &spare);
    take_down_devices(kernel, spare.pages)?;
    put_back(kernel, &spare)?;
    outcome
}

fn find(kernel: &Kernel) -> Outcome<Spare> {
    let dimms = kernel.dimms.all();
    if dimms.is_empty() {
        return skip(&NO_DIMM);
    }
    let usable = dimms.iter().filter(|dimm| dimm.refusal.is_none());
    let found = usable.rev().find_map(|dimm| spare(kernel, dimm.slot, dimm.range));
    found.map_or(skip(&BUSY_DIMM), Ok)
}

fn spare(kernel: &Kernel, slot: u32, range: PhysRange) -> Option<Spare> {
    let pages = PfnRange { start: kernel.pfn(range.start), end: kernel.pfn(range.end) };
    let first = kernel.block_of(pages.start)?;
    let is_idle = |block: &MemoryBlock| block.state == BlockState::Offline || kernel.is_all_free(block);
    let fits = |block: MemoryBlock| block.state == first.state && is_idle(&block);
    let alike = starts(kernel, pages).all(|start| kernel.block_of(start).is_some_and(fits));
    let zone = first.state.zone();
    let newest = zone.is_none_or(|zone| {
        // Going online again puts its blocks at the end of the zone's list, ascending.
        let all = kernel.mm.frames().blocks_in(zone).count();
        let before = all.saturating_sub(starts(kernel, pages).count());
        starts(kernel, pages).eq(kernel.mm.frames().blocks_in(zone).skip(before))
    });
    let home = home(kernel, pages);
    (alike && newest).then(|| Spare { range, pages, home, zone, before: kernel.mm.frames().counts(), slot })
}

/// Where the memmap of all of `pages` is. What tells one altmap in each block from one for all is the last block: one block
/// by itself is the same either way.
fn home(kernel: &Kernel, pages: PfnRange) -> MemmapHome {
    let last = starts(kernel, pages).next_back().and_then(|start| kernel.section_of(start));
    match last.map(|section| (section.start, section.backing)) {
        Some((start, Backing::Altmap(base))) if start == base => MemmapHome::SelfHosted,
        Some((_, Backing::Altmap(_))) => MemmapHome::SelfRange { reserve: 0 },
        Some((_, Backing::Demand)) => MemmapHome::Demand,
        Some((_, Backing::Boot | Backing::Ram)) | None => MemmapHome::Ram,
    }
}

/// Takes what is present of `pages` out of the model.
fn take_out(kernel: &mut Kernel, pages: PfnRange) -> Result<()> {
    let mut present = 0;
    for start in starts(kernel, pages) {
        let state = kernel.block_of(start).map(|block| block.state);
        present += u64::from(state.is_some());
        if state.is_some_and(|state| state != BlockState::Offline) {
            kernel.mm.offline_block(start)?;
        }
    }
    if present * kernel.section_pages() == pages.len() {
        return kernel.mm.remove_memory(kernel.addresses(pages));
    }
    for start in starts(kernel, pages) {
        if kernel.block_of(start).is_some() {
            kernel.mm.remove_memory(kernel.addresses(kernel.section(start)))?;
        }
    }
    Ok(())
}

/// Takes down the devices that a test has left in `pages`.
fn take_down_devices(kernel: &mut Kernel, pages: PfnRange) -> Result<()> {
    let is_there = |device: &PfnRange| device.overlaps(&pages);
    if let Some(device) = kernel.mm.devices().kmem().iter().map(Kmem::device).find(is_there) {
        kernel.mm.memory_to_device(device.start)?;
    }
    let there = |device: &&Pagemap| device.ranges().iter().any(is_there);
    while let Some(start) = kernel.mm.devices().iter().find(there).map(Pagemap::start) {
        if let Teardown::Waits { pfn, .. } = kernel.mm.memunmap_pages(start)? {
            kernel.mm.unpin(pfn)?;
        }
    }
    Ok(())
}

/// Removes what a test has left of it, and adds it again as it was.
fn put_back(kernel: &mut Kernel, spare: &Spare) -> Result<()> {
    take_out(kernel, spare.pages)?;
    let range = spare.validate(kernel)?;
    kernel.mm.add_memory(&range, spare.home, |_, _| {})?;
    spare.zone.map_or(Ok(()), |zone| kernel.mm.online_pages(spare.pages, zone, |_, _| {}))
}

/// The newest block of boot RAM, if it can go offline and come back as if nothing had been.
pub(super) fn boot_block(kernel: &Kernel) -> Outcome<Pfn> {
    let newest = kernel.mm.frames().blocks_in(ZoneKind::Normal).last();
    let block = newest.and_then(|start| kernel.block_of(start));
    match block {
        Some(block)
            if block.source == Source::Boot
                && block.free.pages() + block.memmap_pages == kernel.section_pages() =>
        {
            Ok(block.start)
        }
        _ => skip(&NO_BOOT_BLOCK),
    }
}
