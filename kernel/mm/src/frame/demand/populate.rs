//! Before a split: the memmap pages in which runs begin get frames, out of the block itself.
//!
//! ```text
//!   runs within one memmap page with a page for each     lend them: that memmap page has a frame
//!   a larger run                                         carve it: the frames that its own split needs are its first pages
//!   the image                                            materialise: as carving all of the block; the table too (4K)
//! ```
//! An entry changes under readers, none of which meets a hole or a wrong struct page (Arm ARM, R_WHZWS):
//!
//! ```text
//!   shared, read-only -> own frame with the same contents, read-only; TLBI on every CPU -> writable; TLBI here
//! ```
//! The table address of a live entry changes as tables are exchanged ([`Frames::swap_table`]): a window, in which readers wait.

use super::image::fill_head;
use super::taking::carve;
use super::{MemmapPages, Site, own_leaf};
use crate::addr::PhysAddr;
use crate::entry::descriptor::Descriptor;
use crate::entry::flush::PendingInvalidation;
use crate::entry::live_update::Contents;
use crate::entry::slot::{self, Slot};
use crate::error::{Error, Resource, Result};
use crate::frame::Frames;
use crate::frame::block::BlockState;
use crate::frame::buddy::{Populated, Split};
use crate::frame::memmap::{aside_order, described_order};
use crate::frame::pages::Pages;
use crate::granule::{LAST_LEVEL, MAX_ORDERS};
use crate::machine::{self, Checkpoint, Machine};
use crate::pfn::{Pfn, PfnRange};

impl<M: Machine> Frames<M> {
    /// Populates the memmap pages in which runs begin, before the run of `1 << from` at `run`, in use, becomes runs of `1 << to`.
    /// Nothing to do in a block that is not on demand.
    ///
    /// # Errors
    /// `Out` when the block has too few free pages; nothing has changed then.
    pub(crate) fn populate_parts(&mut self, run: Pfn, from: u32, to: u32) -> Result<()> {
        let g = self.granule();
        let (start, described) = (run.align_down(g.section_order), described_order(g));
        if self.blocks.get(start.get()).is_none_or(|block| block.demand.is_none()) {
            return Ok(());
        }
        let step = to.max(described);
        for part in 1..1u64 << from.saturating_sub(step) {
            let number = ((run - start) + (part << step)) >> described;
            if let Err(error) = self.populate_one(start, number) {
                self.give_back_inside(run, from);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Populates the memmap page `number` of the block at `start` with any page of it.
    fn populate_one(&mut self, start: Pfn, number: u64) -> Result<()> {
        let resource = Resource::Frames { order: 0 };
        self.may_fail(resource)?;
        let serves = matches!(self.state_of(start), Some(BlockState::Online(_)));
        let block = self.blocks.index_of(start.get()).filter(|_| serves);
        let frame = block.and_then(|block| self.take_lent(block, Some(number)));
        let frame = frame.ok_or(Error::Out(resource))?;
        if let Some(site) = self.site_of(start) {
            self.map_own(&site, &MemmapPages::one(number), |_| frame);
        }
        Ok(())
    }

    /// Populates the memmap page of `pfn`, before a run begins there inside of a run in use. Nothing to do if it has a frame, or
    /// its block is not on demand.
    ///
    /// # Errors
    /// `Out` when the block has no free page; nothing has changed then.
    pub(in crate::frame) fn populate_head(&mut self, pfn: Pfn) -> Result<()> {
        let g = self.granule();
        let start = pfn.align_down(g.section_order);
        let number = (pfn - start) >> described_order(g);
        if self.site_of(start).is_none_or(|site| !self.entry_at(&site, number).is_shared()) {
            return Ok(());
        }
        let resource = Resource::Frames { order: 0 };
        self.may_fail(resource)?;
        let block = self.blocks.index_of(start.get());
        let frame =
            block.and_then(|block| self.take_lent(block, Some(number))).ok_or(Error::Out(resource))?;
        if let Some(site) = self.site_of(start) {
            self.map_own(&site, &MemmapPages::one(number), |_| frame);
        }
        Ok(())
    }

    /// A block leaves the image, and lends its first pages, but not those at `at`. Returns where its entries are from here on.
    pub(super) fn materialise(&mut self, site: &Site, at: Option<Pfn>) -> Option<Site> {
        let g = self.granule();
        let aside = aside_order(g);
        let carved = carve(site.start, aside, described_order(g).min(aside - 1), at);
        let carved = Split { from: g.section_order, ..carved };
        let mut pages = carved.memmap_pages(g);
        pages.push(0);
        let table = g.shares_tables().then_some(carved.pfn);
        if let Some(table) = table {
            self.make_table(site, table.address(g));
            self.machine.checkpoint(Checkpoint::Done("give the block a table"));
        }
        let site = self.site_at(site.block)?;
        self.lend_carved(&site, carved, table, &pages);
        Some(site)
    }

    /// The entries of a block, which are the image's, move to a table of its own.
    fn make_table(&mut self, site: &Site, table: PhysAddr) {
        let (Some(image), Some(slot)) = (self.demand.image, self.table_slot(site)) else { return };
        let g = self.granule();
        image.leaves(g).fill(&self.machine, g, table, LAST_LEVEL);
        self.swap_table(&slot, Descriptor::table(table));
    }

    /// One table for another of the same contents, in a window.
    pub(super) fn swap_table(&mut self, slot: &Slot, new: Descriptor) {
        let (g, machine) = (self.granule(), &self.machine);
        let old = slot::read::<M>(machine, slot);
        let mut pending = PendingInvalidation::none();
        pending.add_leaves(slot.span, g.page_size, true);
        machine.publish();
        machine.window_open(slot.span);
        let broken = slot::write::<M>(g, machine, slot, old.broken(), Contents::MayDiffer);
        pending.invalidate(machine);
        let made = slot::write::<M>(g, machine, slot, new, Contents::MayDiffer);
        machine.publish();
        machine.window_close();
        debug_assert!(broken.and(made).is_ok(), "going through an invalid entry is always legal");
    }

    /// Takes the run of `split`, which needs no frames but its own: its first page is the block's `table`, if it has got one
    /// there, the next become the frames of `pages`, and the others are free again.
    pub(super) fn lend_carved(&mut self, site: &Site, split: Split, table: Option<Pfn>, pages: &MemmapPages) {
        let frames = split.pfn + u64::from(table.is_some());
        self.map_own(site, pages, |i| frames + i);
        let struct_pages = Pages::new(&self.machine, self.layout);
        self.blocks.at_mut(site.block).free.take_any(&struct_pages, Populated(split));
        let numbers = table.map(|_| None).into_iter().chain(pages.numbers().map(Some));
        let mut end = split.pfn;
        for number in numbers {
            self.mark_lent(site, end, number);
            end = end + 1;
        }
        let struct_pages = Pages::new(&self.machine, self.layout);
        let rest = PfnRange { start: end, end: split.pfn + (1 << split.order) };
        self.blocks.at_mut(site.block).free.put_any_range(&struct_pages, rest);
        self.count_lent(site, (end - split.pfn).cast_signed());
    }

    /// Lends a page for each of `pages`, of runs within one memmap page, of which there are enough.
    pub(super) fn lend_small(&mut self, site: &Site, pages: &MemmapPages) -> Option<()> {
        let mut frames = [site.start; MAX_ORDERS];
        for (frame, number) in frames.iter_mut().zip(pages.numbers()) {
            *frame = self.take_small(site)?;
            self.mark_lent(site, *frame, Some(number));
        }
        self.count_lent(site, pages.numbers().count() as i64);
        self.map_own(site, pages, |i| frames[usize::try_from(i).unwrap_or(0)]);
        Some(())
    }

    /// Takes a page of a run within one memmap page; one that is set aside comes first.
    fn take_small(&mut self, site: &Site) -> Option<Pfn> {
        let described = described_order(self.granule());
        let struct_pages = Pages::new(&self.machine, self.layout);
        let free = &mut self.blocks.at_mut(site.block).free;
        let split = free.find_small(&struct_pages, described)?;
        Some(free.take_any(&struct_pages, Populated(split)))
    }

    /// Maps memmap pages of a block to frames, that of the `i`-th to `frame(i)`: what they say stays the same.
    fn map_own(&mut self, site: &Site, pages: &MemmapPages, frame: impl Fn(u64) -> Pfn) {
        let g = self.granule();
        let (twice, on_image) = (self.hooks.lends_twice(), self.hooks.writes_heads_to_image());
        let image = self.demand.image.filter(|_| on_image).map(|image| image.zero);
        let frame_of = |i: u64| image.unwrap_or_else(|| frame(if twice { 0 } else { i }).address(g));
        let leaves = || pages.numbers().zip((0..).map(|i| own_leaf(frame_of(i))));
        for (number, leaf) in leaves() {
            let frame = leaf.address(g);
            match number {
                0 => fill_head(&self.machine, g, frame),
                _ => machine::zero_frame(&self.machine, frame, g.page_size),
            }
            self.set_leaf(&site.slot(number), leaf.read_only());
        }
        self.invalidate_pages(site, pages);
        for (number, leaf) in leaves() {
            self.set_leaf(&site.slot(number), leaf);
        }
        self.invalidate_pages_here(site, pages);
        self.machine.checkpoint(Checkpoint::Done("give memmap pages frames"));
        self.demand.figures.populated += pages.count as u64;
    }

    /// Writes an entry of a demand block's memmap: what it leads to says what the old one's frame said.
    pub(super) fn set_leaf(&self, slot: &Slot, new: Descriptor) {
        let g = self.granule();
        debug_assert!(self.hooks.any() || self.says_the_same(slot, new), "at {:?}", slot.span.start);
        let written = slot::write::<M>(g, &self.machine, slot, new, Contents::Same);
        debug_assert!(written.is_ok(), "{written:?}");
    }

    fn says_the_same(&self, slot: &Slot, new: Descriptor) -> bool {
        let g = self.granule();
        let (from, to) = (slot::read::<M>(&self.machine, slot).address(g), new.address(g));
        from == to || machine::same_contents(&self.machine, from, to, g.page_size)
    }
}
