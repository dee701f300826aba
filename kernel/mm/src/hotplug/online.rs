//! Memory blocks go online: steps 6 and 7 (Linux: `online_pages`).

use crate::error::{BlockError, BlockNeeds, Error, Result};
use crate::frame::block::BlockState;
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
        self.require_offline(start)?;
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
            self.require_offline(start)?;
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

    /// Refuse a block that is not present or not offline.
    pub(crate) fn require_offline(&self, start: Pfn) -> Result<()> {
        let block = start.address(self.granule());
        let state = self.frames.blocks.get(start.get()).ok_or(BlockError::Absent(block))?.state;
        match state {
            BlockState::Offline => Ok(()),
            _ => Err(Error::Block(BlockError::State {
                block,
                is: state.described(),
                needs: BlockNeeds::Offline,
            })),
        }
    }
}
