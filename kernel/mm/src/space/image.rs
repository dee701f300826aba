//! Mapping the image of a free block for the memmap of many (frame/demand), and taking it down.
//!
//! ```text
//!   4K          one entry of level 2 for each block        [table][table][table]     all lead to the image's table
//!   16K, 64K    entries of level 3                         [head][zero][zero]...[head][zero][zero]...
//! ```

use super::table::KernelSpace;
use super::visitors::{ANYWHERE, table_below};
use super::walk::{Next, Visit};
use crate::addr::{PhysAddr, VirtAddr, VirtRange};
use crate::entry::descriptor::Descriptor;
use crate::entry::flush::PendingInvalidation;
use crate::entry::live_update::Contents;
use crate::entry::slot::{Entries, Slot, read, write, write_run};
use crate::error::{Result, SpaceError};
use crate::frame::memmap::{Image, image_level};
use crate::frame::tables::TableFrames;
use crate::granule::Granule;
use crate::machine::{self, Machine};

struct Imager<'a, M> {
    machine: &'a M,
    frames: &'a mut dyn TableFrames,
    image: Image,
    done: VirtAddr,
    g: Granule,
}

impl<M: Machine> Imager<'_, M> {
    /// The part of the walked range below `slot`, which leads to `table`: every entry of it at once.
    fn fill(&mut self, slot: &Slot, table: PhysAddr) -> Result<()> {
        let g = self.g;
        let run = Entries::of(g, table, slot.level + 1, slot.part);
        let (head, other, each) = match self.image.table {
            Some(table) => (Descriptor::table(table).shared(), Descriptor::table(table).shared(), 1),
            None => (self.image.leaf(0), self.image.leaf(1), g.section_memmap >> g.page_shift),
        };
        // The walked range begins with a block, and a table too: `each` is a power of two.
        write_run::<M>(self.machine, &run.first, run.count, |i| {
            if i as u64 & (each - 1) == 0 { head } else { other }
        })?;
        self.done = slot.part.end;
        Ok(())
    }
}

impl<M: Machine> Visit for Imager<'_, M> {
    fn entry(&mut self, slot: &Slot) -> Result<Next> {
        let g = self.g;
        let below = table_below::<M>(self.machine, slot, g)?;
        let table = match below {
            Some(table) => table,
            None => {
                let table = self.frames.alloc_table()?;
                machine::zero_frame(self.machine, table, g.page_size);
                write::<M>(g, self.machine, slot, Descriptor::table(table), Contents::MayDiffer)?;
                table
            }
        };
        if slot.level + 1 < image_level(g) {
            return Ok(Next::Descend(table));
        }
        self.fill(slot, table)?;
        Ok(Next::Over)
    }
}

/// Frees broken tables, without a look at the entries of the lowest: those are empty.
struct TableReaper<'a, M> {
    machine: &'a M,
    frames: &'a mut dyn TableFrames,
    g: Granule,
}

impl<M: Machine> Visit for TableReaper<'_, M> {
    fn entry(&mut self, slot: &Slot) -> Result<Next> {
        let old = read::<M>(self.machine, slot);
        let was = if old.is_broken() { old.unbroken() } else { old };
        if slot.level + 1 < image_level(self.g) && was.is_table(slot.level) {
            return Ok(Next::Descend(was.address(self.g)));
        }
        self.leave(slot).map(|()| Next::Over)
    }
    fn leave(&mut self, slot: &Slot) -> Result<()> {
        let old = read::<M>(self.machine, slot);
        if old.is_broken() {
            write::<M>(self.g, self.machine, slot, Descriptor::EMPTY, Contents::MayDiffer)?;
            self.frames.free_table(old.unbroken().address(self.g));
        }
        Ok(())
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
            let pending = self.empty_entries(VirtRange { start: memmap.start, end: done })?;
            self.invalidate(pending);
            self.break_leaves(memmap, ANYWHERE, true, &mut |_| true)?.invalidate(&self.machine);
            self.reap_tables(frames, memmap)?;
        }
        result
    }

    /// Takes down what blocks on demand map for `memmap`: the image, or entries and tables of their own, whose frames lie in
    /// the blocks and are the caller's. Frees the tables that are left empty.
    ///
    /// # Errors
    /// None in practice: every change to an invalid entry is legal.
    pub(crate) fn unmap_image(&mut self, frames: &mut dyn TableFrames, memmap: VirtRange) -> Result<()> {
        let pending = self.empty_entries(memmap)?;
        self.invalidate(pending);
        self.reap_tables(frames, memmap)
    }

    /// Lets the entries of `memmap`, that of one block, lead elsewhere, in a window: `new` says where the entry of each number
    /// does. Where a table serves one section (4K) it is the one that leads to that table.
    ///
    /// # Errors
    /// `SpaceError::NotMapped` when nothing of a block on demand is mapped there.
    pub(crate) fn replace_image(&mut self, memmap: VirtRange, new: impl Fn(u64) -> Descriptor) -> Result<()> {
        let (g, level) = (self.granule(), image_level(self.granule()));
        let path = self.path(memmap.start);
        let step = path.steps().find(|step| step.slot.level == level);
        let table = step.ok_or(SpaceError::NotMapped(memmap.start))?.slot.table;
        let run = Entries::of(g, table, level, memmap);
        let mut pending = PendingInvalidation::none();
        pending.add_leaves(memmap, g.page_size, g.shares_tables());
        self.machine.publish();
        self.machine.window_open(memmap);
        write_run::<M>(&self.machine, &run.first, run.count, |_| Descriptor::EMPTY)?;
        pending.invalidate(&self.machine);
        write_run::<M>(&self.machine, &run.first, run.count, |i| new(i as u64))?;
        self.machine.publish();
        self.machine.window_close();
        Ok(())
    }

    /// Empties the entries of `memmap` that lead to the image or to tables of blocks, and breaks those of tables that are left
    /// empty.
    fn empty_entries(&mut self, memmap: VirtRange) -> Result<PendingInvalidation> {
        let g = self.granule();
        let bounds = self.bounds(self.layout().vmemmap_bounds());
        let mut pending = PendingInvalidation::none();
        for part in self.tables_of(memmap) {
            let path = self.path(part.start);
            let Some(step) = path.steps().find(|step| step.slot.level == image_level(g)) else { continue };
            let run = Entries::of(g, step.slot.table, image_level(g), part);
            write_run::<M>(&self.machine, &run.first, run.count, |_| Descriptor::EMPTY)?;
            pending.add_leaves(part, g.page_size, g.shares_tables());
            // One page leads the walk through the tables that may be empty now.
            let page = VirtRange { start: part.start, end: part.start + g.page_size };
            self.break_emptied(page, bounds, image_level(g), &mut pending)?;
        }
        Ok(pending)
    }

    /// `memmap` cut where one table of image entries ends and the next begins.
    fn tables_of(&self, memmap: VirtRange) -> impl Iterator<Item = VirtRange> + use<M> {
        let span = 1u64 << self.granule().level_shift(image_level(self.granule()) - 1);
        let mut at = memmap.start;
        core::iter::from_fn(move || {
            let end = VirtAddr::new(at.align_down(span).get().saturating_add(span)).min(memmap.end);
            let part = VirtRange { start: core::mem::replace(&mut at, end), end };
            (!part.is_empty()).then_some(part)
        })
    }

    /// Frees the broken tables of `memmap`. One walk: a table above goes after all tables below it.
    fn reap_tables(&mut self, frames: &mut dyn TableFrames, memmap: VirtRange) -> Result<()> {
        let g = self.granule();
        self.walk(memmap, &mut TableReaper::<M> { machine: &self.machine, frames, g })
    }
}
