//! Huge pages: those in the pools' lists are those that the struct pages say (I3, through the tallies), every tail leads to its
//! head, and a page that is larger than a block is one in each of its blocks (I6). What is shared of their memmap is counted as
//! often as it is mapped, is mapped read-only, and says what every tail says (I3).

use super::tally::Tally;
use super::{Auditor, Offender};
use crate::granule::{Granule, MAX_HUGE_SIZES};
use crate::hugetlb::pool::{Pool, Use};
use crate::machine::{self, Machine};
use crate::page::{PAGE_BYTES, PageKind};
use crate::paging::descriptor::Descriptor;
use crate::paging::table::Slot;
use crate::pfn::{Pfn, PfnRange};
use crate::zone::ZoneKind;

/// What was seen of shared memmap, for each zone and size.
#[derive(Default)]
pub(super) struct SharedSeen {
    /// Entries that map a shared page.
    mapped: [[u64; MAX_HUGE_SIZES]; ZoneKind::ALL.len()],
    /// Pages of memmap that optimised huge pages do not have.
    saved: [[u64; MAX_HUGE_SIZES]; ZoneKind::ALL.len()],
    /// Huge pages that say they are optimised, once for each section that they are in.
    in_sections: u64,
}

impl<G: Granule, M: Machine> Auditor<'_, G, M> {
    /// Every pool.
    pub(super) fn hugetlb(&mut self) {
        let mm = self.mm;
        for (size, pool) in mm.hugetlb.pools().enumerate() {
            let free = self.pool(size, pool, Use::Free, pool.free());
            let found = free + self.pool(size, pool, Use::Taken, pool.taken());
            let at = Offender::Count { found, expected: pool.optimised() };
            self.find_unless(found == pool.optimised(), 6, "optimised pages of a pool", at);
        }
        let expected = mm.sections().iter().map(|section| u64::from(section.optimised)).sum();
        let at = Offender::Count { found: self.shared.in_sections, expected };
        self.find_unless(self.shared.in_sections == expected, 6, "optimised huge pages of all sections", at);
    }

    /// One list of a pool: so many pages, each a head of the pool's order that knows which list it is on. Returns how many are
    /// optimised.
    fn pool(&mut self, size: usize, pool: &Pool, which: Use, expected: u64) -> u64 {
        let (pages, mut found, mut link) = (self.mm.pages(), 0, pool.first_link(which));
        let mut optimised = 0;
        while link != 0 && found < expected {
            let head = pool.pfn_of(&pages, link);
            let Some(page) = self.page(head) else { break };
            (found, link) = (found + 1, page.links().0);
            let shares = page.is_optimised();
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
            if shares {
                optimised += 1;
                self.optimised(size, head, pool.order());
            }
        }
        let at = Offender::Count { found, expected };
        self.find_unless(found == expected && link == 0, 6, "huge pages on the list of a pool", at);
        optimised
    }

    /// A huge page that says that it is optimised.
    fn optimised(&mut self, size: usize, head: Pfn, order: u32) {
        let zone = self.mm.block_of(head).and_then(|block| block.state.zone()).unwrap_or(ZoneKind::Normal);
        self.shared.saved[zone as usize][size] += ((PAGE_BYTES << order) >> G::SHIFT).saturating_sub(1);
        self.shared.in_sections += PfnRange::new(head, 1 << order).sections::<G>().count() as u64;
    }

    /// A leaf that shares a frame of huge pages': the tails of an optimised huge page of the zone and order that it is for.
    pub(super) fn huge_tail(&mut self, slot: &Slot, d: Descriptor) {
        let (mm, span) = (self.mm, slot.span);
        let frame = Pfn::containing::<G>(d.address(&G::GEOMETRY));
        let tails = mm.hugetlb.tails().as_flattened();
        let which = tails.iter().position(|tail| tail.frame == Some(frame));
        let Some(which) = which.filter(|_| d.is_leaf(slot.level)) else { return };
        self.ledger.shared.known += 1;
        let at = Offender::Mapping { va: span.start, pfn: frame };
        let (zone, size) = (which / MAX_HUGE_SIZES, which % MAX_HUGE_SIZES);
        self.shared.mapped[zone][size] += 1;
        let head = mm.layout.pfn_of_page(span.start).and_then(|pfn| self.compound_head(pfn));
        let right = head.is_some_and(|(head, order)| {
            let optimised =
                self.page(head).is_some_and(|page| page.kind() == PageKind::HugeTlb && page.is_optimised());
            let home = mm.block_of(head).and_then(|block| block.state.zone());
            optimised
                && home.is_some_and(|home| home as usize == zone)
                && mm.hugetlb.pools().nth(size).is_some_and(|pool| pool.order() == order)
        });
        self.find_unless(right, 3, "memmap is shared that is no optimised huge page's", at);
    }

    /// Every shared page: as many entries map it as are counted, as many as the huge pages do without, and each of its struct
    /// pages is the same ordered tail.
    pub(super) fn shared_tails(&mut self) {
        let mm = self.mm;
        for zone in ZoneKind::ALL {
            for (size, pool) in mm.hugetlb.pools().enumerate() {
                let tail = mm.hugetlb.tails()[zone as usize][size];
                let (mapped, saved) =
                    (self.shared.mapped[zone as usize][size], self.shared.saved[zone as usize][size]);
                let at = |found| Offender::Count { found, expected: tail.mappings };
                self.find_unless(
                    mapped == tail.mappings,
                    3,
                    "entries that map a shared page of memmap",
                    at(mapped),
                );
                self.find_unless(
                    saved == tail.mappings,
                    3,
                    "pages of memmap that optimised huge pages share",
                    at(saved),
                );
                match tail.frame {
                    Some(frame) => self.shared_frame(frame, pool.order()),
                    None => {
                        self.find_unless(tail.mappings == 0, 3, "a shared page without a frame", at(mapped))
                    }
                }
            }
        }
    }

    fn shared_frame(&mut self, frame: Pfn, order: u32) {
        self.ledger.used.add(PageKind::MemmapRam, frame, 1);
        let alone = self.use_of(frame) == Some((frame, PageKind::MemmapRam, 0));
        self.find_unless(alone, 3, "the frame of a shared page of memmap", Offender::Pfn(frame));
        let same = |index| {
            let page = machine::page_in(&self.mm.machine, frame.address::<G>(), index);
            page.tail_order() == Some(order)
                && page.refs() == 0
                && page.private() == 0
                && page.links() == (0, 0)
        };
        let untouched = alone && (0..G::SIZE / PAGE_BYTES).all(same);
        self.find_unless(untouched, 3, "a shared page of memmap was written to", Offender::Pfn(frame));
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
