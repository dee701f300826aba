//! Unmapping the memmap of a range of pages, and giving its memory back to where it came from.

use crate::addr::VirtRange;
use crate::frame::Frames;
use crate::frame::section::Backing;
use crate::frame::tables::TableFrames;
use crate::machine::Machine;
use crate::pfn::{Pfn, PfnRange};
use crate::space::request::Gone;
use crate::space::table::KernelSpace;
use crate::vmemmap::image::depopulate_image;
use crate::vmemmap::leaves::leaves_around;
use crate::vmemmap::source;
use crate::vmemmap::tails::Tails;

/// The inverse of step 4 for whole sections of memory, all of which go.
pub(crate) fn depopulate_sections<M: Machine>(
    space: &mut KernelSpace<M>,
    frames: &mut Frames<M>,
    range: PfnRange,
) {
    if frames.hooks.keeps_memmap() {
        return;
    }
    let mut rest = range;
    while !rest.is_empty() {
        let demand = |start: Pfn| frames.backing_of(start) == Backing::Demand;
        let first = demand(rest.start);
        let alike = frames.pieces(rest).take_while(|piece| demand(piece.pages.start) == first);
        let run = PfnRange { start: rest.start, end: alike.last().map_or(rest.end, |piece| piece.pages.end) };
        if first {
            depopulate_image(space, frames, run);
        } else {
            depopulate_run(space, frames, run);
        }
        rest.start = run.end;
    }
}

/// Unmaps the memmap of `range`, whose pages are no longer valid. Leaves that present neighbours need stay (I7), and so
/// does all of an early section's while anything of the section is present.
pub(crate) fn depopulate<M: Machine>(space: &mut KernelSpace<M>, frames: &mut Frames<M>, range: PfnRange) {
    if frames.hooks.keeps_memmap() {
        return;
    }
    if !frames.sections_of(range).iter().any(|section| section.early) {
        return depopulate_run(space, frames, range);
    }
    let mut gone = PfnRange { start: range.start, end: range.start };
    for part in range.sections(frames.granule()) {
        if frames.section_of(part.start).is_some_and(|s| s.early && !s.present.is_empty()) {
            depopulate_run(space, frames, gone);
            gone.start = part.end;
        }
        gone.end = part.end;
    }
    depopulate_run(space, frames, gone);
}

fn depopulate_run<M: Machine>(space: &mut KernelSpace<M>, frames: &mut Frames<M>, range: PfnRange) {
    if !range.is_empty()
        && let Ok(leaves) = leaves_around(frames, range)
    {
        free_leaves(space, frames, leaves, space.layout().memmap(range));
    }
}

/// Unmaps every unoccupied leaf of `leaves`, free the tables that are left empty, and release the memory. What lies in
/// `own` describes nothing else, so that only the leaves at its edges have to be looked at.
pub(super) fn free_leaves<M: Machine>(
    space: &mut KernelSpace<M>,
    frames: &mut Frames<M>,
    leaves: VirtRange,
    own: VirtRange,
) {
    if leaves.is_empty() {
        return;
    }
    let (g, bounds) = (frames.granule(), space.layout().vmemmap_bounds());
    let own = if frames.hooks.frees_neighbours_memmap() { leaves } else { own };
    let keep = |leaf: VirtRange| !own.covers(&leaf) && frames.is_occupied(leaf);
    let Ok(pending) = space.break_range(leaves, bounds, keep) else {
        // A memmap block reaches over the range's end: its other half describes other memory, so it stays.
        frames.warnings.stuck += 1;
        return;
    };
    space.invalidate(pending);
    let mut tails = Tails::default();
    let reaped = space.reap(leaves, |gone| match gone {
        Gone::Leaves { pa, size, .. } => {
            source::release(frames, PfnRange::new(Pfn::containing(g, pa), size >> g.page_shift));
        }
        Gone::Table(table) => frames.free_table(table),
        Gone::SharedLeaf { pa, entries, .. } => tails.forget(frames, pa, entries),
        Gone::SharedTable { table, .. } => tails.forget_table(frames, table),
    });
    tails.release(frames);
    debug_assert!(reaped.is_ok(), "emptying a broken entry is always legal");
}
