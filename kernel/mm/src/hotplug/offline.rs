//! Taking a block offline: isolate it, ask who minds, move away what is in use, and drop its free lists. Anything that cannot
//! be moved names its page, and the block is online again as before.

use crate::addr::PhysRange;
use crate::error::{BlockError, BlockNeeds, Error, PageError, Result};
use crate::frame::block::BlockState;
use crate::frame::page::PageKind;
use crate::hotplug::isolate::Used;
use crate::hotplug::notify::Direction;
use crate::machine::Machine;
use crate::migrate::page::migrate_page;
use crate::mm::Mm;
use crate::pfn::{Pfn, PfnRange};

/// What taking a block offline took.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Offlined {
    /// Pages that were migrated.
    pub migrated: u64,
}

impl<M: Machine> Mm<M> {
    /// Take the block at `start` offline, moving what is in use elsewhere.
    ///
    /// # Errors
    /// `NoBlock`, `BlockState` when it is not online, and as [`Self::offline_pages`].
    pub fn offline_block(&mut self, start: Pfn) -> Result<Offlined> {
        let g = self.granule();
        if let Some(block) = self.frames.blocks.get(start.get()).filter(|b| b.state == BlockState::Offline) {
            let (block, is) = (start.address(g), block.state.described());
            return Err(Error::Block(BlockError::State { block, is, needs: BlockNeeds::Online }));
        }
        self.offline_pages(PfnRange::new(start, g.section_pages))
    }

    /// Take every block of `pages` offline that is not: all of them, or none. All are isolated before the first page moves,
    /// so that nothing moves into a block that is about to go as well.
    ///
    /// # Errors
    /// `NoBlock`, `BlockState` when a block is isolated already, `NotWhole` for a boot block with holes; `Unmovable`, `Pinned`,
    /// or `HugeTaken` with the first such page, `Vetoed` with the notifier, `Out` when there is no room to move to.
    /// Every block is in the state in which it was then; pages that moved stay where they are, and free huge pages that were
    /// dissolved stay dissolved, as in Linux.
    pub fn offline_pages(&mut self, pages: PfnRange) -> Result<Offlined> {
        let going = self.frames.start_isolate(pages)?;
        if going.is_empty() {
            return Ok(Offlined::default());
        }
        self.ask_offline(going)?;
        match self.evacuate(going) {
            Ok(migrated) => {
                self.leave_zones(going);
                Ok(Offlined { migrated })
            }
            Err(error) => {
                self.cancel_offline(going);
                Err(error)
            }
        }
    }

    /// Ask about each run of blocks that goes; what is offline already is not asked about.
    ///
    /// # Errors
    /// `Vetoed`; nothing is isolated then, and each notifier that agreed to a run hears that it stays.
    fn ask_offline(&mut self, going: PfnRange) -> Result<()> {
        let mut rest = going;
        while let Some(run) = self.frames.first_isolated_run(rest) {
            if let Err(veto) = self.notifiers.ask(Direction::Offline, self.range_to_ask(run)) {
                self.cancel_offline(PfnRange { start: going.start, end: run.start });
                self.frames.undo_isolate(going);
                return Err(veto);
            }
            rest.start = run.end;
        }
        Ok(())
    }

    /// The blocks of `going` stay online; the notifiers hear it of each run, the last first.
    fn cancel_offline(&mut self, going: PfnRange) {
        let mut rest = going;
        while let Some(run) = self.frames.last_isolated_run(rest) {
            self.frames.undo_isolate(run);
            self.notifiers.cancel(Direction::Offline, self.range_to_ask(run));
            rest.end = run.start;
        }
    }

    /// Nothing of `going` is in use: take each run of its blocks out of its zone, and tell the notifiers.
    fn leave_zones(&mut self, going: PfnRange) {
        let mut rest = going;
        while let Some(run) = self.frames.first_isolated_run(rest) {
            self.frames.withdraw_from_buddy(run);
            self.frames.leave_zone(run);
            self.notifiers.done(Direction::Offline, self.range_to_ask(run));
            rest.start = run.end;
        }
    }

    /// What notifiers are asked about: all of a run that goes, its own memmap included.
    fn range_to_ask(&self, run: PfnRange) -> PhysRange {
        let shift = match self.frames.block_of(run.start) {
            // The fault of a kernel that leaves the memmap out at the start, and does not at the end.
            Some(block) if self.frames.hooks.shifts_notified_range() => block.memmap_pages,
            _ => 0,
        };
        PfnRange { start: run.start + shift, end: run.end + shift }.addresses(self.granule())
    }

    /// Move away what is in use in `pages`; returns how many pages moved. First a look at everything, so that a page that
    /// cannot move is found before the first one moves.
    fn evacuate(&mut self, pages: PfnRange) -> Result<u64> {
        let mut rest = pages;
        while let Some(used) = self.frames.next_used(rest) {
            self.check_movable(used)?;
            rest.start = used.end;
        }
        let (mut rest, mut migrated) = (pages, 0);
        while let Some(used) = self.frames.next_used(rest) {
            if used.kind == PageKind::HugeTlb {
                self.hugetlb_dissolve(used.pfn)?;
            } else {
                migrate_page(&mut self.space, &mut self.frames, used.pfn)?;
                migrated += 1;
            }
            rest.start = used.end;
        }
        Ok(migrated)
    }

    /// Whether what is in use can be moved away.
    pub(crate) fn check_movable(&self, used: Used) -> Result<()> {
        let Used { pfn, kind, .. } = used;
        let refs = self.frames.pages().get(pfn).refs();
        match kind {
            PageKind::Tenant if refs <= 1 => Ok(()),
            PageKind::Tenant | PageKind::Pinned => Err(Error::Page(PageError::Pinned { pfn, refs })),
            PageKind::HugeTlb => self.refuse_taken(pfn),
            // A page without a head is lost, so it cannot go; the auditor says more (I6).
            _ => Err(Error::Page(PageError::Unmovable { pfn, kind })),
        }
    }
}
