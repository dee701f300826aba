//! I3 and I7 for blocks on demand: their entries lead to the image, or to pages that they lend, each to the one that knows
//! it; and a memmap page has a frame of its own exactly when a run begins in it. One side comes from the struct pages, the
//! other from the tables.

use super::{Auditor, Offender};
use crate::addr::{PhysAddr, VirtRange};
use crate::entry::descriptor::Descriptor;
use crate::entry::slot::{self, Entries, Slot};
use crate::frame::block::{BlockState, MemoryBlock};
use crate::frame::extent::{Piece, Record};
use crate::frame::memmap::{DemandMemmap, Groups, image_level};
use crate::frame::page::{PAGE_BYTES, Page, PageKind};
use crate::frame::zone::ZoneKind;
use crate::granule::LAST_LEVEL;
use crate::hugetlb::tails::SharedTail;
use crate::machine::Machine;
use crate::pfn::{Pfn, PfnRange};

const NOT_THE_IMAGE: &str = "an entry of a free block leads elsewhere than to its image";

impl<M: Machine> Auditor<'_, M> {
    /// The image is as many blocks' as are on demand, and says what a free block says.
    pub(super) fn image(&mut self) {
        let (mm, g) = (self.mm, self.mm.granule());
        let demand = mm.frames.demand();
        let own = mm.frames.blocks.as_slice().iter().filter(|block| block.demand.is_some()).count() as u64;
        let folded = mm.frames.extents().iter().map(|extent| extent.pages.len() >> g.section_order);
        let found = own + folded.sum::<u64>();
        let at = Offender::Count { found, expected: demand.blocks() };
        self.find_unless(found == demand.blocks(), 3, "blocks on demand, and their count", at);
        let Some(image) = demand.image() else {
            self.find_unless(found == 0, 3, "blocks on demand without an image", at);
            return;
        };
        for (frame, kind) in [image.head, image.zero]
            .map(|frame| (frame, PageKind::MemmapRam))
            .into_iter()
            .chain(image.table.into_iter().chain(image.group_table).map(|table| (table, PageKind::Table)))
        {
            let pfn = Pfn::containing(g, frame);
            self.ledger.used.add(kind, pfn, 1);
            self.ledger.summary.tables += u64::from(kind == PageKind::Table);
            let va = mm.space.layout().linear(frame);
            self.in_use(PfnRange::new(pfn, 1), va, "a frame of the image", &mut |found| found == kind);
        }
        let clean = image.is_clean(mm.space.machine(), g);
        let at = Offender::Pfn(Pfn::containing(g, image.head));
        self.find_unless(clean, 3, "the image was written to", at);
        let entries = image.group_table.and_then(|table| self.page(Pfn::containing(g, table)));
        let expected = entries.map_or(0, |page| u64::from(page.as_table().entries()));
        let found = self.ledger.groups;
        let at = Offender::Count { found, expected };
        let right = found == expected && (found != 0) == image.group_table.is_some();
        self.find_unless(right, 3, "groups that share a table, and its count", at);
    }

    /// The entry of a group that leads to the table which groups share: all of its blocks are free, and no table comes from
    /// them.
    pub(super) fn group_entry(&mut self, slot: &Slot, d: Descriptor) {
        self.ledger.sharing.known += 1;
        self.ledger.groups += 1;
        let table = self.mm.frames.demand().image().and_then(|image| image.group_table);
        let free = self.group_is(slot, |zone| zone != Some(ZoneKind::Normal));
        let right = free && table == Some(d.address(self.mm.granule()));
        let what =
            "the entry of a group leads elsewhere than to the table of free blocks, or not all of it is free";
        self.find_unless(right, 3, what, Offender::Va(slot.span.start));
    }

    /// Whether `slot` is the entry of a group, one level above the image's.
    pub(super) fn is_group(&self, slot: &Slot) -> bool {
        let layout = self.mm.space.layout();
        slot.level + 1 == image_level(layout.granule()) && layout.vmemmap().contains(slot.span.start)
    }

    /// The pages of a group's blocks.
    pub(super) fn group_pages(&self, slot: &Slot) -> Option<PfnRange> {
        let first = self.mm.space.layout().pfn_of_page(slot.span.start)?;
        Some(PfnRange::new(first, slot.span.len() / PAGE_BYTES))
    }

    /// A group that has a table of its own has a block that is not free, or whose memory tables come from, or is offline.
    pub(super) fn refuse_idle_group(&mut self, slot: &Slot) {
        let idle = self.group_is(slot, |zone| zone == Some(ZoneKind::Movable));
        let what = "a group of free blocks has a table of its own";
        self.find_unless(!idle, 7, what, Offender::Va(slot.span.start));
    }

    /// Whether all blocks of a group are in extents, of which each is in a `right` zone, or in none.
    fn group_is(&self, slot: &Slot, right: impl Fn(Option<ZoneKind>) -> bool) -> bool {
        self.group_pages(slot).is_some_and(|group| {
            let right = |piece: Piece| {
                piece.record == Record::Extent && right(piece.state.and_then(|state| state.zone()))
            };
            self.mm.frames.pieces(group).all(right)
        })
    }

    /// The entries of `table` for `memmap`, that of neighbouring blocks of an extent: all lead to the image.
    pub(super) fn image_run(&mut self, table: PhysAddr, memmap: VirtRange) {
        let (mm, g) = (self.mm, self.mm.granule());
        let run = Entries::of(g, table, image_level(g), memmap);
        let pattern = mm.frames.demand().image().map(|image| image.pattern(g));
        let wrong = pattern.map_or(Some(0), |pattern| pattern.first_other(mm.space.machine(), &run));
        self.ledger.summary.leaves += if g.shares_tables() { 0 } else { run.count as u64 };
        if let Some(i) = wrong {
            self.find(3, NOT_THE_IMAGE, Offender::Va(run.span(i, i + 1).start));
        }
    }

    /// Whether `slot` maps the memmap of a block on demand.
    pub(super) fn is_of_demand(&self, slot: &Slot) -> bool {
        let layout = self.mm.space.layout();
        slot.level + 1 >= LAST_LEVEL
            && layout.vmemmap().contains(slot.span.start)
            && layout.pfn_of_page(slot.span.start).is_some_and(|pfn| self.described.is_on_demand(pfn))
    }

    /// Whether an entry leads to what huge pages share.
    pub(super) fn is_of_huge_pages(&self, slot: &Slot, d: Descriptor) -> bool {
        let (g, tails) = (self.mm.granule(), self.mm.hugetlb.tails().as_flattened());
        let (address, table) = (d.address(g), d.is_table(slot.level));
        let leads = |tail: &SharedTail| {
            if table { tail.table == Some(address) } else { tail.frame == Some(Pfn::containing(g, address)) }
        };
        tails.iter().any(leads)
    }

    /// Whether what an entry leads to is marked as lent.
    pub(super) fn is_lent_frame(&self, d: Descriptor) -> bool {
        let pfn = Pfn::containing(self.mm.granule(), d.address(self.mm.granule()));
        self.page(pfn).is_some_and(|page| page.kind() == PageKind::MemmapSelf)
    }

    /// Whether `slot` maps the memmap page with the head of a huge page of whole blocks.
    pub(super) fn is_huge_head(&self, slot: &Slot) -> bool {
        let pfn = self.mm.space.layout().pfn_of_page(slot.span.start).unwrap_or_default();
        self.page(pfn).is_some_and(|page| {
            page.kind() == PageKind::HugeTlb && page.order() >= self.mm.granule().section_order
        })
    }

    /// A shared entry of a block on demand leads to the image.
    pub(super) fn image_entry(&mut self, slot: &Slot, d: Descriptor) {
        let g = self.mm.granule();
        self.ledger.sharing.known += 1;
        let image = self.mm.frames.demand().image();
        let right = image.is_some_and(|image| {
            if d.is_table(slot.level) {
                image.table == Some(d.address(g))
            } else {
                image.leaf((slot.span.start.get() % g.section_memmap) >> g.page_shift) == d
            }
        });
        self.find_unless(right, 3, NOT_THE_IMAGE, Offender::Va(slot.span.start));
    }

    /// A table of a block on demand that is its own: a page that it lends.
    pub(super) fn lent_table(&mut self, slot: &Slot, d: Descriptor) {
        let g = self.mm.granule();
        let pfn = Pfn::containing(g, d.address(g));
        self.ledger.summary.tables += 1;
        self.ledger.used.add(PageKind::MemmapSelf, pfn, 1);
        self.lent(slot, pfn, None);
    }

    /// A memmap page of a block on demand with a frame of its own.
    pub(super) fn lent_leaf(&mut self, slot: &Slot, d: Descriptor) {
        let g = self.mm.granule();
        let number = (slot.span.start.get() % g.section_memmap) >> g.page_shift;
        let described = self.mm.space.layout().pfn_of_page(slot.span.start).unwrap_or_default();
        self.ledger.own.add(PageKind::MemmapSelf, described, g.page_size / PAGE_BYTES);
        self.lent(slot, Pfn::containing(g, d.address(g)), Some(number));
    }

    /// A lent page is one page, of the block whose memmap it holds, and knows what it is for.
    fn lent(&mut self, slot: &Slot, pfn: Pfn, number: Option<u64>) {
        let order = self.mm.granule().section_order;
        let home = self.mm.space.layout().pfn_of_page(slot.span.start).unwrap_or_default();
        let knows = self.page(pfn).is_some_and(|page| {
            (page.kind(), page.order(), page.as_lent().memmap_page()) == (PageKind::MemmapSelf, 0, number)
        });
        let right = knows && pfn.align_down(order) == home.align_down(order);
        let at = Offender::Mapping { va: slot.span.start, pfn };
        self.find_unless(right, 3, "a memmap page on demand, and the page that is lent for it", at);
    }

    /// Every extent: whole blocks on demand, side by side, none of which has a record of its own. That their entries lead to
    /// the image, the walk over the tables says, where there are tables.
    pub(super) fn extents(&mut self) {
        let (mm, g) = (self.mm, self.mm.granule());
        let mut end = Pfn::new(0);
        for extent in mm.frames.extents() {
            let (pages, at) = (extent.pages, Offender::Memory(extent.pages.addresses(g)));
            let whole = pages.start.is_aligned(g.section_order) && pages.end.is_aligned(g.section_order);
            self.find_unless(
                whole && !pages.is_empty() && pages.start >= end,
                1,
                "an extent is not whole blocks",
                at,
            );
            let keys = || pages.start.get()..pages.end.get();
            let alone =
                mm.frames.blocks.range(keys()).is_empty() && mm.frames.sections.range(keys()).is_empty();
            self.find_unless(alone, 1, "a block has a record of its own inside of an extent", at);
            let going = matches!(extent.state, BlockState::GoingOffline(_));
            self.find_unless(!going, 6, "a memory block is still going offline", at);
            end = pages.end;
            let blocks = pages.len() >> g.section_order;
            self.ledger.summary.sections += blocks;
            self.ledger.summary.blocks += blocks;
            self.ledger.summary.heads += blocks;
            self.groups_mapped(pages);
            if extent.state != BlockState::Offline {
                self.ledger.marked.add(PageKind::Free, pages.start, pages.len());
            }
        }
    }

    /// There are tables down to the entries of the image for all of `pages`, which are an extent's.
    fn groups_mapped(&mut self, pages: PfnRange) {
        let (g, space) = (self.mm.granule(), &self.mm.space);
        for group in Groups::of(pages).spans(space.layout()) {
            if slot::find::<M>(g, space.machine(), space.root(), group.start, image_level(g)).is_none() {
                self.find(1, "a valid page has no struct page that can be used", Offender::Va(group.start));
            }
        }
    }

    /// A block on demand knows where its memmap is mapped.
    pub(super) fn knows_its_entry(&mut self, block: &MemoryBlock) {
        let Some(DemandMemmap { table, index, .. }) = block.demand else { return };
        let right = self.mm.frames.memmap_entry(block.start) == Some((table, index));
        let at = Offender::Memory(block.pages(self.mm.granule()).addresses(self.mm.granule()));
        self.find_unless(right, 1, "where the memmap of a block on demand is mapped", at);
    }

    /// Pages of `block` behind those that are set aside are lent only while none of them is free; the block knows which.
    fn lent_outside(&mut self, block: &MemoryBlock, outside: u64, free_aside: bool) {
        let at =
            Offender::Block { block: block.start.address(self.mm.granule()), found: outside, expected: 0 };
        self.find_unless(
            !free_aside || outside == 0,
            7,
            "lent pages, while one that is set aside is free",
            at,
        );
        let (mut link, mut listed) = (block.demand.map_or(0, |demand| demand.outside), 0);
        while let Some(pfn) = link.checked_sub(1).map(|offset| block.start + u64::from(offset)) {
            let lent = |page: &&Page| page.kind() == PageKind::MemmapSelf && !block.free.is_set_aside(pfn);
            let Some(page) = self.page(pfn).filter(lent).filter(|_| listed < outside) else { break };
            (listed, link) = (listed + 1, page.links().0);
        }
        let same = listed == outside && link == 0;
        let at = Offender::Block {
            block: block.start.address(self.mm.granule()),
            found: listed,
            expected: outside,
        };
        self.find_unless(same, 7, "the list of lent pages that are not set aside", at);
    }

    /// The memmap pages of `block` in which runs begin.
    pub(super) fn runs_begin(&mut self, block: &MemoryBlock) {
        let g = self.mm.granule();
        // All of a block in a huge page: what is its head's is not the block's.
        let first = self.page(block.start);
        let whole = first.is_some_and(|page| {
            page.tail_order().is_some() || page.kind() == PageKind::HugeTlb && page.order() >= g.section_order
        });
        if block.demand.is_none() || whole {
            return;
        }
        let each = g.page_size / PAGE_BYTES;
        let (mut at, mut last) = (block.start, None);
        let (mut outside, mut free_aside) = (0, false);
        let end = block.start + g.section_pages;
        while at < end {
            let Some(page) = self.page(at) else { break };
            let (aside, order) = (block.free.is_set_aside(at), page.order().min(g.section_order));
            outside += u64::from(!aside && page.kind() == PageKind::MemmapSelf);
            free_aside |= aside && page.kind() == PageKind::Free;
            let first = Pfn::new(at.get() / each * each);
            if last.replace(first) != Some(first) {
                self.ledger.begun.add(PageKind::MemmapSelf, first, each);
            }
            at = at + (1 << order);
        }
        self.lent_outside(block, outside, free_aside);
    }
}
