//! Taking pages from the free lists, and freeing them: which zone and which block serve an allocation. A block on demand
//! populates its memmap before a split, and gives it back after a merge (frame/demand); an extent unfolds a block
//! (frame/extents).

use crate::error::{Error, Resource, Result};
use crate::frame::block::{BlockState, MemoryBlock};
use crate::frame::buddy::{Lists, Split};
use crate::frame::demand::taking::Wanted;
use crate::frame::memmap::{LEAST_ASIDE_ORDER, described_order};
use crate::frame::page::PageKind;
use crate::frame::pages::Pages;
use crate::frame::zone::ZoneKind;
use crate::frame::{Frames, Mobility};
use crate::machine::Machine;
use crate::pfn::Pfn;

/// The zones that serve movable pages, in the order in which they are asked.
pub(super) const MOVABLE_FROM: [ZoneKind; 2] = [ZoneKind::Movable, ZoneKind::Normal];

impl<M: Machine> Frames<M> {
    /// Takes a run of `1 << order` pages.
    ///
    /// # Errors
    /// `Out` when no zone that may serve it has one.
    pub fn alloc(&mut self, order: u32, kind: PageKind, mobility: Mobility) -> Result<Pfn> {
        self.may_fail(Resource::Frames { order })?;
        self.take(order, kind, mobility).ok_or(Error::Out(Resource::Frames { order }))
    }

    /// [`Self::alloc`] without fault injection: `None` when there is no such run.
    pub(crate) fn take(&mut self, order: u32, kind: PageKind, mobility: Mobility) -> Option<Pfn> {
        let found = match mobility {
            Mobility::Unmovable => self.take_oldest(order),
            Mobility::Movable => MOVABLE_FROM.into_iter().find_map(|zone| {
                self.take_newest(zone, Lists::Main, |frames, block| frames.take_from(block, order))
            }),
        };
        let pfn = found.or_else(|| self.take_set_aside(order, mobility))?;
        self.pages().mark(pfn, order, kind);
        self.charge(kind, 1 << order);
        Some(pfn)
    }

    /// What no other memory serves: pages that blocks on demand set aside.
    #[cold]
    pub(super) fn take_set_aside(&mut self, order: u32, mobility: Mobility) -> Option<Pfn> {
        if self.demand.blocks() == 0 {
            return None;
        }
        match mobility {
            Mobility::Unmovable => {
                let blocks = self.zones[ZoneKind::Normal as usize].blocks().len();
                (0..blocks).find_map(|i| {
                    self.take_set_aside_from(self.zones[ZoneKind::Normal as usize].blocks()[i], order)
                })
            }
            Mobility::Movable => MOVABLE_FROM.into_iter().find_map(|zone| {
                self.take_newest(zone, Lists::Aside, |frames, block| frames.take_set_aside_from(block, order))
            }),
        }
    }

    pub(crate) fn take_from(&mut self, start: Pfn, order: u32) -> Option<Pfn> {
        let (g, pages) = (self.layout.granule(), Pages::new(&self.machine, self.layout));
        let Some(block) = self.blocks.get_mut(start.get()) else {
            return self.take_unfolding(start, order);
        };
        let BlockState::Online(zone) = block.state else { return None };
        let split = block.free.find(order)?;
        let pfn = match block.populated(g, split) {
            Some(populated) => block.free.take(&pages, populated),
            None => self.take_from_demand(start, order, Wanted::Main)?,
        };
        self.zones[zone as usize].free -= 1 << order;
        Some(pfn)
    }

    /// [`Self::take_from`] the extent at `start`: from its last block, which is unfolded for that.
    #[cold]
    fn take_unfolding(&mut self, start: Pfn, order: u32) -> Option<Pfn> {
        let g = self.granule();
        let extent = self.extent_of(start)?;
        let serves = matches!(extent.state, BlockState::Online(_)) && order < g.section_order;
        let last = Pfn::new(extent.pages.end.get() - g.section_pages);
        serves.then(|| self.unfold(last).ok())??;
        self.take_from(last, order)
    }

    fn take_oldest(&mut self, order: u32) -> Option<Pfn> {
        let blocks = self.zones[ZoneKind::Normal as usize].blocks().len();
        (0..blocks).find_map(|i| self.take_from(self.zones[ZoneKind::Normal as usize].blocks()[i], order))
    }

    /// What `take` takes from `lists` of a block of `zone`, the newest one first that serves it.
    #[inline(always)]
    pub(super) fn take_newest<T>(
        &mut self,
        zone: ZoneKind,
        lists: Lists,
        mut take: impl FnMut(&mut Self, Pfn) -> Option<T>,
    ) -> Option<T> {
        let mut found_free = false;
        for at in (0..self.zones[zone as usize].searched(lists).len()).rev() {
            let block = self.zones[zone as usize].blocks()[at];
            let found = take(self, block);
            if found.is_some() {
                return found;
            }
            found_free |= self.serves(block, lists);
            if !found_free {
                self.zones[zone as usize].note_idle(lists, at);
            }
        }
        None
    }

    /// Whether the block serves allocations and has a free page on `lists`.
    fn serves(&self, block: Pfn, lists: Lists) -> bool {
        let main = lists == Lists::Main;
        let serves = |state| matches!(state, BlockState::Online(_));
        match self.blocks.get(block.get()) {
            Some(block) if main => serves(block.state) && block.free.largest().is_some(),
            Some(block) => block.serves_aside(),
            None => main && self.extent_of(block).is_some_and(|extent| serves(extent.state)),
        }
    }

    /// Gives back a run that starts at `pfn`. A page that is not the head of something allocated stays as it is: a warning.
    pub fn free(&mut self, pfn: Pfn) {
        let Some((kind, order)) = self.freeable(pfn) else {
            self.warnings.bad_free += 1;
            return;
        };
        self.uncharge(kind, 1 << order);
        if self.hooks.loses_page(order) {
            return;
        }
        self.put_back(pfn, order);
    }

    pub(crate) fn freeable(&self, pfn: Pfn) -> Option<(PageKind, u32)> {
        let page = self.is_valid(pfn).then(|| self.pages().get(pfn))?;
        let freeable = !matches!(
            page.kind(),
            PageKind::Tail
                | PageKind::Free
                | PageKind::Reserved
                | PageKind::Hole
                | PageKind::MemmapSelf
                | PageKind::Device
                | PageKind::DeviceMemmap
                | PageKind::Poisoned
                | PageKind::HugeTlb
                | PageKind::Unplugged
        );
        freeable.then(|| (page.kind(), page.order()))
    }

    /// Takes the `1 << order` pages at `pfn`, which are free, off their list, for `kind`.
    ///
    /// # Errors
    /// `Out` when the heap has no room for the record of their block, which is in an extent; nothing has changed then. So too
    /// for pages that are not free, or are all of a block on demand.
    pub(crate) fn take_free(&mut self, pfn: Pfn, order: u32, kind: PageKind) -> Result<()> {
        let out = Error::Out(Resource::Heap { bytes: size_of::<MemoryBlock>() });
        self.take_at(pfn, order).ok_or(out)?;
        self.pages().mark(pfn, order, kind);
        self.charge(kind, 1 << order);
        Ok(())
    }

    pub(super) fn take_at(&mut self, pfn: Pfn, order: u32) -> Option<Pfn> {
        let g = self.layout.granule();
        let start = pfn.align_down(g.section_order);
        if self.extent_of(pfn).is_some_and(|e| e.state.zone().is_some() && order < g.section_order) {
            self.unfold_again(start).ok()?;
        }
        let pages = Pages::new(&self.machine, self.layout);
        let block = self.blocks.get_mut(start.get())?;
        let zone = block.state.zone();
        let (PageKind::Free, head) = pages.use_of(pfn) else { return None };
        let split = Split { head, from: pages.get(head).order(), pfn, order };
        let taken = match block.populated(g, split) {
            Some(populated) => block.free.take_any(&pages, populated),
            None => self.take_from_demand(start, order, Wanted::At(pfn))?,
        };
        // Of blocks that are offline, those on demand have free pages: they count in no zone.
        if let Some(zone) = zone {
            self.zones[zone as usize].free -= 1 << order;
        }
        Some(taken)
    }

    /// Puts a run on its block's free list. The caller has counted off what it was.
    pub(crate) fn put_back(&mut self, pfn: Pfn, order: u32) {
        let g = self.granule();
        let pages = Pages::new(&self.machine, self.layout);
        let start = pfn.align_down(g.section_order);
        let Some(block) = self.blocks.get_mut(start.get()) else { return };
        let zone = block.state.zone();
        if zone.is_none() && block.demand.is_none() {
            return;
        }
        if block.free.sets_aside(pfn - start) {
            return self.free_set_aside(pfn, order);
        }
        pages.own(pfn).clear_head();
        let merged = block.free.free(&pages, pfn, order);
        let idle = || block.free.pages() + block.memmap_inside == g.section_pages;
        // A cheap test first: the last page in use merges into a run of at least as many pages as are set aside.
        let gives_back =
            merged >= LEAST_ASIDE_ORDER && block.demand.is_some() && (merged > described_order(g) || idle());
        let online = matches!(block.state, BlockState::Online(_));
        if let Some(zone) = zone {
            let zone = &mut self.zones[zone as usize];
            zone.free += 1 << order;
            // An isolated block serves nothing: a search passes over it as before.
            if online {
                zone.note_freed();
            }
        }
        if gives_back {
            self.after_merge(pfn, order, merged);
        }
    }
}
