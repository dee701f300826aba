//! The image of a free block, which all free blocks on demand map.

use crate::addr::PhysAddr;
use crate::error::Result;
use crate::frame::memmap::{Image, image_level};
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

impl<M: Machine> Frames<M> {
    /// The image, for `blocks` more blocks; made if there is none. What is returned has a table for groups if whole `groups`
    /// are to share it, and else none.
    ///
    /// # Errors
    /// `Out`; nothing has changed then.
    pub(crate) fn get_image(&mut self, blocks: u64, groups: bool) -> Result<Image> {
        let image = match self.demand.image {
            Some(image) => image,
            None => self.make_image()?,
        };
        self.demand.image = Some(image);
        self.demand.blocks += blocks;
        match image.group_table {
            _ if !groups => Ok(Image { group_table: None, ..image }),
            Some(_) => Ok(image),
            None => self.make_group_table(image).inspect_err(|_| self.put_image(blocks)),
        }
    }

    /// `blocks` blocks no longer need the image: it is freed with the last, and the table for groups with its last entry. No
    /// entry leads to it from them.
    pub(crate) fn put_image(&mut self, blocks: u64) {
        let g = self.granule();
        self.demand.blocks -= blocks;
        self.put_group_table();
        if self.demand.blocks == 0
            && let Some(image) = self.demand.image.take()
        {
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
        let mut image =
            Image { head: head.address(g), zero: zero.address(g), table: None, group_table: None };
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
            image.leaves(g).fill(&self.machine, g, table, LAST_LEVEL);
            image.table = Some(table);
        }
        Ok(image)
    }

    /// The table that groups share, which no entry leads to yet.
    fn make_group_table(&mut self, image: Image) -> Result<Image> {
        let g = self.granule();
        let table = self.alloc_table()?;
        image.pattern(g).fill(&self.machine, g, table, image_level(g));
        self.pages().own(Pfn::containing(g, table)).as_table().set_entries(0);
        let image = Image { group_table: Some(table), ..image };
        self.demand.image = Some(image);
        Ok(image)
    }

    /// Frees the table that groups share, if none does.
    fn put_group_table(&mut self) {
        let g = self.granule();
        let Some(image) = self.demand.image else { return };
        let unused =
            |table: &PhysAddr| self.pages().get(Pfn::containing(g, *table)).as_table().entries() == 0;
        if let Some(table) = image.group_table.filter(unused) {
            self.demand.image = Some(Image { group_table: None, ..image });
            self.free_table(table);
        }
    }
}
