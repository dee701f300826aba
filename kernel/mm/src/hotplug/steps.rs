//! The steps that make a range present, as a list, each with its inverse. Adding runs the list; an error at step k runs the
//! inverses k-1..1; removing runs them all backwards. A step that fails has undone its own part already.

use crate::addr::PhysRange;
use crate::bugs::Bug;
use crate::error::{Error, Resource, Result};
use crate::granule::Granule;
use crate::hotplug::block::{BlockState, MemoryBlock};
use crate::hotplug::range::HotRange;
use crate::machine::{self, Machine};
use crate::model::Mm;
use crate::page::PageKind;
use crate::paging::descriptor::Attributes;
use crate::paging::table::{Gone, MapRequest, TableFrames};
use crate::pfn::{Pfn, PfnRange};
use crate::section::{Backing, Section, Subsections};
use crate::vmemmap::altmap::Altmap;

/// Where the memmap of added memory goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum MemmapHome {
    /// Into the added memory itself: each block's first pages.
    #[default]
    SelfHosted,
    /// Into system RAM.
    Ram,
}

/// A step of adding, in order. Joining a zone and going online are a block's own: see [`crate::hotplug::online`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// 1: the sections are ours.
    ClaimSections,
    /// 2: the linear map reaches the range.
    MapLinear,
    /// 3: an altmap, or system RAM.
    ChooseBacking,
    /// 4: vmemmap is mapped.
    PopulateVmemmap,
    /// 5: struct pages are cleared, and those of the memmap itself are marked; from here on they can be read.
    InitialisePages,
}

impl Step {
    /// The steps of adding, in order.
    pub const ALL: [Self; 5] = [
        Self::ClaimSections,
        Self::MapLinear,
        Self::ChooseBacking,
        Self::PopulateVmemmap,
        Self::InitialisePages,
    ];

    /// The name that logs, tests and documents use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ClaimSections => "claim sections",
            Self::MapLinear => "map linearly",
            Self::ChooseBacking => "choose backing",
            Self::PopulateVmemmap => "populate vmemmap",
            Self::InitialisePages => "initialise pages",
        }
    }
}

impl<G: Granule, M: Machine> Mm<G, M> {
    /// Make `range` present: steps 1 to 5. Its blocks are offline then.
    ///
    /// # Errors
    /// What a step ran out of; the machine is exactly as it was.
    pub fn add(&mut self, range: &HotRange, home: MemmapHome) -> Result<()> {
        for (k, step) in Step::ALL.iter().enumerate() {
            if let Err(error) = self.apply(*step, range, home) {
                self.revert_all(&Step::ALL[..k], range.pages());
                return Err(error);
            }
        }
        Ok(())
    }

    /// Take a range away whose blocks are all offline: steps 5 to 1 backwards.
    ///
    /// # Errors
    /// `NoBlock` when a block of it is not present (a warning), `BlockState` when one is not offline.
    pub fn remove(&mut self, range: PhysRange) -> Result<()> {
        let pages = PfnRange::inside::<G>(range);
        for start in HotRange::blocks::<G>(pages) {
            let Some(block) = self.blocks.get(start.get()) else {
                self.warnings.bad_remove += 1;
                return Err(Error::NoBlock(start.address::<G>()));
            };
            if block.state != BlockState::Offline {
                let (block, is) = (start.address::<G>(), block.state.name());
                return Err(Error::BlockState { block, is, needs: "offline" });
            }
        }
        self.revert_all(&Step::ALL, pages);
        Ok(())
    }

    fn revert_all(&mut self, steps: &[Step], pages: PfnRange) {
        for step in steps.iter().rev() {
            self.revert(*step, pages);
        }
    }

    fn apply(&mut self, step: Step, range: &HotRange, home: MemmapHome) -> Result<()> {
        match step {
            Step::ClaimSections => self.claim_sections(range),
            Step::MapLinear => self.map_linear(range.pages()),
            Step::ChooseBacking => self.choose_backing(range.pages(), home),
            Step::PopulateVmemmap => self.populate_blocks(range.pages()),
            Step::InitialisePages => self.initialise_pages(range.pages()),
        }
    }

    /// The inverse of each step: none can fail.
    fn revert(&mut self, step: Step, pages: PfnRange) {
        match step {
            Step::ClaimSections => self.drop_sections(pages),
            Step::MapLinear => self.unmap_linear(pages),
            Step::ChooseBacking => self.forget_backing(pages),
            Step::PopulateVmemmap => self.depopulate_blocks(pages),
            Step::InitialisePages => self.forget_pages(pages),
        }
    }

    // Step 1. The sections exist from here on; nothing of them is valid before step 5 (I1).

    fn claim_sections(&mut self, range: &HotRange) -> Result<()> {
        let blocks = HotRange::blocks::<G>(range.pages());
        let count = blocks.clone().count();
        self.may_fail(Resource::Heap { bytes: count * size_of::<Section>() })?;
        self.sections.reserve(count)?;
        let room = self
            .may_fail(Resource::Heap { bytes: count * size_of::<MemoryBlock>() })
            .and_then(|()| self.blocks.reserve(count));
        if let Err(error) = room {
            self.sections.shrink();
            return Err(error);
        }
        for start in blocks {
            let present = Subsections::default();
            self.sections.insert(Section { start, present, early: false, backing: Backing::Ram });
            self.blocks.insert(MemoryBlock::offline(start, range.source(), G::SECTION_PAGES));
        }
        Ok(())
    }

    fn drop_sections(&mut self, pages: PfnRange) {
        for start in HotRange::blocks::<G>(pages) {
            self.blocks.remove(start.get());
            self.sections.remove(start.get());
        }
        self.sections.shrink();
        self.blocks.shrink();
    }

    // Step 2. No leaf is larger than the range, which is what goes by itself.

    fn map_linear(&mut self, pages: PfnRange) -> Result<()> {
        let physical = pages.addresses::<G>();
        let request = MapRequest {
            range: self.layout.linear_range(physical),
            pa: physical.start,
            attributes: Attributes::DATA,
            max_leaf: physical.len(),
            contiguous: true,
        };
        let (machine, tables) = (self.machine.clone(), self.tables);
        tables.map(&machine, self, &request)?;
        machine.publish();
        Ok(())
    }

    fn unmap_linear(&mut self, pages: PfnRange) {
        if self.has_bug(Bug::KeepLinear) {
            return;
        }
        let range = self.layout.linear_range(pages.addresses::<G>());
        let (machine, tables) = (self.machine.clone(), self.tables);
        let bounds = self.linear_bounds();
        let Ok(debt) = tables.break_range(&machine, range, bounds, |_| false) else {
            debug_assert!(false, "a range is mapped by leaves of its own");
            return;
        };
        self.pay(debt);
        let reaped = tables.reap(&machine, range, |gone| {
            // The leaf's memory is the range's own: it goes with the range. The tables go back.
            if let Gone::Table(table) = gone {
                self.free_table(table);
            }
        });
        debug_assert!(reaped.is_ok(), "emptying a broken entry is always legal");
    }

    // Step 3.

    fn choose_backing(&mut self, pages: PfnRange, home: MemmapHome) -> Result<()> {
        let memmap_pages = G::SECTION_MEMMAP >> G::SHIFT;
        for start in HotRange::blocks::<G>(pages) {
            if home == MemmapHome::Ram {
                continue;
            }
            let altmap = Altmap::new(start, 0, memmap_pages);
            altmap.check_range::<G>(PfnRange::new(start, G::SECTION_PAGES))?;
            if let Some(section) = self.sections.get_mut(start.get()) {
                section.backing = Backing::SelfHosted(altmap);
            }
            if let Some(block) = self.blocks.get_mut(start.get()) {
                block.memmap_pages = altmap.offset();
            }
        }
        Ok(())
    }

    fn forget_backing(&mut self, pages: PfnRange) {
        for start in HotRange::blocks::<G>(pages) {
            if let Some(section) = self.sections.get_mut(start.get()) {
                section.backing = Backing::Ram;
            }
            if let Some(block) = self.blocks.get_mut(start.get()) {
                block.memmap_pages = 0;
            }
        }
    }

    // Step 4.

    fn populate_blocks(&mut self, pages: PfnRange) -> Result<()> {
        for start in HotRange::blocks::<G>(pages) {
            if let Err(error) = self.populate(PfnRange::new(start, G::SECTION_PAGES)) {
                self.depopulate_blocks(PfnRange { start: pages.start, end: start });
                return Err(error);
            }
        }
        Ok(())
    }

    fn depopulate_blocks(&mut self, pages: PfnRange) {
        if !pages.is_empty() {
            self.depopulate(pages);
        }
    }

    // Step 5. One bulk clearing; a zeroed struct page means "ask your head", so only the memmap's own head is written.

    fn initialise_pages(&mut self, pages: PfnRange) -> Result<()> {
        machine::zero_mapped(&self.machine, self.layout.memmap(pages));
        for start in HotRange::blocks::<G>(pages) {
            let all = Subsections::touched::<G>(start, PfnRange::new(start, G::SECTION_PAGES));
            if let Some(section) = self.sections.get_mut(start.get()) {
                section.present = all;
            }
            let memmap = self.blocks.get(start.get()).map_or(0, |b| b.memmap_pages);
            for (pfn, order) in PfnRange::new(start, memmap).chunks(G::BLOCK_ORDER) {
                self.pages().mark(pfn, order, PageKind::MemmapSelf);
            }
            self.counts.memmap_self += memmap;
            self.counts.present += memmap;
            if self.has_bug(Bug::AltmapLeak)
                && let Some(altmap) = self.altmap_of(start)
            {
                altmap.charge_for_nothing();
            }
        }
        Ok(())
    }

    fn forget_pages(&mut self, pages: PfnRange) {
        for start in HotRange::blocks::<G>(pages) {
            let memmap = self.blocks.get(start.get()).map_or(0, |b| b.memmap_pages);
            self.counts.memmap_self -= memmap;
            self.counts.present -= memmap;
            if let Some(section) = self.sections.get_mut(start.get()) {
                section.present = Subsections::default();
            }
        }
    }

    /// All of the linear map: the bounds within which its empty tables may be freed (I4).
    pub(crate) fn linear_bounds(&self) -> crate::addr::VirtRange {
        if self.has_bug(Bug::EmptyTable) {
            return crate::addr::VirtRange::default();
        }
        crate::addr::VirtRange {
            start: crate::layout::LINEAR_START,
            end: crate::layout::LINEAR_START + crate::layout::LINEAR_SIZE,
        }
    }
}

impl MemoryBlock {
    /// A block that has just been claimed.
    pub const fn offline(start: Pfn, source: crate::hotplug::block::Source, present: u64) -> Self {
        Self {
            start,
            state: BlockState::Offline,
            source,
            memmap_pages: 0,
            present,
            free: crate::buddy::FreeArea::new(start),
            tenant_pages: 0,
        }
    }
}
