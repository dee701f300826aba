//! The image of a free block, which all free blocks on demand map.

use crate::addr::PhysAddr;
use crate::error::Result;
use crate::frame::memmap::{Image, described_order};
use crate::frame::page::PageKind;
use crate::frame::tables::TableFrames;
use crate::frame::{Frames, Mobility};
use crate::granule::{Granule, LAST_LEVEL};
use crate::machine::{self, Machine};
use crate::pfn::Pfn;

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
