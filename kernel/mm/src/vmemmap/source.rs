//! Where the frames of memmap are taken from, and where they go back to. The source is resolved once for a range; giving
//! back needs none: a frame that lies in an altmap goes back to that altmap, any other to system RAM.
//!
//! Only a memmap page that describes nothing but the range comes from its altmap. A page at the edge of a device may
//! describe its neighbour too (at 16K one page serves two subsections, at 64K 32): the altmap's memory goes with its device,
//! and must not take the neighbour's struct pages along (I7). Such a page is system RAM.

use crate::error::{Error, Resource, Result};
use crate::frame::page::PageKind;
use crate::frame::section::Backing;
use crate::frame::{Frames, Mobility};
use crate::machine::Machine;
use crate::migrate::compact::alloc_or_compact;
use crate::pfn::{Pfn, PfnRange};
use crate::space::table::KernelSpace;

/// Frames for a level 2 block of memmap.
pub(super) fn alloc_block<M: Machine>(
    space: &mut KernelSpace<M>,
    frames: &mut Frames<M>,
    source: Backing,
) -> Result<Pfn> {
    let g = frames.granule();
    let pages = g.pmd_size >> g.page_shift;
    let Backing::Altmap(base) = source else {
        return alloc_or_compact(space, frames, pages.trailing_zeros(), PageKind::MemmapRam);
    };
    frames.may_fail(Resource::Altmap { pages })?;
    let exhausted = Error::Out(Resource::Altmap { pages });
    frames.altmaps.get_mut(base).ok_or(exhausted)?.allocate_bytes(g, g.pmd_size)
}

/// Up to `most` neighbouring frames for base pages of memmap: the first, and how many.
pub(super) fn alloc_pages<M: Machine>(
    frames: &mut Frames<M>,
    source: Backing,
    most: u64,
) -> Result<(Pfn, u64)> {
    let Backing::Altmap(base) = source else {
        return frames.alloc(0, PageKind::MemmapRam, Mobility::Unmovable).map(|pfn| (pfn, 1));
    };
    frames.may_fail(Resource::Altmap { pages: most })?;
    let exhausted = Error::Out(Resource::Altmap { pages: most });
    frames.altmaps.get_mut(base).ok_or(exhausted)?.allocate_pages(most)
}

/// Gives frames of memmap back to where they came from: the altmap that they lie in, at once, or system RAM, run by run.
/// Frames that follow each other may come from both, but no subsection has both.
pub(crate) fn release<M: Machine>(frames: &mut Frames<M>, range: PfnRange) {
    let (g, as_ram) = (frames.granule(), frames.hooks.frees_altmap_as_ram());
    let mut at = range.start;
    while at < range.end {
        let end = (at.align_down(g.subsection_order) + g.subsection_pages).min(range.end);
        match frames.altmaps.with_frame_mut(at) {
            Some(altmap) if !as_ram => altmap.release(at, end - at),
            _ => free_runs(frames, PfnRange { start: at, end }),
        }
        at = end;
    }
}

/// Frees every run of `range`, each by its own head.
fn free_runs<M: Machine>(frames: &mut Frames<M>, range: PfnRange) {
    let mut pfn = range.start;
    while pfn < range.end {
        let order = frames.freeable(pfn).map_or(0, |(_, order)| order);
        frames.free(pfn);
        pfn = pfn + (1 << order);
    }
}
