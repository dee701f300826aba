//! A section's memmap that is one block (4K, where there was a run for it) is mapped by pages while huge pages of the section
//! are optimised, and by a block again when none is:
//!
//! ```text
//!   split   one head for each page of the run      a table of its pieces for the block
//!   join    pages read-only    copied to a new run    switched, page by page    a block for the table    written to again
//!                              (none of these three when every page is where it was)
//! ```
//! The copy is whole because the struct pages are read-only meanwhile. Without a free run the memmap stays as it is,
//! mapped by pages, until the next huge page of the section is restored.

use super::frame_stack::FrameStack;
use crate::addr::{VirtAddr, VirtRange};
use crate::error::{Result, SpaceError};
use crate::frame::Frames;
use crate::frame::page::PageKind;
use crate::granule::{Granule, LAST_LEVEL};
use crate::layout::Layout;
use crate::machine::{self, Machine};
use crate::migrate::compact::alloc_or_compact;
use crate::pfn::{Pfn, PfnRange};
use crate::space::table::KernelSpace;

const KIND: PageKind = PageKind::MemmapRam;

/// The memmap of the section at `start`.
fn memmap_of(layout: Layout, start: Pfn) -> VirtRange {
    layout.memmap(PfnRange::new(start, layout.granule().section_pages))
}

/// The frames of the memmap of the section at `start`.
fn memmap_frames<M: Machine>(space: &KernelSpace<M>, start: Pfn) -> impl Iterator<Item = Pfn> {
    let (memmap, size) = (memmap_of(space.layout(), start), space.granule().page_size);
    (0..memmap.len() / size).filter_map(move |i| frame_at(space, memmap.start + i * size))
}

/// The frame that the memmap at `va` is mapped to.
pub(super) fn frame_at<M: Machine>(space: &KernelSpace<M>, va: VirtAddr) -> Option<Pfn> {
    Some(Pfn::containing(space.granule(), space.translate(va)?))
}

/// The order of a run that a block of memmap fits into.
fn memmap_order(g: Granule) -> u32 {
    g.level_shift(LAST_LEVEL - 1) - g.page_shift
}

/// Whether the memmap of the section at `start` is mapped by a block.
fn is_memmap_block<M: Machine>(space: &KernelSpace<M>, start: Pfn) -> bool {
    let path = space.path(space.layout().page_address(start));
    path.leaf().is_some_and(|leaf| leaf.slot.level < LAST_LEVEL)
}

/// Maps the memmap of each section of the huge page `page` by pages.
///
/// # Errors
/// `Out` of tables; `SpaceError::BreakBeforeMake`. What was split before is for [`join_memmap`].
pub(super) fn split_memmap<M: Machine>(
    space: &mut KernelSpace<M>,
    frames: &mut Frames<M>,
    page: PfnRange,
) -> Result<()> {
    let g = frames.granule();
    let count = page.section_starts(g).filter(|start| is_memmap_block(space, *start)).count();
    let mut tables = FrameStack::alloc(frames, count as u64, PageKind::Table)?;
    for start in page.section_starts(g) {
        if !is_memmap_block(space, start) {
            continue;
        }
        let Some(table) = tables.pop(frames) else { break };
        if let Err(error) = split_section(space, frames, start, table) {
            frames.free(table);
            tables.free(frames);
            return Err(error);
        }
    }
    Ok(())
}

fn split_section<M: Machine>(
    space: &mut KernelSpace<M>,
    frames: &mut Frames<M>,
    start: Pfn,
    table: Pfn,
) -> Result<()> {
    let va = space.layout().page_address(start);
    let run = frame_at(space, va).ok_or(SpaceError::NotMapped(va))?;
    split_run(frames, run)?;
    if let Err(error) = space.split_block(va, table.address(frames.granule())) {
        join_run(frames, run);
        return Err(error);
    }
    set_run(frames, start, Some(run));
    Ok(())
}

/// One head for each page of a run, so that each can be freed by itself.
///
/// # Errors
/// `Out` of frames for the memmap of the parts, in a block on demand; nothing has changed then.
fn split_run<M: Machine>(frames: &mut Frames<M>, run: Pfn) -> Result<()> {
    let order = memmap_order(frames.granule());
    frames.populate_parts(run, order, 0)?;
    (0..1 << order).for_each(|i| frames.pages().mark(run + i, 0, KIND));
    Ok(())
}

/// The inverse of [`split_run`].
fn join_run<M: Machine>(frames: &mut Frames<M>, run: Pfn) {
    let order = memmap_order(frames.granule());
    (0..1 << order).for_each(|i| frames.pages().own(run + i).clear_head());
    frames.pages().mark(run, order, KIND);
    frames.give_back_inside(run, order);
}

fn set_run<M: Machine>(frames: &mut Frames<M>, start: Pfn, run: Option<Pfn>) {
    if let Some(section) = frames.section_mut(start) {
        section.memmap_run = run;
    }
}

/// The inverse of [`split_memmap`], for the sections in which nothing is optimised, and for which there is a run.
pub(super) fn join_memmap<M: Machine>(space: &mut KernelSpace<M>, frames: &mut Frames<M>, page: PfnRange) {
    for start in page.section_starts(frames.granule()) {
        let ready = frames.section_mut(start).is_some_and(|s| s.memmap_run.is_some() && s.optimised == 0);
        if ready {
            // Mapped by pages it is as good, at the price of a table.
            let _stays_split = join_section(space, frames, start);
        }
    }
}

/// All of a section's memmap becomes a block again.
fn join_section<M: Machine>(space: &mut KernelSpace<M>, frames: &mut Frames<M>, start: Pfn) -> Result<()> {
    let (g, memmap, mut old) = (frames.granule(), memmap_of(space.layout(), start), FrameStack::default());
    let run = match in_place(space, start) {
        Some(run) => run,
        None => move_memmap(space, frames, start, &mut old)?,
    };
    let joined = space.join_block(memmap.start, LAST_LEVEL - 1);
    let writable = space.rewrite_same(memmap, &mut |_, d| d.writable());
    if let Ok(table) = joined {
        join_run(frames, run);
        set_run(frames, start, None);
        frames.free(Pfn::containing(g, table));
    }
    old.free(frames);
    writable.and(joined.map(|_| ()))
}

/// The run that a section's memmap is mapped to from its first page to its last, if it is one.
fn in_place<M: Machine>(space: &KernelSpace<M>, start: Pfn) -> Option<Pfn> {
    let run = memmap_frames(space, start).next()?;
    let follows = memmap_frames(space, start).zip(0..).all(|(frame, i)| frame == run + i);
    (follows && run.is_aligned(memmap_order(space.granule()))).then_some(run)
}

/// The memmap of a section moves into a run, and is read-only from here on; the frames that it was in go to `old`.
fn move_memmap<M: Machine>(
    space: &mut KernelSpace<M>,
    frames: &mut Frames<M>,
    start: Pfn,
    old: &mut FrameStack,
) -> Result<Pfn> {
    let g = frames.granule();
    let run = alloc_or_compact(space, frames, memmap_order(g), KIND)?;
    split_run(frames, run).inspect_err(|_| frames.free(run))?;
    // Before the struct pages are read-only: those of the old frames may be among them.
    memmap_frames(space, start).for_each(|frame| old.push(frames, frame));
    let memmap = memmap_of(space.layout(), start);
    space.rewrite_same(memmap, &mut |_, d| d.read_only())?;
    for (frame, i) in memmap_frames(space, start).zip(0..) {
        let (from, to) = (frame.address(g), (run + i).address(g));
        machine::copy_frame(space.machine(), from, to, g.page_size);
    }
    let to = run.address(g);
    space.rewrite_same(memmap, &mut |va, d| d.moved_to(to + (va - memmap.start), g))?;
    Ok(run)
}
