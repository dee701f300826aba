//! The walk itself: entries of a range, parents before children, at every level of every granule; and the one place that
//! writes an entry.

use core::sync::atomic::Ordering::{Acquire, Release};

use super::descriptor::Descriptor;
use super::live_update::{self, Contents};
use crate::addr::{PhysAddr, VirtAddr, VirtRange};
use crate::error::{Error, Result, SpaceError};
use crate::granule::{Granule, LAST_LEVEL};
use crate::machine::{self, Machine};

/// Where an entry is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Slot {
    /// The table that it is in.
    pub table: PhysAddr,
    /// The table's level.
    pub level: u8,
    /// Its index in the table.
    pub index: usize,
    /// All that the entry covers.
    pub span: VirtRange,
    /// The part of the walked range that it covers.
    pub part: VirtRange,
}

/// What a walk does next.
#[derive(Debug)]
pub enum Next {
    /// Into the table at this address, then [`Visit::leave`].
    Descend(PhysAddr),
    /// On to the next entry.
    Over,
}

/// What a walk does at each entry.
pub trait Visit {
    /// At an entry that overlaps the range, before its children.
    ///
    /// # Errors
    /// Ends the walk.
    fn entry(&mut self, slot: &Slot) -> Result<Next>;
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

/// What one entry of `level` covers around `va`.
#[inline(always)]
fn span(g: Granule, level: u8, va: VirtAddr) -> VirtRange {
    let size = 1u64 << g.level_shift(level);
    let start = va.align_down(size);
    VirtRange { start, end: VirtAddr::new(start.get().saturating_add(size)) }
}

#[inline(always)]
pub(super) fn slot(g: Granule, table: PhysAddr, level: u8, part: VirtRange) -> Slot {
    let index = (part.start.get() >> g.level_shift(level)) & (g.entries(level) as u64 - 1);
    #[expect(clippy::cast_possible_truncation, reason = "an index into a table of at most 8192 entries")]
    Slot { table, level, index: index as usize, span: span(g, level, part.start), part }
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
        if let Next::Descend(child) = visit.entry(&here)? {
            walk_level::<V>(g, child, level + 1, here.part, visit)?;
            visit.leave(&here)?;
        }
        if here.part.end >= range.end {
            return Ok(());
        }
        // The next entry, by addition: a walk spends most of its instructions here. The last one of all saturates.
        let start = here.span.end;
        here.index += 1;
        here.span = VirtRange { start, end: VirtAddr::new(start.get().saturating_add(size)) };
        here.part.start = start;
    }
}

/// Reads an entry. Inlined: the walks spend most of their instructions here.
#[inline(always)]
pub(super) fn read<M: Machine>(machine: &M, slot: &Slot) -> Descriptor {
    Descriptor::from_bits(machine::entry(machine, slot.table, slot.index).load(Acquire))
}

/// Writes an entry that a walk can reach: the only place that does, so that no change escapes the break-before-make rules
/// (I5).
#[inline(always)]
pub(super) fn write<M: Machine>(
    g: Granule,
    machine: &M,
    slot: &Slot,
    new: Descriptor,
    contents: Contents,
) -> Result<()> {
    let entry = machine::entry(machine, slot.table, slot.index);
    let old = Descriptor::from_bits(entry.load(Acquire));
    live_update::check(g, slot.level, old, new, contents)
        .map_err(|rule| Error::Space(SpaceError::BreakBeforeMake { at: slot.span.start, rule }))?;
    // Release: what the new entry leads to (a cleared table) is visible before the entry is.
    entry.store(new.bits(), Release);
    machine.entry_written(slot.table, slot.index, old.bits(), new.bits());
    Ok(())
}

/// How many entries of `table` are live, counted no further than `limit`.
pub(super) fn live_entries<M: Machine>(
    g: Granule,
    machine: &M,
    table: PhysAddr,
    level: u8,
    limit: usize,
) -> usize {
    let entries = machine::table(machine, table, g.entries(level));
    entries.iter().filter(|e| Descriptor::from_bits(e.load(Acquire)).is_valid()).take(limit).count()
}
