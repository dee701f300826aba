//! Mapping one frame over and over: the tails of compound pages (Linux: `vmemmap_populate_compound_pages`, which has one
//! table entry for each page all the same).
//!
//! ```text
//!   vmemmap    |head|tail|tail|tail| ... |tail| ... |tail| ...      each |..| one entry of a table of pages
//!               own   \____\____\__ one frame, read-only
//!   tables     [ own table            ][ shared ][ shared ][ ...     all [shared] are one table
//! ```
//! A whole table that would hold nothing but that leaf is made once, and the entries above lead to it again and again; but
//! only where a table serves no more than one section's memmap (4K), so that each section can still go by itself.

use super::request::{Gone, Keep, TakeBack};
use super::table::KernelSpace;
use super::visitors::{ANYWHERE, table_below};
use super::walk::{Next, Visit};
use crate::addr::{PhysAddr, VirtAddr, VirtRange};
use crate::entry::descriptor::{Attributes, Descriptor};
use crate::entry::live_update::Contents;
use crate::entry::slot::{self, Slot, write};
use crate::error::{Result, SpaceError};
use crate::frame::tables::TableFrames;
use crate::granule::{Granule, LAST_LEVEL};
use crate::machine::{self, Machine};

/// A frame that many entries map, with their count.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SharedFrame {
    /// The frame: one granule page.
    pub pa: PhysAddr,
    /// The table whose every entry maps it, once there is one.
    pub table: Option<PhysAddr>,
    /// How many entries map it that were made here, a shared table's counted once.
    pub entries: u64,
}

impl SharedFrame {
    /// A frame that no entry maps yet.
    pub const fn new(pa: PhysAddr) -> Self {
        Self { pa, table: None, entries: 0 }
    }

    fn leaf(&self) -> Descriptor {
        Descriptor::leaf(self.pa, Attributes::RODATA, LAST_LEVEL, false).shared()
    }
}

struct Sharer<'a, M> {
    machine: &'a M,
    frames: &'a mut dyn TableFrames,
    shared: &'a mut SharedFrame,
    done: VirtAddr,
    g: Granule,
}

impl<M: Machine> Sharer<'_, M> {
    /// The entry `slot`, above the last level, is empty.
    fn make_table(&mut self, slot: &Slot) -> Result<Next> {
        let g = self.g;
        let last = slot.level + 1 == LAST_LEVEL;
        if last && slot.part == slot.span && g.shares_tables() {
            return self.lead_to_shared(slot).map(|()| Next::Over);
        }
        let table = self.frames.alloc_table()?;
        machine::zero_frame(self.machine, table, g.page_size);
        if last {
            // Filled before it is linked: no walk reaches it yet.
            let index = |start| slot::slot(g, table, LAST_LEVEL, VirtRange { start, end: start }).index;
            let which = index(slot.part.start)..index(VirtAddr::new(slot.part.end.get() - g.page_size)) + 1;
            self.shared.entries += which.len() as u64;
            machine::fill_table(self.machine, table, which, self.shared.leaf().bits());
            self.done = slot.part.end;
        }
        write::<M>(g, self.machine, slot, Descriptor::table(table), Contents::MayDiffer)?;
        Ok(if last { Next::Over } else { Next::Descend(table) })
    }

    fn lead_to_shared(&mut self, slot: &Slot) -> Result<()> {
        let g = self.g;
        let table = match self.shared.table {
            Some(table) => {
                self.frames.share_table(table);
                table
            }
            None => {
                let table = self.frames.alloc_table()?;
                let entries = g.entries(LAST_LEVEL);
                machine::fill_table(self.machine, table, 0..entries, self.shared.leaf().bits());
                self.shared.entries += entries as u64;
                self.shared.table = Some(table);
                table
            }
        };
        write::<M>(g, self.machine, slot, Descriptor::table(table).shared(), Contents::MayDiffer)?;
        self.done = slot.span.end;
        Ok(())
    }
}

impl<M: Machine> Visit for Sharer<'_, M> {
    fn visit(&mut self, slot: &Slot, _end: VirtAddr) -> Result<Next> {
        let g = self.g;
        if let Some(table) = table_below::<M>(self.machine, slot, g)? {
            return Ok(Next::Descend(table));
        }
        if slot.level < LAST_LEVEL {
            return self.make_table(slot);
        }
        if slot.part != slot.span {
            return Err(SpaceError::NotPages(slot.part.start).into());
        }
        write::<M>(g, self.machine, slot, self.shared.leaf(), Contents::MayDiffer)?;
        self.shared.entries += 1;
        self.done = slot.span.end;
        Ok(Next::Over)
    }
}

impl<M: Machine> KernelSpace<M> {
    /// Maps every page of `range` to the one frame of `shared`, read-only. Publishing is the caller's.
    ///
    /// # Errors
    /// As [`Self::map`]; the tables and `shared` are as before then.
    pub fn map_shared(
        &mut self,
        frames: &mut dyn TableFrames,
        range: VirtRange,
        shared: &mut SharedFrame,
    ) -> Result<()> {
        let g = self.granule();
        let mut sharer = Sharer::<M> { machine: &self.machine, frames, shared, done: range.start, g };
        let result = self.walk(range, &mut sharer);
        let done = sharer.done;
        if result.is_err() {
            self.undo_shared(frames, range, done, shared)?;
        }
        result
    }

    /// The entries below `done` are ours, and so are the tables that nothing is in.
    #[cold]
    fn undo_shared(
        &mut self,
        frames: &mut dyn TableFrames,
        range: VirtRange,
        done: VirtAddr,
        shared: &mut SharedFrame,
    ) -> Result<()> {
        let g = self.granule();
        let ours = VirtRange { start: range.start, end: done };
        let keep: Keep<'_> = &mut |entry| !ours.contains(entry.start);
        self.break_leaves(range, ANYWHERE, true, keep)?.invalidate(&self.machine);
        let gone: TakeBack<'_> = &mut |gone| match gone {
            Gone::Table(table) => frames.free_table(table),
            Gone::SharedLeaf { entries, .. } => shared.entries -= entries,
            Gone::SharedTable { table, .. } => {
                if frames.unshare_table(table) {
                    shared.entries -= g.entries(LAST_LEVEL) as u64;
                    shared.table = None;
                    frames.free_table(table);
                }
            }
            Gone::Leaves { .. } => {}
        };
        self.reap(range, gone)
    }
}
