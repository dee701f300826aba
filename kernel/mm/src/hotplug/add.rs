//! Memory is added, and removed again: steps 1 to 5 and back (Linux: `add_memory_resource`, `try_remove_memory`).
//!
//! ```text
//!   step                 add_memory           remove_memory
//!   1 claim sections     claim_sections       drop_sections          the sections and memory blocks exist
//!   2 map linearly       map_linear           unmap_linear           the linear map reaches the memory
//!   3 choose backing     choose_backing       drop_backing           an altmap in the memory, or system RAM
//!   4 populate vmemmap   populate             depopulate             the struct pages have memory behind them
//!   5 initialise pages   initialise_pages     forget_pages           they are cleared and valid; the blocks are offline
//! ```

use crate::addr::PhysRange;
use crate::error::{BlockError, BlockIs, BlockNeeds, Error, RangeError, Result};
use crate::frame::Frames;
use crate::frame::block::{MemoryBlock, Source};
use crate::frame::zone::ZoneKind;
use crate::hotplug::home::MemmapHome;
use crate::hotplug::offline::Offlined;
use crate::hotplug::present::{
    choose_backing, claim_sections, drop_backing, drop_sections, forget_pages, initialise_pages, map_linear,
    refuse_parted, unmap_linear,
};
use crate::hotplug::range::HotRange;
use crate::hotplug::step::Step;
use crate::hotplug::undo::Undo;
use crate::machine::Machine;
use crate::mm::Mm;
use crate::pfn::PfnRange;
use crate::vmemmap::depopulate::depopulate_sections;
use crate::vmemmap::populate::populate_range;

impl<M: Machine> Mm<M> {
    /// Make `range` present, its memmap at `home`; its blocks are offline. `progress` hears of each step that is complete.
    ///
    /// # Errors
    /// `Exists` when something became present there after the range was validated, or what a step ran out of; the machine is
    /// exactly as it was.
    pub fn add_memory(
        &mut self,
        range: &HotRange,
        home: MemmapHome,
        mut progress: impl FnMut(&Self, Step),
    ) -> Result<()> {
        self.refuse_claimed_by_device(range)?;
        let mut undo = Undo::new(self, range.pages(), &mut progress);
        undo.step(
            Step::ClaimSections,
            |mm, _| claim_sections(&mut mm.frames, range),
            |mm, pages| drop_sections(&mut mm.frames, *pages),
        )?;
        undo.step(
            Step::MapLinear,
            |mm, pages| map_linear(&mut mm.space, &mut mm.frames, *pages),
            |mm, pages| unmap_linear(&mut mm.space, &mut mm.frames, *pages),
        )?;
        undo.step(
            Step::ChooseBacking,
            |mm, pages| choose_backing(&mut mm.frames, *pages, home),
            |mm, pages| drop_backing(&mut mm.frames, *pages),
        )?;
        undo.step(
            Step::PopulateVmemmap,
            |mm, pages| populate_range(&mut mm.space, &mut mm.frames, *pages, Frames::backing_of),
            |mm, pages| depopulate_sections(&mut mm.space, &mut mm.frames, *pages),
        )?;
        undo.step(
            Step::InitialisePages,
            |mm, pages| {
                initialise_pages(&mut mm.frames, *pages);
                Ok(())
            },
            |mm, pages| forget_pages(&mut mm.frames, *pages),
        )?;
        undo.commit();
        self.note_remote_memmap(range.pages().start);
        Ok(())
    }

    /// Take a range away whose blocks are all offline: steps 5 to 1.
    ///
    /// # Errors
    /// As [`Self::removable`]; `BlockError::State` when a block is not offline, or a device gave it
    /// (`memory_to_device` takes it back).
    pub fn remove_memory(&mut self, range: PhysRange) -> Result<()> {
        self.refuse_kmem(range)?;
        let pages = self.removable(range)?;
        self.remove_offline(pages)
    }

    /// [`Self::remove_memory`] without its checks of the range.
    pub(crate) fn remove_offline(&mut self, pages: PfnRange) -> Result<()> {
        for start in pages.blocks(self.granule()) {
            self.require_offline(start)?;
        }
        let Self { space, frames, .. } = self;
        forget_pages(frames, pages);
        depopulate_sections(space, frames, pages);
        drop_backing(frames, pages);
        unmap_linear(space, frames, pages);
        drop_sections(frames, pages);
        Ok(())
    }

    /// Add `range` and bring it online in `zone`: all seven steps.
    ///
    /// # Errors
    /// As [`Self::add_memory`] and [`Self::online_pages`]; the machine is exactly as it was.
    pub fn plug(
        &mut self,
        range: &HotRange,
        home: MemmapHome,
        zone: ZoneKind,
        mut progress: impl FnMut(&Self, Step),
    ) -> Result<()> {
        let pages = range.pages();
        self.add_memory(range, home, &mut progress)?;
        self.online_pages(pages, zone, progress).inspect_err(|_| {
            let removed = self.remove_offline(pages);
            debug_assert!(removed.is_ok(), "what has just been added is offline: {removed:?}");
        })
    }

    /// The inverse of [`Self::plug`]: take every block offline, moving what is in use elsewhere, and remove the range.
    ///
    /// # Errors
    /// As [`Self::offline_pages`] and [`Self::remove_memory`]; every block is in the state in which it was.
    pub fn unplug(&mut self, range: PhysRange) -> Result<Offlined> {
        self.refuse_kmem(range)?;
        self.unplug_kmem(range)
    }

    /// [`Self::unplug`], also for what a device gave to the system.
    pub(crate) fn unplug_kmem(&mut self, range: PhysRange) -> Result<Offlined> {
        let pages = self.removable(range)?;
        let offlined = self.offline_pages(pages)?;
        self.remove_offline(pages)?;
        Ok(offlined)
    }

    /// The pages of `range`, if it can be removed once its blocks are offline.
    ///
    /// # Errors
    /// `Empty`; `NotBlockAligned`; `BlockError::Absent` when a block of it is not present (a warning); `WouldSplit` when it is a part of
    /// what the linear map has in one piece; `HeldTogether` when a part holds the memmap of another.
    pub fn removable(&mut self, range: PhysRange) -> Result<PfnRange> {
        let g = self.granule();
        if range.is_empty() {
            return Err(Error::Range(RangeError::Empty(range.start)));
        }
        if !range.start.is_aligned(g.section_size) || !range.end.is_aligned(g.section_size) {
            return Err(Error::Range(RangeError::NotBlockAligned { range, block: g.section_size }));
        }
        let pages = PfnRange::inside(g, range);
        if let Some(absent) = pages.blocks(g).find(|start| self.frames.blocks.get(start.get()).is_none()) {
            self.frames.warnings.bad_remove += 1;
            return Err(Error::Block(BlockError::Absent(absent.address(g))));
        }
        refuse_parted(&self.frames, pages)?;
        self.space.refuse_split(self.space.layout().linear_range(range))?;
        Ok(pages)
    }

    /// A device has claimed the range since it was validated: it gave its memory to the system, and takes it back.
    fn refuse_claimed_by_device(&self, range: &HotRange) -> Result<()> {
        let g = self.granule();
        match self.kmem_at(range.pages()) {
            Some(device) => Err(Error::Range(RangeError::Exists {
                range: range.pages().addresses(g),
                present: device.address(g),
            })),
            None => Ok(()),
        }
    }

    /// What a device gave to the system goes back to the device (`memory_to_device`), not away.
    fn refuse_kmem(&self, range: PhysRange) -> Result<()> {
        let g = self.granule();
        let of_device =
            |block: &&MemoryBlock| block.source == Source::Kmem && range.contains(block.start.address(g));
        match self.frames.blocks().iter().find(of_device) {
            Some(block) => Err(Error::Block(BlockError::State {
                block: block.start.address(g),
                is: BlockIs::GivenByDevice,
                needs: BlockNeeds::OwnMemory,
            })),
            None => Ok(()),
        }
    }
}
