//! One entry of a table: where it is, reading it, and the one place that writes an entry that a walk can reach.

use core::sync::atomic::Ordering::{Acquire, Release};

use super::descriptor::Descriptor;
use super::live_update::{self, Contents};
use crate::addr::{PhysAddr, VirtAddr, VirtRange};
use crate::error::{Error, Result, SpaceError};
use crate::granule::Granule;
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

/// What one entry of `level` covers around `va`.
#[inline(always)]
fn span(g: Granule, level: u8, va: VirtAddr) -> VirtRange {
    let size = 1u64 << g.level_shift(level);
    let start = va.align_down(size);
    VirtRange { start, end: VirtAddr::new(start.get().saturating_add(size)) }
}

#[inline(always)]
pub(crate) fn slot(g: Granule, table: PhysAddr, level: u8, part: VirtRange) -> Slot {
    let index = (part.start.get() >> g.level_shift(level)) & (g.entries(level) as u64 - 1);
    #[expect(clippy::cast_possible_truncation, reason = "an index into a table of at most 8192 entries")]
    Slot { table, level, index: index as usize, span: span(g, level, part.start), part }
}

/// Writes `new` to `count` entries from `first` on, which neighbours in their table follow: from empty to valid, or from
/// anything to empty, which is always legal. In bulk, since the memmap of a free block is mapped and unmapped by runs of
/// entries: 12 instructions for each by itself, 5 here.
///
/// # Errors
/// `SpaceError::AlreadyMapped` when an entry would be mapped over; those before it are written.
pub(crate) fn write_run<M: Machine>(
    machine: &M,
    first: &Slot,
    count: usize,
    mut new: impl FnMut(usize) -> Descriptor,
) -> Result<()> {
    let entries = &machine::table(machine, first.table, first.index + count)[first.index..];
    for (i, entry) in entries.iter().enumerate() {
        let (old, new) = (Descriptor::from_bits(entry.load(Acquire)), new(i));
        if !old.is_empty() && !new.is_empty() {
            return Err(SpaceError::AlreadyMapped(first.span.start + i as u64 * first.span.len()).into());
        }
        entry.store(new.bits(), Release);
        machine.entry_written(first.table, first.index + i, old.bits(), new.bits());
    }
    Ok(())
}

/// Reads an entry. Inlined: the walks spend most of their instructions here.
#[inline(always)]
pub(crate) fn read<M: Machine>(machine: &M, slot: &Slot) -> Descriptor {
    Descriptor::from_bits(machine::entry(machine, slot.table, slot.index).load(Acquire))
}

/// Writes an entry that a walk can reach: the only place that does, so that no change escapes the break-before-make rules
/// (I5).
#[inline(always)]
pub(crate) fn write<M: Machine>(
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
