//! Mapping the memmap of a range of pages.
//!
//! A whole section at 4K is one 2 MiB block. Everything else is base pages: 16K and 64K, whose blocks are larger than a
//! section's memmap; parts of sections; and 4K from system RAM that has no free 2 MiB run and cannot make one. An altmap has
//! no fallback.

use crate::addr::{PhysAddr, VirtAddr, VirtRange};
use crate::error::{Error, Resource, Result};
use crate::frame::Frames;
use crate::frame::page::PageKind;
use crate::frame::section::Backing;
use crate::frame::tables::TableFrames;
use crate::granule::Granule;
use crate::machine::Machine;
use crate::pfn::{Pfn, PfnRange};
use crate::space::table::KernelSpace;
use crate::vmemmap::depopulate::{depopulate, free_leaves};
use crate::vmemmap::leaves::{leaves_around, map_memmap};
use crate::vmemmap::source;

/// Step 4: map the memmap of every section of `pages`, or of none. `source` says where that of a section comes from.
///
/// # Errors
/// `Out`.
pub(crate) fn populate_range<M: Machine>(
    space: &mut KernelSpace<M>,
    frames: &mut Frames<M>,
    pages: PfnRange,
    source: impl Fn(&Frames<M>, Pfn) -> Backing,
) -> Result<()> {
    for part in pages.sections(frames.granule()) {
        let from = source(frames, part.start);
        if let Err(error) = populate(space, frames, part, from) {
            depopulate(space, frames, PfnRange { start: pages.start, end: part.start });
            return Err(error);
        }
    }
    Ok(())
}

/// Maps the memmap of `range`, pages of one section, from `source`. Memmap pages that a neighbour has mapped already are
/// shared; an early section's are all there. The memory is not cleared yet.
///
/// # Errors
/// `Out`; everything that was mapped is gone again then.
fn populate<M: Machine>(
    space: &mut KernelSpace<M>,
    frames: &mut Frames<M>,
    range: PfnRange,
    source: Backing,
) -> Result<()> {
    let g = frames.granule();
    if frames.section_of(range.start).is_some_and(|section| section.early) {
        return Ok(());
    }
    let mut leaves = leaves_around(frames, range)?;
    // Removal frees what the range needs, so that the rest of the block is found (I7).
    if frames.hooks.shares_memmap_block() && g.section_memmap == g.pmd_size {
        leaves.start = leaves.start.align_down(g.pmd_size);
        leaves.end = leaves.start + g.pmd_size;
    }
    let mark = match source {
        Backing::Altmap(base) => frames.altmaps.get(base).map(|altmap| (base, altmap.mark())),
        Backing::Boot | Backing::Ram | Backing::Demand => None,
    };
    let (memmap, own) = (unshared(space, frames, leaves), space.layout().memmap(range));
    let mut at = memmap.start;
    while at < memmap.end {
        match populate_piece(space, frames, VirtRange { start: at, end: memmap.end }, own, source) {
            Ok(next) => at = next,
            Err(error) => {
                let done = VirtRange { start: memmap.start, end: at };
                free_leaves(space, frames, done, done);
                if let Some((base, mark)) = mark
                    && let Some(altmap) = frames.altmaps.get_mut(base)
                {
                    altmap.rewind(mark);
                }
                return Err(error);
            }
        }
    }
    space.publish();
    Ok(())
}

/// `leaves` without what a neighbour has mapped: only the first and the last page can describe a neighbour's memory.
fn unshared<M: Machine>(space: &KernelSpace<M>, frames: &Frames<M>, leaves: VirtRange) -> VirtRange {
    let g = frames.granule();
    let mapped = |at: VirtAddr| space.translate(at).is_some();
    let mut own = leaves;
    if mapped(own.start) {
        let all = frames.hooks.shares_memmap_block();
        own.start = if all { own.end } else { own.start + g.page_size };
    }
    let last = VirtAddr::new(own.end.get() - g.page_size);
    if own.start < own.end && mapped(last) {
        own.end = last;
    }
    own
}

/// Populates the beginning of `rest`: a block where it may be one, else base pages, as many as follow each other in
/// memory; a page that describes more than `own` comes from system RAM. Returns where the next piece begins.
fn populate_piece<M: Machine>(
    space: &mut KernelSpace<M>,
    frames: &mut Frames<M>,
    rest: VirtRange,
    own: VirtRange,
    source: Backing,
) -> Result<VirtAddr> {
    let (g, at) = (frames.granule(), rest.start);
    if at.is_aligned(g.pmd_size) && rest.len() >= g.pmd_size {
        match source::alloc_block(space, frames, source) {
            Ok(pfn) => return map_memmap(space, frames, at, pfn, g.pmd_size, g.pmd_size),
            // System RAM has no free run: base pages do. An altmap has no second choice.
            Err(Error::Out(Resource::Frames { .. })) => {}
            Err(error) => return Err(error),
        }
    }
    let inside = rest.end.min(own.end.align_down(g.page_size));
    let (pfn, pages) = if at >= own.start && at < inside {
        source::alloc_pages(frames, source, (inside - at) >> g.page_shift)?
    } else {
        source::alloc_pages(frames, Backing::Ram, 1)?
    };
    map_memmap(space, frames, at, pfn, pages << g.page_shift, g.page_size)
}

/// Boot's tables and memmap come from memblock; after that the buddy allocator is the source.
pub(crate) struct BootFrames<'a> {
    pub(crate) memblock: &'a mut crate::memblock::Memblock,
    pub(crate) g: Granule,
}

impl TableFrames for BootFrames<'_> {
    fn alloc_table(&mut self) -> Result<PhysAddr> {
        let g = self.g;
        self.memblock.alloc(g.page_size, g.page_size, PageKind::Table)
    }
    fn free_table(&mut self, _table: PhysAddr) {
        // Boot maps everything or does not boot: memblock never takes anything back.
    }
}
