//! Mapping the image of a free block for the memmap of many (frame/demand), and taking it down.
//!
//! ```text
//!   4K          one entry of level 2 for each block        [table][table][table]     all lead to the image's table
//!   16K, 64K    entries of level 3                         [head][zero][zero]...[head][zero][zero]...
//! ```

use super::request::{Gone, Keep};
use super::table::KernelSpace;
use super::visitors::table_below;
use super::walk::{Next, Visit};
use crate::addr::{VirtAddr, VirtRange};
use crate::entry::descriptor::Descriptor;
use crate::entry::flush::PendingInvalidation;
use crate::entry::live_update::Contents;
use crate::entry::slot::{Slot, write};
use crate::error::Result;
use crate::frame::demand::Image;
use crate::frame::tables::TableFrames;
use crate::granule::{Granule, LAST_LEVEL};
use crate::machine::{self, Machine};

struct Imager<'a, M> {
    machine: &'a M,
    frames: &'a mut dyn TableFrames,
    image: Image,
    done: VirtAddr,
    g: Granule,
}

impl<M: Machine> Visit for Imager<'_, M> {
    fn entry(&mut self, slot: &Slot) -> Result<Next> {
        let g = self.g;
        if let Some(table) = table_below::<M>(self.machine, slot, g)? {
            return Ok(Next::Descend(table));
        }
        let new = match self.image.table {
            Some(table) if slot.level + 1 == LAST_LEVEL => Descriptor::table(table).shared(),
            _ if slot.level < LAST_LEVEL => {
                let table = self.frames.alloc_table()?;
                machine::zero_frame(self.machine, table, g.page_size);
                write::<M>(g, self.machine, slot, Descriptor::table(table), Contents::MayDiffer)?;
                return Ok(Next::Descend(table));
            }
            _ => self.image.leaf(slot.span.start.get() % g.section_memmap),
        };
        write::<M>(g, self.machine, slot, new, Contents::MayDiffer)?;
        self.done = slot.span.end;
        Ok(Next::Over)
    }
}

impl<M: Machine> KernelSpace<M> {
    /// Maps the image for every block of `memmap`, whole blocks' memmap. Publishing is the caller's.
    ///
    /// # Errors
    /// `SpaceError::AlreadyMapped`; `Out` of tables. The tables are as before then.
    pub(crate) fn map_image(
        &mut self,
        frames: &mut dyn TableFrames,
        memmap: VirtRange,
        image: Image,
    ) -> Result<()> {
        let g = self.granule();
        let mut imager = Imager::<M> { machine: &self.machine, frames, image, done: memmap.start, g };
        let result = self.walk(memmap, &mut imager);
        let done = imager.done;
        if result.is_err() {
            self.unmap_image(frames, VirtRange { start: memmap.start, end: done })?;
            self.free_empty_tables(frames, memmap)?;
        }
        result
    }

    /// Takes down what blocks on demand map for `memmap`: the image, or entries and tables of their own, whose frames lie in
    /// the blocks and are the caller's.
    ///
    /// # Errors
    /// None in practice: every change to an invalid entry is legal.
    pub(crate) fn unmap_image(&mut self, frames: &mut dyn TableFrames, memmap: VirtRange) -> Result<()> {
        let g = self.granule();
        let level = if g.shares_tables() { LAST_LEVEL - 1 } else { LAST_LEVEL };
        let mut pending = PendingInvalidation::none();
        let mut at = memmap.start;
        while at < memmap.end {
            let path = self.path(at);
            let Some(first) = path.steps().find(|step| step.slot.level == level).map(|step| step.slot) else {
                break;
            };
            // The rest of this table, entry by entry without a walk for each.
            let size = first.span.len();
            let left = (g.entries(level) - first.index) as u64;
            let count = left.min((memmap.end - at) / size);
            for i in 0..count {
                let start = at + i * size;
                let span = VirtRange { start, end: start + size };
                let index = first.index + usize::try_from(i).unwrap_or(0);
                let slot = Slot { index, span, part: span, ..first };
                write::<M>(g, &self.machine, &slot, Descriptor::EMPTY, Contents::MayDiffer)?;
            }
            let span = VirtRange { start: at, end: at + count * size };
            pending.add_leaves(span, g.page_size, g.shares_tables());
            at = span.end;
        }
        self.invalidate(pending);
        self.free_empty_tables(frames, memmap)
    }

    /// Frees the tables of `memmap` that nothing is in.
    fn free_empty_tables(&mut self, frames: &mut dyn TableFrames, memmap: VirtRange) -> Result<()> {
        let bounds = self.bounds(self.layout().vmemmap_bounds());
        let keep: Keep<'_> = &mut |_| true;
        self.break_leaves(memmap, bounds, true, keep)?.invalidate(&self.machine);
        self.reap(memmap, |gone| {
            if let Gone::Table(table) = gone {
                frames.free_table(table);
            }
        })
    }

    /// Where the entries of a block's memmap are: the table and the index, of level 2 where a table serves one section (4K),
    /// else of level 3.
    pub(crate) fn memmap_entry(&self, memmap: VirtAddr) -> Option<(crate::addr::PhysAddr, u32)> {
        let level = if self.granule().shares_tables() { LAST_LEVEL - 1 } else { LAST_LEVEL };
        let path = self.path(memmap);
        let slot = path.steps().find(|step| step.slot.level == level)?.slot;
        Some((slot.table, u32::try_from(slot.index).ok()?))
    }
}
