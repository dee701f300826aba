//! Memory goes offline: its blocks are isolated, the notifiers asked, the pages in use migrated, and the blocks leave their
//! zone. A page that cannot move is named in the refusal, and the blocks are online as before.
//!
//! ```text
//!   look       a page that can never move (the kernel's, a table, a pinned page, ...) refuses it: nothing has moved
//!   pass 1     each page in use moves, or is skipped while an allocation fails
//!   pass 2..   what was skipped, at most MOST_TRIES passes in all; none while no page outside may serve it
//! ```

use core::ops::ControlFlow;

use crate::addr::PhysRange;
use crate::error::{BlockError, BlockNeeds, Error, PageError, Resource, Result};
use crate::frame::Frames;
use crate::frame::block::BlockState;
use crate::frame::page::PageKind;
use crate::hotplug::isolate::Used;
use crate::hotplug::notify::Direction;
use crate::hotplug::step::Step;
use crate::hugetlb::compound::refuse_taken;
use crate::machine::{Checkpoint, Machine};
use crate::migrate::batch::Batch;
use crate::mm::Mm;
use crate::pfn::{Pfn, PfnRange};
use crate::stop::Stop;

/// The most passes over what goes offline; the bound is this kernel's. In Linux an allocation that fails ends
/// `migrate_pages`, whose ten retries (NR_MAX_MIGRATE_PAGES_RETRY, mm/migrate.c, read in November 2026) are for busy
/// folios, and `offline_pages` repeats that until a signal ends it; this kernel has no signals. One CPU changes memory, so
/// a later pass can do better in two cases: an allocation failed on purpose, or a dissolved huge page reached out of the
/// range.
pub const MOST_TRIES: u32 = 10;

/// The result of an offline.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Offlined {
    /// Pages that were migrated.
    pub migrated: u64,
}

impl<M: Machine> Mm<M> {
    /// Takes the block at `start` offline; what is in use migrates.
    ///
    /// # Errors
    /// `BlockError::Absent`, `BlockError::State` when it is not online, and as [`Self::offline_pages`].
    pub fn offline_block(&mut self, start: Pfn) -> Result<Offlined> {
        self.offline_block_unless(start, &mut |_| false)
    }

    /// [`Self::offline_block`], unless `stop`, asked between two batches with how many pages have migrated, ends it.
    ///
    /// # Errors
    /// As [`Self::offline_block`] and [`Self::offline_pages_unless`].
    pub fn offline_block_unless(&mut self, start: Pfn, stop: Stop<'_>) -> Result<Offlined> {
        let g = self.granule();
        let pages = PfnRange::new(start, g.section_pages);
        if let Some(state @ BlockState::Offline) = self.frames.states_of(pages).next() {
            let (block, is) = (start.address(g), state.described());
            return Err(BlockError::State { block, is, needs: BlockNeeds::Online }.into());
        }
        self.offline_pages_unless(pages, stop)
    }

    /// Takes every block of `pages` offline that is not: all of them, or none. All are isolated before the first page moves,
    /// so that no page moves into a block that goes as well. (Linux's `offline_pages` does so within one block.)
    ///
    /// # Errors
    /// - `BlockError::Absent`; `BlockError::State` when a block is isolated already; `BlockError::NotWhole` for a boot block
    ///   with holes; `BlockError::Vetoed` with the notifier.
    /// - `PageError::Unmovable`, `PageError::Pinned` or `HugeError::Taken` with the first page that can never move. Nothing
    ///   has moved.
    /// - `PageError::Stays` with the first page that did not move. There are at most [`MOST_TRIES`] passes, and no further one
    ///   when no free page outside of `pages` may serve that page.
    ///
    /// Every block is in the state in which it was. Pages that have migrated stay where they are, and free huge pages that
    /// were dissolved stay dissolved. (Linux dissolves once all pages have migrated. It looks for unmovable pages before it
    /// asks the notifiers; here that is after.)
    pub fn offline_pages(&mut self, pages: PfnRange) -> Result<Offlined> {
        self.offline_pages_unless(pages, &mut |_| false)
    }

    /// [`Self::offline_pages`], unless `stop` ends it. That is asked between two batches, and before anything
    /// has moved between two blocks in use.
    ///
    /// # Errors
    /// As [`Self::offline_pages`]; `BlockError::Interrupted` when `stop` said so.
    pub fn offline_pages_unless(&mut self, pages: PfnRange, stop: Stop<'_>) -> Result<Offlined> {
        let going = self.frames.start_isolate(pages)?;
        if going.is_empty() {
            return Ok(Offlined::default());
        }
        self.ask_offline(going)?;
        self.space.machine().checkpoint(Checkpoint::Done("isolate blocks"));
        let mut migrated = 0;
        match self.evacuate(going, &mut migrated, stop) {
            Ok(()) => {
                self.leave_zones(going);
                Step::JoinZone.reversed(self.space.machine());
                Ok(Offlined { migrated })
            }
            Err(error) => {
                self.cancel_offline(going);
                self.space.machine().checkpoint(Checkpoint::Undone("isolate blocks"));
                Err(error)
            }
        }
    }

    /// Asks the notifiers about each run of blocks that goes; blocks that are offline already are left out.
    ///
    /// # Errors
    /// `BlockError::Vetoed`; nothing is isolated then, and each notifier that agreed to a run hears that it stays.
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

    /// The blocks of `going` stay online. The notifiers hear of each run, the last first.
    fn cancel_offline(&mut self, going: PfnRange) {
        let mut rest = going;
        while let Some(run) = self.frames.last_isolated_run(rest) {
            self.frames.undo_isolate(run);
            self.notifiers.cancel(Direction::Offline, self.range_to_ask(run));
            rest.end = run.start;
        }
    }

    /// Takes each run of blocks out of its zone, and tells the notifiers. Nothing of `going` is in use.
    fn leave_zones(&mut self, going: PfnRange) {
        let mut rest = going;
        while let Some(run) = self.frames.first_isolated_run(rest) {
            self.frames.withdraw_from_buddy(run);
            self.frames.leave_zone(run);
            self.notifiers.done(Direction::Offline, self.range_to_ask(run));
            rest.start = run.end;
        }
    }

    /// The range that notifiers hear of: all of a run, its self-hosted memmap included.
    fn range_to_ask(&self, run: PfnRange) -> PhysRange {
        let shift = match self.frames.block_of(run.start) {
            // The fault of a kernel that leaves the memmap out at the start, and does not at the end.
            Some(block) if self.frames.hooks.shifts_notified_range() => block.memmap_pages,
            _ => 0,
        };
        PfnRange { start: run.start + shift, end: run.end + shift }.addresses(self.granule())
    }

    /// Empties `pages`, which are isolated; `migrated` counts the pages that move.
    ///
    /// # Errors
    /// As [`Self::offline_pages_unless`].
    pub(super) fn evacuate(&mut self, pages: PfnRange, migrated: &mut u64, stop: Stop<'_>) -> Result<()> {
        let mut rest = self.refuse_unmovable(pages, stop)?;
        if rest.is_empty() {
            return Ok(());
        }
        let mut tries = 0;
        while let Some((Used { pfn, kind, .. }, out)) = self.evacuate_once(rest, migrated, stop)? {
            tries += 1;
            if tries == MOST_TRIES || !self.frames.has_room_for(kind) {
                return Err(PageError::Stays { pfn, tries, out }.into());
            }
            rest.start = pfn;
        }
        Ok(())
    }

    /// Refuses `pages` for the first page that can never move, so that nothing moves in vain. Returns the pages from the
    /// first in use to the last.
    fn refuse_unmovable(&self, pages: PfnRange, stop: Stop<'_>) -> Result<PfnRange> {
        let g = self.granule();
        let mut in_use = PfnRange::default();
        let first = self.frames.each_used(pages, |used| {
            if in_use.is_empty() {
                in_use.start = used.pfn;
            } else if used.pfn.align_down(g.section_order) >= in_use.end && stop(0) {
                return ControlFlow::Break(BlockError::Interrupted { migrated: 0 }.into());
            }
            in_use.end = used.end;
            self.check_movable(used).map_or_else(ControlFlow::Break, ControlFlow::Continue)
        });
        in_use.end = in_use.end.min(pages.end);
        first.break_value().map_or(Ok(in_use), Err)
    }

    /// One pass: a page for which there is no memory now is skipped. Returns the first such page, and what it needs.
    pub(super) fn evacuate_once(
        &mut self,
        pages: PfnRange,
        migrated: &mut u64,
        stop: Stop<'_>,
    ) -> Result<Option<(Used, Resource)>> {
        let g = self.granule();
        let (mut rest, mut left, mut batch) = (pages, None, Batch::new(g));
        loop {
            let other = fill(&self.frames, &mut rest, &mut batch);
            let moved = batch.migrate(&mut self.space, &mut self.frames)?;
            *migrated += moved.pages;
            let stays = moved.left.map(|pfn| Used { pfn, kind: PageKind::Tenant, end: pfn + 1 });
            left = left.or(stays.map(|used| (used, Resource::Frames { order: 0 })));
            match other.map(|used| (used, self.hugetlb_dissolve(used.pfn))) {
                None | Some((_, Ok(()))) => {}
                // The pass goes on: a huge page that is dissolved later may free memory outside.
                Some((used, Err(Error::Out(out)))) => left = left.or(Some((used, out))),
                Some((_, Err(other))) => return Err(other),
            }
            if rest.is_empty() {
                return Ok(left);
            }
            if stop(*migrated) {
                return Err(BlockError::Interrupted { migrated: *migrated }.into());
            }
        }
    }

    /// Refuses what can never move. A page that is held counts as such: nothing lets go of it while the offlining runs.
    fn check_movable(&self, used: Used) -> Result<()> {
        let Used { pfn, kind, .. } = used;
        let refs = self.frames.pages().get(pfn).refs();
        match kind {
            PageKind::Tenant if refs <= 1 => Ok(()),
            PageKind::Tenant | PageKind::Pinned => Err(PageError::Pinned { pfn, refs }.into()),
            PageKind::HugeTlb => refuse_taken(&self.frames, pfn),
            // A page without a head is lost, so it cannot go; the audit says more (I6).
            _ => Err(PageError::Unmovable { pfn, kind }.into()),
        }
    }
}

/// Collects tenants' pages from `rest` on, until the batch is full or something else is in use, a huge page: that is returned.
/// `rest` begins behind all of it then.
fn fill<M: Machine>(frames: &Frames<M>, rest: &mut PfnRange, batch: &mut Batch) -> Option<Used> {
    let last = frames.each_used(*rest, |used| {
        if used.kind == PageKind::Tenant {
            batch.push(frames, used.pfn);
            if !batch.is_full() {
                return ControlFlow::Continue(());
            }
        }
        ControlFlow::Break(used)
    });
    let last = last.break_value();
    rest.start = last.map_or(rest.end, |used| used.end);
    last.filter(|used| used.kind != PageKind::Tenant)
}
