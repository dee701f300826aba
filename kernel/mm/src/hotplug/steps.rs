//! The way of a range, as a list that reads as a list. Each step has an inverse that cannot fail; a step that fails has undone
//! its own part. Plugging runs the list; an error at step k runs the inverses k-1..1 and leaves the machine exactly as it
//! was; unplugging is the list backwards.
//!
//! ```text
//!   1 claim sections      hotplug::present      the sections and blocks exist
//!   2 map linearly        hotplug::present      the linear map reaches the memory
//!   3 choose backing      hotplug::backing      an altmap in each block, or system RAM
//!   4 populate vmemmap    vmemmap::populate     the struct pages have memory behind them
//!   5 initialise pages    hotplug::present      they are cleared and valid     -> `add` ends here: blocks are offline
//!   6 join zone           hotplug::online       the blocks are their zone's
//!   7 go online           hotplug::online       their free pages are the buddy allocator's
//! ```

use crate::addr::PhysRange;
use crate::error::{Error, Result};
use crate::hotplug::block::{BlockState, MemoryBlock, Source};
use crate::hotplug::notify::Direction;
use crate::hotplug::range::HotRange;
use crate::machine::Machine;
use crate::model::Mm;
use crate::pfn::PfnRange;
use crate::vmemmap::altmap::Altmap;
use crate::zone::ZoneKind;

/// Where the memmap of added memory goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum MemmapHome {
    /// Into the added memory itself: each block's first pages.
    #[default]
    SelfHosted,
    /// Into system RAM.
    Ram,
    /// Into the added memory, all of it at the start of the whole range: the range goes as one then.
    SelfRange,
    /// Into an altmap of the driver's, at the start of the whole range.
    Given(Altmap),
}

/// A step.
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
    /// 6: the blocks are in a zone.
    JoinZone,
    /// 7: what is not memmap is free to allocate.
    GoOnline,
}

impl Step {
    /// All steps, in order.
    pub const ALL: [Self; 7] = [
        Self::ClaimSections,
        Self::MapLinear,
        Self::ChooseBacking,
        Self::PopulateVmemmap,
        Self::InitialisePages,
        Self::JoinZone,
        Self::GoOnline,
    ];
    /// How many of them make a range present and leave it offline.
    pub const ADDING: usize = 5;

    /// The step's number, from 1.
    pub const fn number(self) -> usize {
        self as usize + 1
    }
    /// The name that logs, tests and documents use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ClaimSections => "claim sections",
            Self::MapLinear => "map linearly",
            Self::ChooseBacking => "choose backing",
            Self::PopulateVmemmap => "populate vmemmap",
            Self::InitialisePages => "initialise pages",
            Self::JoinZone => "join zone",
            Self::GoOnline => "go online",
        }
    }
}

/// A way through the steps: what each of them means for memory, or for a device.
pub(crate) trait Way<M: Machine> {
    /// Do a step; one that fails has undone its own part.
    fn apply(&self, mm: &mut Mm<M>, step: Step) -> Result<()>;
    /// Undo a step that was done.
    fn revert(&self, mm: &mut Mm<M>, step: Step);
}

/// The way of memory: its sections become memory blocks.
#[derive(Clone, Copy, Debug)]
struct Memory {
    range: HotRange,
    home: MemmapHome,
    zone: ZoneKind,
}

impl<M: Machine> Way<M> for Memory {
    fn apply(&self, mm: &mut Mm<M>, step: Step) -> Result<()> {
        let pages = self.range.pages();
        match step {
            Step::ClaimSections => mm.claim_sections(&self.range),
            Step::MapLinear => mm.map_linear(pages),
            Step::ChooseBacking => mm.choose_backing(pages, self.home),
            Step::PopulateVmemmap => mm.populate_range(pages),
            Step::InitialisePages => {
                mm.initialise_pages(pages);
                Ok(())
            }
            Step::JoinZone => mm.join_zone(pages, self.zone),
            Step::GoOnline => {
                mm.online_pages(pages);
                Ok(())
            }
        }
    }

    fn revert(&self, mm: &mut Mm<M>, step: Step) {
        mm.revert_memory(step, self.range.pages());
    }
}

impl<M: Machine> Mm<M> {
    /// All seven steps: `range` becomes present and goes online in `zone`. `done` hears of each step that is complete.
    ///
    /// # Errors
    /// What a step ran out of, or `Vetoed`; the machine is exactly as it was.
    pub fn plug(
        &mut self,
        range: &HotRange,
        home: MemmapHome,
        zone: ZoneKind,
        done: impl FnMut(&Self, Step),
    ) -> Result<()> {
        self.run(&Step::ALL, &Memory { range: *range, home, zone }, done)?;
        self.note_remote_memmap(range.pages().start);
        Ok(())
    }

    /// Steps 1 to 5: `range` becomes present; its blocks are offline.
    ///
    /// # Errors
    /// As [`Self::plug`].
    pub fn add_telling(
        &mut self,
        range: &HotRange,
        home: MemmapHome,
        done: impl FnMut(&Self, Step),
    ) -> Result<()> {
        self.run(&Step::ALL[..Step::ADDING], &Memory { range: *range, home, zone: ZoneKind::Movable }, done)?;
        self.note_remote_memmap(range.pages().start);
        Ok(())
    }

    /// [`Self::add_telling`], told to nobody.
    ///
    /// # Errors
    /// As [`Self::plug`].
    pub fn add(&mut self, range: &HotRange, home: MemmapHome) -> Result<()> {
        self.add_telling(range, home, |_, _| {})
    }

    /// Steps 6 and 7 for blocks that are present and all offline.
    ///
    /// # Errors
    /// As [`Self::plug`].
    pub fn online_range(
        &mut self,
        pages: PfnRange,
        zone: ZoneKind,
        mut done: impl FnMut(&Self, Step),
    ) -> Result<()> {
        self.join_zone(pages, zone)?;
        done(self, Step::JoinZone);
        self.online_pages(pages);
        done(self, Step::GoOnline);
        Ok(())
    }

    /// Take a range away whose blocks are all offline: steps 5 to 1 backwards.
    ///
    /// # Errors
    /// As [`Self::removable`]; `BlockState` when a block is not offline, or is a device's: that takes its memory back itself.
    pub fn remove(&mut self, range: PhysRange) -> Result<()> {
        self.refuse_kmem(range)?;
        let pages = self.removable(range)?;
        self.remove_offline(pages)
    }

    /// What a device gave to the system goes back to the device (`memory_to_device`), not away.
    pub(crate) fn refuse_kmem(&self, range: PhysRange) -> Result<()> {
        let g = self.granule();
        let of_device =
            |block: &&MemoryBlock| block.source == Source::Kmem && range.contains(block.start.address(g));
        match self.blocks().iter().find(of_device) {
            Some(block) => {
                let block = block.start.address(g);
                Err(Error::BlockState {
                    block,
                    is: "given to the system by a device",
                    needs: "memory of its own",
                })
            }
            None => Ok(()),
        }
    }

    /// Take away blocks that can be removed, once all are offline.
    pub(crate) fn remove_offline(&mut self, pages: PfnRange) -> Result<()> {
        let g = self.granule();
        for start in HotRange::blocks(g, pages) {
            self.block_in(start, BlockState::Offline)?;
        }
        Step::ALL[..Step::ADDING].iter().rev().for_each(|step| self.revert_memory(*step, pages));
        Ok(())
    }

    /// The pages of `range`, if it can be removed once its blocks are offline.
    ///
    /// # Errors
    /// `Empty`; `NotBlockAligned`; `NoBlock` when a block of it is not present (a warning); `WouldSplit` when it is a part of
    /// what the linear map has in one piece; `HeldTogether` when a part holds the memmap of another.
    pub fn removable(&mut self, range: PhysRange) -> Result<PfnRange> {
        let g = self.granule();
        if range.is_empty() {
            return Err(Error::Empty(range.start));
        }
        if !range.start.is_aligned(g.section_size) || !range.end.is_aligned(g.section_size) {
            return Err(Error::NotBlockAligned { range, block: g.section_size });
        }
        let pages = PfnRange::inside(g, range);
        if let Some(absent) = HotRange::blocks(g, pages).find(|start| self.blocks.get(start.get()).is_none())
        {
            self.warnings.bad_remove += 1;
            return Err(Error::NoBlock(absent.address(g)));
        }
        self.refuse_parted(pages)?;
        self.tables.refuse_split(&self.machine, self.layout.linear_range(range))?;
        Ok(pages)
    }

    /// Do `steps` in order; an error undoes what was done, backwards.
    pub(crate) fn run(
        &mut self,
        steps: &[Step],
        way: &impl Way<M>,
        mut done: impl FnMut(&Self, Step),
    ) -> Result<()> {
        for (k, step) in steps.iter().enumerate() {
            if let Err(error) = way.apply(self, *step) {
                steps[..k].iter().rev().for_each(|step| way.revert(self, *step));
                return Err(error);
            }
            done(self, *step);
        }
        Ok(())
    }

    /// Undo a step for memory: what removing it needs to know is the range alone.
    fn revert_memory(&mut self, step: Step, pages: PfnRange) {
        let g = self.granule();
        match step {
            Step::ClaimSections => self.drop_sections(pages),
            Step::MapLinear => self.unmap_linear(pages),
            Step::ChooseBacking => self.forget_backing(pages),
            Step::PopulateVmemmap => self.depopulate_sections(pages),
            Step::InitialisePages => self.forget_pages(pages),
            Step::JoinZone => {
                self.leave_zone(pages);
                self.notifiers.cancel(Direction::Online, pages.addresses(g));
            }
            Step::GoOnline => self.offline_pages(pages),
        }
    }
}
