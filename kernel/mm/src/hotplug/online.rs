//! Steps 6 and 7 of [`crate::hotplug::steps`]: blocks join a zone, and their usable pages go to the buddy allocator in the
//! largest runs that alignment allows: a block that hosts its own memmap is a handful of runs.

use crate::bugs::Bug;
use crate::error::{Error, Resource, Result};
use crate::hotplug::block::{BlockState, MemoryBlock};
use crate::hotplug::notify::Direction;
use crate::hotplug::range::HotRange;
use crate::machine::Machine;
use crate::model::Mm;
use crate::pages::Pages;
use crate::pfn::{Pfn, PfnRange};
use crate::vmemmap::hosted::around_memmap;
use crate::zone::ZoneKind;

impl<M: Machine> Mm<M> {
    /// Bring the block at `start` online in `zone`.
    ///
    /// # Errors
    /// `NoBlock`, `BlockState` when it is not offline, `Vetoed`, `Out` when the heap has no room; nothing has changed then.
    pub fn online(&mut self, start: Pfn, zone: ZoneKind) -> Result<()> {
        let g = self.granule();
        self.block_in(start, BlockState::Offline)?;
        let pages = PfnRange::new(start, g.section_pages);
        self.join_zone(pages, zone)?;
        self.online_pages(pages);
        Ok(())
    }

    /// The block at `start`, if it is in the state `needs`.
    pub(crate) fn block_in(&mut self, start: Pfn, needs: BlockState) -> Result<&mut MemoryBlock> {
        let g = self.granule();
        let address = start.address(g);
        let block = self.blocks.get_mut(start.get()).ok_or(Error::NoBlock(address))?;
        if block.state != needs {
            return Err(Error::BlockState { block: address, is: block.state.name(), needs: needs.name() });
        }
        Ok(block)
    }

    /// Step 6. Who does not want the memory says so here.
    pub(crate) fn join_zone(&mut self, pages: PfnRange, zone: ZoneKind) -> Result<()> {
        let g = self.granule();
        let range = pages.addresses(g);
        self.notifiers.ask(Direction::Online, range)?;
        self.join_blocks(pages, zone).inspect_err(|_| self.notifiers.cancel(Direction::Online, range))
    }

    fn join_blocks(&mut self, pages: PfnRange, zone: ZoneKind) -> Result<()> {
        let g = self.granule();
        let starts = HotRange::blocks(g, pages);
        let count = starts.clone().count();
        self.may_fail(Resource::Heap { bytes: count * size_of::<Pfn>() })?;
        self.zones[zone as usize].reserve(count)?;
        for start in starts {
            let Some(block) = self.blocks.get_mut(start.get()) else { continue };
            block.state = BlockState::Online(zone);
            let (present, memmap) = (block.present, block.own_memmap());
            self.zones[zone as usize].join(start);
            self.zones[zone as usize].present += present;
            self.counts.present += present - memmap;
        }
        Ok(())
    }

    /// The inverse of step 6.
    pub(crate) fn leave_zone(&mut self, pages: PfnRange) {
        let g = self.granule();
        for start in HotRange::blocks(g, pages) {
            let Some(block) = self.blocks.get_mut(start.get()) else { continue };
            let Some(zone) = block.state.zone() else { continue };
            block.state = BlockState::Offline;
            let (present, memmap) = (block.present, block.own_memmap());
            self.zones[zone as usize].present -= present;
            self.counts.present -= present - memmap;
        }
        for zone in &mut self.zones {
            zone.leave(pages);
        }
    }

    /// Step 7.
    pub(crate) fn online_pages(&mut self, pages: PfnRange) {
        let g = self.granule();
        let struct_pages = Pages::new(&self.machine, self.layout);
        for start in HotRange::blocks(g, pages) {
            let Some(block) = self.blocks.get_mut(start.get()) else { continue };
            let Some(zone) = block.state.zone() else { continue };
            let mut usable = block.usable(g);
            if self.bug == Some(Bug::FreeMemmap) {
                usable.start = block.start;
            }
            if block.memmap_inside == 0 {
                block.free.put_range(&struct_pages, usable);
            } else {
                around_memmap(&struct_pages, usable, |part| block.free.put_range(&struct_pages, part));
            }
            self.zones[zone as usize].free += block.free.pages();
        }
        self.notifiers.done(Direction::Online, pages.addresses(g));
    }

    /// The inverse of step 7, for blocks in which everything is free: their heads become tails.
    pub(crate) fn offline_pages(&mut self, pages: PfnRange) {
        let g = self.granule();
        let struct_pages = Pages::new(&self.machine, self.layout);
        for start in HotRange::blocks(g, pages) {
            let Some(block) = self.blocks.get_mut(start.get()) else { continue };
            let Some(zone) = block.state.zone() else { continue };
            self.zones[zone as usize].free -= block.free.pages();
            block.free.drop_all(&struct_pages);
        }
    }
}
