//! Steps 1, 2, 3 and 5 of `add_memory`, each beside its inverse; step 4 is in `vmemmap::populate`. Step 3 chooses what will
//! hold the memmap:
//!
//! ```text
//!  self        |M|          |M|          |M|          |      an altmap in each block: each can be removed alone
//!  self-range  |MMM|                                  |      one altmap for the range: it is removed as one
//!  ram         |                                      |      no altmap
//! ```

use crate::addr::{VirtAddr, VirtRange};
use crate::error::{AltmapError, Error, RangeError, Resource, Result};
use crate::frame::altmap::Altmap;
use crate::frame::block::{BlockState, MemoryBlock, Source};
use crate::frame::page::PageKind;
use crate::frame::section::{Backing, Section, Subsections};
use crate::frame::tables::TableFrames;
use crate::hotplug::home::MemmapHome;
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

    // Step 3. Every check comes before anything is written: a step that fails has changed nothing.

    /// Chooses what will hold the memmap of `pages`.
    ///
    /// # Errors
    /// `BadAltmap`, `AltmapPadding` (a warning), `Out` when the heap has no room.
    pub(crate) fn choose_backing(&mut self, pages: PfnRange, home: MemmapHome) -> Result<()> {
        let g = self.granule();
        match home {
            MemmapHome::Ram => Ok(()),
            MemmapHome::SelfHosted => {
                self.reserve_altmaps(pages.blocks(g).count())?;
                for start in pages.blocks(g) {
                    let altmap = Altmap::for_memory(g, PfnRange::new(start, g.section_pages));
                    self.set_backing(start, Backing::Altmap(start), altmap.offset());
                    self.frames.altmaps.insert(altmap);
                }
                Ok(())
            }
            MemmapHome::SelfRange { reserve } => {
                let memmap = Altmap::for_memory(g, pages).free();
                self.host_in(pages, Altmap::new(pages.start, reserve, memmap))
            }
            MemmapHome::Given(altmap) => self.host_in(pages, altmap),
        }
    }

    /// Let `altmap` hold the memmap of all of `pages`.
    fn host_in(&mut self, pages: PfnRange, altmap: Altmap) -> Result<()> {
        let g = self.granule();
        altmap.check_range(g, pages)?;
        let padding = altmap.padding_for(g);
        if padding != 0 {
            self.frames.warnings.altmap += 1;
            return Err(Error::Altmap(AltmapError::Padding {
                base: altmap.base_pfn().address(g),
                pages: padding,
            }));
        }
        self.reserve_altmaps(1)?;
        let hosting = PfnRange::new(pages.start, altmap.offset());
        for block in pages.sections(g) {
            let own = hosting.end.min(block.end).get().saturating_sub(block.start.get());
            self.set_backing(block.start, Backing::Altmap(pages.start), own);
        }
        self.frames.altmaps.insert(altmap);
        Ok(())
    }

    pub(crate) fn reserve_altmaps(&mut self, count: usize) -> Result<()> {
        self.frames.may_fail(Resource::Heap { bytes: count * size_of::<Altmap>() })?;
        self.frames.altmaps.reserve(count)
    }

    /// The section that starts at `start` has its memmap there; its block keeps so many pages.
    fn set_backing(&mut self, start: Pfn, backing: Backing, memmap_pages: u64) {
        if let Some(section) = self.frames.sections.get_mut(start.get()) {
            section.backing = backing;
        }
        if let Some(block) = self.frames.blocks.get_mut(start.get()) {
            block.memmap_pages = memmap_pages;
        }
    }

    /// The inverse of step 3.
    pub(crate) fn drop_backing(&mut self, pages: PfnRange) {
        let in_use = self.frames.altmaps.remove_in(pages);
        debug_assert!(in_use == 0 || self.frames.hooks.any(), "{in_use} pages of an altmap are in use");
        for start in pages.blocks(self.granule()) {
            self.set_backing(start, Backing::Ram, 0);
        }
    }

    /// Refuse to part sections whose memmap is in one altmap: they follow each other, so only the ends of `pages` can.
    ///
    /// # Errors
    /// `HeldTogether`.
    pub(crate) fn refuse_parted(&self, pages: PfnRange) -> Result<()> {
        let g = self.granule();
        let host = |start: Pfn| match self.frames.sections.get(start.get()).map(|section| section.backing) {
            Some(Backing::Altmap(base)) => base,
            _ => start,
        };
        let parted = |block: Pfn, host: Pfn| {
            Err(Error::Altmap(AltmapError::HeldTogether { block: block.address(g), host: host.address(g) }))
        };
        let (first, after) = (host(pages.start), host(pages.end));
        if first < pages.start {
            return parted(pages.start, first);
        }
        if pages.contains(after) { parted(pages.end, after) } else { Ok(()) }
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
            poisoned: 0,
            present,
            free: crate::frame::buddy::FreeArea::new(start),
            tenant_pages: 0,
        }
    }
}
