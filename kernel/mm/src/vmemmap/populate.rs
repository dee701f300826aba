//! Mapping the memmap of a range of pages.
//!
//! A whole section at 4K is one 2 MiB block. Everything else is base pages: 16K and 64K, whose blocks are larger than a
//! section's memmap; parts of sections; and 4K from system RAM that has no free 2 MiB run and cannot make one. An altmap has
//! no fallback.

use crate::addr::{PhysAddr, VirtAddr, VirtRange};
use crate::bugs::Bug;
use crate::error::{Error, Resource, Result};
use crate::granule::Granule;
use crate::machine::Machine;
use crate::model::Mm;
use crate::page::PageKind;
use crate::paging::descriptor::Attributes;
use crate::paging::table::{MapRequest, TableFrames};
use crate::pfn::{Pfn, PfnRange};
use crate::section::{Backing, Section};
use crate::vmemmap::altmap::Mark;
use crate::vmemmap::supply::Supply;

impl<M: Machine> Mm<M> {
    /// Step 4 of [`crate::hotplug::steps`]: every section of a range, or none.
    ///
    /// # Errors
    /// `Out`.
    pub(crate) fn populate_range(&mut self, pages: PfnRange) -> Result<()> {
        let g = self.granule();
        for part in pages.sections(g) {
            if let Err(error) = self.populate(part) {
                self.depopulate(PfnRange { start: pages.start, end: part.start });
                return Err(error);
            }
        }
        Ok(())
    }

    /// Map the memmap of `range`, pages of one section whose backing has been chosen. Memmap pages that a neighbour has
    /// mapped already are shared; an early section's are all there. The memory is not cleared yet.
    ///
    /// # Errors
    /// `Out`; everything that was mapped is gone again then.
    fn populate(&mut self, range: PfnRange) -> Result<()> {
        let g = self.granule();
        let mut leaves = self.leaves_around(range)?;
        // Only here: what goes is what the range needs, so that the rest of the block shows.
        if self.has_bug(Bug::SharedBlock) && g.section_memmap == g.pmd_size {
            leaves.start = leaves.start.align_down(g.pmd_size);
            leaves.end = leaves.start + g.pmd_size;
        }
        let supply = self.supply_of(range.start);
        let Some(mark) = self.populate_mark(range.start, supply) else { return Ok(()) };
        let (memmap, own) = (self.unshared(leaves), self.layout.memmap(range));
        let mut at = memmap.start;
        while at < memmap.end {
            match self.populate_piece(VirtRange { start: at, end: memmap.end }, own, supply) {
                Ok(next) => at = next,
                Err(error) => {
                    let done = VirtRange { start: memmap.start, end: at };
                    self.free_leaves(done, done);
                    if let (Some(mark), Some(altmap)) = (mark, self.altmap_mut(supply)) {
                        altmap.rewind(mark);
                    }
                    return Err(error);
                }
            }
        }
        self.machine.publish();
        Ok(())
    }

    /// Where the altmap stands before anything is taken from it, if there is one; none at all for an early section, which
    /// has all of its memmap.
    fn populate_mark(&mut self, start: Pfn, supply: Supply) -> Option<Option<Mark>> {
        match self.section_of(start) {
            Some(section) if section.early => None,
            Some(Section { backing: Backing::SelfHosted(altmap), .. }) => Some(Some(altmap.mark())),
            _ => Some(self.altmap_mut(supply).map(|altmap| altmap.mark())),
        }
    }

    /// `leaves` without what a neighbour has mapped: only the first and the last page can describe a neighbour's memory.
    fn unshared(&self, leaves: VirtRange) -> VirtRange {
        let g = self.granule();
        let mapped = |at: VirtAddr| self.tables.translate(&self.machine, at).is_some();
        let mut own = leaves;
        if mapped(own.start) {
            let all = self.has_bug(Bug::SharedBlock);
            own.start = if all { own.end } else { own.start + g.page_size };
        }
        let last = VirtAddr::new(own.end.get() - g.page_size);
        if own.start < own.end && mapped(last) {
            own.end = last;
        }
        own
    }

    /// The memmap of `range`, rounded out to whole granule pages; outside of vmemmap is a warning.
    pub(crate) fn leaves_around(&mut self, range: PfnRange) -> Result<VirtRange> {
        let g = self.granule();
        // Compared as pages: an address below first_pfn's would wrap.
        if !self.layout.described().covers(&range.addresses(g)) {
            self.warnings.outside_vmemmap += 1;
            return Err(Error::NotPresent(range.start));
        }
        let memmap = self.layout.memmap(range);
        let end = memmap.end.checked_align_up(g.page_size).unwrap_or(memmap.end);
        Ok(VirtRange { start: memmap.start.align_down(g.page_size), end })
    }

    /// Populate the beginning of `rest`: a block where it may be one, else base pages, as many as follow each other in
    /// memory; a page that describes more than `own` comes from system RAM. Returns where the next piece begins.
    fn populate_piece(&mut self, rest: VirtRange, own: VirtRange, supply: Supply) -> Result<VirtAddr> {
        let g = self.granule();
        let at = rest.start;
        if at.is_aligned(g.pmd_size) && rest.len() >= g.pmd_size {
            match self.memmap_block(supply) {
                Ok(pfn) => return self.map_memmap(at, pfn, g.pmd_size, g.pmd_size),
                // System RAM has no free run: base pages do. An altmap has no second choice.
                Err(Error::Out(Resource::Frames { .. })) => {}
                Err(error) => return Err(error),
            }
        }
        let inside = rest.end.min(own.end.align_down(g.page_size));
        let (pfn, pages) = if at >= own.start && at < inside {
            self.memmap_pages(supply, (inside - at) >> g.page_shift)?
        } else {
            self.memmap_pages(Supply::Ram, 1)?
        };
        self.map_memmap(at, pfn, pages << g.page_shift, g.page_size)
    }

    pub(super) fn map_memmap(&mut self, at: VirtAddr, pfn: Pfn, size: u64, leaf: u64) -> Result<VirtAddr> {
        let g = self.granule();
        let (machine, tables) = (self.machine.clone(), self.tables);
        let request = MapRequest {
            range: VirtRange { start: at, end: at + size },
            pa: pfn.address(g),
            attributes: Attributes::DATA,
            max_leaf: leaf,
            contiguous: false,
        };
        match tables.map(&machine, self, &request) {
            Ok(()) => Ok(request.range.end),
            Err(error) => {
                self.release_memmap(PfnRange::new(pfn, size >> g.page_shift));
                Err(error)
            }
        }
    }
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
