//! Steps 1, 2 and 5 of `add_memory`, each beside its inverse. Step 3 is in `backing`, step 4 in `vmemmap::populate`.

use crate::addr::{VirtAddr, VirtRange};
use crate::error::{Error, RangeError, Resource, Result};
use crate::frame::block::{BlockState, MemoryBlock, Source};
use crate::frame::page::PageKind;
use crate::frame::section::{Backing, Section, Subsections};
use crate::frame::tables::TableFrames;
use crate::hotplug::range::HotRange;
use crate::layout;
use crate::machine::{self, Machine};
use crate::mm::Mm;
use crate::pfn::{Pfn, PfnRange};
use crate::space::descriptor::Attributes;
use crate::space::request::{Gone, MapRequest};

impl<M: Machine> Mm<M> {
    // Step 1. The sections exist from here on; nothing of them is valid before step 5 (I1).

    pub(crate) fn claim_sections(&mut self, range: &HotRange) -> Result<()> {
        let g = self.granule();
        let blocks = range.pages().blocks(g);
        // A range that was validated before the model changed.
        if let Some(start) = blocks.clone().find(|start| self.frames.sections.get(start.get()).is_some()) {
            let present = start.address(g);
            return Err(Error::Range(RangeError::Exists { range: range.pages().addresses(g), present }));
        }
        let count = blocks.clone().count();
        self.frames.may_fail(Resource::Heap { bytes: count * size_of::<Section>() })?;
        self.frames.sections.reserve(count)?;
        let room = self
            .frames
            .may_fail(Resource::Heap { bytes: count * size_of::<MemoryBlock>() })
            .and_then(|()| self.frames.blocks.reserve(count));
        if let Err(error) = room {
            self.frames.sections.shrink();
            return Err(error);
        }
        for start in blocks {
            self.frames.sections.insert(Section::claimed(start));
            let block = MemoryBlock::offline(start, range.source(), g.section_pages);
            self.frames.blocks.insert(MemoryBlock { node: range.node(), ..block });
        }
        Ok(())
    }

    pub(crate) fn drop_sections(&mut self, pages: PfnRange) {
        let g = self.granule();
        // From the end, so that nothing of the range has to move up.
        for start in pages.blocks(g).rev() {
            self.frames.blocks.remove(start.get());
            if self.frames.hooks.keeps_sections()
                && let Some(section) = self.frames.sections.get_mut(start.get())
            {
                section.present = Subsections::touched(g, start, PfnRange::new(start, g.section_pages));
                continue;
            }
            self.frames.sections.remove(start.get());
        }
        self.frames.sections.shrink();
        self.frames.blocks.shrink();
    }

    // Step 2. No leaf is larger than the range, which is what goes by itself.

    pub(crate) fn map_linear(&mut self, pages: PfnRange) -> Result<()> {
        let g = self.granule();
        let physical = pages.addresses(g);
        let request = MapRequest {
            range: self.layout().linear_range(physical),
            pa: physical.start,
            attributes: Attributes::DATA,
            max_leaf: physical.len(),
            contiguous: true,
        };
        self.space.map(&mut self.frames, &request)?;
        self.space.publish();
        Ok(())
    }

    pub(crate) fn unmap_linear(&mut self, pages: PfnRange) {
        let g = self.granule();
        if self.frames.hooks.keeps_linear_map() {
            return;
        }
        let range = self.layout().linear_range(pages.addresses(g));
        let bounds = self.space.bounds(Self::linear());
        let Ok(pending) = self.space.break_range(range, bounds, |_| false) else {
            debug_assert!(false, "a range is mapped by leaves of its own");
            self.frames.warnings.stuck += 1;
            return;
        };
        self.space.invalidate(pending);
        let reaped = self.space.reap(range, |gone| {
            // The leaf's memory is the range's own: it goes with the range. The tables go back.
            if let Gone::Table(table) = gone {
                self.frames.free_table(table);
            }
        });
        debug_assert!(reaped.is_ok(), "emptying a broken entry is always legal");
    }

    // Step 5. One bulk clearing; a zeroed struct page means "ask your head", so only the memmap's own head is written.

    pub(crate) fn initialise_pages(&mut self, pages: PfnRange) {
        let g = self.granule();
        machine::zero_mapped(self.machine(), self.layout().memmap(pages));
        for start in pages.blocks(g) {
            let all = Subsections::touched(g, start, PfnRange::new(start, g.section_pages));
            if let Some(section) = self.frames.sections.get_mut(start.get()) {
                section.present = all;
            }
            let memmap = self.frames.blocks.get(start.get()).map_or(0, |b| b.memmap_pages);
            for (pfn, order) in PfnRange::new(start, memmap).chunks(g.section_order) {
                self.pages().mark(pfn, order, PageKind::MemmapSelf);
            }
            self.frames.charge(PageKind::MemmapSelf, memmap);
            self.frames.add_present(memmap);
            if self.frames.hooks.overcharges_altmap()
                && let Backing::Altmap(base) = self.frames.backing_of(start)
                && let Some(altmap) = self.frames.altmaps.get_mut(base)
            {
                altmap.charge_for_nothing();
            }
        }
    }

    pub(crate) fn forget_pages(&mut self, pages: PfnRange) {
        let g = self.granule();
        for start in pages.blocks(g) {
            let memmap = self.frames.blocks.get(start.get()).map_or(0, MemoryBlock::own_memmap);
            self.frames.uncharge(PageKind::MemmapSelf, memmap);
            self.frames.remove_present(memmap);
            if let Some(section) = self.frames.sections.get_mut(start.get()) {
                section.present = Subsections::default();
            }
        }
    }

    /// All of the linear map.
    const fn linear() -> VirtRange {
        VirtRange {
            start: layout::LINEAR_START,
            end: VirtAddr::new(layout::LINEAR_START.get() + layout::LINEAR_SIZE),
        }
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
            present,
            free: crate::frame::buddy::FreeArea::new(start),
            tenant_pages: 0,
        }
    }
}
