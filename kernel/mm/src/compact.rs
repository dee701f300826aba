//! Compaction: a large free run out of free memory that lies in pieces (Linux: mm/compaction.c, for the one case that there
//! is here: zone Normal has enough free pages, and no run that a block of vmemmap fits into).
//!
//! ```text
//!   a candidate of 1 << order pages      F F T F T T F F    F free, T a tenant's page
//!   hold what is free                    h h T h T T h h    so that nothing moves into the run
//!   move the tenants' pages elsewhere    h h h h h h h h    each is held as soon as it is free
//!   one head for all of it               [      run     ]
//! ```
//! The candidate is the one with the fewest pages to move, and nothing in it that cannot. When a page finds no place, what was
//! held is free again, joined as before; pages that have moved stay where they are.

use crate::error::{Error, Resource, Result};
use crate::hotplug::block::BlockState;
use crate::machine::Machine;
use crate::model::{Mm, Mobility};
use crate::page::PageKind;
use crate::pages::Pages;
use crate::pfn::{Pfn, PfnRange};
use crate::zone::ZoneKind;

/// What is held while a run is made. There is none of it in a candidate otherwise.
const HELD: PageKind = PageKind::Kernel;

/// What compaction came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Compacted {
    /// The first page of the run.
    pub run: Pfn,
    /// How many pages had to move.
    pub moved: u64,
}

impl<M: Machine> Mm<M> {
    /// See to it that zone Normal has a free run of `1 << order` pages.
    ///
    /// # Errors
    /// `Out` when no such run can be made, or a page finds no place to move to.
    pub fn compact(&mut self, order: u32) -> Result<Compacted> {
        if let Some(run) = self.free_run(order) {
            return Ok(Compacted { run, moved: 0 });
        }
        let compacted = self.compact_into(order, PageKind::Kernel)?;
        self.free(compacted.run);
        Ok(compacted)
    }

    /// A run that is free already.
    fn free_run(&self, order: u32) -> Option<Pfn> {
        self.online_in_normal().find_map(|start| {
            let block = self.blocks.get(start.get())?;
            let largest = block.free.largest().filter(|largest| *largest >= order)?;
            block.free.heads(&self.pages(), largest).next()
        })
    }

    /// A run of zone Normal, made out of pieces when there is none. One that was made to fail is not looked for.
    ///
    /// # Errors
    /// As [`Self::compact`].
    pub(crate) fn alloc_or_compact(&mut self, order: u32, kind: PageKind) -> Result<Pfn> {
        self.may_fail(Resource::Frames { order })?;
        match self.take(order, kind, Mobility::Unmovable) {
            Some(pfn) => Ok(pfn),
            None => Ok(self.compact_into(order, kind)?.run),
        }
    }

    /// Make a run of `1 << order` pages and take it, for `kind`: what [`Self::alloc`] would do if the memory were not in pieces.
    ///
    /// # Errors
    /// As [`Self::compact`].
    pub(crate) fn compact_into(&mut self, order: u32, kind: PageKind) -> Result<Compacted> {
        let out = Error::Out(Resource::Frames { order });
        let (run, moving) = self.candidate(order).ok_or(out)?;
        let inside = run.len() - moving;
        // Else the pages would move for nothing.
        if self.counts().free < inside + moving {
            return Err(out);
        }
        self.hold(run);
        if let Err(error) = self.empty(run) {
            self.let_go(run);
            return Err(error);
        }
        self.join(run, order, kind);
        Ok(Compacted { run: run.start, moved: moving })
    }

    /// The blocks of zone Normal that serve allocations, oldest first.
    fn online_in_normal(&self) -> impl Iterator<Item = Pfn> + '_ {
        let normal = BlockState::Online(ZoneKind::Normal);
        let serves = move |start: &Pfn| self.blocks.get(start.get()).is_some_and(|b| b.state == normal);
        self.zones[ZoneKind::Normal as usize].blocks().iter().copied().filter(serves)
    }

    /// The run of `1 << order` pages with the fewest to move, and how many those are.
    fn candidate(&self, order: u32) -> Option<(PfnRange, u64)> {
        let g = self.granule();
        let mut best: Option<(PfnRange, u64)> = None;
        for start in self.online_in_normal() {
            for i in 0..g.section_pages >> order.min(63) {
                let run = PfnRange::new(start + (i << order), 1 << order);
                let limit = best.map_or(u64::MAX, |(_, moving)| moving);
                if let Some(moving) = self.moving(run, limit) {
                    best = Some((run, moving));
                }
            }
        }
        best
    }

    /// How many pages of `run` would have to move: `None` when one cannot, or when they are not fewer than `limit`.
    fn moving(&self, run: PfnRange, limit: u64) -> Option<u64> {
        let (pages, mut at, mut moving) = (self.pages(), run.start, 0);
        while at < run.end && moving < limit {
            let page = pages.get(at);
            match page.kind() {
                PageKind::Free if 1 << page.order() < run.len() => {}
                PageKind::Tenant if page.refs() <= 1 => moving += 1,
                // The block's own memmap is here as well: it stays where it is. A tail is the inside of a larger run.
                _ => return None,
            }
            at = at + (1 << page.order());
        }
        (moving < limit).then_some(moving)
    }

    fn hold(&mut self, run: PfnRange) {
        self.each_head(run, |mm, pfn, order, kind| {
            if kind == PageKind::Free {
                mm.take_free(pfn, order, HELD);
            }
        });
    }

    fn empty(&mut self, run: PfnRange) -> Result<()> {
        let mut at = run.start;
        while at < run.end {
            let (kind, order) = (self.pages().get(at).kind(), self.pages().get(at).order());
            if kind == PageKind::Tenant {
                self.migrate(at)?;
                // Its neighbours in the run are held or in use, so it is free by itself.
                self.take_free(at, 0, HELD);
            }
            at = at + (1 << order);
        }
        Ok(())
    }

    /// The inverse of [`Self::hold`].
    fn let_go(&mut self, run: PfnRange) {
        self.each_head(run, |mm, pfn, _, kind| {
            if kind == HELD {
                mm.free(pfn);
            }
        });
    }

    /// All of `run` is held: it becomes one run, for `kind`.
    fn join(&mut self, run: PfnRange, order: u32, kind: PageKind) {
        self.each_head(run, |mm, pfn, _, _| mm.pages().own(pfn).clear_head());
        Pages::new(&self.machine, self.layout).mark(run.start, order, kind);
        for (kind, by) in [(HELD, run.len().wrapping_neg()), (kind, run.len())] {
            if let Some(count) = self.counts.of_mut(kind) {
                *count = count.wrapping_add(by);
            }
        }
    }

    /// Call `f` for every head in `run`, which begins with one: its page, order and kind.
    fn each_head(&mut self, run: PfnRange, mut f: impl FnMut(&mut Self, Pfn, u32, PageKind)) {
        let mut at = run.start;
        while at < run.end {
            let (kind, order) = (self.pages().get(at).kind(), self.pages().get(at).order());
            f(self, at, order, kind);
            at = at + (1 << order);
        }
    }
}
