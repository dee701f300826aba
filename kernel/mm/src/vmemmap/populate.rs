//! Mapping the memmap of a range of pages.
//!
//! A whole section at 4K is one 2 MiB block. Everything else is base pages: 16K and 64K, whose blocks are larger than a
//! section's memmap; parts of sections; and 4K from system RAM that has no free 2 MiB run. An altmap has no fallback.

use crate::addr::{PhysAddr, VirtAddr, VirtRange};
use crate::error::{Error, Resource, Result};
use crate::granule::Granule;
use crate::hotplug::range::HotRange;
use crate::machine::Machine;
use crate::model::{Mm, Mobility};
use crate::page::{PAGE_BYTES, PageKind};
use crate::paging::descriptor::Attributes;
use crate::paging::table::{MapRequest, TableFrames};
use crate::pfn::{Pfn, PfnRange};
use crate::section::Backing;

impl<G: Granule, M: Machine> Mm<G, M> {
    /// Step 4 of [`crate::hotplug::steps`]: all blocks of a range, or none.
    ///
    /// # Errors
    /// `Out`.
    pub(crate) fn populate_blocks(&mut self, pages: PfnRange) -> Result<()> {
        for start in HotRange::blocks::<G>(pages) {
            if let Err(error) = self.populate(PfnRange::new(start, G::SECTION_PAGES)) {
                self.depopulate_blocks(PfnRange { start: pages.start, end: start });
                return Err(error);
            }
        }
        Ok(())
    }

    /// The inverse of step 4.
    pub(crate) fn depopulate_blocks(&mut self, pages: PfnRange) {
        if !pages.is_empty() {
            self.depopulate(pages);
        }
    }

    /// Map the memmap of `range`, pages of one section whose backing has been chosen. Memmap pages that a neighbour has
    /// mapped already are shared. The memory is not cleared yet.
    ///
    /// # Errors
    /// `Out`; everything that was mapped is gone again then.
    pub(crate) fn populate(&mut self, range: PfnRange) -> Result<()> {
        let memmap = self.leaves_around(range)?;
        let mark = self.altmap_of(range.start).map(|a| a.mark());
        let mut at = memmap.start;
        while at < memmap.end {
            match self.populate_leaf(at, memmap) {
                Ok(next) => at = next,
                Err(error) => {
                    self.free_leaves(VirtRange { start: memmap.start, end: at });
                    if let (Some(mark), Some(altmap)) = (mark, self.altmap_of(range.start)) {
                        altmap.rewind(mark);
                    }
                    return Err(error);
                }
            }
        }
        self.machine.publish();
        Ok(())
    }

    /// The memmap of `range`, rounded out to whole granule pages; outside of vmemmap is a warning.
    pub(crate) fn leaves_around(&mut self, range: PfnRange) -> Result<VirtRange> {
        let memmap = self.layout.memmap(range);
        if !self.layout.vmemmap().covers(&memmap) {
            self.warnings.outside_vmemmap += 1;
            return Err(Error::NotPresent(range.start));
        }
        let end = memmap.end.checked_align_up(G::SIZE).unwrap_or(memmap.end);
        Ok(VirtRange { start: memmap.start.align_down(G::SIZE), end })
    }

    pub(crate) fn altmap_of(&mut self, pfn: Pfn) -> Option<&mut super::altmap::Altmap> {
        match &mut self.sections.get_mut(pfn.align_down(G::BLOCK_ORDER).get())?.backing {
            Backing::SelfHosted(altmap) => Some(altmap),
            Backing::Boot | Backing::Ram => None,
        }
    }

    /// Populate the leaf at `at`, a block where it may be one; returns where the next begins.
    fn populate_leaf(&mut self, at: VirtAddr, memmap: VirtRange) -> Result<VirtAddr> {
        if self.tables.translate(&self.machine, at).is_some() {
            return Ok(at + G::SIZE);
        }
        let block = VirtRange { start: at, end: at + G::BLOCK_SIZE };
        if at.is_aligned(G::BLOCK_SIZE) && memmap.covers(&block) && self.populate_with(at, G::BLOCK_SIZE)? {
            return Ok(block.end);
        }
        self.populate_with(at, G::SIZE)?;
        Ok(at + G::SIZE)
    }

    /// Take memory for a leaf of `size` bytes and map it. `false`: system RAM has no run for a block; try base pages.
    fn populate_with(&mut self, at: VirtAddr, size: u64) -> Result<bool> {
        let pfn = match self.memmap_frames(at, size) {
            Err(Error::Out(Resource::Frames { .. })) if size > G::SIZE => return Ok(false),
            other => other?,
        };
        let machine = self.machine.clone();
        let request = MapRequest {
            range: VirtRange { start: at, end: at + size },
            pa: pfn.address::<G>(),
            attributes: Attributes::DATA,
            max_leaf: size,
            contiguous: false,
        };
        let tables = self.tables;
        if let Err(error) = tables.map(&machine, self, &request) {
            self.release_memmap(at, pfn.address::<G>(), size);
            return Err(error);
        }
        Ok(true)
    }

    /// Frames for the leaf at `at`, from where its section's memmap comes from.
    fn memmap_frames(&mut self, at: VirtAddr, size: u64) -> Result<Pfn> {
        let pages = size >> G::SHIFT;
        let pfn = self.layout.first_pfn() + (at - self.layout.vmemmap().start) / PAGE_BYTES;
        if self.altmap_of(pfn).is_some() {
            self.may_fail(Resource::Altmap { pages })?;
        }
        match self.altmap_of(pfn) {
            Some(altmap) => altmap.allocate(pages),
            None => self.alloc(pages.trailing_zeros(), PageKind::MemmapRam, Mobility::Unmovable),
        }
    }

    /// Give a memmap frame back to where it came from: the altmap that it lies in, or system RAM.
    pub(crate) fn release_memmap(&mut self, at: VirtAddr, pa: PhysAddr, size: u64) {
        let pfn = Pfn::containing::<G>(pa);
        let described = self.layout.first_pfn() + (at - self.layout.vmemmap().start) / PAGE_BYTES;
        match self.altmap_of(described) {
            Some(altmap) if altmap.frames().contains(pfn) => altmap.release(pfn, size >> G::SHIFT),
            _ => self.free(pfn),
        }
    }
}

/// Boot's tables and memmap come from memblock; after that the buddy allocator is the source.
pub(crate) struct BootFrames<'a, G: Granule> {
    pub(crate) memblock: &'a mut crate::memblock::Memblock,
    pub(crate) _granule: core::marker::PhantomData<G>,
}

impl<G: Granule> TableFrames for BootFrames<'_, G> {
    fn alloc_table(&mut self) -> Result<PhysAddr> {
        self.memblock.alloc(G::SIZE, G::SIZE, PageKind::Table)
    }
    fn free_table(&mut self, _table: PhysAddr) {
        // Boot maps everything or does not boot: memblock never takes anything back.
    }
}
