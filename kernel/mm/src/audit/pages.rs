//! I6, from the struct pages' side: every page of an online block is spoken for by exactly one head, and the block's free
//! lists are its free heads.

use super::tally::Tally;
use super::{Auditor, Offender};
use crate::frame::block::{BlockState, MemoryBlock};
use crate::frame::page::PageKind;
use crate::machine::Machine;
use crate::pfn::{Pfn, PfnRange};

impl<M: Machine> Auditor<'_, M> {
    /// Every block.
    pub(super) fn blocks(&mut self) {
        let g = self.mm.granule();
        let mm = self.mm;
        for block in mm.frames.blocks.as_slice() {
            if self.is_stopped() {
                return;
            }
            self.ledger.summary.blocks += 1;
            let what = "a memory block is still going offline";
            let going = matches!(block.state, BlockState::GoingOffline(_));
            self.find_unless(!going, 6, what, Offender::Memory(block.pages(g).addresses(g)));
            let tally = if block.state == BlockState::Offline && block.demand.is_none() {
                // Its own memmap is marked, and what keeps its mark further inside; nothing else is.
                let mut tally = self.heads(PfnRange::new(block.start, block.memmap_pages), true);
                if block.marked_inside() != 0 {
                    self.marked_inside(block, &mut tally);
                }
                tally
            } else {
                self.heads(block.pages(g), block.state != BlockState::Offline)
            };
            if block.demand.is_none() {
                self.hosted_inside(block);
            }
            self.knows_its_entry(block);
            self.runs_begin(block);
            self.free_lists(block, &tally);
            self.block_counts(block, &tally);
        }
    }

    /// Every head of `range`, which begins with one. Of a block on demand that is not `online`, which keeps its heads, what is
    /// free or poisoned counts nowhere else.
    fn heads(&mut self, range: PfnRange, online: bool) -> Tally {
        let g = self.mm.granule();
        let (mut at, mut tally) = (range.start, Tally::default());
        while at < range.end {
            // What cannot be read has been found under I1 already.
            let Some(page) = self.page(at) else { break };
            let (kind, order) = (page.checked_kind(), page.order());
            let Some(kind) = kind else {
                self.find(1, "a struct page was not initialised", Offender::Pfn(at));
                break;
            };
            if kind == PageKind::Tail {
                at = match self.ledger.compound_part(&self.view, at, range.end, &mut tally) {
                    Some(end) => end,
                    None => self.pages_without_head(at, range.end),
                };
                continue;
            }
            if kind == PageKind::HugeTlb && order > g.section_order && at.is_aligned(order) {
                self.ledger.summary.heads += 1;
                at = self.ledger.compound_blocks(PfnRange { start: at, end: range.end }, &mut tally);
                continue;
            }
            if order > g.section_order || !at.is_aligned(order) || at + (1 << order) > range.end {
                self.find(6, "a run does not fit where it is", Offender::Page { pfn: at, kind });
                break;
            }
            self.ledger.summary.heads += 1;
            self.tenant_head(at, kind);
            tally.add(kind, at, 1 << order);
            if kind.is_device() {
                // In a hole of boot memory; the device counts it.
                at = at + (1 << order);
                continue;
            }
            if online || kind == PageKind::MemmapSelf {
                self.ledger.marked.add(kind, at, 1 << order);
            }
            at = at + (1 << order);
        }
        tally
    }

    /// The heads of an offline block behind its first pages: memmap, and poisoned and unplugged pages, which are not counted
    /// meanwhile.
    fn marked_inside(&mut self, block: &MemoryBlock, tally: &mut Tally) {
        let usable = block.usable(self.mm.granule());
        let mut at = usable.start;
        while at < usable.end {
            let Some(page) = self.page(at) else { break };
            let (kind, order) = (page.kind(), page.order());
            match kind {
                PageKind::Tail => {
                    at = at + 1;
                    continue;
                }
                PageKind::Poisoned | PageKind::Unplugged => {}
                PageKind::MemmapSelf => self.ledger.marked.add(kind, at, 1 << order),
                _ => self.find(6, "a page in use in an offline block", Offender::Page { pfn: at, kind }),
            }
            self.ledger.summary.heads += 1;
            tally.add(kind, at, 1 << order);
            at = at + (1 << order);
        }
    }

    /// Memmap that a block hosts behind its first pages: kept for it, though no altmap hands it out (I3).
    fn hosted_inside(&mut self, block: &MemoryBlock) {
        let usable = block.usable(self.mm.granule());
        let mut at = usable.start;
        while block.memmap_inside != 0 && at < usable.end {
            let Some(page) = self.page(at) else { break };
            let len = 1 << page.order();
            if page.kind() == PageKind::MemmapSelf {
                self.ledger.used.add(PageKind::MemmapSelf, at, len);
            }
            at = at + len;
        }
    }

    /// Pages without a head; returns where they end.
    fn pages_without_head(&mut self, start: Pfn, limit: Pfn) -> Pfn {
        let g = self.mm.granule();
        let tail = |pfn| self.page(pfn).is_some_and(|page| page.checked_kind() == Some(PageKind::Tail));
        let mut end = start;
        while end < limit && tail(end) {
            end = end + 1;
        }
        let lost = PfnRange { start, end }.addresses(g);
        self.find(6, "pages of an online block that are neither free nor in use", Offender::Memory(lost));
        end
    }

    /// The lists of `block` hold exactly the heads that say they are free, and their links agree.
    fn free_lists(&mut self, block: &MemoryBlock, heads: &Tally) {
        let g = self.mm.granule();
        let (pages, mut listed) = (block.pages(g), Tally::default());
        let main = (0..=g.section_order).map(|order| (block.free.first_link(order), Some(order)));
        for (first, listed_as) in main.chain([(block.free.first_aside_link(), None)]) {
            let (mut link, mut previous) = (first, 0);
            while link != 0 {
                let pfn = block.start + u64::from(link - 1);
                let runs_out = listed.pages(PageKind::Free) >= g.section_pages;
                let Some(page) = self.page(pfn).filter(|_| pages.contains(pfn) && !runs_out) else {
                    self.find(6, "a free list leads out of its block or in a circle", Offender::Pfn(pfn));
                    break;
                };
                let (kind, order) = (page.kind(), page.order().min(g.section_order));
                // All of the block is on its list, though its first pages are to be set aside.
                let aside = block.free.is_set_aside(pfn) && order < g.section_order;
                let right = kind == PageKind::Free && listed_as.map_or(aside, |is| is == order && !aside);
                let (next, prev) = page.links();
                self.find_unless(right, 6, "a page on a free list", Offender::Page { pfn, kind });
                self.find_unless(prev == previous, 6, "a free list's links disagree", Offender::Pfn(pfn));
                listed.add(PageKind::Free, pfn, 1 << order);
                (previous, link) = (link, next);
            }
        }
        let (found, expected) = (listed.pages(PageKind::Free), heads.pages(PageKind::Free));
        let same = found == expected && listed.same_frames(heads, PageKind::Free);
        let at = Offender::Block { block: block.start.address(g), found, expected };
        self.find_unless(same, 6, "the free lists differ from the pages that are marked free", at);
    }

    /// The block's own counts.
    fn block_counts(&mut self, block: &MemoryBlock, heads: &Tally) {
        let g = self.mm.granule();
        let start = block.start.address(g);
        let mut check = |what, found, expected| {
            let at = Offender::Block { block: start, found, expected };
            self.find_unless(found == expected, 6, what, at);
        };
        check("free pages of a block", heads.pages(PageKind::Free), block.free.pages());
        check("tenants' pages of a block", heads.pages(PageKind::Tenant), block.tenant_pages);
        check("self-hosted memmap pages of a block", heads.pages(PageKind::MemmapSelf), block.own_memmap());
        check("poisoned pages of a block", heads.pages(PageKind::Poisoned), block.poisoned);
        check("unplugged pages of a block", heads.pages(PageKind::Unplugged), block.unplugged);
        // A block with holes, which have no heads while it is offline, does not go offline.
        let without = [PageKind::Hole, PageKind::Device, PageKind::DeviceMemmap, PageKind::Unplugged];
        let without: u64 = without.map(|kind| heads.pages(kind)).iter().sum();
        check("pages that are memory in a block", g.section_pages.saturating_sub(without), block.present);
    }
}
