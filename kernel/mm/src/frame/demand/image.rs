//! The image of a free block, which all free blocks on demand map.

use core::sync::atomic::Ordering::Relaxed;

use super::described_order;
use crate::addr::PhysAddr;
use crate::entry::descriptor::{Attributes, Descriptor};
use crate::error::Result;
use crate::frame::page::PageKind;
use crate::frame::tables::TableFrames;
use crate::frame::{Frames, Mobility};
use crate::granule::{Granule, LAST_LEVEL};
use crate::machine::{self, Machine};
use crate::pfn::Pfn;

/// The frames of the image: system RAM, made with the first block on demand and freed with the last.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Image {
    /// The first memmap page of a free block: the head of all of it, then zeroed struct pages.
    pub head: PhysAddr,
    /// Each other page: zeroed struct pages.
    pub zero: PhysAddr,
    /// The table of both, where a table serves one section (4K).
    pub table: Option<PhysAddr>,
}

impl Image {
    /// The entry of the memmap page `number` of a free block.
    pub(crate) fn leaf(&self, number: u64) -> Descriptor {
        let frame = if number == 0 { self.head } else { self.zero };
        Descriptor::leaf(frame, Attributes::RODATA, LAST_LEVEL, false).shared()
    }

    /// Whether `pa` is in one of its frames.
    pub fn contains(&self, pa: PhysAddr, g: Granule) -> bool {
        let frame = pa.align_down(g.page_size);
        frame == self.head || frame == self.zero || Some(frame) == self.table
    }

    /// Whether the frames still say what a free block says: nothing but the one head, without links.
    pub(crate) fn is_clean<M: Machine>(&self, machine: &M, g: Granule) -> bool {
        let words = usize::try_from(g.page_size / 8).unwrap_or(0);
        let clean = |frame, from: usize| {
            machine::table(machine, frame, words)[from..].iter().all(|word| word.load(Relaxed) == 0)
        };
        let head = machine::page_in(machine, self.head, 0);
        let says = (head.kind(), head.order(), head.refs(), head.private(), head.links());
        says == (PageKind::Free, g.section_order, 0, 0, (0, 0)) && clean(self.head, 3) && clean(self.zero, 0)
    }
}

/// Makes `frame` the first memmap page of a free block.
pub(super) fn fill_head<M: Machine>(machine: &M, g: Granule, frame: PhysAddr) {
    machine::zero_frame(machine, frame, g.page_size);
    machine::page_in(machine, frame, 0).set_head(PageKind::Free, g.section_order);
}

/// Makes `table`, which no walk reaches yet, a table of the image.
pub(super) fn fill_table<M: Machine>(machine: &M, g: Granule, table: PhysAddr, image: Image) {
    debug_assert_eq!(g.entries(LAST_LEVEL) as u64, g.section_pages >> described_order(g));
    machine::fill_table(machine, table, 0..g.entries(LAST_LEVEL), image.leaf(1).bits());
    machine::fill_table(machine, table, 0..1, image.leaf(0).bits());
}

impl<M: Machine> Frames<M> {
    /// The image, for `blocks` more blocks; made if there is none.
    ///
    /// # Errors
    /// `Out`; nothing has changed then.
    pub(crate) fn get_image(&mut self, blocks: u64) -> Result<Image> {
        let image = match self.demand.image {
            Some(image) => image,
            None => self.make_image()?,
        };
        self.demand.image = Some(image);
        self.demand.blocks += blocks;
        Ok(image)
    }

    /// `blocks` blocks no longer need the image: it is freed with the last. No entry leads to it from them.
    pub(crate) fn put_image(&mut self, blocks: u64) {
        self.demand.blocks -= blocks;
        if self.demand.blocks == 0
            && let Some(image) = self.demand.image.take()
        {
            let g = self.granule();
            image.table.into_iter().for_each(|table| self.free_table(table));
            for frame in [image.head, image.zero] {
                self.free(Pfn::containing(g, frame));
            }
        }
    }

    fn make_image(&mut self) -> Result<Image> {
        let g = self.granule();
        let head = self.alloc(0, PageKind::MemmapRam, Mobility::Unmovable)?;
        let zero =
            self.alloc(0, PageKind::MemmapRam, Mobility::Unmovable).inspect_err(|_| self.free(head))?;
        let mut image = Image { head: head.address(g), zero: zero.address(g), table: None };
        fill_head(&self.machine, g, image.head);
        machine::zero_frame(&self.machine, image.zero, g.page_size);
        if self.hooks.dirties_image() {
            machine::page_in(&self.machine, image.zero, 1).set_refs(1);
        }
        if g.shares_tables() {
            let table = self.alloc_table().inspect_err(|_| {
                self.free(head);
                self.free(zero);
            })?;
            fill_table(&self.machine, g, table, image);
            image.table = Some(table);
        }
        Ok(image)
    }
}
