//! Huge pages: those in the pools' lists are those that the struct pages say (I3, through the tallies), every tail leads to
//! its head, and a page that is larger than a block is one in each of its blocks (I6). What is shared of their memmap is
//! counted as often as it is mapped, is mapped read-only, and says what every tail says (I3). It knows no granule.

use super::finding::Offender;
use super::ledger::Ledger;
use super::tally::Tally;
use super::view::View;
use crate::addr::PhysAddr;
use crate::entry::descriptor::Descriptor;
use crate::entry::slot::Slot;
use crate::frame::page::{PAGE_BYTES, PageKind};
use crate::frame::pages::find_head;
use crate::frame::zone::ZoneKind;
use crate::granule::{LAST_LEVEL, MAX_HUGE_SIZES};
use crate::hugetlb::pool::{Pool, Use};
use crate::hugetlb::tails::{SharedTail, TailOf};
use crate::machine::{self, Machine};
use crate::pfn::{Pfn, PfnRange};

impl Ledger<'_> {
    /// Every pool.
    pub(super) fn pools<M: Machine>(&mut self, view: &View<'_, M>) {
        for (size, pool) in view.mm.hugetlb.pools().enumerate() {
            let free = self.pool(view, size, pool, Use::Free, pool.free());
            let found = free + self.pool(view, size, pool, Use::Taken, pool.taken());
            self.count(6, "optimised pages of a pool", found, pool.optimised());
        }
        let expected =
            view.mm.frames.sections.as_slice().iter().map(|section| u64::from(section.optimised)).sum();
        self.count(6, "optimised huge pages of all sections", self.shared.in_sections, expected);
    }

    fn count(&mut self, invariant: u8, what: &'static str, found: u64, expected: u64) {
        self.find_unless(found == expected, invariant, what, Offender::Count { found, expected });
    }

    /// One list of a pool: so many pages, each a head of the pool's order that knows which list it is on. Returns how many
    /// are optimised.
    fn pool<M: Machine>(
        &mut self,
        view: &View<'_, M>,
        size: usize,
        pool: &Pool,
        which: Use,
        expected: u64,
    ) -> u64 {
        let (mut found, mut optimised, mut link) = (0, 0, pool.first_link(which));
        while link != 0 && found < expected {
            let head = pool.pfn_of(view.mm.frames(), link);
            let Some(page) = view.page(head) else { break };
            (found, link) = (found + 1, page.links().0);
            let right = page.kind() == PageKind::HugeTlb
                && page.order() == pool.order()
                && page.as_huge_head().is_in_use() == (which == Use::Taken);
            let at = Offender::Page { pfn: head, kind: page.kind() };
            self.find_unless(right, 6, "a page on the list of a pool", at);
            if !right {
                break;
            }
            self.used.add(PageKind::HugeTlb, head, 1 << pool.order());
            self.tails(view, head, pool.order());
            if page.as_huge_head().is_optimised() {
                optimised += 1;
                self.optimised(view, size, head, pool.order());
            }
        }
        self.count(6, "huge pages on the list of a pool", found, expected);
        self.find_unless(link == 0, 6, "a pool's list goes on", Offender::Count { found, expected });
        optimised
    }

    /// A huge page that says that it is optimised.
    fn optimised<M: Machine>(&mut self, view: &View<'_, M>, size: usize, head: Pfn, order: u32) {
        let zone = view.mm.frames.zone_of(head).unwrap_or(ZoneKind::Normal);
        self.shared.saved[zone as usize][size] +=
            ((PAGE_BYTES << order) / view.mm.granule().page_size).saturating_sub(1);
        self.shared.in_sections += (1u64 << order).div_ceil(view.mm.granule().section_pages);
    }

    /// The tails of a huge page lead to it: the first and the last in every page of its memmap.
    fn tails<M: Machine>(&mut self, view: &View<'_, M>, head: Pfn, order: u32) {
        let (each, mut at) = (view.mm.granule().page_size / PAGE_BYTES, head + 1);
        let end = head + (1 << order);
        let zeroed = order < view.mm.granule().section_order;
        let on_demand = zeroed && view.mm.frames.block_of(head).is_some_and(|block| block.demand.is_some());
        while at < end {
            let next = (at.align_down(each.trailing_zeros()) + each).min(end);
            for tail in [at, Pfn::new(next.get() - 1)] {
                // In a block on demand tails are zeroed; those of whole blocks are ordered there too.
                let largest = view.mm.granule().section_order;
                let right = view.compound_head(tail) == Some((head, order))
                    || on_demand && find_head(tail, largest, |pfn| view.page(pfn)) == Some(head);
                let what = "a tail of a huge page does not lead to its head";
                self.find_unless(right, 6, what, Offender::Pfn(tail));
            }
            at = next;
        }
    }

    /// A leaf that shares a frame of huge pages': the tails of an optimised huge page of the zone and order that it is for.
    pub(super) fn huge_tail<M: Machine>(&mut self, view: &View<'_, M>, slot: &Slot, d: Descriptor) {
        let (span, frame) = (slot.span, Pfn::containing(view.mm.granule(), d.address(view.mm.granule())));
        let tails = view.mm.hugetlb.tails().as_flattened();
        let table = d.is_table(slot.level).then(|| d.address(view.mm.granule()));
        let leads = |tail: &SharedTail| match table {
            Some(table) => tail.table == Some(table),
            None => tail.frame == Some(frame),
        };
        let Some(which) = tails.iter().position(leads) else { return };
        self.sharing.known += 1;
        let at = Offender::Mapping { va: span.start, pfn: frame };
        let (zone, size) = (which / MAX_HUGE_SIZES, which % MAX_HUGE_SIZES);
        // The entries of the shared table count with the entry that leads to it.
        let inside = table.is_none() && tails[which].table == Some(slot.table);
        self.shared.mapped[zone][size] += match table {
            Some(_) => view.mm.granule().entries(LAST_LEVEL) as u64,
            None => u64::from(!inside),
        };
        self.shared.tables[zone][size] += u32::from(table.is_some());
        let head = view.mm.space.layout().pfn_of_page(span.start).and_then(|pfn| view.compound_head(pfn));
        let right = head.is_some_and(|(head, order)| {
            let page = view.page(head);
            page.is_some_and(|page| page.kind() == PageKind::HugeTlb && page.as_huge_head().is_optimised())
                && view.mm.frames.zone_of(head).is_some_and(|home| home as usize == zone)
                && view.mm.hugetlb.pools().nth(size).is_some_and(|pool| pool.order() == order)
        });
        self.find_unless(right, 3, "memmap is shared that is no optimised huge page's", at);
    }

    /// Every shared page: as many entries map it as are counted, as many as the huge pages do without, and each of its
    /// struct pages is the same ordered tail.
    pub(super) fn shared_tails<M: Machine>(&mut self, view: &View<'_, M>) {
        for zone in ZoneKind::ALL {
            for (size, pool) in view.mm.hugetlb.pools().enumerate() {
                let tail = view.mm.hugetlb.tails().get(TailOf { zone, size });
                let mapped = self.shared.mapped[zone as usize][size];
                let saved = self.shared.saved[zone as usize][size];
                self.count(3, "entries that map a shared page of memmap", mapped, tail.mappings);
                self.count(3, "pages of memmap that optimised huge pages share", saved, tail.mappings);
                if let Some(frame) = tail.frame {
                    self.shared_frame(view, frame, pool.order());
                }
                let found = self.shared.tables[zone as usize][size];
                self.shared_table(view, tail.table, found);
            }
        }
    }

    /// The shared table of huge pages of whole blocks counts the entries that lead to it.
    fn shared_table<M: Machine>(&mut self, view: &View<'_, M>, table: Option<PhysAddr>, found: u32) {
        let Some(pfn) = table.map(|table| Pfn::containing(view.mm.granule(), table)) else { return };
        self.used.add(PageKind::Table, pfn, 1);
        self.summary.tables += 1;
        let entries = view.page(pfn).map_or(0, |page| page.as_table().entries());
        let what = "entries that lead to a shared table of huge pages";
        self.count(3, what, u64::from(found), u64::from(entries));
    }

    fn shared_frame<M: Machine>(&mut self, view: &View<'_, M>, frame: Pfn, order: u32) {
        self.used.add(PageKind::MemmapRam, frame, 1);
        let page = view.page(frame);
        let alone = page.is_some_and(|page| page.kind() == PageKind::MemmapRam && page.order() == 0);
        self.find_unless(alone, 3, "the frame of a shared page of memmap", Offender::Pfn(frame));
        let address = frame.address(view.mm.granule());
        let same = |index| {
            let page = machine::page_in(view.mm.space.machine(), address, index);
            let rest = (page.refs(), page.private(), page.links());
            page.tail_order() == Some(order) && rest == (0, 0, (0, 0))
        };
        let untouched = !alone || (0..view.mm.granule().page_size / PAGE_BYTES).all(same);
        self.find_unless(untouched, 3, "a shared page of memmap was written to", Offender::Pfn(frame));
    }

    /// Whether `at`, where a block begins, is a tail of a huge page that began in a block before: where its part of the
    /// block ends.
    pub(super) fn compound_part<M: Machine>(
        &mut self,
        view: &View<'_, M>,
        at: Pfn,
        limit: Pfn,
        tally: &mut Tally,
    ) -> Option<Pfn> {
        let (head, order) = view.compound_head(at)?;
        let page = view.page(head)?;
        let whole = page.kind() == PageKind::HugeTlb
            && page.order() == order
            && order > view.mm.granule().section_order;
        whole.then(|| self.compound_blocks(PfnRange { start: at, end: limit }, tally))
    }

    /// A block's part of a huge page that is larger than a block.
    pub(super) fn compound_blocks(&mut self, part: PfnRange, tally: &mut Tally) -> Pfn {
        tally.add(PageKind::HugeTlb, part.start, part.len());
        self.marked.add(PageKind::HugeTlb, part.start, part.len());
        part.end
    }
}
