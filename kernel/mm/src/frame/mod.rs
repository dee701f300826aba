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

mod alloc;
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
mod unplugged;
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
use counts::{Counts, Warnings};
use extent::Extent;
use memmap::Demand;
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
    /// What is about to be removed: no extent reaches across its ends.
    pub(crate) removing: Option<PfnRange>,
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
            removing: None,
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
        let fails = self.faults.hit();
        self.machine.asked(&resource, fails);
        if fails { Err(Error::Out(resource)) } else { Ok(()) }
    }
}
