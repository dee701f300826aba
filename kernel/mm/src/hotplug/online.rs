//! Memory blocks go online: steps 6 and 7 (Linux: `online_pages`).

use crate::error::{Error, Result};
use crate::frame::block::{BlockState, MemoryBlock};
use crate::frame::zone::ZoneKind;
use crate::hotplug::notify::Direction;
use crate::hotplug::step::Step;
use crate::machine::Machine;
use crate::mm::Mm;
use crate::pfn::{Pfn, PfnRange};

impl<M: Machine> Mm<M> {
    /// Bring the block at `start` online in `zone`.
    ///
    /// # Errors
    /// `NoBlock`, and as [`Self::online_pages`].
    pub fn online_block(&mut self, start: Pfn, zone: ZoneKind) -> Result<()> {
        self.block_in(start, BlockState::Offline)?;
        self.online_pages(PfnRange::new(start, self.granule().section_pages), zone, |_, _| {})
    }

    /// Bring the blocks of `pages` online in `zone`: steps 6 and 7. `progress` hears of each.
    ///
    /// # Errors
    /// `BlockState` when a block is not offline, `Vetoed`, `Out` when the heap has no room; nothing has changed then.
    pub fn online_pages(
        &mut self,
        pages: PfnRange,
        zone: ZoneKind,
        mut progress: impl FnMut(&Self, Step),
    ) -> Result<()> {
        let range = pages.addresses(self.granule());
        for start in pages.blocks(self.granule()) {
            self.block_in(start, BlockState::Offline)?;
        }
        self.notifiers.ask(Direction::Online, range)?;
        if let Err(error) = self.frames.join_zone(pages, zone) {
            self.notifiers.cancel(Direction::Online, range);
            return Err(error);
        }
        progress(self, Step::JoinZone);
        self.frames.release_to_buddy(pages);
        self.notifiers.done(Direction::Online, range);
        progress(self, Step::GoOnline);
        Ok(())
    }

    /// The block at `start`, if it is in the state `needs`.
    pub(crate) fn block_in(&mut self, start: Pfn, needs: BlockState) -> Result<&mut MemoryBlock> {
        let address = start.address(self.granule());
        let block = self.frames.blocks.get_mut(start.get()).ok_or(Error::NoBlock(address))?;
        if block.state != needs {
            return Err(Error::BlockState { block: address, is: block.state.name(), needs: needs.name() });
        }
        Ok(block)
    }
}
