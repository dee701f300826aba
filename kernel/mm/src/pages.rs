//! From a page frame number to its struct page, and to the head that speaks for it.

use crate::granule::Granule;
use crate::layout::Layout;
use crate::machine::{self, Machine};
use crate::page::{Page, PageKind};
use crate::pfn::Pfn;

/// The struct pages of a machine. Only valid pages may be looked at (I1).
pub struct Pages<'a, G: Granule, M: Machine> {
    machine: &'a M,
    layout: Layout<G>,
}

impl<'a, G: Granule, M: Machine> Pages<'a, G, M> {
    /// The struct pages of `machine`.
    pub(crate) const fn new(machine: &'a M, layout: Layout<G>) -> Self {
        Self { machine, layout }
    }

    /// The first page that vmemmap describes.
    pub(crate) const fn first_pfn(&self) -> Pfn {
        self.layout.first_pfn()
    }

    /// The struct page of `pfn`.
    pub fn get(&self, pfn: Pfn) -> &'a Page {
        machine::page(self.machine, self.layout.page_address(pfn))
    }

    /// The head of the run that `pfn` belongs to: a run of `1 << order` pages is aligned to its size, so its head is one
    /// of the few pages that `pfn` rounds down to. `None` while nobody speaks for the page (its block is offline).
    pub fn head_of(&self, pfn: Pfn) -> Option<Pfn> {
        let page = self.get(pfn);
        if page.kind() == PageKind::Tail && page.order() > 0 {
            return Some(pfn.align_down(page.order()));
        }
        (0..=G::BLOCK_ORDER).map(|order| (order, pfn.align_down(order))).find_map(|(order, head)| {
            let page = self.get(head);
            (page.kind() != PageKind::Tail && page.order() >= order).then_some(head)
        })
    }

    /// What `pfn` is used for, and the head that says so.
    pub fn use_of(&self, pfn: Pfn) -> (PageKind, Pfn) {
        self.head_of(pfn).map_or((PageKind::Tail, pfn), |head| (self.get(head).kind(), head))
    }

    /// Mark a run as used.
    pub fn mark(&self, pfn: Pfn, order: u32, kind: PageKind) {
        let page = self.get(pfn);
        page.set_head(kind, order);
        page.set_refs(1);
    }
}
