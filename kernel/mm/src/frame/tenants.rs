//! Tenants' pages, taken and given back many at a time: each is a run of its own.

use crate::frame::alloc::MOVABLE_FROM;
use crate::frame::buddy::Lists;
use crate::frame::page::{Page, PageKind};
use crate::frame::{Frames, Mobility};
use crate::machine::Machine;
use crate::pfn::PfnRange;

/// The largest run that is taken or given back in one piece: at each granule its struct pages lie in one page of memmap.
const LARGEST: u32 = 6;

impl<M: Machine> Frames<M> {
    /// Takes up to `most` pages for tenants, of one run: those, or the first of those, that as many allocations of one page
    /// would get. `None` when no page is free.
    pub(crate) fn take_tenants(&mut self, most: u64) -> Option<PfnRange> {
        let largest = most.checked_ilog2()?.min(LARGEST);
        let found = MOVABLE_FROM.into_iter().find_map(|zone| {
            self.take_newest(zone, Lists::Main, |frames, block| {
                // The smallest run is the one that would be split, and split again, for one page after the other.
                let own = frames.blocks.get(block.get());
                let smallest =
                    own.map_or(Some(frames.granule().section_order), |block| block.free.smallest());
                let order = smallest?.min(largest);
                frames.take_from(block, order).map(|pfn| (pfn, order))
            })
        });
        let aside = || Some((self.take_set_aside(0, Mobility::Movable)?, 0));
        let (start, order) = found.or_else(aside)?;
        let run = PfnRange::new(start, 1 << order);
        for page in self.pages().own_run(run) {
            page.set_head(PageKind::Tenant, 0);
            page.set_refs(1);
        }
        self.charge(PageKind::Tenant, run.len());
        Some(run)
    }

    /// Gives back tenants' pages side by side. What is aligned becomes free as one run, and is merged once.
    pub(crate) fn free_tenants(&mut self, pages: PfnRange) {
        for (pfn, order) in pages.chunks(LARGEST) {
            self.uncharge(PageKind::Tenant, 1 << order);
            if self.hooks.loses_page(order) {
                continue;
            }
            self.pages().own_run(PfnRange::new(pfn, 1 << order)).iter().for_each(Page::clear_head);
            self.put_back(pfn, order);
        }
    }

    /// Keeps the counts of tenants' pages of the blocks of `pages`: `each` for each of them.
    pub(crate) fn count_tenants(&mut self, pages: PfnRange, each: i64) {
        let g = self.granule();
        for part in pages.sections(g) {
            if let Some(block) = self.block_of_mut(part.start) {
                let by = each.saturating_mul(part.len().cast_signed());
                block.tenant_pages = block.tenant_pages.saturating_add_signed(by);
            }
        }
    }
}
