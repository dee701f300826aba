//! One entry of a table: where it is, reading it, and the one place that writes an entry that a walk can reach.

use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};

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

/// What one entry of `level` covers around `va`.
#[inline(always)]
fn span(g: Granule, level: u8, va: VirtAddr) -> VirtRange {
    let size = 1u64 << g.level_shift(level);
    let start = va.align_down(size);
    VirtRange { start, end: start.saturating_add(size) }
}

#[inline(always)]
pub(crate) fn slot(g: Granule, table: PhysAddr, level: u8, part: VirtRange) -> Slot {
    let index = (part.start.get() >> g.level_shift(level)) & (g.entries(level) as u64 - 1);
    #[expect(clippy::cast_possible_truncation, reason = "an index into a table of at most 8192 entries")]
    Slot { table, level, index: index as usize, span: span(g, level, part.start), part }
}

/// Neighbouring entries of one table.
#[derive(Clone, Copy)]
pub(crate) struct Entries {
    pub(crate) first: Slot,
    pub(crate) count: usize,
}

impl Entries {
    /// The entries of `table`, of `level`, for `part`, which the table covers: whole ones, also where `part` begins or ends
    /// inside of one.
    pub(crate) fn of(g: Granule, table: PhysAddr, level: u8, part: VirtRange) -> Self {
        let first = slot(g, table, level, VirtRange { start: part.start, end: part.start });
        Self::after(g, &first, part.end)
    }

    /// The entry at `first` and those after it in its table, up to `end`, which the table covers: whole ones, also the last.
    #[inline(always)]
    pub(crate) fn after(g: Granule, first: &Slot, end: VirtAddr) -> Self {
        let count = ((end - first.span.start).saturating_sub(1) >> g.level_shift(first.level)) + 1;
        Self { first: *first, count: usize::try_from(count).unwrap_or(0) }
    }

    /// The bit that an entry here has exactly when it leads to a table, or did before it was broken: none at the last level.
    pub(crate) const fn table_bits(&self) -> u64 {
        if self.first.level == LAST_LEVEL { 0 } else { Descriptor::TABLE_BIT }
    }

    /// All entries of `table`, of `level`, wherever it is mapped.
    pub(crate) fn all(g: Granule, table: PhysAddr, level: u8) -> Self {
        let start = VirtAddr::new(0);
        let first = slot(g, table, level, VirtRange { start, end: start });
        Self { first, count: g.entries(level) }
    }

    /// Entry number `i`, all of which is walked.
    pub(crate) fn nth(&self, i: usize) -> Slot {
        let span = self.span(i, i + 1);
        Slot { index: self.first.index + i, span, part: span, ..self.first }
    }

    /// What the entries from number `from` up to number `to` cover.
    #[inline(always)]
    pub(crate) fn span(&self, from: usize, to: usize) -> VirtRange {
        let (first, size) = (self.first.span.start, self.first.span.len());
        VirtRange { start: first + from as u64 * size, end: first.saturating_add(to as u64 * size) }
    }
}

/// The entries of `run`, one after the other.
#[inline(always)]
fn entries_of<'a, M: Machine>(machine: &'a M, run: &Entries) -> &'a [AtomicU64] {
    let first = run.first.index;
    &machine::table(machine, run.first.table, first + run.count)[first..]
}

/// How many entries of `run` come before the first that has one of `bits`.
fn before_bits<M: Machine>(machine: &M, run: &Entries, bits: u64) -> usize {
    let (eights, rest) = entries_of(machine, run).as_chunks::<8>();
    let any =
        |entries: &[AtomicU64]| entries.iter().fold(0, |all, entry| all | entry.load(Relaxed)) & bits != 0;
    let before = eights.iter().take_while(|eight| !any(*eight)).count();
    let rest = eights.get(before).map_or(rest, |eight| eight.as_slice());
    before * 8 + rest.iter().take_while(|entry| entry.load(Relaxed) & bits == 0).count()
}

/// How many entries from `first` on, which is empty, are, up to `end`.
pub(crate) fn empty_from<M: Machine>(g: Granule, machine: &M, first: &Slot, end: VirtAddr) -> usize {
    before_bits(machine, &Entries::after(g, first, end), u64::MAX)
}

/// How many entries from the leaf `first` on continue it, up to `end`: neighbouring memory, the same attributes.
pub(crate) fn leaves_from<M: Machine>(g: Granule, machine: &M, first: &Slot, end: VirtAddr) -> usize {
    let run = Entries::after(g, first, end);
    let mut next = read::<M>(machine, first).bits();
    let continues = |entry: &&AtomicU64| {
        let expected = next;
        next = next.wrapping_add(first.span.len());
        entry.load(Relaxed) == expected
    };
    entries_of(machine, &run).iter().take_while(continues).count()
}

/// Whether an entry of `table`, to which the entry `above` leads, leads to a table, or did before it was broken. Eight at a
/// time: 3 instructions for each.
pub(crate) fn holds_tables<M: Machine>(g: Granule, machine: &M, above: &Slot, table: PhysAddr) -> bool {
    let run = Entries::all(g, table, above.level + 1);
    run.table_bits() != 0 && before_bits(machine, &run, run.table_bits()) < run.count
}

/// Whether no entry of `table` is live.
pub(crate) fn is_empty<M: Machine>(g: Granule, machine: &M, table: PhysAddr, level: u8) -> bool {
    let all = Entries::all(g, table, level);
    before_bits(machine, &all, Descriptor::VALID_BIT) == all.count
}

/// [`is_empty`] of `table`, to which the entry `above` leads. First the entries beside the walked part are looked at: a table
/// has up to 8192, and what is left of them is mostly there.
pub(crate) fn is_emptied<M: Machine>(g: Granule, machine: &M, above: &Slot, table: PhysAddr) -> bool {
    let level = above.level + 1;
    let part = Entries::of(g, table, level, above.part);
    let (before, after) = (part.first.index.wrapping_sub(1), part.first.index + part.count);
    let live = |index: usize| {
        index < g.entries(level)
            && machine::entry(machine, table, index).load(Relaxed) & Descriptor::VALID_BIT != 0
    };
    !live(after) && !live(before) && is_empty(g, machine, table, level)
}

/// Changes the entries of `run` up to the first that has one of the bits `until`: `new` says what the entry of each number
/// becomes, if it changes. Returns how many entries those are. In bulk: a visit of a walk costs 80 instructions and more, an
/// entry here 8 to 15.
///
/// # Errors
/// `SpaceError::BreakBeforeMake`; the entries before that one are changed.
#[inline(always)]
pub(crate) fn change_run<M: Machine>(
    g: Granule,
    machine: &M,
    run: &Entries,
    until: u64,
    mut new: impl FnMut(usize, Descriptor) -> Option<Descriptor>,
) -> Result<usize> {
    let first = run.first;
    for (i, entry) in entries_of(machine, run).iter().enumerate() {
        let old = Descriptor::from_bits(entry.load(Relaxed));
        if old.bits() & until != 0 {
            return Ok(i);
        }
        let Some(new) = new(i, old) else { continue };
        live_update::check(g, first.level, old, new, Contents::MayDiffer)
            .map_err(|rule| SpaceError::BreakBeforeMake { at: run.span(i, i + 1).start, rule })?;
        entry.store(new.bits(), Release);
        machine.entry_written(first.table, first.index + i, old.bits(), new.bits());
    }
    Ok(run.count)
}

/// The entry of `level` on the way to `va` through the tables under `root`, if there are tables down to it.
pub(crate) fn find<M: Machine>(
    g: Granule,
    machine: &M,
    root: PhysAddr,
    va: VirtAddr,
    level: u8,
) -> Option<Slot> {
    let (mut table, part) = (root, VirtRange { start: va, end: va });
    for above in g.start_level..level {
        let entry = read::<M>(machine, &slot(g, table, above, part));
        table = entry.is_table(above).then(|| entry.address(g))?;
    }
    Some(slot(g, table, level, part))
}

/// Writes valid entries to `run`, whose entries are empty: `first` to each whose number is a multiple of `each`, `other` to the
/// others. In bulk, since the memmap of free blocks is mapped by runs of entries: 12 instructions for each by itself, 6 here.
///
/// # Errors
/// `SpaceError::AlreadyMapped` when an entry is not empty; nothing is written then.
pub(crate) fn map_run<M: Machine>(
    machine: &M,
    run: &Entries,
    each: usize,
    [first, other]: [Descriptor; 2],
) -> Result<()> {
    let empty = before_bits(machine, run, u64::MAX);
    if empty < run.count {
        return Err(SpaceError::AlreadyMapped(run.span(empty, empty + 1).start).into());
    }
    for (block, entries) in entries_of(machine, run).chunks(each).enumerate() {
        for (i, entry) in entries.iter().enumerate() {
            let new = if i == 0 { first } else { other }.bits();
            entry.store(new, Release);
            machine.entry_written(run.first.table, run.first.index + block * each + i, 0, new);
        }
    }
    Ok(())
}

/// Empties the entries of `run`, which is always legal. In bulk, as [`map_run`] maps them.
pub(crate) fn empty_run<M: Machine>(machine: &M, run: &Entries) {
    for (i, entry) in entries_of(machine, run).iter().enumerate() {
        let old = if M::WATCHES_ENTRIES { entry.load(Relaxed) } else { 0 };
        entry.store(0, Release);
        machine.entry_written(run.first.table, run.first.index + i, old, 0);
    }
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
