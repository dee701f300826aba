//! Mapping the memmap of a range of pages.
//!
//! A whole section at 4K is one 2 MiB block. Everything else is base pages: 16K and 64K, whose blocks are larger than a
//! section's memmap; parts of sections; and 4K from system RAM that has no free 2 MiB run and cannot make one. An altmap has no fallback.

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
        let leaves = self.leaves_around(range)?;
        let memmap = self.unshared(leaves);
        let mark = self.altmap_of(range.start).map(|a| a.mark());
        let mut at = memmap.start;
        while at < memmap.end {
            match self.populate_piece(VirtRange { start: at, end: memmap.end }) {
                Ok(next) => at = next,
                Err(error) => {
                    let done = VirtRange { start: memmap.start, end: at };
                    self.free_leaves(done, done);
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

    /// `leaves` without what a neighbour has mapped: only the first and the last page can describe a neighbour's memory.
    fn unshared(&self, leaves: VirtRange) -> VirtRange {
        let mapped = |at: VirtAddr| self.tables.translate(&self.machine, at).is_some();
        let mut own = leaves;
        if mapped(own.start) {
            own.start = own.start + G::SIZE;
        }
        let last = VirtAddr::new(own.end.get() - G::SIZE);
        if own.start < own.end && mapped(last) {
            own.end = last;
        }
        own
    }

    /// The memmap of `range`, rounded out to whole granule pages; outside of vmemmap is a warning.
    pub(crate) fn leaves_around(&mut self, range: PfnRange) -> Result<VirtRange> {
        // Compared as pages: an address below first_pfn's would wrap.
        if !self.layout.described().covers(&range.addresses::<G>()) {
            self.warnings.outside_vmemmap += 1;
            return Err(Error::NotPresent(range.start));
        }
        let memmap = self.layout.memmap(range);
        let end = memmap.end.checked_align_up(G::SIZE).unwrap_or(memmap.end);
        Ok(VirtRange { start: memmap.start.align_down(G::SIZE), end })
    }

    pub(crate) fn altmap_of(&mut self, pfn: Pfn) -> Option<&mut super::altmap::Altmap> {
        match &mut self.sections.get_mut(pfn.align_down(G::BLOCK_ORDER).get())?.backing {
            Backing::SelfHosted(altmap) => Some(altmap),
            Backing::Boot | Backing::Ram => None,
        }
    }

    /// Populate the beginning of `rest`: a block where it may be one, else base pages, as many as follow each other in
    /// memory. Returns where the next piece begins.
    fn populate_piece(&mut self, rest: VirtRange) -> Result<VirtAddr> {
        let at = rest.start;
        if at.is_aligned(G::BLOCK_SIZE) && rest.len() >= G::BLOCK_SIZE {
            match self.memmap_block(at) {
                Ok(pfn) => return self.map_memmap(at, pfn, G::BLOCK_SIZE, G::BLOCK_SIZE),
                // System RAM has no free run: base pages do. An altmap has no second choice.
                Err(Error::Out(Resource::Frames { .. })) => {}
                Err(error) => return Err(error),
            }
        }
        let (pfn, pages) = self.memmap_pages(at, rest.len() >> G::SHIFT)?;
        self.map_memmap(at, pfn, pages << G::SHIFT, G::SIZE)
    }

    fn map_memmap(&mut self, at: VirtAddr, pfn: Pfn, size: u64, leaf: u64) -> Result<VirtAddr> {
        let (machine, tables) = (self.machine.clone(), self.tables);
        let request = MapRequest {
            range: VirtRange { start: at, end: at + size },
            pa: pfn.address::<G>(),
            attributes: Attributes::DATA,
            max_leaf: leaf,
            contiguous: false,
        };
        match tables.map(&machine, self, &request) {
            Ok(()) => Ok(request.range.end),
            Err(error) => {
                self.release_memmap(at, request.pa, size);
                Err(error)
            }
        }
    }

    /// The first page whose struct page is at `at`.
    fn described_at(&self, at: VirtAddr) -> Pfn {
        self.layout.first_pfn() + (at - self.layout.vmemmap().start) / PAGE_BYTES
    }

    /// Frames for a block of memmap at `at`, from where its section's memmap comes from.
    fn memmap_block(&mut self, at: VirtAddr) -> Result<Pfn> {
        let (pages, described) = (G::BLOCK_SIZE >> G::SHIFT, self.described_at(at));
        if self.altmap_of(described).is_none() {
            return self.memmap_run(pages.trailing_zeros());
        }
        self.may_fail(Resource::Altmap { pages })?;
        let exhausted = Error::Out(Resource::Altmap { pages });
        self.altmap_of(described).ok_or(exhausted).and_then(|altmap| altmap.allocate(pages))
    }

    /// A run of system RAM, made out of pieces when there is none. One that was made to fail is not looked for.
    fn memmap_run(&mut self, order: u32) -> Result<Pfn> {
        self.may_fail(Resource::Frames { order })?;
        match self.take(order, PageKind::MemmapRam, Mobility::Unmovable) {
            Some(pfn) => Ok(pfn),
            None => Ok(self.compact_into(order, PageKind::MemmapRam)?.run),
        }
    }

    /// Up to `most` neighbouring frames for base pages of memmap at `at`.
    fn memmap_pages(&mut self, at: VirtAddr, most: u64) -> Result<(Pfn, u64)> {
        let described = self.described_at(at);
        if self.altmap_of(described).is_none() {
            return self.alloc(0, PageKind::MemmapRam, Mobility::Unmovable).map(|pfn| (pfn, 1));
        }
        self.may_fail(Resource::Altmap { pages: most })?;
        let exhausted = Error::Out(Resource::Altmap { pages: most });
        self.altmap_of(described).ok_or(exhausted).and_then(|altmap| altmap.allocate_pages(most))
    }

    /// Give memmap back to where it came from: the altmap that its frames lie in, or system RAM, frame by frame.
    pub(crate) fn release_memmap(&mut self, at: VirtAddr, pa: PhysAddr, size: u64) {
        let frames = PfnRange::new(Pfn::containing::<G>(pa), size >> G::SHIFT);
        match self.altmap_of(self.described_at(at)) {
            Some(altmap) if altmap.frames().contains(frames.start) => {
                altmap.release(frames.start, frames.len())
            }
            _ => self.free_runs(frames),
        }
    }

    /// Free every run of `frames`, each by its own head.
    fn free_runs(&mut self, frames: PfnRange) {
        let mut pfn = frames.start;
        while pfn < frames.end {
            let order = self.freeable(pfn).map_or(0, |(_, order)| order);
            self.free(pfn);
            pfn = pfn + (1 << order);
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
