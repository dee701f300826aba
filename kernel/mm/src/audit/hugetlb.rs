//! Huge pages: those in the pools' lists are those that the struct pages say (I3, through the tallies), every tail leads to its
//! head, and a page that is larger than a block is one in each of its blocks (I6).

use super::tally::Tally;
use super::{Auditor, Offender};
use crate::granule::Granule;
use crate::hugetlb::pool::{Pool, Use};
use crate::machine::Machine;
use crate::page::{PAGE_BYTES, PageKind};
use crate::pfn::{Pfn, PfnRange};

impl<G: Granule, M: Machine> Auditor<'_, G, M> {
    /// Every pool.
    pub(super) fn hugetlb(&mut self) {
        let mm = self.mm;
        for pool in mm.hugetlb.pools() {
            self.pool(pool, Use::Free, pool.free());
            self.pool(pool, Use::Taken, pool.taken());
        }
    }

    /// One list of a pool: so many pages, each a head of the pool's order that knows which list it is on.
    fn pool(&mut self, pool: &Pool, which: Use, expected: u64) {
        let (pages, mut found, mut link) = (self.mm.pages(), 0, pool.first_link(which));
        while link != 0 && found < expected {
            let head = pool.pfn_of(&pages, link);
            let Some(page) = self.page(head) else { break };
            (found, link) = (found + 1, page.links().0);
            let right = page.kind() == PageKind::HugeTlb
                && page.order() == pool.order()
                && (page.refs() != 0) == (which == Use::Taken);
            let at = Offender::Page { pfn: head, kind: page.kind() };
            self.find_unless(right, 6, "a page on the list of a pool", at);
            if !right {
                break;
            }
            self.ledger.used.add(PageKind::HugeTlb, head, 1 << pool.order());
            self.compound_tails(head, pool.order());
        }
        let at = Offender::Count { found, expected };
        self.find_unless(found == expected && link == 0, 6, "huge pages on the list of a pool", at);
    }

    /// The tails of a huge page lead to it: the first and the last in every page of its memmap.
    fn compound_tails(&mut self, head: Pfn, order: u32) {
        let (each, mut at) = (G::SIZE / PAGE_BYTES, head + 1);
        let end = head + (1 << order);
        while at < end {
            let next = (at.align_down(each.trailing_zeros()) + each).min(end);
            for tail in [at, Pfn::new(next.get() - 1)] {
                let right = self.compound_head(tail) == Some((head, order));
                self.find_unless(
                    right,
                    6,
                    "a tail of a huge page does not lead to its head",
                    Offender::Pfn(tail),
                );
            }
            at = next;
        }
    }

    /// The head of the compound page that `pfn` says it is a tail of, and the page's order.
    pub(super) fn compound_head(&self, pfn: Pfn) -> Option<(Pfn, u32)> {
        let order = self.page(pfn)?.tail_order().filter(|order| *order < u64::BITS)?;
        Some((pfn.align_down(order), order))
    }

    /// Whether `at`, where a block begins, is a tail of a huge page that began in a block before: where its part of the
    /// block ends.
    pub(super) fn compound_part(&mut self, at: Pfn, limit: Pfn, tally: &mut Tally) -> Option<Pfn> {
        let (head, order) = self.compound_head(at)?;
        let page = self.page(head)?;
        let whole = page.kind() == PageKind::HugeTlb && page.order() == order && order > G::BLOCK_ORDER;
        whole.then(|| self.compound_blocks(PfnRange { start: at, end: limit }, tally))
    }

    /// A block's part of a huge page that is larger than a block.
    pub(super) fn compound_blocks(&mut self, part: PfnRange, tally: &mut Tally) -> Pfn {
        tally.add(PageKind::HugeTlb, part.start, part.len());
        self.ledger.marked.add(PageKind::HugeTlb, part.start, part.len());
        part.end
    }
}
