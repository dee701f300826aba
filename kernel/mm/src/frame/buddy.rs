//! The buddy allocator of one memory block.
//!
//! Free lists belong to the block, not to the zone: no free run crosses a block (the largest order is the whole block), so
//! isolating a block is skipping it, and taking it offline is dropping its lists. A zone is the list of its blocks.
//!
//! ```text
//!  block 32768 pages   [memmap 512][ 512 ][  1024  ][    2048    ] ... [        16384        ]
//!  heads[order]                      9       10          11                    14
//! ```
//! A block on demand sets the same pages at its start aside for its memmap. What is free of them is on a list of its own, and
//! is not taken for anything else while there is another free run (frame/demand).

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

/// The free lists of a block that starts at `base`. One list for each order, and one for the pages that are set aside.
#[derive(Clone, Debug)]
pub struct FreeArea {
    base: Pfn,
    heads: [u32; MAX_ORDERS],
    orders: u32,
    /// How many pages at the start are set aside for the memmap; 0 in a block that is not on demand.
    set_aside: u16,
    /// Where the list of the free runs among them begins, as in `heads`: of all orders.
    aside: u16,
    pages: u64,
}

/// Which lists a run is on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lists {
    /// That of its order.
    Main,
    /// That of the pages which are set aside.
    Aside,
}

impl FreeArea {
    /// Nothing free.
    pub const fn new(base: Pfn) -> Self {
        Self { base, heads: [0; MAX_ORDERS], orders: 0, set_aside: 0, aside: 0, pages: 0 }
    }

    /// How many pages are free.
    pub const fn pages(&self) -> u64 {
        self.pages
    }
    /// The largest order that is free, of what is not set aside.
    pub const fn largest(&self) -> Option<u32> {
        self.orders.checked_ilog2()
    }

    /// The smallest order that is free, of what is not set aside.
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
    /// The same for the pages that are set aside.
    pub(crate) const fn first_aside_link(&self) -> u32 {
        self.aside as u32
    }
    /// The free heads of `order`, in list order; those that are set aside are the last.
    pub fn heads<'a, M: Machine>(
        &'a self,
        pages: &'a Pages<'a, M>,
        order: u32,
    ) -> impl Iterator<Item = Pfn> + 'a {
        let aside = self.aside_heads(pages).filter(move |head| pages.get(*head).order() == order);
        self.main_heads(pages, order).chain(aside)
    }
    fn main_heads<'a, M: Machine>(
        &'a self,
        pages: &'a Pages<'a, M>,
        order: u32,
    ) -> impl Iterator<Item = Pfn> + 'a {
        self.links().iter(pages, self.heads[order as usize])
    }

    /// Puts a run on its list, without merging.
    #[inline(never)]
    pub fn put<M: Machine>(&mut self, pages: &Pages<'_, M>, pfn: Pfn, order: u32) {
        self.put_on(Lists::Main, pages, pfn, order);
    }

    #[inline(always)]
    fn put_on<M: Machine>(&mut self, lists: Lists, pages: &Pages<'_, M>, pfn: Pfn, order: u32) {
        pages.own(pfn).set_head(PageKind::Free, order);
        match lists {
            Lists::Main => {
                self.links().push(pages, &mut self.heads[order as usize], pfn);
                self.orders |= 1 << order;
            }
            Lists::Aside => self.change_aside(|links, first| links.push(pages, first, pfn)),
        }
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
    #[inline(always)]
    fn unlink<M: Machine>(&mut self, lists: Lists, pages: &Pages<'_, M>, pfn: Pfn, order: u32) {
        match lists {
            Lists::Main => {
                let links = self.links();
                let first = &mut self.heads[order as usize];
                links.unlink(pages, first, pfn);
                if *first == 0 {
                    self.orders &= !(1 << order);
                }
            }
            Lists::Aside => self.change_aside(|links, first| links.unlink(pages, first, pfn)),
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

    /// Takes the pages of a split of a run that is not set aside; the rest of the run stays free.
    #[inline(always)]
    pub(super) fn take<M: Machine>(&mut self, pages: &Pages<'_, M>, proof: Populated) -> Pfn {
        self.take_by(|_, _| Lists::Main, pages, proof)
    }

    #[inline(always)]
    fn take_by<M: Machine>(
        &mut self,
        lists: impl Fn(Pfn, u32) -> Lists,
        pages: &Pages<'_, M>,
        proof: Populated,
    ) -> Pfn {
        let Split { head, from, pfn, order } = proof.0;
        self.unlink(lists(head, from), pages, head, from);
        let mut run = head;
        for half in (order..from).rev() {
            let upper = run + (1 << half);
            let (keep, give) = if pfn >= upper { (upper, run) } else { (run, upper) };
            self.put_on(lists(give, half), pages, give, half);
            run = keep;
        }
        pfn
    }

    /// Gives a run back that is not set aside, joined with its free buddies. Returns the order of what it is free as.
    pub fn free<M: Machine>(&mut self, pages: &Pages<'_, M>, pfn: Pfn, order: u32) -> u32 {
        self.free_on(Lists::Main, pages, pfn, order)
    }

    #[inline(always)]
    fn free_on<M: Machine>(&mut self, lists: Lists, pages: &Pages<'_, M>, pfn: Pfn, order: u32) -> u32 {
        let most = match lists {
            Lists::Main => pages.granule().section_order,
            Lists::Aside => self.set_aside.ilog2(),
        };
        let (mut pfn, mut order) = (pfn, order);
        while order < most {
            let buddy = pfn.buddy(order);
            let page = pages.get(buddy);
            if page.kind() != PageKind::Free || page.order() != order {
                break;
            }
            self.unlink(lists, pages, buddy, order);
            pfn = pfn.align_down(order + 1);
            order += 1;
        }
        self.put_on(lists, pages, pfn, order);
        order
    }

    /// Nothing is free, whatever the struct pages say.
    pub(crate) const fn forget(&mut self) {
        *self = Self::new(self.base);
    }
    /// All of a block of `1 << order` pages on demand is one free run, which its struct pages say already; `set_aside` of its
    /// pages are set aside, once the run is split.
    pub(crate) const fn set_whole(&mut self, order: u32, set_aside: u16) {
        *self = Self { set_aside, ..Self::new(self.base) };
        self.heads[order as usize] = 1;
        self.orders = 1 << order;
        self.pages = 1 << order;
    }

    /// Forgets every run: the heads become tails. For a block in which all is free and which goes offline.
    pub fn drop_all<M: Machine>(&mut self, pages: &Pages<'_, M>) {
        while let Some(order) = self.largest() {
            self.unlink(Lists::Main, pages, self.links().pfn_of(self.heads[order as usize]), order);
        }
    }
}

/// The pages that a block on demand sets aside. A run is among them or not, but for all of the block, which is not.
impl FreeArea {
    /// Whether the run at `pfn` is set aside, if it is not all of the block.
    #[inline(always)]
    pub(crate) const fn is_set_aside(&self, pfn: Pfn) -> bool {
        self.sets_aside(pfn.get() - self.base.get())
    }
    /// The same of the page of this number in the block.
    #[inline(always)]
    pub(super) const fn sets_aside(&self, number: u64) -> bool {
        number < self.set_aside as u64
    }
    /// Whether a page that is set aside is free.
    pub(crate) const fn has_aside(&self) -> bool {
        self.aside != 0
    }
    /// The free heads that are set aside.
    pub(super) fn aside_heads<'a, M: Machine>(
        &'a self,
        pages: &'a Pages<'a, M>,
    ) -> impl Iterator<Item = Pfn> + 'a {
        self.links().iter(pages, self.first_aside_link())
    }
    /// Which lists a run is on.
    fn lists(&self) -> impl Fn(Pfn, u32) -> Lists + use<> {
        let (base, set_aside) = (self.base, u64::from(self.set_aside));
        move |pfn, order| {
            if pfn - base < set_aside && 1 << order <= set_aside { Lists::Aside } else { Lists::Main }
        }
    }
    fn change_aside(&mut self, change: impl FnOnce(Links, &mut u32)) {
        let mut first = u32::from(self.aside);
        change(self.links(), &mut first);
        self.aside = u16::try_from(first).unwrap_or(0);
    }

    /// [`Self::find`] among what is set aside: the first run on the list that is large enough.
    pub(super) fn find_aside<M: Machine>(&self, pages: &Pages<'_, M>, order: u32) -> Option<Split> {
        let mut splits = self.aside_heads(pages).map(|head| (head, pages.get(head).order()));
        let (head, from) = splits.find(|(_, from)| *from >= order)?;
        Some(Split { head, from, pfn: head, order })
    }

    /// The split that takes one page, of a run of at most `1 << most`: of what is set aside, if any of that is free.
    pub(super) fn find_small<M: Machine>(&self, pages: &Pages<'_, M>, most: u32) -> Option<Split> {
        let mut aside = self.aside_heads(pages).map(|head| (head, pages.get(head).order()));
        match aside.find(|(_, from)| *from <= most) {
            Some((head, from)) => Some(Split { head, from, pfn: head, order: 0 }),
            None if self.has_aside() => None,
            None => self.find(0).filter(|split| split.from <= most),
        }
    }
    /// Whether runs of at most `1 << most` have `count` pages, so many that no larger one that is set aside has to be split.
    pub(super) fn has_small<M: Machine>(&self, pages: &Pages<'_, M>, most: u32, count: u64) -> bool {
        let (mut found, mut larger) = (0, false);
        for order in self.aside_heads(pages).map(|head| pages.get(head).order()) {
            if order <= most {
                found += 1 << order;
            }
            larger |= order > most;
            if found >= count {
                return true;
            }
        }
        let mut main = (0..=most).flat_map(|order| self.main_heads(pages, order).map(move |_| 1 << order));
        !larger
            && main.any(|len: u64| {
                found += len;
                found >= count
            })
    }

    /// [`Self::take`], of whatever run.
    #[cold]
    #[inline(never)]
    pub(super) fn take_any<M: Machine>(&mut self, pages: &Pages<'_, M>, proof: Populated) -> Pfn {
        self.take_by(self.lists(), pages, proof)
    }
    /// [`Self::free`], of whatever run.
    #[cold]
    #[inline(never)]
    pub(super) fn free_any<M: Machine>(&mut self, pages: &Pages<'_, M>, pfn: Pfn, order: u32) -> u32 {
        self.free_on(self.lists()(pfn, order), pages, pfn, order)
    }
    /// [`Self::put_range`], of whatever pages: those that are set aside, or others.
    #[cold]
    #[inline(never)]
    pub(super) fn put_any_range<M: Machine>(&mut self, pages: &Pages<'_, M>, range: PfnRange) {
        let lists = self.lists();
        for (pfn, order) in range.chunks(pages.granule().section_order) {
            self.put_on(lists(pfn, order), pages, pfn, order);
        }
    }
}
