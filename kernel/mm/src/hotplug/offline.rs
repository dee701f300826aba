//! Taking a block offline: isolate it, move away what is in use, and drop its free lists. Anything that cannot be moved
//! names its page, and the block is online again as before.

use crate::addr::PhysRange;
use crate::error::{Error, Result};
use crate::granule::Granule;
use crate::hotplug::block::BlockState;
use crate::hotplug::range::HotRange;
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

impl<G: Granule, M: Machine> Mm<G, M> {
    /// Take the block at `start` offline, moving what is in use elsewhere.
    ///
    /// # Errors
    /// `NoBlock`, `BlockState`, `NotWhole` for a boot block with holes; `Unmovable` or `Pinned` with the first such page,
    /// `Out` when there is no room to move to. The block is online again then; pages that moved stay where they are.
    pub fn offline(&mut self, start: Pfn) -> Result<Offlined> {
        if let Some(block) = self.blocks.get(start.get()).filter(|b| b.state == BlockState::Offline) {
            let (block, is) = (start.address::<G>(), block.state.name());
            return Err(Error::BlockState { block, is, needs: "online" });
        }
        self.offline_range(PfnRange::new(start, G::SECTION_PAGES))
    }

    /// Take every block of `pages` offline that is not: all of them, or none. All are isolated before the first page moves,
    /// so that nothing moves into a block that is about to go as well.
    ///
    /// # Errors
    /// As [`Self::offline`].
    pub fn offline_range(&mut self, pages: PfnRange) -> Result<Offlined> {
        match self.isolate_all(pages).and_then(|()| self.evacuate_all(pages)) {
            Ok(migrated) => {
                self.offline_pages(pages);
                self.leave_zone(pages);
                Ok(Offlined { migrated })
            }
            Err(error) => {
                self.undo_isolate(pages);
                Err(error)
            }
        }
    }

    fn isolate_all(&mut self, pages: PfnRange) -> Result<()> {
        for start in HotRange::blocks::<G>(pages) {
            let offline = self.blocks.get(start.get()).is_some_and(|b| b.state == BlockState::Offline);
            if !offline {
                self.isolate(start)?;
            }
        }
        Ok(())
    }

    /// First a look at every block, so that a page that cannot move is found before the first one moves.
    fn evacuate_all(&mut self, pages: PfnRange) -> Result<u64> {
        for start in HotRange::blocks::<G>(pages) {
            self.each_used(start, |mm, pfn, kind| mm.check_movable(pfn, kind))?;
        }
        let mut migrated = 0;
        for start in HotRange::blocks::<G>(pages) {
            self.each_used(start, |mm, pfn, _| {
                mm.migrate(pfn)?;
                migrated += 1;
                Ok(())
            })?;
        }
        Ok(migrated)
    }

    /// The inverse of [`Self::plug`]: what is in use moves away, then all seven steps backwards.
    ///
    /// # Errors
    /// As [`Self::offline`] and [`Self::remove`]; every block is in the state in which it was.
    pub fn unplug(&mut self, range: PhysRange) -> Result<Offlined> {
        let pages = self.removable(range)?;
        let offlined = self.offline_range(pages)?;
        self.remove(range)?;
        Ok(offlined)
    }

    /// Isolate: from here on nothing is allocated from the block.
    fn isolate(&mut self, start: Pfn) -> Result<()> {
        let address = start.address::<G>();
        let block = self.blocks.get_mut(start.get()).ok_or(Error::NoBlock(address))?;
        let BlockState::Online(zone) = block.state else {
            return Err(Error::BlockState { block: address, is: block.state.name(), needs: "online" });
        };
        if block.present != G::SECTION_PAGES {
            return Err(Error::NotWhole(address));
        }
        block.state = BlockState::GoingOffline(zone);
        Ok(())
    }

    fn undo_isolate(&mut self, pages: PfnRange) {
        for start in HotRange::blocks::<G>(pages) {
            if let Some(block) = self.blocks.get_mut(start.get())
                && let BlockState::GoingOffline(zone) = block.state
            {
                block.state = BlockState::Online(zone);
                self.zones[zone as usize].note_freed();
            }
        }
    }

    /// Call `f` for each run in use of an isolated block. Free runs are skipped whole, and so is self-hosted memmap; a block
    /// with everything free is not looked at.
    fn each_used(
        &mut self,
        start: Pfn,
        mut f: impl FnMut(&mut Self, Pfn, PageKind) -> Result<()>,
    ) -> Result<()> {
        let Some(block) = self.blocks.get(start.get()) else { return Ok(()) };
        let usable = block.usable::<G>();
        if block.state == BlockState::Offline || block.free.pages() == usable.len() {
            return Ok(());
        }
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
