//! Memory is added, and removed again: steps 1 to 5 and back (Linux: `add_memory_resource`, `try_remove_memory`).
//!
//! ```text
//!   step                 add_memory           remove_memory
//!   1 claim sections     claim_sections       drop_sections          the sections and memory blocks exist
//!   2 map linearly       map_linear           unmap_linear           the linear map reaches the memory
//!   3 choose backing     choose_backing       drop_backing           an altmap in the memory, system RAM, or on demand
//!   4 populate vmemmap   populate_range       depopulate_sections    the struct pages have memory behind them
//!   5 initialise pages   initialise_pages     forget_pages           they are cleared and valid; the blocks are offline
//! ```

use crate::addr::PhysRange;
use crate::error::{BlockError, BlockIs, BlockNeeds, Result};
use crate::frame::Frames;
use crate::frame::block::Source;
use crate::frame::extent::Record;
use crate::frame::memmap::{GroupTables, Groups};
use crate::frame::zone::ZoneKind;
use crate::hotplug::home::MemmapHome;
use crate::hotplug::offline::Offlined;
use crate::hotplug::present::{
    choose_backing, claim_sections, drop_backing, drop_sections, forget_pages, initialise_pages,
    map_linear_in, refuse_cut, unmap_linear,
};
use crate::hotplug::range::{HotRange, whole_blocks};
use crate::hotplug::step::Step;
use crate::hotplug::undo::Undo;
use crate::machine::Machine;
use crate::mm::Mm;
use crate::pfn::PfnRange;
use crate::space::table::KernelSpace;
use crate::stop::Stop;
use crate::vmemmap::depopulate::depopulate_sections;
use crate::vmemmap::image::populate_image;
use crate::vmemmap::populate::populate_range;

impl<M: Machine> Mm<M> {
    /// Makes `range` present, its memmap at `home`; its blocks are offline. `progress` is called after each step.
    ///
    /// # Errors
    /// `RangeError::Exists` when something became present there after the range was validated, or what a step ran out of. The
    /// machine is as it was, but for tenants' pages that compaction moved to make room for memmap in system RAM.
    pub fn add_memory(
        &mut self,
        range: &HotRange,
        home: MemmapHome,
        mut progress: impl FnMut(&Self, Step),
    ) -> Result<()> {
        self.devices.refuse_claimed(self.granule(), range.pages())?;
        let unit = range.removal_unit(self.granule());
        let mut undo = Undo::new(self, range.pages(), &mut progress);
        undo.step(
            Step::ClaimSections,
            |mm, _| claim_sections(&mut mm.frames, range, home),
            |mm, pages| drop_sections(&mut mm.frames, *pages),
        )?;
        undo.step(
            Step::MapLinear,
            |mm, pages| map_linear_in(&mut mm.space, &mut mm.frames, *pages, unit),
            |mm, pages| unmap_linear(&mut mm.space, &mut mm.frames, *pages),
        )?;
        undo.step(
            Step::ChooseBacking,
            |mm, pages| choose_backing(&mut mm.frames, *pages, home),
            |mm, pages| drop_backing(&mut mm.frames, *pages),
        )?;
        undo.step(
            Step::PopulateVmemmap,
            |mm, pages| match home {
                MemmapHome::Demand => {
                    populate_image(&mut mm.space, &mut mm.frames, *pages, Groups::shared_by(*pages))
                }
                _ => populate_range(&mut mm.space, &mut mm.frames, *pages, Frames::backing_of),
            },
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

    /// Takes a range away whose blocks are all offline: steps 5 to 1.
    ///
    /// # Errors
    /// As [`Self::prepare_removal`]; `BlockError::State` when a block is not offline.
    pub fn remove_memory(&mut self, range: PhysRange) -> Result<()> {
        let removal = self.prepare_removal(range)?;
        let offline = self.frames.require_offline(removal.pages);
        self.conclude_removal(removal, offline)
    }

    /// Adds `range` and brings it online in `zone`: all seven steps.
    ///
    /// # Errors
    /// As [`Self::add_memory`] and [`Self::online_pages`]; the machine is as after a refused [`Self::add_memory`].
    pub fn plug(
        &mut self,
        range: &HotRange,
        home: MemmapHome,
        zone: ZoneKind,
        mut progress: impl FnMut(&Self, Step),
    ) -> Result<()> {
        let pages = range.pages();
        self.add_memory(range, home, &mut progress)?;
        self.online_pages(pages, zone, progress)
            .inspect_err(|_| remove_offline(&mut self.space, &mut self.frames, pages))
    }

    /// The inverse of [`Self::plug`]: take every block offline, moving what is in use elsewhere, and remove the range.
    ///
    /// # Errors
    /// As [`Self::offline_pages`] and [`Self::remove_memory`]; every block is in the state in which it was, and pages that
    /// have migrated stay where they are.
    pub fn unplug(&mut self, range: PhysRange) -> Result<Offlined> {
        self.unplug_unless(range, &mut |_| false)
    }

    /// [`Self::unplug`], unless `stop` ends it.
    ///
    /// # Errors
    /// As [`Self::unplug`] and [`Self::offline_pages_unless`].
    pub fn unplug_unless(&mut self, range: PhysRange, stop: Stop<'_>) -> Result<Offlined> {
        let removal = self.prepare_removal(range)?;
        let offlined = self.offline_pages_unless(removal.pages, stop);
        self.conclude_removal(removal, offlined)
    }

    /// [`Self::unplug_unless`], also for what a device gave to the system.
    pub(crate) fn unplug_kmem(&mut self, range: PhysRange, stop: Stop<'_>) -> Result<Offlined> {
        let removal = self.prepare(range)?;
        let offlined = self.offline_pages_unless(removal.pages, stop);
        self.conclude_removal(removal, offlined)
    }

    /// The range goes if its blocks are `offline`, and else stays.
    fn conclude_removal<T>(&mut self, removal: Removal, offline: Result<T>) -> Result<T> {
        match offline {
            Ok(_) => self.finish_removal(removal),
            Err(_) => self.cancel_removal(removal),
        }
        offline
    }

    /// Checks that `range` can be removed once its blocks are offline, and gets what that can run out of. To be followed by
    /// [`Self::finish_removal`] or [`Self::cancel_removal`].
    ///
    /// # Errors
    /// `RangeError::Empty`; `RangeError::NotBlockAligned`; `BlockError::Absent` when a block of it is not present (a
    /// warning); `BlockError::State` when a device gave it (`memory_to_device` takes it back); `SpaceError::WouldSplit` when
    /// it is a part of what the linear map has in one piece; `AltmapError::HeldTogether` when a part holds the memmap of
    /// another; `Out` when the heap has no room to cut an extent, or no frame is free for the table of a group of which a part
    /// stays.
    pub fn prepare_removal(&mut self, range: PhysRange) -> Result<Removal> {
        refuse_kmem(&self.frames, range)?;
        self.prepare(range)
    }

    /// [`Self::prepare_removal`], also of what a device gave to the system.
    fn prepare(&mut self, range: PhysRange) -> Result<Removal> {
        let g = self.granule();
        let range = whole_blocks(g, range.start, range.len())?;
        let pages = PfnRange::inside(g, range);
        let absent = self.frames.pieces(pages).find(|piece| piece.record == Record::Absent);
        if let Some(absent) = absent.map(|piece| piece.pages.start) {
            self.frames.warnings.bad_remove += 1;
            return Err(BlockError::Absent(absent.address(g)).into());
        }
        refuse_cut(&self.frames, pages)?;
        self.space.refuse_split(self.space.layout().linear_range(range))?;
        self.frames.cut_extents(pages)?;
        match self.frames.get_group_tables(Groups::cut_by(pages)) {
            Ok(tables) => {
                self.frames.removing = Some(pages);
                Ok(Removal { pages, tables })
            }
            Err(error) => {
                self.frames.join_all_extents(pages);
                Err(error)
            }
        }
    }

    /// The range stays.
    pub fn cancel_removal(&mut self, removal: Removal) {
        self.frames.put_group_tables(removal.tables);
        self.frames.removing = None;
        self.frames.join_all_extents(removal.pages);
    }

    /// Removes a range, whose blocks are all offline: steps 5 to 1.
    pub fn finish_removal(&mut self, Removal { pages, tables }: Removal) {
        debug_assert!(self.frames.require_offline(pages).is_ok(), "what goes is offline");
        self.frames.unshare_groups(Groups::cut_by(pages), tables);
        remove_offline(&mut self.space, &mut self.frames, pages);
        self.frames.removing = None;
    }
}

/// A range that is to be removed, and what is kept for that.
#[derive(Debug)]
#[must_use]
pub struct Removal {
    pages: PfnRange,
    tables: GroupTables,
}

impl Removal {
    /// The pages that go.
    pub const fn pages(&self) -> PfnRange {
        self.pages
    }
}

/// Removes pages whose blocks are all offline: the inverse of [`Mm::add_memory`], step by step.
pub(super) fn remove_offline<M: Machine>(
    space: &mut KernelSpace<M>,
    frames: &mut Frames<M>,
    pages: PfnRange,
) {
    forget_pages(frames, pages);
    Step::InitialisePages.reversed(space.machine());
    depopulate_sections(space, frames, pages);
    Step::PopulateVmemmap.reversed(space.machine());
    drop_backing(frames, pages);
    Step::ChooseBacking.reversed(space.machine());
    unmap_linear(space, frames, pages);
    Step::MapLinear.reversed(space.machine());
    drop_sections(frames, pages);
    Step::ClaimSections.reversed(space.machine());
}

/// What a device gave to the system goes back to the device (`memory_to_device`), not away.
pub(super) fn refuse_kmem<M: Machine>(frames: &Frames<M>, range: PhysRange) -> Result<()> {
    let g = frames.granule();
    let pages = PfnRange::inside(g, range);
    let own = frames.blocks.range(pages.start.get()..pages.end.get()).iter();
    let given = own.filter(|block| block.source == Source::Kmem).map(|block| block.start);
    let folded = frames.extents().iter().filter(|e| e.source == Source::Kmem && e.pages.overlaps(&pages));
    match given.chain(folded.map(|extent| extent.pages.start.max(pages.start))).min() {
        Some(block) => {
            let (block, is, needs) = (block.address(g), BlockIs::GivenByDevice, BlockNeeds::OwnMemory);
            Err(BlockError::State { block, is, needs }.into())
        }
        None => Ok(()),
    }
}
