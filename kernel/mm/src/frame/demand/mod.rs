//! Memmap on demand: a block in which all is free has no memmap of its own.
//!
//! All free blocks look alike: the first struct page says "free, all of the block", and each other is zero ("ask your head").
//! So they all map one **image** of that, read-only: one page with the head, one zero page, and at 4K the table of both.
//!
//! ```text
//!   memmap of a free block      |head|zero|zero|zero| ...  |zero|      all blocks lead to the same two frames
//!   one page is taken           | 0  | 1  | 2  |zero| 4  ...|zero|      a page in which a run begins has a frame of its own
//!   the block itself            [t 1 2 4 ... 0|free|taken|  free |      lent: the frames, and the table of the entries (4K)
//!   all is free again           |head|zero|zero|zero| ...  |zero|      the image; nothing is lent
//! ```
//!
//! **The rule (I7): a memmap page of such a block has a frame of its own exactly when a run begins in it.**
//! - A split begins runs, so it populates first, with pages of the block that it splits: [`populate`].
//! - A merge ends runs: their memmap pages are zero by construction, and go back: [`give_back`]. Freeing needs no page and
//!   writes only where runs began, so that it cannot fail.
//! - Where all of a larger part of memory is free, not even its entries are its own: [`group`].
//!
//! What happens when the first page is taken where all was free, from the largest to the smallest; a free undoes it in the
//! reverse order:
//!
//! ```text
//!   the group gets a table of its own    get_group_tables, unshare_groups    share_groups
//!   the block gets a record of its own   unfold (frame/extents)              fold
//!   the block gets a table (4K)          materialise                         collapse
//!   memmap pages get frames              map_own                             unmap_own
//! ```
//!
//! - A lent page can move within its block, like a page in use: [`relocate`].
//!
//! **Where it lends (I7): a page outside of those set aside is lent only while none of them is free.** A block sets as many
//! pages at its start aside as its whole memmap has, which are those that `memmap=self` would take: so no lent page lies
//! between free runs that would be one with `memmap=self`. What the memmap does not need of them serves allocations for which
//! there is no other run ([`taking`]).
//!
//! ```text
//!   a block of 32768 pages (4K)   [t 1 2 4 ... 0 |free, taken last ][  512  ][   1024   ][      2048     ] ...
//!                                 |<------ set aside: 512 pages ------------>|
//! ```
//!
//! A block that goes offline keeps its free lists: so the rule holds for it as well, and a free block goes offline and online
//! without a look at its struct pages.

mod give_back;
mod group;
mod image;
mod populate;
mod relocate;
pub(super) mod taking;
mod whole;

use core::sync::atomic::Ordering::Acquire;

use crate::addr::{PhysAddr, VirtAddr, VirtRange};
use crate::entry::descriptor::{Attributes, Descriptor};
use crate::entry::slot::{self, Slot};
use crate::frame::Frames;
use crate::frame::block::MemoryBlock;
use crate::frame::buddy::{Populated, Split};
use crate::frame::links::Links;
use crate::frame::memmap::{Demand, DemandMemmap, described_order, image_level};
use crate::frame::page::PageKind;
use crate::frame::pages::Pages;
use crate::granule::{Granule, LAST_LEVEL, MAX_ORDERS};
use crate::machine::{self, Machine};
use crate::pfn::Pfn;

/// A few memmap pages of one block, by their numbers in it.
#[derive(Clone, Copy, Debug, Default)]
struct MemmapPages {
    numbers: [u16; MAX_ORDERS],
    count: usize,
}

impl MemmapPages {
    fn one(number: u64) -> Self {
        let mut pages = Self::default();
        pages.push(number);
        pages
    }
    /// One more. A split or a merge has at most one for each order, so that there is room.
    fn push(&mut self, number: u64) {
        self.numbers[self.count] = u16::try_from(number).unwrap_or(u16::MAX);
        self.count += 1;
    }
    const fn is_empty(&self) -> bool {
        self.count == 0
    }
    fn numbers(&self) -> impl Iterator<Item = u64> + Clone + '_ {
        self.numbers[..self.count].iter().map(|number| u64::from(*number))
    }
}

/// The memmap pages in which runs begin when `1 << order` pages at `pfn` come out of a free run of `1 << from`, and end when
/// they merge into it: those of the upper half at each order, as far as halves are whole memmap pages.
///
/// ```text
///   a run of four memmap pages      |head|    |    |    |
///   64 pages of it at pfn (4K)      |head|pfn |half|    |       from = 8, order = 6: pages 2 and 1
/// ```
fn split_pages(g: Granule, pfn: Pfn, order: u32, from: u32) -> MemmapPages {
    let (start, described) = (pfn.align_down(g.section_order), described_order(g));
    let mut pages = MemmapPages::default();
    for half in order.max(described)..from {
        let upper = pfn.align_down(half + 1) + (1 << half);
        pages.push((upper - start) >> described);
    }
    pages
}

impl Split {
    fn memmap_pages(&self, g: Granule) -> MemmapPages {
        split_pages(g, self.pfn, self.order, self.from)
    }
}

impl MemoryBlock {
    /// Whether the block maps the image: all of it is one free run, and it is on demand.
    pub fn is_image(&self, g: Granule) -> bool {
        self.demand.is_some() && self.free.pages() == g.section_pages
    }
    /// The proof for `split`, if it begins no run in a memmap page that has no frame.
    #[inline(always)]
    pub(super) fn populated(&self, g: Granule, split: Split) -> Option<Populated> {
        let begins_none = split.from <= described_order(g) || split.from == split.order && !self.is_image(g);
        (self.demand.is_none() || begins_none).then_some(Populated(split))
    }
}

/// A block on demand: where it is in the list of blocks, and its level 3 entries. Valid until the list changes, or the block
/// gets another table.
#[derive(Clone, Copy)]
struct Site {
    block: usize,
    start: Pfn,
    table: PhysAddr,
    first: usize,
    memmap: VirtAddr,
    page_size: u64,
}

impl Site {
    fn slot(&self, number: u64) -> Slot {
        let start = self.address(number);
        let span = VirtRange { start, end: start + self.page_size };
        let index = self.first + usize::try_from(number).unwrap_or(0);
        Slot { table: self.table, level: LAST_LEVEL, index, span, part: span }
    }
    fn address(&self, number: u64) -> VirtAddr {
        self.memmap + number * self.page_size
    }
}

impl<M: Machine> Frames<M> {
    /// The blocks whose memmap is populated on demand, and their image.
    pub const fn demand(&self) -> &Demand {
        &self.demand
    }

    /// Where the memmap of the block at `start`, which is on demand, is mapped: the table and the index of the entry.
    pub(crate) fn memmap_entry(&self, start: Pfn) -> Option<(PhysAddr, u32)> {
        let (g, memmap) = (self.granule(), self.layout.page_address(start));
        let slot = slot::find::<M>(g, &self.machine, self.root, memmap, image_level(g))?;
        Some((slot.table, u32::try_from(slot.index).ok()?))
    }

    /// How many memmap pages of the block at `start` have a frame of their own: none of a block that is not on demand.
    pub fn populated_pages(&self, start: Pfn) -> u64 {
        let g = self.granule();
        if self.blocks.get(start.get()).is_none_or(|block| block.demand.is_none() || block.is_image(g)) {
            return 0;
        }
        let Some(site) = self.site_of(start) else { return 0 };
        let own = |number: &u64| !self.entry_at(&site, *number).is_shared();
        (0..g.section_memmap >> g.page_shift).filter(own).count() as u64
    }

    fn entry_at(&self, site: &Site, number: u64) -> Descriptor {
        slot::read::<M>(&self.machine, &site.slot(number))
    }

    /// The index of the block at `start`.
    #[inline(always)]
    fn index_of(&mut self, start: Pfn) -> Option<usize> {
        let last = self.demand.last;
        if self.blocks.as_slice().get(last).is_some_and(|block| block.start == start) {
            return Some(last);
        }
        self.demand.last = self.blocks.index_of(start.get())?;
        Some(self.demand.last)
    }

    /// The site of the block at `start`, if it is on demand. At 4K its entries may be the image's.
    fn site_of(&self, start: Pfn) -> Option<Site> {
        self.site_at(self.blocks.index_of(start.get())?)
    }

    /// The same of the block at this index of the list.
    fn site_at(&self, block: usize) -> Option<Site> {
        let g = self.granule();
        let MemoryBlock { start, demand, .. } = self.blocks.as_slice()[block];
        let DemandMemmap { table, index, .. } = demand?;
        let (memmap, page_size) = (self.layout.page_address(start), g.page_size);
        let site = Site { block, start, table, first: index as usize, memmap, page_size };
        if !g.shares_tables() {
            return Some(site);
        }
        let leads = machine::entry(&self.machine, table, index as usize).load(Acquire);
        Some(Site { table: Descriptor::from_bits(leads).address(g), first: 0, ..site })
    }

    /// The level 2 entry of the memmap of the block at `site` (4K).
    fn table_slot(&self, site: &Site) -> Option<Slot> {
        let DemandMemmap { table, index, .. } = self.blocks.as_slice()[site.block].demand?;
        let span = VirtRange { start: site.memmap, end: site.memmap + self.granule().section_memmap };
        Some(Slot { table, level: LAST_LEVEL - 1, index: index as usize, span, part: span })
    }

    /// `by` more pages of a block are lent to its memmap, and no longer free.
    fn count_lent(&mut self, site: &Site, by: i64) {
        let block = self.blocks.at_mut(site.block);
        block.memmap_inside = block.memmap_inside.wrapping_add_signed(by);
        // An offline block's free pages count as not present, those of its memmap do.
        match block.state.zone() {
            Some(zone) => {
                let free = &mut self.zones[zone as usize].free;
                *free = free.wrapping_add_signed(-by);
            }
            None => self.counts.present = self.counts.present.wrapping_add_signed(by),
        }
        self.counts.memmap_self = self.counts.memmap_self.wrapping_add_signed(by);
    }

    /// The page at `pfn`, which is not free any more, is lent to the memmap of its block: what for, `number` says.
    fn mark_lent(&mut self, site: &Site, pfn: Pfn, number: Option<u64>) {
        let struct_pages = Pages::new(&self.machine, self.layout);
        struct_pages.mark(pfn, 0, PageKind::MemmapSelf);
        struct_pages.own(pfn).as_lent().set_memmap_page(number);
        let block = self.blocks.at_mut(site.block);
        if let Some(demand) = block.demand.as_mut().filter(|_| !block.free.is_set_aside(pfn)) {
            Links::new(site.start, 0).push(&struct_pages, &mut demand.outside, pfn);
        }
    }

    /// The inverse: the page says nothing any more.
    fn clear_lent(&mut self, site: &Site, pfn: Pfn) {
        let struct_pages = Pages::new(&self.machine, self.layout);
        let block = self.blocks.at_mut(site.block);
        if let Some(demand) = block.demand.as_mut().filter(|_| !block.free.is_set_aside(pfn)) {
            Links::new(site.start, 0).unlink(&struct_pages, &mut demand.outside, pfn);
        }
        struct_pages.own(pfn).clear_head();
    }

    /// TLB maintenance for memmap pages whose entries changed, on every CPU.
    fn invalidate_pages(&mut self, site: &Site, pages: &MemmapPages) {
        if self.hooks.skips_populate_invalidation() {
            self.demand.skipped += 1;
            return;
        }
        self.machine.invalidate_pages(pages.numbers().map(|number| site.address(number)), site.page_size);
    }

    /// The same for pages that have become writable, on this CPU: no other writes to them.
    fn invalidate_pages_here(&self, site: &Site, pages: &MemmapPages) {
        self.machine
            .invalidate_pages_here(pages.numbers().map(|number| site.address(number)), site.page_size);
    }
}

/// The entry of a memmap page with a frame of its own, which runs write to.
fn own_leaf(frame: PhysAddr) -> Descriptor {
    Descriptor::leaf(frame, Attributes::DATA, LAST_LEVEL, false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn numbers(g: Granule, pfn: u64, order: u32, from: u32) -> Vec<u64> {
        let block = 16 * g.section_pages;
        split_pages(g, Pfn::new(block + pfn), order, from).numbers().collect()
    }

    // By hand: a memmap page describes 64, 256, 1024 pages.
    #[test]
    fn a_split_begins_runs_in_the_page_of_each_upper_half() {
        assert_eq!(numbers(Granule::K4, 0, 0, 15), [1, 2, 4, 8, 16, 32, 64, 128, 256]);
        assert_eq!(numbers(Granule::K4, 0, 9, 10), [8], "512 pages of 1024: the other half begins in page 8");
        assert_eq!(numbers(Granule::K4, 0, 0, 6), [0; 0], "halves within one memmap page");
        assert_eq!(numbers(Granule::K4, 32767, 0, 15), [511, 510, 508, 504, 496, 480, 448, 384, 256]);
        assert_eq!(numbers(Granule::K16, 0, 0, 13), [1, 2, 4, 8, 16]);
        assert_eq!(numbers(Granule::K64, 0, 3, 13), [1, 2, 4]);
        assert_eq!(numbers(Granule::K64, 0, 12, 13), [4]);
    }
}
