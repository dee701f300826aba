//! The model's first state: boot RAM's sections get their memmap, what memblock knows becomes page kinds, and the rest goes
//! to the buddy allocator.

use crate::frame::Frames;
use crate::hotplug::home::MemmapHome;
use alloc::vec::Vec;

use crate::addr::{PhysAddr, PhysRange};
use crate::device::devices::Devices;
use crate::entry::descriptor::Attributes;
use crate::error::{Error, RangeError, Result};
use crate::frame::altmap::Altmap;
use crate::frame::block::{BlockState, MemoryBlock, Source};
use crate::frame::memmap::Groups;
use crate::frame::page::PageKind;
use crate::frame::section::{Backing, Section, Subsections};
use crate::frame::tables::TableFrames;
use crate::frame::zone::ZoneKind;
use crate::granule::Granule;
use crate::hotplug::notify::Chain;
use crate::hugetlb::HugeTlb;
use crate::layout::Layout;
use crate::list;
use crate::machine::{self, Machine};
use crate::memblock::Memblock;
use crate::migrate::tenant::Tenants;
use crate::mm::Mm;
use crate::pfn::{Pfn, PfnRange};
use crate::space::request::MapRequest;
use crate::space::table::KernelSpace;
use crate::vmemmap::image::populate_image;
use crate::vmemmap::populate::BootFrames;

/// Maps all of boot RAM linearly, no leaf larger than a memory block so that each can go by itself; `constant` (the image's
/// code and constants) read-only, because this is a second mapping of it. Runs before the MMU is on, with tables from
/// memblock: `machine` reaches frames by their physical addresses then.
///
/// # Errors
/// `Out` when memblock runs out, `RangeError::BeyondLinearMap` for RAM that the linear map cannot reach.
pub fn map_boot_ram<M: Machine>(
    space: &mut KernelSpace<M>,
    memblock: &mut Memblock,
    constant: PhysRange,
) -> Result<()> {
    let (g, layout) = (space.granule(), space.layout());
    let mut ram = [PhysRange::default(); crate::memblock::MAX_RAM];
    let count = memblock.ram().len();
    ram[..count].copy_from_slice(memblock.ram());
    let reach = layout.reach();
    if let Some(range) = ram[..count].iter().copied().find(|range| !reach.covers(range)) {
        return Err(RangeError::BeyondLinearMap { range, reach }.into());
    }
    for range in &ram[..count] {
        let whole = PfnRange::inside(g, *range).addresses(g);
        let (low, high) =
            (constant.start.clamp(whole.start, whole.end), constant.end.clamp(whole.start, whole.end));
        let parts = [
            (whole.start, low, Attributes::DATA),
            (low, high, Attributes::RODATA),
            (high, whole.end, Attributes::DATA),
        ];
        for (start, end, attributes) in parts {
            let part = PhysRange { start, end };
            let request = MapRequest {
                range: layout.linear_range(part),
                pa: part.start,
                attributes,
                max_leaf: g.section_size,
                contiguous: true,
            };
            map_boot(space, memblock, &request)?;
        }
    }
    Ok(())
}

/// Maps `request` with tables from memblock.
///
/// # Errors
/// `Out` when memblock runs out.
pub fn map_boot<M: Machine>(
    space: &mut KernelSpace<M>,
    memblock: &mut Memblock,
    request: &MapRequest,
) -> Result<()> {
    if request.range.is_empty() {
        return Ok(());
    }
    let g = space.granule();
    space.map(&mut BootFrames { memblock, g }, request)
}

/// An address space without a mapping: its root is a cleared table of the start level.
///
/// # Errors
/// `Out` when memblock runs out.
pub fn new_space<M: Machine>(machine: M, layout: Layout, memblock: &mut Memblock) -> Result<KernelSpace<M>> {
    let g = layout.granule();
    let root = BootFrames { memblock, g }.alloc_table()?;
    machine::zero_frame(&machine, root, g.page_size);
    Ok(KernelSpace::new(machine, layout, root))
}

impl<M: Machine> Mm<M> {
    /// Takes over from `memblock`, whose RAM `space` maps linearly already.
    ///
    /// # Errors
    /// `Out` when memblock or the heap runs out: too little memory to boot.
    pub fn boot(space: KernelSpace<M>, memblock: &mut Memblock, home: MemmapHome) -> Result<Self> {
        let mut mm = Self {
            frames: Frames::new(space.machine().clone(), space.layout(), space.root()),
            hugetlb: HugeTlb::new(space.granule()),
            space,
            devices: Devices::new(),
            tenants: Tenants::new(),
            notifiers: Chain::new(),
        };
        let Self { space, frames, .. } = &mut mm;
        let runs = boot_sections(frames, memblock)?;
        match home {
            MemmapHome::Ram => {}
            MemmapHome::Demand => boot_on_demand(frames, memblock),
            _ => boot_self_hosted(frames, memblock)?,
        }
        for run in runs {
            boot_run_memmap(space, frames, run, memblock)?;
        }
        boot_memmap_of_used(space, frames, memblock)?;
        space.publish();
        boot_pages(frames, memblock);
        boot_images(space, frames)?;
        Ok(mm)
    }
}

/// Claims the sections that RAM touches; returns the page ranges of runs of neighbouring sections.
fn boot_sections<M: Machine>(frames: &mut Frames<M>, memblock: &Memblock) -> Result<Vec<PfnRange>> {
    let g = frames.granule();
    let mut runs = Vec::new();
    list::reserve(&mut runs, memblock.ram().len())?;
    for ram in memblock.ram().iter().map(|ram| PfnRange::inside(g, *ram)).filter(|ram| !ram.is_empty()) {
        let first = ram.start.align_down(g.section_order);
        let end = first + (ram.end - first).div_ceil(g.section_pages) * g.section_pages;
        match runs.last_mut() {
            Some(PfnRange { end: last, .. }) if *last >= first => *last = end,
            _ => runs.push(PfnRange { start: first, end }),
        }
    }
    // Once, and not section by section: growing moves everything.
    let count = runs.iter().map(|run| run.blocks(g).count()).sum();
    frames.sections.reserve(count)?;
    frames.blocks.reserve(count)?;
    frames.zones[ZoneKind::Normal as usize].reserve(count)?;
    for ram in memblock.ram().iter().map(|ram| PfnRange::inside(g, *ram)).filter(|ram| !ram.is_empty()) {
        let first = ram.start.align_down(g.section_order);
        for i in 0..(ram.end - first).div_ceil(g.section_pages) {
            boot_section(frames, first + i * g.section_pages, ram);
        }
    }
    Ok(runs)
}

fn boot_section<M: Machine>(frames: &mut Frames<M>, start: Pfn, ram: PfnRange) {
    let g = frames.granule();
    let all = PfnRange::new(start, g.section_pages);
    let part = PfnRange { start: ram.start.max(all.start), end: ram.end.min(all.end) };
    let touched = Subsections::touched(g, start, part);
    if frames.sections.get(start.get()).is_none() {
        frames.sections.insert(Section { early: true, backing: Backing::Boot, ..Section::claimed(start) });
        let mut block = MemoryBlock::offline(start, Source::Boot, 0);
        block.state = BlockState::Online(ZoneKind::Normal);
        frames.blocks.insert(block);
        frames.zones[ZoneKind::Normal as usize].join(start);
    }
    if let (Some(section), Some(block)) =
        (frames.sections.get_mut(start.get()), frames.blocks.get_mut(start.get()))
    {
        section.present.add(touched);
        block.present += part.len();
    }
    frames.zones[ZoneKind::Normal as usize].present += part.len();
    frames.add_present(part.len());
}

/// Lets every whole block that has nothing of boot's at its start host its own memmap.
fn boot_self_hosted<M: Machine>(frames: &mut Frames<M>, memblock: &mut Memblock) -> Result<()> {
    let g = frames.granule();
    memblock.keep_starts(g.section_size, g.section_memmap);
    frames.altmaps.reserve(frames.blocks.as_slice().len())?;
    for block in frames.blocks.iter_mut().filter(|block| block.present == g.section_pages) {
        let mut altmap = Altmap::for_memory(g, block.pages(g));
        let memmap = altmap.frames().addresses(g);
        if memblock.taken().iter().any(|taken| taken.range.overlaps(&memmap)) {
            continue;
        }
        block.memmap_pages = altmap.free();
        let taken = altmap.allocate_pages(altmap.free());
        debug_assert!(taken.is_ok(), "all of a new altmap can be taken");
        if let Some(section) = frames.sections.get_mut(block.start.get()) {
            section.backing = Backing::Altmap(block.start);
        }
        frames.altmaps.insert(altmap);
    }
    Ok(())
}

/// Lets the memmap of every whole block of which nothing is taken be populated on demand.
fn boot_on_demand<M: Machine>(frames: &mut Frames<M>, memblock: &Memblock) {
    let g = frames.granule();
    for i in 0..frames.blocks.as_slice().len() {
        let block = &frames.blocks.as_slice()[i];
        if block.present == g.section_pages
            && !is_taken(g, memblock, block.start)
            && let Some(section) = frames.sections.get_mut(block.start.get())
        {
            section.backing = Backing::Demand;
        }
    }
}

/// Whether something in the section at `start` is taken.
fn is_taken(g: Granule, memblock: &Memblock, start: Pfn) -> bool {
    let section = PfnRange::new(start, g.section_pages).addresses(g);
    memblock.taken().iter().any(|taken| taken.range.overlaps(&section))
}

/// The memmap of each section that was to be on demand, and in which memmap or tables were allocated since.
fn boot_memmap_of_used<M: Machine>(
    space: &mut KernelSpace<M>,
    frames: &mut Frames<M>,
    memblock: &mut Memblock,
) -> Result<()> {
    let g = frames.granule();
    let used = |frames: &Frames<M>, memblock: &Memblock| {
        let mut on_demand =
            frames.sections.as_slice().iter().filter(|section| section.backing == Backing::Demand);
        on_demand.find(|section| is_taken(g, memblock, section.start)).map(|section| section.start)
    };
    while let Some(start) = used(frames, memblock) {
        boot_memmap(space, PfnRange::new(start, g.section_pages), memblock)?;
        if let Some(section) = frames.section_mut(start) {
            section.backing = Backing::Boot;
        }
    }
    Ok(())
}

/// The image, for each run of blocks on demand, and their pages on the free lists. Its frames and tables come from the blocks
/// that have their memmap.
fn boot_images<M: Machine>(space: &mut KernelSpace<M>, frames: &mut Frames<M>) -> Result<()> {
    let g = frames.granule();
    let on_demand = |frames: &Frames<M>, start: Pfn| frames.backing_of(start) == Backing::Demand;
    let mut next = Pfn::new(0);
    loop {
        let rest = frames.blocks.range(next.get()..u64::MAX);
        let Some(start) = rest.iter().map(|b| b.start).find(|start| on_demand(frames, *start)) else { break };
        let mut run = PfnRange::new(start, g.section_pages);
        while frames.blocks.get(run.end.get()).is_some() && on_demand(frames, run.end) {
            run.end = run.end + g.section_pages;
        }
        populate_image(space, frames, run, Groups::in_normal(run))?;
        frames.fold_boot_blocks(run)?;
        frames.zones[ZoneKind::Normal as usize].free += run.len();
        next = run.end;
    }
    Ok(())
}

/// The memmap of a run of neighbouring sections: each self-hosted one by itself, none of those on demand, what is between
/// them together.
fn boot_run_memmap<M: Machine>(
    space: &mut KernelSpace<M>,
    frames: &Frames<M>,
    run: PfnRange,
    memblock: &mut Memblock,
) -> Result<()> {
    let g = frames.granule();
    let mut rest = PfnRange { start: run.start, end: run.start };
    for part in run.sections(g) {
        let own = frames.blocks.get(part.start.get()).map_or(0, |block| block.memmap_pages);
        let on_demand = frames.backing_of(part.start) == Backing::Demand;
        if own != 0 || on_demand {
            boot_memmap(space, rest, memblock)?;
            rest.start = part.end;
        }
        if own != 0 {
            boot_map_memmap(space, part, part.start.address(g), memblock)?;
        }
        rest.end = part.end;
    }
    boot_memmap(space, rest, memblock)
}

/// Allocate, map and clear the memmap of neighbouring sections: in one piece, or in two halves where boot memory has no
/// gap of that size. No leaf is larger than a section's, so that each can go by itself.
fn boot_memmap<M: Machine>(
    space: &mut KernelSpace<M>,
    pages: PfnRange,
    memblock: &mut Memblock,
) -> Result<()> {
    let g = space.granule();
    if pages.is_empty() {
        return Ok(());
    }
    let (memmap, leaf) = (space.layout().memmap(pages), boot_memmap_leaf(g));
    let pa = match memblock.alloc(memmap.len(), leaf, PageKind::MemmapRam) {
        Err(Error::Out(_)) if pages.len() > g.section_pages => {
            let half = pages.start + (pages.len() / 2).next_multiple_of(g.section_pages);
            boot_memmap(space, PfnRange { start: pages.start, end: half }, memblock)?;
            return boot_memmap(space, PfnRange { start: half, end: pages.end }, memblock);
        }
        other => other?,
    };
    boot_map_memmap(space, pages, pa, memblock)
}

/// Maps and clear the memmap of `pages` at `pa`.
fn boot_map_memmap<M: Machine>(
    space: &mut KernelSpace<M>,
    pages: PfnRange,
    pa: PhysAddr,
    memblock: &mut Memblock,
) -> Result<()> {
    let g = space.granule();
    let (memmap, leaf) = (space.layout().memmap(pages), boot_memmap_leaf(g));
    let request =
        MapRequest { range: memmap, pa, attributes: Attributes::DATA, max_leaf: leaf, contiguous: false };
    map_boot(space, memblock, &request)?;
    space.publish();
    machine::zero_mapped(space.machine(), memmap);
    Ok(())
}

/// What memblock has taken becomes page kinds, what no RAM range covers becomes holes, and the rest is free.
fn boot_pages<M: Machine>(frames: &mut Frames<M>, memblock: &Memblock) {
    let g = frames.granule();
    for i in 0..frames.blocks.as_slice().len() {
        let block = frames.blocks.as_slice()[i].pages(g);
        if frames.backing_of(block.start) == Backing::Demand {
            continue;
        }
        let own = PfnRange::new(block.start, frames.blocks.as_slice()[i].memmap_pages);
        boot_run(frames, own, PageKind::MemmapSelf);
        let mut at = own.end;
        while at < block.end {
            let (kind, end) = kind_at(g, memblock, at, block.end);
            boot_run(frames, PfnRange { start: at, end }, kind);
            at = end;
        }
    }
}

fn boot_run<M: Machine>(frames: &mut Frames<M>, range: PfnRange, kind: PageKind) {
    let g = frames.granule();
    if kind == PageKind::Free {
        return frames.put_boot_range(range);
    }
    // What is freed by itself is a head of its own: a table, a leaf of a section's memmap.
    let max_order = match kind {
        PageKind::Table => 0,
        PageKind::MemmapRam => (boot_memmap_leaf(g) >> g.page_shift).trailing_zeros(),
        _ => g.section_order,
    };
    for (pfn, order) in range.chunks(max_order) {
        frames.pages().mark(pfn, order, kind);
    }
    frames.charge(kind, range.len());
}

/// The leaves that map a boot section's memmap: a block where a section's worth fills one.
fn boot_memmap_leaf(g: Granule) -> u64 {
    if g.section_memmap.is_multiple_of(g.pmd_size) { g.pmd_size } else { g.page_size }
}

/// The kind of the page at `at`, and where it ends, no further than `limit`. Taken ranges are rounded out to pages, RAM
/// is rounded in.
fn kind_at(g: Granule, memblock: &Memblock, at: Pfn, limit: Pfn) -> (PageKind, Pfn) {
    let mut end = limit;
    let ram = memblock.ram().iter().map(|r| PfnRange::inside(g, *r)).find(|r| r.end > at);
    match ram {
        Some(r) if r.contains(at) => end = end.min(r.end),
        Some(r) => return (PageKind::Hole, end.min(r.start)),
        None => return (PageKind::Hole, end),
    }
    let mut kind = PageKind::Free;
    for taken in memblock.taken() {
        let first = Pfn::containing(g, taken.range.start);
        let last = Pfn::new(taken.range.end.get().div_ceil(g.page_size));
        if first > at {
            end = end.min(first);
        } else if last > at
            && let Some(taken_kind) = taken.kind
        {
            (kind, end) = (taken_kind, end.min(last));
        }
    }
    (kind, end)
}
