//! Steps 1, 2, 3 and 5 of `add_memory`, each beside its inverse; step 4 is in `vmemmap::populate`. Step 3 chooses what will
//! hold the memmap:
//!
//! ```text
//!  self        |M|          |M|          |M|          |      an altmap in each block: each can be removed alone
//!  self-range  |MMM|                                  |      one altmap for the range: it is removed as one
//!  ram         |                                      |      no altmap
//!  demand      |                                      |      none: pages of each block, as it is used
//! ```

use crate::addr::{VirtAddr, VirtRange};
use crate::entry::descriptor::Attributes;
use crate::error::{AltmapError, RangeError, Resource, Result};
use crate::frame::Frames;
use crate::frame::altmap::Altmap;
use crate::frame::block::{BlockState, MemoryBlock, Source};
use crate::frame::page::PageKind;
use crate::frame::section::{Backing, Section, Subsections};
use crate::hotplug::home::MemmapHome;
use crate::hotplug::range::HotRange;
use crate::layout;
use crate::machine::{self, Machine};
use crate::pfn::{Pfn, PfnRange};
use crate::space::request::MapRequest;
use crate::space::table::KernelSpace;

// Step 1. The sections exist from here on; nothing of them is valid before step 5 (I1).

pub(crate) fn claim_sections<M: Machine>(
    frames: &mut Frames<M>,
    range: &HotRange,
    home: MemmapHome,
) -> Result<()> {
    let g = frames.granule();
    let blocks = range.pages().blocks(g);
    // A range that was validated before the model changed.
    if let Some(present) = frames.first_section_of(range.pages()).map(|start| start.address(g)) {
        return Err(RangeError::Exists { range: range.pages().addresses(g), present }.into());
    }
    if home == MemmapHome::Demand {
        return frames.claim_extent(range.pages(), range.source(), range.node());
    }
    let count = blocks.clone().count();
    frames.may_fail(Resource::Heap { bytes: count * size_of::<Section>() })?;
    frames.sections.reserve(count)?;
    let room = frames
        .may_fail(Resource::Heap { bytes: count * size_of::<MemoryBlock>() })
        .and_then(|()| frames.blocks.reserve(count));
    if let Err(error) = room {
        frames.sections.shrink();
        return Err(error);
    }
    for start in blocks {
        frames.sections.insert(Section::claimed(start));
        let block = MemoryBlock::offline(start, range.source(), g.section_pages);
        frames.blocks.insert(MemoryBlock { node: range.node(), ..block });
    }
    Ok(())
}

pub(crate) fn drop_sections<M: Machine>(frames: &mut Frames<M>, pages: PfnRange) {
    let g = frames.granule();
    frames.drop_extents(pages);
    // From the end, so that nothing of the range has to move up.
    while let Some(start) = frames.blocks.range(pages.start.get()..pages.end.get()).last().map(|b| b.start) {
        frames.forget_block(start);
        if frames.hooks.keeps_sections()
            && let Some(section) = frames.sections.get_mut(start.get())
        {
            section.present = Subsections::touched(g, start, PfnRange::new(start, g.section_pages));
            continue;
        }
        frames.sections.remove(start.get());
    }
    frames.shrink_records();
}

// Step 2. No leaf is larger than what goes by itself.

pub(crate) fn map_linear<M: Machine>(
    space: &mut KernelSpace<M>,
    frames: &mut Frames<M>,
    pages: PfnRange,
) -> Result<()> {
    map_linear_in(space, frames, pages, pages.len())
}

/// [`map_linear`], such that each aligned `unit` pages can go by itself.
pub(super) fn map_linear_in<M: Machine>(
    space: &mut KernelSpace<M>,
    frames: &mut Frames<M>,
    pages: PfnRange,
    unit: u64,
) -> Result<()> {
    let g = frames.granule();
    let physical = pages.addresses(g);
    let request = MapRequest {
        range: frames.layout().linear_range(physical),
        pa: physical.start,
        attributes: Attributes::DATA,
        max_leaf: unit << g.page_shift,
        contiguous: true,
    };
    space.map(frames, &request)?;
    space.publish();
    Ok(())
}

pub(crate) fn unmap_linear<M: Machine>(space: &mut KernelSpace<M>, frames: &mut Frames<M>, pages: PfnRange) {
    let g = frames.granule();
    if frames.hooks.keeps_linear_map() {
        return;
    }
    let range = frames.layout().linear_range(pages.addresses(g));
    let bounds = space.bounds(linear());
    let Ok(pending) = space.break_range(range, bounds, |_| false) else {
        debug_assert!(false, "a range is mapped by leaves of its own");
        frames.warnings.stuck += 1;
        return;
    };
    space.invalidate(pending);
    // A leaf's memory is the range's own: it goes with the range. The tables go back.
    let reaped = space.reap_unowned(frames, range);
    debug_assert!(reaped.is_ok(), "emptying a broken entry is always legal");
}

// Step 3. Every check comes before anything is written: a step that fails has changed nothing.

/// Chooses what will hold the memmap of `pages`.
///
/// # Errors
/// `AltmapError::Misplaced`, `AltmapError::Padding` (a warning), `Out` when the heap has no room.
pub(crate) fn choose_backing<M: Machine>(
    frames: &mut Frames<M>,
    pages: PfnRange,
    home: MemmapHome,
) -> Result<()> {
    let g = frames.granule();
    match home {
        MemmapHome::Ram => Ok(()),
        // An extent says so.
        MemmapHome::Demand => Ok(()),
        MemmapHome::SelfHosted => {
            reserve_altmaps(frames, pages.blocks(g).count())?;
            for start in pages.blocks(g) {
                let altmap = Altmap::for_memory(g, PfnRange::new(start, g.section_pages));
                set_backing(frames, start, Backing::Altmap(start), altmap.offset());
                frames.altmaps.insert(altmap);
            }
            Ok(())
        }
        MemmapHome::SelfRange { reserve } => {
            let memmap = Altmap::for_memory(g, pages).free();
            host_in(frames, pages, Altmap::new(pages.start, reserve, memmap))
        }
        MemmapHome::Given(altmap) => host_in(frames, pages, altmap),
    }
}

/// Lets `altmap` hold the memmap of all of `pages`.
fn host_in<M: Machine>(frames: &mut Frames<M>, pages: PfnRange, altmap: Altmap) -> Result<()> {
    let g = frames.granule();
    altmap.check_range(g, pages)?;
    let padding = altmap.padding_for(g);
    if padding != 0 {
        frames.warnings.altmap += 1;
        return Err(AltmapError::Padding { base: altmap.base_pfn().address(g), pages: padding }.into());
    }
    reserve_altmaps(frames, 1)?;
    let hosting = PfnRange::new(pages.start, altmap.offset());
    for block in pages.sections(g) {
        let own = hosting.end.min(block.end).get().saturating_sub(block.start.get());
        set_backing(frames, block.start, Backing::Altmap(pages.start), own);
    }
    frames.altmaps.insert(altmap);
    Ok(())
}

pub(crate) fn reserve_altmaps<M: Machine>(frames: &mut Frames<M>, count: usize) -> Result<()> {
    frames.may_fail(Resource::Heap { bytes: count * size_of::<Altmap>() })?;
    frames.altmaps.reserve(count)
}

/// The section that starts at `start` has its memmap there; its block keeps so many pages.
fn set_backing<M: Machine>(frames: &mut Frames<M>, start: Pfn, backing: Backing, memmap_pages: u64) {
    if let Some(section) = frames.sections.get_mut(start.get()) {
        section.backing = backing;
    }
    if let Some(block) = frames.blocks.get_mut(start.get()) {
        block.memmap_pages = memmap_pages;
    }
}

/// The inverse of step 3.
pub(crate) fn drop_backing<M: Machine>(frames: &mut Frames<M>, pages: PfnRange) {
    let in_use = frames.altmaps.remove_in(pages);
    debug_assert!(in_use == 0 || frames.hooks.any(), "{in_use} pages of an altmap are in use");
    for section in frames.sections.range_mut(pages.start.get()..pages.end.get()) {
        section.backing = Backing::Ram;
    }
    for block in frames.blocks.range_mut(pages.start.get()..pages.end.get()) {
        block.memmap_pages = 0;
    }
}

/// Refuses to part sections whose memmap is in one altmap: they follow each other, so only the ends of `pages` can.
///
/// # Errors
/// `AltmapError::HeldTogether`.
pub(crate) fn refuse_cut<M: Machine>(frames: &Frames<M>, pages: PfnRange) -> Result<()> {
    let g = frames.granule();
    let host = |start: Pfn| match frames.sections.get(start.get()).map(|section| section.backing) {
        Some(Backing::Altmap(base)) => base,
        _ => start,
    };
    let parted = |block: Pfn, host: Pfn| {
        Err(AltmapError::HeldTogether { block: block.address(g), host: host.address(g) }.into())
    };
    let (first, after) = (host(pages.start), host(pages.end));
    if first < pages.start {
        return parted(pages.start, first);
    }
    if pages.contains(after) { parted(pages.end, after) } else { Ok(()) }
}

// Step 5. One bulk clearing; a zeroed struct page means "ask your head", so only the memmap's own head is written.

pub(crate) fn initialise_pages<M: Machine>(frames: &mut Frames<M>, pages: PfnRange) {
    let g = frames.granule();
    if frames.backing_of(pages.start) == Backing::Demand {
        return frames.set_extents_present(pages, true);
    }
    machine::zero_mapped(frames.machine(), frames.layout().memmap(pages));
    for start in pages.blocks(g) {
        let all = Subsections::touched(g, start, PfnRange::new(start, g.section_pages));
        if let Some(section) = frames.sections.get_mut(start.get()) {
            section.present = all;
        }
        let memmap = frames.blocks.get(start.get()).map_or(0, |b| b.memmap_pages);
        for (pfn, order) in PfnRange::new(start, memmap).chunks(g.section_order) {
            frames.pages().mark(pfn, order, PageKind::MemmapSelf);
        }
        frames.charge(PageKind::MemmapSelf, memmap);
        frames.add_present(memmap);
        if frames.hooks.overcharges_altmap()
            && let Backing::Altmap(base) = frames.backing_of(start)
            && let Some(altmap) = frames.altmaps.get_mut(base)
        {
            altmap.charge_for_nothing();
        }
    }
}

pub(crate) fn forget_pages<M: Machine>(frames: &mut Frames<M>, pages: PfnRange) {
    let keys = || pages.start.get()..pages.end.get();
    let memmap = frames.blocks.range(keys()).iter().map(MemoryBlock::own_memmap).sum();
    frames.uncharge(PageKind::MemmapSelf, memmap);
    frames.remove_present(memmap);
    for section in frames.sections.range_mut(keys()) {
        section.present = Subsections::default();
    }
    frames.set_extents_present(pages, false);
}

/// All of the linear map.
const fn linear() -> VirtRange {
    VirtRange {
        start: layout::LINEAR_START,
        end: VirtAddr::new(layout::LINEAR_START.get() + layout::LINEAR_SIZE),
    }
}

impl MemoryBlock {
    /// A block that has just been claimed.
    pub const fn offline(start: Pfn, source: Source, present: u64) -> Self {
        Self {
            start,
            state: BlockState::Offline,
            source,
            node: 0,
            memmap_pages: 0,
            memmap_inside: 0,
            poisoned: 0,
            unplugged: 0,
            present,
            free: crate::frame::buddy::FreeArea::new(start),
            tenant_pages: 0,
            demand: None,
        }
    }
}
