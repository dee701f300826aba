//! From a page frame number to its struct page, and to the head that speaks for it.

use crate::addr::{PhysAddr, VirtRange};
use crate::frame::page::{PAGE_BYTES_SHIFT, Page, PageKind};
use crate::granule::Granule;
use crate::layout::Layout;
use crate::machine::{self, Access, Machine};
use crate::pfn::{Pfn, PfnRange};

/// The struct pages of a machine. Only valid pages may be looked at (I1).
pub struct Pages<'a, M: Machine> {
    machine: &'a M,
    layout: Layout,
}

impl<'a, M: Machine> Pages<'a, M> {
    /// The struct pages of `machine`.
    pub(crate) const fn new(machine: &'a M, layout: Layout) -> Self {
        Self { machine, layout }
    }

    pub(crate) const fn granule(&self) -> Granule {
        self.layout.granule()
    }

    /// The struct pages that a granule page holds.
    fn per_page(&self) -> usize {
        1 << (self.granule().page_shift - PAGE_BYTES_SHIFT)
    }

    /// The struct page of `pfn`, to look at. One that is shared by many tails may not be written: see [`Self::own`].
    #[inline(always)]
    pub fn get(&self, pfn: Pfn) -> &'a Page {
        machine::page(self.machine, self.layout.page_address(pfn), Access::Read)
    }

    /// The struct page of `pfn`, to write to: that of a head, or one that no compound page's tails share.
    #[inline(always)]
    pub fn own(&self, pfn: Pfn) -> &'a Page {
        machine::page(self.machine, self.layout.page_address(pfn), Access::Write)
    }

    /// The struct pages of a run, to write to; they lie in one granule page.
    #[inline(always)]
    pub(crate) fn own_run(&self, run: PfnRange) -> &'a [Page] {
        let count = usize::try_from(run.len()).unwrap_or(0);
        machine::pages(self.machine, self.layout.page_address(run.start), count, Access::Write)
    }

    /// Makes every page of `range` an ordered tail. Their struct pages are zeroed, and not shared yet.
    pub fn set_tails(&self, range: PfnRange, order: u32) {
        let g = self.granule();
        let mut at = range.start;
        while at < range.end {
            // As many at once as share a page of memmap: the next one may be anywhere.
            let next =
                (at.align_down(g.page_shift - PAGE_BYTES_SHIFT) + self.per_page() as u64).min(range.end);
            let count = usize::try_from(next - at).unwrap_or(0);
            Page::set_tails(
                machine::pages(self.machine, self.layout.page_address(at), count, Access::Write),
                order,
            );
            at = next;
        }
    }

    /// Makes an unused frame a page of struct pages that are all ordered tails.
    pub fn fill_tail_page(&self, frame: PhysAddr, order: u32) {
        let g = self.granule();
        machine::zero_frame(self.machine, frame, g.page_size);
        Page::set_tails(machine::pages_in(self.machine, frame, self.per_page()), order);
    }

    /// Makes the struct pages that share a granule page with that of `head` the first of a compound page.
    pub fn set_compound(&self, head: Pfn, kind: PageKind, order: u32) {
        let g = self.granule();
        let at = self.layout.page_address(head);
        machine::zero_mapped(self.machine, VirtRange { start: at, end: at + g.page_size });
        let pages = machine::pages(self.machine, at, self.per_page(), Access::Write);
        Page::set_tails(pages, order);
        pages[0].set_head(kind, order);
    }

    /// The head of the run that `pfn` belongs to; `None` while no head speaks for the page (its block is offline).
    pub fn head_of(&self, pfn: Pfn) -> Option<Pfn> {
        find_head(pfn, self.granule().section_order, |pfn| Some(self.get(pfn)))
    }

    /// What `pfn` is used for, and the head that says so.
    pub fn use_of(&self, pfn: Pfn) -> (PageKind, Pfn) {
        self.head_of(pfn).map_or((PageKind::Tail, pfn), |head| (self.get(head).kind(), head))
    }

    /// Marks a run as used.
    pub fn mark(&self, pfn: Pfn, order: u32, kind: PageKind) {
        let page = self.own(pfn);
        page.set_head(kind, order);
        page.set_refs(1);
    }
}

/// The head of the run that `pfn` belongs to, by struct pages that `page` can read: a run of `1 << order` pages is aligned
/// to its size, so its head is one of the few pages that `pfn` rounds down to, up to `largest`; an ordered tail says which
/// (Linux: `compound_head`).
pub fn find_head<'a>(pfn: Pfn, largest: u32, page: impl Fn(Pfn) -> Option<&'a Page>) -> Option<Pfn> {
    let own = page(pfn)?;
    if own.kind() != PageKind::Tail {
        return Some(pfn);
    }
    if let Some(order) = own.tail_order().filter(|order| *order < u64::BITS) {
        return Some(pfn.align_down(order));
    }
    // Rounding down by one more order gives another page only where that clears a bit.
    let mut head = pfn;
    loop {
        let order = head.get().trailing_zeros() + 1;
        if order > largest {
            return None;
        }
        head = head.align_down(order);
        let page = page(head)?;
        if page.kind() != PageKind::Tail && page.order() >= order {
            return Some(head);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pages 0 to 31 with these heads; each page's head by trying every order.
    fn compare(heads: &[(u64, u32)], largest: u32) {
        let pages: [Page; 32] = core::array::from_fn(|_| Page::default());
        for (pfn, order) in heads {
            pages[usize::try_from(*pfn).expect("small")].set_head(PageKind::Kernel, *order);
        }
        let at = |pfn: Pfn| &pages[usize::try_from(pfn.get()).expect("small")];
        for pfn in (0..32).map(Pfn::new) {
            let covers = |order: &u32| {
                let page = at(pfn.align_down(*order));
                page.kind() != PageKind::Tail && page.order() >= *order
            };
            let expected = (0..=largest).find(covers).map(|order| pfn.align_down(order));
            assert_eq!(find_head(pfn, largest, |pfn| Some(at(pfn))), expected, "{pfn} of {heads:?}");
        }
    }

    #[test]
    fn a_head_is_found_as_by_trying_every_order() {
        compare(&[], 5);
        compare(&[(0, 5)], 5);
        compare(&[(0, 5)], 4);
        compare(&[(0, 2), (4, 0), (6, 1), (8, 3), (16, 4)], 5);
        // A head that is covered by another, one that is not aligned to its order, and one beyond the largest.
        compare(&[(0, 4), (6, 0), (12, 2), (20, 4), (24, 9)], 3);
    }
}
