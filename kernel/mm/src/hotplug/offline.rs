//! Taking a block offline: isolate it, ask who minds, move away what is in use, and drop its free lists. Anything that cannot
//! be moved names its page, and the block is online again as before.

use crate::addr::PhysRange;
use crate::bugs::Bug;
use crate::error::{Error, Result};
use crate::hotplug::block::BlockState;
use crate::hotplug::isolate::Used;
use crate::hotplug::notify::Direction;
use crate::hugetlb::memory::Memory;
use crate::machine::Machine;
use crate::model::Mm;
use crate::page::PageKind;
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
    /// `NoBlock`, `BlockState`, `NotWhole` for a boot block with holes; `Unmovable`, `Pinned`, `HugeTaken` or `Poisoned` with the first
    /// such page, `Vetoed` with the notifier, `Out` when there is no room to move to. The block is online again then; pages that
    /// moved stay where they are, and free huge pages that were dissolved (Linux does the same) stay dissolved.
    pub fn offline(&mut self, start: Pfn) -> Result<Offlined> {
        let g = self.granule();
        if let Some(block) = self.blocks.get(start.get()).filter(|b| b.state == BlockState::Offline) {
            let (block, is) = (start.address(g), block.state.name());
            return Err(Error::BlockState { block, is, needs: "online" });
        }
        self.offline_range(PfnRange::new(start, g.section_pages))
    }

    /// What notifiers are asked about: all that goes, its own memmap included.
    fn range_to_ask(&self, going: PfnRange) -> PhysRange {
        let g = self.granule();
        let shift = match self.block_of(going.start) {
            // The fault of a kernel that leaves the memmap out at the start, and does not at the end.
            Some(block) if self.has_bug(Bug::VetoRange) => block.memmap_pages,
            _ => 0,
        };
        PfnRange { start: going.start + shift, end: going.end + shift }.addresses(g)
    }

    /// Take every block of `pages` offline that is not: all of them, or none. All are isolated before the first page moves,
    /// so that nothing moves into a block that is about to go as well.
    ///
    /// # Errors
    /// As [`Self::offline`].
    pub fn offline_range(&mut self, pages: PfnRange) -> Result<Offlined> {
        let going = self.start_isolate(pages)?;
        if going.is_empty() {
            return Ok(Offlined::default());
        }
        let range = self.range_to_ask(going);
        self.notifiers.ask(Direction::Offline, range).inspect_err(|_| self.undo_isolate(going))?;
        match self.evacuate(going) {
            Ok(migrated) => {
                self.offline_pages(going);
                self.leave_zone(going);
                self.notifiers.done(Direction::Offline, range);
                Ok(Offlined { migrated })
            }
            Err(error) => {
                self.undo_isolate(going);
                self.notifiers.cancel(Direction::Offline, range);
                Err(error)
            }
        }
    }

    /// First a look at everything, so that a page that cannot move is found before the first one moves.
    fn evacuate(&mut self, pages: PfnRange) -> Result<u64> {
        self.scan_used(pages, |mm, used| mm.check_movable(used))?;
        let mut migrated = 0;
        self.scan_used(pages, |mm, used| {
            if used.kind == PageKind::HugeTlb {
                return mm.hugetlb_dissolve(used.pfn);
            }
            mm.migrate(used.pfn)?;
            migrated += 1;
            Ok(())
        })?;
        Ok(migrated)
    }

    /// The inverse of [`Self::plug`]: what is in use moves away, then all seven steps backwards.
    ///
    /// # Errors
    /// As [`Self::offline`] and [`Self::remove`]; every block is in the state in which it was.
    pub fn unplug(&mut self, range: PhysRange) -> Result<Offlined> {
        self.refuse_kmem(range)?;
        self.unplug_kmem(range)
    }

    /// [`Self::unplug`], also for what a device gave to the system.
    pub(crate) fn unplug_kmem(&mut self, range: PhysRange) -> Result<Offlined> {
        let pages = self.removable(range)?;
        let offlined = self.offline_range(pages)?;
        self.remove_offline(pages)?;
        Ok(offlined)
    }

    /// Whether what is in use can be moved away.
    pub(crate) fn check_movable(&self, used: Used) -> Result<()> {
        let Used { pfn, kind, .. } = used;
        let refs = self.pages().get(pfn).refs();
        match kind {
            PageKind::Tenant if refs <= 1 => Ok(()),
            PageKind::Tenant | PageKind::Pinned => Err(Error::Pinned { pfn, refs }),
            PageKind::HugeTlb => (self as &dyn Memory).refuse_taken(pfn),
            PageKind::Poisoned => Err(Error::Poisoned(pfn)),
            // A page that nobody speaks for is lost, so it cannot go; the auditor says more (I6).
            _ => Err(Error::Unmovable { pfn, kind }),
        }
    }
}
