//! The walk itself: entries of a range, parents before children, at every level of every granule.

use crate::addr::{PhysAddr, VirtAddr, VirtRange};
use crate::entry::descriptor::Descriptor;
use crate::entry::slot::{Slot, slot};
use crate::error::Result;
use crate::granule::{Granule, LAST_LEVEL};

/// What a walk does next.
#[derive(Debug)]
pub enum Next {
    /// Into the table at this address, then [`Visit::leave`].
    Descend(PhysAddr),
    /// On to the next entry.
    Over,
    /// Past so many entries, this one counted; and past this one in any case.
    Past(usize),
}

/// What a walk does at each entry.
pub trait Visit {
    /// At an entry that overlaps the range, before its children. The range ends at `end`, or after the entry's table: a visitor
    /// may go on to other entries of the table and say with [`Next::Past`] how far it went.
    ///
    /// # Errors
    /// Ends the walk.
    fn visit(&mut self, slot: &Slot, end: VirtAddr) -> Result<Next>;
    /// After the children of an entry that was descended into.
    ///
    /// # Errors
    /// Ends the walk.
    fn leave(&mut self, _slot: &Slot) -> Result<()> {
        Ok(())
    }
}

/// One step of a walk to an address.
#[derive(Clone, Copy, Debug)]
pub struct PathEntry {
    /// Where the entry is.
    pub slot: Slot,
    /// What it says.
    pub descriptor: Descriptor,
}

/// The way to an address: one step for each level, until an invalid entry or a leaf.
#[derive(Clone, Copy, Debug, Default)]
pub struct Path {
    pub(super) steps: [Option<PathEntry>; LAST_LEVEL as usize + 1],
}

impl Path {
    /// The steps from the root on.
    pub fn steps(&self) -> impl Iterator<Item = &PathEntry> {
        self.steps.iter().flatten()
    }
    /// The step that leads to a shared table, if the way goes through one.
    pub fn shared_table(&self) -> Option<&PathEntry> {
        self.steps().find(|s| s.descriptor.is_table(s.slot.level) && s.descriptor.is_shared())
    }
    /// The last step, if it is a leaf.
    pub fn leaf(&self) -> Option<&PathEntry> {
        self.steps().last().filter(|s| s.descriptor.is_leaf(s.slot.level))
    }
}

pub(super) fn walk_level<V: Visit>(
    g: Granule,
    table: PhysAddr,
    level: u8,
    range: VirtRange,
    visit: &mut V,
) -> Result<()> {
    if range.is_empty() {
        return Ok(());
    }
    let mut here = slot(g, table, level, range);
    let size = 1u64 << g.level_shift(level);
    loop {
        here.part.end = here.span.end.min(range.end);
        match visit.visit(&here, range.end)? {
            Next::Descend(child) => {
                walk_level::<V>(g, child, level + 1, here.part, visit)?;
                visit.leave(&here)?;
            }
            Next::Over => {}
            Next::Past(entries) => {
                let entries = entries.max(1);
                here.index += entries - 1;
                here.span.end = here.span.start.saturating_add(entries as u64 * size);
            }
        }
        if here.span.end >= range.end {
            return Ok(());
        }
        // The next entry, by addition: a walk spends most of its instructions here. The last one of all saturates.
        let start = here.span.end;
        here.index += 1;
        here.span = VirtRange { start, end: start.saturating_add(size) };
        here.part.start = start;
    }
}
