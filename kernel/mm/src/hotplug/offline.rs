//! Taking a block offline: isolate it, move away what is in use, and drop its free lists. Anything that cannot be moved
//! names its page, and the block is online again as before.

use crate::error::{Error, Result};
use crate::granule::Granule;
use crate::hotplug::block::BlockState;
use crate::machine::Machine;
use crate::model::Mm;
use crate::page::PageKind;
use crate::pfn::{Pfn, PfnRange};
use crate::zone::ZoneKind;

/// What taking a block offline took.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Offlined {
    /// Pages that were migrated.
    pub migrated: u64,
}

impl<G: Granule, M: Machine> Mm<G, M> {
    /// Take the block at `start` offline, moving what is in use elsewhere.
    ///
    /// # Errors
    /// `NoBlock`, `BlockState`, `NotWhole` for a boot block with holes; `Unmovable` or `Pinned` with the first such page,
    /// `Out` when there is no room to move to. The block is online again then; pages that moved stay where they are.
    pub fn offline(&mut self, start: Pfn) -> Result<Offlined> {
        let zone = self.isolate(start)?;
        match self.evacuate(start) {
            Ok(migrated) => {
                self.offline_pages(start, zone);
                self.leave_zone(start, zone);
                Ok(Offlined { migrated })
            }
            Err(error) => {
                self.undo_isolate(start, zone);
                Err(error)
            }
        }
    }

    /// Isolate: from here on nothing is allocated from the block.
    pub(crate) fn isolate(&mut self, start: Pfn) -> Result<ZoneKind> {
        let address = start.address::<G>();
        let block = self.blocks.get_mut(start.get()).ok_or(Error::NoBlock(address))?;
        let BlockState::Online(zone) = block.state else {
            return Err(Error::BlockState { block: address, is: block.state.name(), needs: "online" });
        };
        if block.present != G::SECTION_PAGES {
            return Err(Error::NotWhole(address));
        }
        block.state = BlockState::GoingOffline(zone);
        Ok(zone)
    }

    fn undo_isolate(&mut self, start: Pfn, zone: ZoneKind) {
        if let Some(block) = self.blocks.get_mut(start.get()) {
            block.state = BlockState::Online(zone);
        }
        self.zones[zone as usize].note_freed();
    }

    /// Move everything in use out of an isolated block. First a look at all of it, so that a page that cannot move is
    /// found before the first one moves.
    fn evacuate(&mut self, start: Pfn) -> Result<u64> {
        let block = self.blocks.get(start.get()).ok_or(Error::NoBlock(start.address::<G>()))?;
        let usable = block.usable::<G>();
        if block.free.pages() == usable.len() {
            return Ok(0);
        }
        self.each_used(usable, |mm, pfn, kind| mm.check_movable(pfn, kind))?;
        let mut migrated = 0;
        self.each_used(usable, |mm, pfn, _| {
            mm.migrate(pfn)?;
            migrated += 1;
            Ok(())
        })?;
        Ok(migrated)
    }

    /// Call `f` for each run in use in `usable`. Free runs are skipped whole, and so is self-hosted memmap.
    fn each_used(
        &mut self,
        usable: PfnRange,
        mut f: impl FnMut(&mut Self, Pfn, PageKind) -> Result<()>,
    ) -> Result<()> {
        let mut pfn = usable.start;
        while pfn < usable.end {
            // A page that was just freed may have joined a run that began before it: ask for the head each time.
            // A page that nobody speaks for is lost, so it cannot go; the auditor says more (I6).
            let (kind, head) = self.pages().use_of(pfn);
            let order = self.pages().get(head).order();
            match kind {
                PageKind::Free | PageKind::MemmapSelf | PageKind::Hole => {}
                PageKind::Tail => return Err(Error::Unmovable { pfn, kind }),
                _ => f(self, pfn, kind)?,
            }
            pfn = head + (1 << order);
        }
        Ok(())
    }

    fn check_movable(&mut self, pfn: Pfn, kind: PageKind) -> Result<()> {
        let refs = self.pages().get(pfn).refs();
        match kind {
            PageKind::Tenant if refs <= 1 => Ok(()),
            PageKind::Tenant | PageKind::Pinned => Err(Error::Pinned { pfn, refs }),
            _ => Err(Error::Unmovable { pfn, kind }),
        }
    }
}
