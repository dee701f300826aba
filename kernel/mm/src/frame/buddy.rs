//! The buddy allocator of one memory block.
//!
//! Free lists belong to the block, not to the zone: no free run crosses a block (the largest order is the whole block), so
//! isolating a block is skipping it, and taking it offline is dropping its lists. A zone is the list of its blocks.
//!
//! ```text
//!  block 32768 pages   [memmap 512][ 512 ][  1024  ][    2048    ] ... [        16384        ]
//!  heads[order]                      9       10          11                    14
//! ```

use crate::frame::links::Links;
use crate::frame::page::PageKind;
use crate::frame::pages::Pages;
use crate::granule::MAX_ORDERS;
use crate::machine::Machine;
use crate::pfn::{Pfn, PfnRange};

/// How `1 << order` pages at `pfn` come out of the free run of `1 << from` pages at `head`, which contains them.
///
/// ```text
///   head                                      pfn
///   |<------------ order from - 1 ----------->|<- order ->|<- order ->|<---- order + 1 ---->|
///    stays free                                is taken    stays free  stays free
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Split {
    /// The free run.
    pub(super) head: Pfn,
    /// log2 of its pages.
    pub(super) from: u32,
    /// The first page that is taken.
    pub(super) pfn: Pfn,
    /// log2 of the pages that are taken.
    pub(super) order: u32,
}

/// Proof that each memmap page in which a head begins by this split has a frame of its own (I7): a block that is populated
/// on demand gives it out once it has populated them.
#[derive(Debug)]
pub(super) struct Populated(pub(super) Split);

/// The free lists of a block that starts at `base`. One list for each order.
#[derive(Clone, Debug)]
pub struct FreeArea {
    base: Pfn,
    heads: [u32; MAX_ORDERS],
    orders: u32,
    pages: u64,
}

impl FreeArea {
    /// Nothing free.
    pub const fn new(base: Pfn) -> Self {
        Self { base, heads: [0; MAX_ORDERS], orders: 0, pages: 0 }
    }

    /// How many pages are free.
    pub const fn pages(&self) -> u64 {
        self.pages
    }
    /// The largest order that is free.
    pub const fn largest(&self) -> Option<u32> {
        self.orders.checked_ilog2()
    }

    /// The smallest order that is free.
    pub const fn smallest(&self) -> Option<u32> {
        if self.orders == 0 { None } else { Some(self.orders.trailing_zeros()) }
    }

    const fn links(&self) -> Links {
        Links::new(self.base, 0)
    }
    /// Where the list of `order` begins: an offset into the block plus one, or 0. For the auditor, which trusts no link.
    pub(crate) const fn first_link(&self, order: u32) -> u32 {
        self.heads[order as usize]
    }
    /// The free heads of `order`, in list order.
    pub fn heads<'a, M: Machine>(
        &'a self,
        pages: &'a Pages<'a, M>,
        order: u32,
    ) -> impl Iterator<Item = Pfn> + 'a {
        self.links().iter(pages, self.heads[order as usize])
    }

    /// Puts a run on its list, without merging.
    pub fn put<M: Machine>(&mut self, pages: &Pages<'_, M>, pfn: Pfn, order: u32) {
        pages.own(pfn).set_head(PageKind::Free, order);
        self.links().push(pages, &mut self.heads[order as usize], pfn);
        self.orders |= 1 << order;
        self.pages += 1 << order;
    }

    /// Puts a whole range on the lists, as few and as large runs as alignment allows.
    pub fn put_range<M: Machine>(&mut self, pages: &Pages<'_, M>, range: PfnRange) {
        let g = pages.granule();
        for (pfn, order) in range.chunks(g.section_order) {
            self.put(pages, pfn, order);
        }
    }

    /// Takes a run off its list; its head becomes a tail.
    fn unlink<M: Machine>(&mut self, pages: &Pages<'_, M>, pfn: Pfn, order: u32) {
        let links = self.links();
        let first = &mut self.heads[order as usize];
        links.unlink(pages, first, pfn);
        if *first == 0 {
            self.orders &= !(1 << order);
        }
        pages.own(pfn).clear_head();
        self.pages -= 1 << order;
    }

    /// The split by which `1 << order` pages come from the smallest run that is large enough: its first pages.
    #[inline(always)]
    pub const fn find(&self, order: u32) -> Option<Split> {
        let enough = match u32::MAX.checked_shl(order) {
            Some(orders) => self.orders & orders,
            None => 0,
        };
        if enough == 0 {
            return None;
        }
        let from = enough.trailing_zeros();
        let head = self.links().pfn_of(self.heads[from as usize]);
        Some(Split { head, from, pfn: head, order })
    }

    /// Takes the pages of a split; the rest of the run stays free.
    #[inline(always)]
    pub(super) fn take<M: Machine>(&mut self, pages: &Pages<'_, M>, proof: Populated) -> Pfn {
        let Split { head, from, pfn, order } = proof.0;
        self.unlink(pages, head, from);
        let mut run = head;
        for half in (order..from).rev() {
            let upper = run + (1 << half);
            let (keep, give) = if pfn >= upper { (upper, run) } else { (run, upper) };
            self.put(pages, give, half);
            run = keep;
        }
        pfn
    }

    /// Gives a run back, joined with its free buddies. Returns the order of what it is free as.
    pub fn free<M: Machine>(&mut self, pages: &Pages<'_, M>, pfn: Pfn, order: u32) -> u32 {
        let g = pages.granule();
        let (mut pfn, mut order) = (pfn, order);
        while order < g.section_order {
            let buddy = pfn.buddy(order);
            let page = pages.get(buddy);
            if page.kind() != PageKind::Free || page.order() != order {
                break;
            }
            self.unlink(pages, buddy, order);
            pfn = pfn.align_down(order + 1);
            order += 1;
        }
        self.put(pages, pfn, order);
        order
    }

    /// Nothing is free, whatever the struct pages say.
    pub(crate) const fn forget(&mut self) {
        *self = Self::new(self.base);
    }
    /// All of a block of `1 << order` pages is one free run, which its struct pages say already.
    pub(crate) const fn set_whole(&mut self, order: u32) {
        *self = Self::new(self.base);
        self.heads[order as usize] = 1;
        self.orders = 1 << order;
        self.pages = 1 << order;
    }

    /// Forgets every run: the heads become tails. For a block in which all is free and which goes offline.
    pub fn drop_all<M: Machine>(&mut self, pages: &Pages<'_, M>) {
        while let Some(order) = self.largest() {
            self.unlink(pages, self.links().pfn_of(self.heads[order as usize]), order);
        }
    }
}
