//! Page frames: which are present, what each is used for, and which are free.
//!
//! ```text
//!   Frames   sections   which memory is present, and what backs its memmap
//!            blocks     which of it is online, with the free lists (buddy)
//!            zones      which blocks serve which allocation
//!            counts     pages by use; changed here alone
//!            demand     the memmap of blocks that is populated as they are used
//!            extents    such blocks of which nothing is used, many in one record
//!            pages()    the struct pages, through vmemmap
//! ```

pub mod altmap;
pub mod block;
pub mod buddy;
pub mod counts;
mod demand;
pub mod extent;
mod extents;
pub(crate) mod links;
pub mod memmap;
mod occupancy;
pub mod page;
pub mod pages;
pub mod section;
pub mod tables;
mod tenants;
pub mod zone;

use crate::addr::PhysAddr;
use crate::debug::faults::Faults;
use crate::debug::hooks::Hooks;
use crate::error::{Error, PageError, Resource, Result};
use crate::granule::Granule;
use crate::layout::Layout;
use crate::list::List;
use crate::machine::Machine;
use crate::pfn::{Pfn, PfnRange};
use altmap::{Altmap, Altmaps};
use block::{BlockState, MemoryBlock};
use buddy::Split;
use counts::{Counts, Warnings};
use extent::Extent;
use memmap::{Demand, described_order};
use page::PageKind;
use pages::Pages;
use section::{Backing, Section};
use zone::{Zone, ZoneKind};

/// Migrate type of an allocation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mobility {
    /// It stays where it is: only from Normal, oldest block first, so that young blocks can leave.
    Unmovable,
    /// It can be moved: from Movable first, newest block first.
    Movable,
}

/// The zones that serve movable pages, in the order in which they are asked.
const MOVABLE_FROM: [ZoneKind; 2] = [ZoneKind::Movable, ZoneKind::Normal];

/// The page frames of a machine.
pub struct Frames<M: Machine> {
    // Visible, so that the struct pages can be borrowed beside the blocks.
    pub(crate) machine: M,
    pub(crate) layout: Layout,
    pub(crate) sections: List<Section>,
    pub(crate) blocks: List<MemoryBlock>,
    pub(crate) extents: List<Extent>,
    /// Blocks on demand that are in no extent.
    unfolded: usize,
    /// The root of the translation tables.
    root: PhysAddr,
    pub(crate) zones: [Zone; 2],
    pub(crate) altmaps: Altmaps,
    counts: Counts,
    demand: Demand,
    /// What should not have happened. A test that provokes warnings sets back what it has counted.
    pub warnings: Warnings,
    /// Which allocations fail on purpose.
    pub faults: Faults,
    pub(crate) hooks: Hooks,
}

impl<M: Machine> Frames<M> {
    /// No memory yet.
    pub(crate) fn new(machine: M, layout: Layout, root: PhysAddr) -> Self {
        Self {
            machine,
            layout,
            sections: List::new(),
            blocks: List::new(),
            extents: List::new(),
            unfolded: 0,
            root,
            zones: [Zone::new(), Zone::new()],
            altmaps: Altmaps::new(),
            counts: Counts::default(),
            demand: Demand::default(),
            warnings: Warnings::default(),
            faults: Faults::default(),
            hooks: Hooks::default(),
        }
    }
    /// The granule.
    #[inline(always)]
    pub const fn granule(&self) -> Granule {
        self.layout.granule()
    }
    /// The present sections, ascending; those of extents as they would be by themselves.
    pub fn sections(&self) -> impl Iterator<Item = Section> + Clone + '_ {
        let g = self.granule();
        let starts = move |e: &Extent| {
            let start = e.pages.start;
            (0..e.pages.len() >> g.section_order).map(move |i| start + (i << g.section_order))
        };
        let mut extents = self.extents.as_slice().iter().flat_map(starts).peekable();
        let mut own = self.sections.as_slice().iter().peekable();
        core::iter::from_fn(move || match (own.peek(), extents.peek()) {
            (Some(section), folded) if folded.is_none_or(|start| section.start < *start) => {
                own.next().cloned()
            }
            _ => extents.next().and_then(|start| self.section_of(start)),
        })
    }
    /// The altmap whose range starts at `base`.
    pub fn altmap(&self, base: Pfn) -> Option<&Altmap> {
        self.altmaps.get(base)
    }
    /// A zone.
    pub const fn zone(&self, kind: ZoneKind) -> &Zone {
        &self.zones[kind as usize]
    }
    /// The pages by use.
    pub fn counts(&self) -> Counts {
        Counts { free: self.zones.iter().map(|z| z.free).sum(), ..self.counts }
    }
    /// Where things are.
    #[inline(always)]
    pub(crate) const fn layout(&self) -> Layout {
        self.layout
    }
    /// The machine.
    #[inline(always)]
    pub(crate) const fn machine(&self) -> &M {
        &self.machine
    }

    /// `pages` pages of `kind` more.
    pub(crate) fn charge(&mut self, kind: PageKind, pages: u64) {
        if let Some(count) = self.counts.of_mut(kind) {
            *count += pages;
        }
    }
    /// `pages` pages of `kind` fewer.
    pub(crate) fn uncharge(&mut self, kind: PageKind, pages: u64) {
        if let Some(count) = self.counts.of_mut(kind) {
            *count -= pages;
        }
    }
    /// `pages` pages of system RAM more.
    pub(crate) const fn add_present(&mut self, pages: u64) {
        self.counts.present += pages;
    }
    /// `pages` pages of system RAM fewer.
    pub(crate) const fn remove_present(&mut self, pages: u64) {
        self.counts.present -= pages;
    }

    /// The section that starts at `start`.
    pub(crate) fn section_mut(&mut self, start: Pfn) -> Option<&mut Section> {
        self.sections.get_mut(start.get())
    }
    /// What holds the memmap of the section of `pfn`.
    pub(crate) fn backing_of(&self, pfn: Pfn) -> Backing {
        let start = pfn.align_down(self.granule().section_order);
        match self.sections.get(start.get()) {
            Some(section) => section.backing,
            None => self.extent_of(pfn).map_or(Backing::Ram, |_| Backing::Demand),
        }
    }
    /// The sections of which `pages` has something, but for those of extents.
    pub(crate) fn sections_of(&self, pages: PfnRange) -> &[Section] {
        let g = self.granule();
        self.sections.range(pages.start.align_down(g.section_order).get()..pages.end.get())
    }
    /// The first section of which `pages` has something.
    pub(crate) fn first_section_of(&self, pages: PfnRange) -> Option<Pfn> {
        let g = self.granule();
        let whole = PfnRange { start: pages.start.align_down(g.section_order), end: pages.end };
        let own = self.sections_of(pages).first().map(|section| section.start);
        let folded = self.extents().iter().find(|extent| extent.pages.overlaps(&whole));
        let folded = folded.map(|extent| extent.pages.start.max(whole.start));
        own.into_iter().chain(folded).min()
    }
    pub(crate) fn block_of_mut(&mut self, pfn: Pfn) -> Option<&mut MemoryBlock> {
        let g = self.granule();
        self.blocks.get_mut(pfn.align_down(g.section_order).get())
    }
    /// The zone that the block of `pfn` is in.
    pub(crate) fn zone_of(&self, pfn: Pfn) -> Option<ZoneKind> {
        self.state_of(pfn)?.zone()
    }
    /// The state of the block of `pfn`.
    pub(crate) fn state_of(&self, pfn: Pfn) -> Option<BlockState> {
        let start = pfn.align_down(self.granule().section_order);
        let own = self.blocks.get(start.get()).map(|block| block.state);
        own.or_else(|| self.extent_of(pfn).map(|extent| extent.state))
    }
    /// Whether the block of `pfn` is on demand.
    pub(crate) fn is_on_demand(&self, pfn: Pfn) -> bool {
        let start = pfn.align_down(self.granule().section_order);
        let own = self.blocks.get(start.get()).map(|block| block.demand.is_some());
        own.unwrap_or_else(|| self.extent_of(pfn).is_some())
    }
    /// Whether `pfn` has a struct page (I1).
    pub fn is_valid(&self, pfn: Pfn) -> bool {
        let g = self.granule();
        match self.sections.get(pfn.align_down(g.section_order).get()) {
            Some(section) => section.is_valid(g, pfn),
            None => self.extent_of(pfn).is_some_and(|extent| extent.present),
        }
    }
    /// The use of `pfn` and the head that says so; no head does in a block that is offline, but for what keeps its mark.
    ///
    /// # Errors
    /// `PageError::NotPresent`.
    pub fn use_of(&self, pfn: Pfn) -> Result<(PageKind, Pfn)> {
        if !self.is_valid(pfn) {
            return Err(PageError::NotPresent(pfn).into());
        }
        let offline = || self.state_of(pfn) == Some(BlockState::Offline);
        match self.pages().use_of(pfn) {
            // A block on demand keeps its free lists.
            (PageKind::Free, _) if offline() => Ok((PageKind::Tail, pfn)),
            found => Ok(found),
        }
    }
    /// The struct pages.
    pub fn pages(&self) -> Pages<'_, M> {
        Pages::new(&self.machine, self.layout)
    }

    /// Asks the fault plan, before something that can run out; the error is that of running out for real.
    ///
    /// # Errors
    /// `Out`, on purpose.
    pub fn may_fail(&mut self, resource: Resource) -> Result<()> {
        if self.faults.hit() { Err(Error::Out(resource)) } else { Ok(()) }
    }

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
            Mobility::Movable => MOVABLE_FROM
                .into_iter()
                .find_map(|zone| self.take_newest(zone, |frames, block| frames.take_from(block, order))),
        };
        let pfn = found?;
        self.pages().mark(pfn, order, kind);
        self.charge(kind, 1 << order);
        Some(pfn)
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
            None => self.take_populating(start, order, None)?,
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
        serves.then(|| self.unfold_for(last).ok())??;
        self.take_from(last, order)
    }

    fn take_oldest(&mut self, order: u32) -> Option<Pfn> {
        let blocks = self.zones[ZoneKind::Normal as usize].blocks().len();
        (0..blocks).find_map(|i| self.take_from(self.zones[ZoneKind::Normal as usize].blocks()[i], order))
    }

    /// What `take` takes from a block of `zone`, the newest one first that serves it.
    #[inline(always)]
    fn take_newest<T>(
        &mut self,
        zone: ZoneKind,
        mut take: impl FnMut(&mut Self, Pfn) -> Option<T>,
    ) -> Option<T> {
        let mut found_free = false;
        for at in (0..self.zones[zone as usize].searched().len()).rev() {
            let block = self.zones[zone as usize].blocks()[at];
            let found = take(self, block);
            if found.is_some() {
                return found;
            }
            found_free |= self.serves(block);
            if !found_free {
                self.zones[zone as usize].note_idle(at);
            }
        }
        None
    }

    /// Whether the block serves allocations and has a free page.
    fn serves(&self, block: Pfn) -> bool {
        let serves = |b: &MemoryBlock| matches!(b.state, BlockState::Online(_)) && b.free.pages() != 0;
        match self.blocks.get(block.get()) {
            Some(block) => serves(block),
            None => self.extent_of(block).is_some_and(|extent| matches!(extent.state, BlockState::Online(_))),
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
        );
        freeable.then(|| (page.kind(), page.order()))
    }

    /// Takes `1 << order` free pages off their list, for `kind`; whether they could be taken. What follows a free of the
    /// same pages can: a merge gives back at least the memmap that this split needs.
    pub(crate) fn take_free(&mut self, pfn: Pfn, order: u32, kind: PageKind) -> bool {
        let taken = self.take_at(pfn, order).is_some();
        if taken {
            self.pages().mark(pfn, order, kind);
            self.charge(kind, 1 << order);
        }
        taken
    }

    fn take_at(&mut self, pfn: Pfn, order: u32) -> Option<Pfn> {
        let g = self.layout.granule();
        let start = pfn.align_down(g.section_order);
        if self.extent_of(pfn).is_some_and(|extent| extent.state.zone().is_some() && order < g.section_order)
        {
            self.unfold(start).ok()?;
        }
        let (g, pages) = (self.layout.granule(), Pages::new(&self.machine, self.layout));
        let block = self.blocks.get_mut(start.get())?;
        let zone = block.state.zone()?;
        let (PageKind::Free, head) = pages.use_of(pfn) else { return None };
        let split = Split { head, from: pages.get(head).order(), pfn, order };
        let taken = match block.populated(g, split) {
            Some(populated) => block.free.take(&pages, populated),
            None => self.take_populating(start, order, Some(pfn))?,
        };
        self.zones[zone as usize].free -= 1 << order;
        Some(taken)
    }

    /// Puts a run on its block's free list. The caller has counted off what it was.
    pub(crate) fn put_back(&mut self, pfn: Pfn, order: u32) {
        let g = self.granule();
        let pages = Pages::new(&self.machine, self.layout);
        let Some(block) = self.blocks.get_mut(pfn.align_down(g.section_order).get()) else { return };
        let zone = block.state.zone();
        if zone.is_none() && block.demand.is_none() {
            return;
        }
        pages.own(pfn).clear_head();
        let merged = block.free.free(&pages, pfn, order);
        let idle = || block.free.pages() + block.memmap_inside == g.section_pages;
        let gives_back = block.demand.is_some() && (merged > described_order(g) || idle());
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
            self.give_back(pfn, order, merged);
        }
    }
}
