//! Which free pages of a block on demand are taken: for an allocation, or to be lent.
//!
//! ```text
//!   an allocation     what is not set aside, of any block; then what is set aside
//!   a lent page       what is set aside; then what is not
//! ```
//! The memmap pages in which runs begin by that are populated first: [`populate`](super::populate).

use super::{MemmapPages, Site};
use crate::frame::Frames;
use crate::frame::block::{BlockState, MemoryBlock};
use crate::frame::buddy::{Populated, Split};
use crate::frame::memmap::{aside_order, described_order};
use crate::frame::page::PageKind;
use crate::frame::pages::Pages;
use crate::machine::Machine;
use crate::pfn::Pfn;

/// Which free pages of a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::frame) enum Wanted {
    /// Any that are not set aside.
    Main,
    /// Any that are set aside.
    Aside,
    /// Those that begin with this page.
    At(Pfn),
}

impl Wanted {
    fn at(self) -> Option<Pfn> {
        if let Self::At(pfn) = self { Some(pfn) } else { None }
    }
}

impl<M: Machine> Frames<M> {
    /// [`Self::take_populating`] in the block at `start`.
    #[cold]
    pub(in crate::frame) fn take_from_demand(
        &mut self,
        start: Pfn,
        order: u32,
        wanted: Wanted,
    ) -> Option<Pfn> {
        let block = self.index_of(start)?;
        self.take_populating(block, order, wanted)
    }

    /// Takes `1 << order` free pages of the block at this index, which is on demand. First the memmap pages are populated in which
    /// runs begin by that. `None` when there is no such free run, or it is all of the block, which leaves no page for the memmap
    /// of its head.
    fn take_populating(&mut self, block: usize, order: u32, wanted: Wanted) -> Option<Pfn> {
        let g = self.granule();
        let mut site = self.site_at(block)?;
        if self.blocks.as_slice()[block].is_image(g) {
            let none_aside = wanted.at() == Some(site.start) && order >= aside_order(g);
            if wanted == Wanted::Aside || order >= g.section_order || none_aside {
                return None;
            }
            site = self.materialise(&site, wanted.at())?;
        }
        // At most twice: carving leaves enough runs within one memmap page. Lending those leaves `split`, which is larger, as it is.
        loop {
            let split = self.find_split(&site, order, wanted)?;
            let pages = split.memmap_pages(g);
            if !pages.is_empty() {
                if !self.has_frames_for(&site, &pages) {
                    let carved = self.find_carved(&site, wanted.at())?;
                    self.lend_carved(&site, carved, None, &carved.memmap_pages(g));
                    // As many as were set aside, and too few.
                    self.gather(&site);
                    continue;
                }
                self.lend_small(&site, &pages)?;
            }
            let struct_pages = Pages::new(&self.machine, self.layout);
            return Some(self.blocks.at_mut(site.block).free.take_any(&struct_pages, Populated(split)));
        }
    }

    /// Takes `1 << order` pages that are set aside in the block at `start`.
    #[cold]
    pub(in crate::frame) fn take_set_aside_from(&mut self, start: Pfn, order: u32) -> Option<Pfn> {
        let at = self.blocks.index_of(start.get())?;
        let block = &self.blocks.as_slice()[at];
        let zone = block.state.zone().filter(|_| block.serves_aside())?;
        let pfn = self.take_populating(at, order, Wanted::Aside)?;
        self.zones[zone as usize].free -= 1 << order;
        Some(pfn)
    }

    /// Takes a page of the block at this index, which has left the image, and marks it as lent: for the memmap page `number`, or
    /// for the table. One that is set aside comes first. `None` when the block has no free page.
    pub(super) fn take_lent(&mut self, block: usize, number: Option<u64>) -> Option<Pfn> {
        let aside = self.take_populating(block, 0, Wanted::Aside);
        let pfn = aside.or_else(|| self.take_populating(block, 0, Wanted::Main))?;
        let site = self.site_at(block)?;
        self.mark_lent(&site, pfn, number);
        self.count_lent(&site, 1);
        Some(pfn)
    }

    /// The split that takes `1 << order` free pages of a block that has left the image.
    fn find_split(&self, site: &Site, order: u32, wanted: Wanted) -> Option<Split> {
        let (pages, free) = (self.pages(), &self.blocks.as_slice()[site.block].free);
        match wanted {
            Wanted::Main => free.find(order),
            Wanted::Aside => free.find_aside(&pages, order),
            Wanted::At(pfn) => {
                let (PageKind::Free, head) = pages.use_of(pfn) else { return None };
                let from = pages.get(head).order();
                (from >= order).then_some(Split { head, from, pfn, order })
            }
        }
    }

    fn has_frames_for(&self, site: &Site, pages: &MemmapPages) -> bool {
        let (described, struct_pages) = (described_order(self.granule()), self.pages());
        let free = &self.blocks.as_slice()[site.block].free;
        match pages.count {
            1 => free.find_small(&struct_pages, described).is_some(),
            count => free.has_small(&struct_pages, described, count as u64),
        }
    }

    /// The split of a run of more than one memmap page from which pages are lent.
    fn find_carved(&self, site: &Site, at: Option<Pfn>) -> Option<Split> {
        let (described, free) = (described_order(self.granule()), &self.blocks.as_slice()[site.block].free);
        let larger = free.find_aside(&self.pages(), described + 1).or_else(|| free.find(described + 1))?;
        Some(carve(larger.head, larger.from, described, at))
    }
}

impl MemoryBlock {
    /// Whether the block serves allocations with pages that are set aside.
    pub(in crate::frame) const fn serves_aside(&self) -> bool {
        matches!(self.state, BlockState::Online(_)) && self.free.has_aside()
    }
}

/// The split that takes the first pages of a free run, as many as one memmap page describes; of its other half when the pages
/// at `at` are to come from the first.
pub(super) fn carve(head: Pfn, from: u32, order: u32, at: Option<Pfn>) -> Split {
    let half = head + (1 << (from - 1));
    let pfn = if at.is_some_and(|at| head <= at && at < half) { half } else { head };
    Split { head, from, pfn, order }
}
