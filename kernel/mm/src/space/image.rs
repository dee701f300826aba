//! Mapping the image of a free block for the memmap of many (frame/demand), and taking it down.
//!
//! ```text
//!   4K          one entry of level 2 for each block        [table][table][table]     all lead to the image's table
//!   16K, 64K    entries of level 3                         [head][zero][zero]...[head][zero][zero]...
//!   level above one entry for a whole group of blocks      [shared][shared]          all lead to one table of those
//! ```

use super::table::KernelSpace;
use super::visitors::{ANYWHERE, table_below};
use super::walk::{Next, PathEntry, Visit};
use crate::addr::{PhysAddr, VirtAddr, VirtRange};
use crate::entry::descriptor::Descriptor;
use crate::entry::flush::PendingInvalidation;
use crate::entry::live_update::Contents;
use crate::entry::slot::{Entries, Slot, empty_run, map_run, read, write};
use crate::error::{Result, SpaceError};
use crate::frame::memmap::{Image, Pattern, group_spans, image_level};
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
    /// The part of the walked range below `slot`, which leads to `table`: every entry of it at once. The range begins with a
    /// block, and so does a table.
    fn fill(&mut self, slot: &Slot, table: PhysAddr) -> Result<()> {
        let run = Entries::of(self.g, table, slot.level + 1, slot.part);
        let Pattern { each, entries } = self.image.pattern(self.g);
        map_run::<M>(self.machine, &run, each, entries)
    }

    /// Whether all below `slot` is in the walked range, and one table of entries.
    fn is_group(&self, slot: &Slot) -> bool {
        slot.level + 1 == image_level(self.g) && slot.part == slot.span
    }

    /// The table for `slot`, which is empty. One of a whole group is filled before it is linked; the groups of memory that can
    /// do so share one.
    fn make_table(&mut self, slot: &Slot) -> Result<PhysAddr> {
        let (g, whole) = (self.g, self.is_group(slot));
        let (table, shared) = match self.image.group_table.filter(|_| whole) {
            Some(table) => {
                self.frames.share_table(table);
                (table, true)
            }
            None => (self.frames.alloc_table()?, false),
        };
        if whole && !shared {
            self.image.pattern(g).fill(self.machine, g, table, slot.level + 1);
        } else if !whole {
            machine::zero_frame(self.machine, table, g.page_size);
        }
        let entry = Descriptor::table(table);
        write::<M>(g, self.machine, slot, if shared { entry.shared() } else { entry }, Contents::MayDiffer)?;
        Ok(table)
    }
}

impl<M: Machine> Visit for Imager<'_, M> {
    fn visit(&mut self, slot: &Slot, _end: VirtAddr) -> Result<Next> {
        let g = self.g;
        let (table, filled) = match table_below::<M>(self.machine, slot, g)? {
            Some(table) => (table, false),
            None => (self.make_table(slot)?, self.is_group(slot)),
        };
        if slot.level + 1 < image_level(g) {
            return Ok(Next::Descend(table));
        }
        if !filled {
            self.fill(slot, table)?;
        }
        self.done = slot.part.end;
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
    fn visit(&mut self, slot: &Slot, _end: VirtAddr) -> Result<Next> {
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
            let table = old.unbroken().address(self.g);
            if old.is_shared() {
                self.frames.unshare_table(table);
            } else {
                self.frames.free_table(table);
            }
        }
        Ok(())
    }
}

impl<M: Machine> KernelSpace<M> {
    /// Maps the image for every block of `memmap`, whole blocks' memmap, whole groups by its table for groups, if it has one.
    /// Publishing is the caller's.
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
    /// the blocks and are the caller's. Frees the tables that are left empty. No group shares a table that is partly in it.
    ///
    /// # Errors
    /// None in practice: every change to an invalid entry is legal.
    pub(crate) fn unmap_image(&mut self, frames: &mut dyn TableFrames, memmap: VirtRange) -> Result<()> {
        let pending = self.empty_entries(memmap)?;
        self.invalidate(pending);
        self.reap_tables(frames, memmap)
    }

    /// Lets the entries of `memmap`, that of one block, lead elsewhere, in a window: the first one, and the others. Where a
    /// table serves one section (4K) the first is all that there are: it leads to that table.
    ///
    /// # Errors
    /// `SpaceError::NotMapped` when nothing of a block on demand is mapped there.
    pub(crate) fn replace_image(&mut self, memmap: VirtRange, entries: [Descriptor; 2]) -> Result<()> {
        let (g, level) = (self.granule(), image_level(self.granule()));
        let path = self.path(memmap.start);
        let step = path.steps().find(|step| step.slot.level == level);
        let table = step.ok_or(SpaceError::NotMapped(memmap.start))?.slot.table;
        let run = Entries::of(g, table, level, memmap);
        let mut pending = PendingInvalidation::none();
        pending.add_leaves(memmap, g.page_size, g.shares_tables());
        self.machine.publish();
        self.machine.window_open(memmap);
        empty_run::<M>(&self.machine, &run);
        pending.invalidate(&self.machine);
        map_run::<M>(&self.machine, &run, run.count, entries)?;
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
            // One page leads the walk through the tables that may be empty now.
            let page = VirtRange { start: part.start, end: part.start + g.page_size };
            let above = path.steps().find(|step| step.slot.level + 1 == image_level(g));
            let whole = |above: &&PathEntry| {
                let table = above.descriptor.is_table(above.slot.level);
                table && above.slot.span == part && bounds.covers(&part)
            };
            if let Some(above) = above.filter(whole) {
                // The table goes with all that is in it.
                let broken = above.descriptor.broken();
                write::<M>(g, &self.machine, &above.slot, broken, Contents::MayDiffer)?;
                pending.add_leaves(part, g.page_size, true);
                self.break_emptied(page, bounds, image_level(g) - 1, &mut pending)?;
                continue;
            }
            debug_assert!(
                above.is_none_or(|above| !above.descriptor.is_shared()),
                "a part of a group that shares"
            );
            let Some(step) = path.steps().find(|step| step.slot.level == image_level(g)) else { continue };
            let run = Entries::of(g, step.slot.table, image_level(g), part);
            empty_run::<M>(&self.machine, &run);
            pending.add_leaves(part, g.page_size, g.shares_tables());
            self.break_emptied(page, bounds, image_level(g), &mut pending)?;
        }
        Ok(pending)
    }

    /// `memmap` cut where one table of image entries ends and the next begins.
    fn tables_of(&self, memmap: VirtRange) -> impl Iterator<Item = VirtRange> + use<M> {
        let part = move |group: VirtRange| VirtRange {
            start: group.start.max(memmap.start),
            end: group.end.min(memmap.end),
        };
        group_spans(self.granule(), memmap).map(part).filter(|part| !part.is_empty())
    }

    /// Frees the broken tables of `memmap`. One walk: a table above goes after all tables below it.
    fn reap_tables(&mut self, frames: &mut dyn TableFrames, memmap: VirtRange) -> Result<()> {
        let g = self.granule();
        self.walk(memmap, &mut TableReaper::<M> { machine: &self.machine, frames, g })
    }
}
