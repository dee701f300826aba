//! What the walks of [`super::table`] do at each entry: map, break, reap, scan.

use core::sync::atomic::Ordering::Relaxed;

use super::request::{Gone, Keep, MapRequest, TakeBack};
use super::walk::{Next, Visit};
use crate::addr::{PhysAddr, VirtAddr, VirtRange};
use crate::entry::descriptor::Descriptor;
use crate::entry::flush::PendingInvalidation;
use crate::entry::live_update::Contents;
use crate::entry::slot::{
    Entries, Slot, change_run, empty_from, holds_tables, is_emptied, leaves_from, read, write,
};
use crate::error::{Result, SpaceError};
use crate::frame::tables::TableFrames;
use crate::granule::{Granule, LAST_LEVEL};
use crate::machine::{self, Machine};

/// Where an undo may free tables that it leaves empty: anywhere, since what is undone has made each of them.
pub(super) const ANYWHERE: VirtRange = VirtRange { start: VirtAddr::new(0), end: VirtAddr::new(u64::MAX) };

pub(super) struct Mapper<'a, M> {
    pub(super) machine: &'a M,
    pub(super) frames: &'a mut dyn TableFrames,
    pub(super) request: &'a MapRequest,
    pub(super) done: VirtAddr,
    pub(super) g: Granule,
}

impl<M: Machine> Mapper<'_, M> {
    fn pa(&self, va: VirtAddr) -> PhysAddr {
        self.request.pa + (va - self.request.range.start)
    }

    /// The part of the request that leaves of `level` map by whole, congruent runs of entries with the Contiguous bit.
    fn contiguous(&self, level: u8) -> Option<VirtRange> {
        let range = self.request.range;
        let run = self.g.contiguous_bytes(level).filter(|run| *run <= self.request.max_leaf)?;
        let start = range.start.checked_align_up(run)?;
        let whole = VirtRange { start, end: range.end.align_down(run) };
        (!whole.is_empty() && self.pa(start).is_aligned(run)).then_some(whole)
    }

    /// How many leaves of `level` map what `part` begins with, all with the Contiguous bit or all without, and the first.
    #[inline(always)]
    fn leaves(&self, level: u8, part: VirtRange) -> Option<(usize, Descriptor)> {
        let (g, start, pa) = (self.g, part.start, self.pa(part.start));
        let size = 1 << g.level_shift(level);
        if !g.leaf_levels[usize::from(level)]
            || size > self.request.max_leaf
            || !start.is_aligned(size)
            || !pa.is_aligned(size)
        {
            return None;
        }
        let (mut end, mut contiguous) = (part.end, false);
        if self.request.contiguous
            && let Some(whole) = self.contiguous(level).filter(|whole| start < whole.end)
        {
            contiguous = whole.start <= start;
            end = end.min(if contiguous { whole.end } else { whole.start });
        }
        let count = usize::try_from((end - start) >> g.level_shift(level)).unwrap_or(0);
        let first = Descriptor::leaf(pa, self.request.attributes, level, contiguous);
        (count > 0).then_some((count, first))
    }

    /// Maps `count` leaves from `slot` on, which is empty, as far as the others are too. Returns how many.
    #[inline(never)]
    fn map_leaves(&mut self, slot: &Slot, (count, first): (usize, Descriptor)) -> Result<usize> {
        let (run, size) = (Entries { first: *slot, count }, slot.span.len());
        let mut next = first.bits();
        let done = change_run::<M>(self.g, self.machine, &run, u64::MAX, |_, _| {
            let leaf = Descriptor::from_bits(next);
            next = next.wrapping_add(size);
            Some(leaf)
        })?;
        self.done = run.span(0, done).end;
        Ok(done)
    }

    /// A table for `slot`, which is empty. It is filled before it is linked, if the request maps all of it by its entries: for
    /// 3 instructions each, one by one 7.
    #[inline(never)]
    fn make_table(&mut self, slot: &Slot) -> Result<Next> {
        let (g, level) = (self.g, slot.level + 1);
        let table = self.frames.alloc_table()?;
        let run = Entries::of(g, table, level, slot.span);
        let mut filled = 0;
        while slot.part == slot.span
            && filled < run.count
            && let Some((count, first)) = self.leaves(level, run.span(filled, run.count))
        {
            let which = filled..filled + count;
            machine::fill_leaves(self.machine, table, which, (first.bits(), run.first.span.len()));
            filled += count;
        }
        if filled == 0 {
            machine::zero_frame(self.machine, table, g.page_size);
        }
        write::<M>(g, self.machine, slot, Descriptor::table(table), Contents::MayDiffer)?;
        if filled == 0 {
            return Ok(Next::Descend(table));
        }
        self.done = slot.span.end;
        Ok(Next::Over)
    }
}

/// The table that `slot` leads to, or `None` for an empty slot, where something can be mapped.
///
/// # Errors
/// `SpaceError::AlreadyMapped`.
pub(super) fn table_below<M: Machine>(machine: &M, slot: &Slot, g: Granule) -> Result<Option<PhysAddr>> {
    let entry = read::<M>(machine, slot);
    if entry.is_empty() {
        return Ok(None);
    }
    if entry.is_table(slot.level) && !entry.is_shared() {
        return Ok(Some(entry.address(g)));
    }
    Err(SpaceError::AlreadyMapped(slot.part.start).into())
}

impl<M: Machine> Visit for Mapper<'_, M> {
    fn visit(&mut self, slot: &Slot, end: VirtAddr) -> Result<Next> {
        if let Some(table) = table_below::<M>(self.machine, slot, self.g)? {
            return Ok(Next::Descend(table));
        }
        match self.leaves(slot.level, VirtRange { start: slot.part.start, end }) {
            Some((1, leaf)) => {
                write::<M>(self.g, self.machine, slot, leaf, Contents::MayDiffer)?;
                self.done = slot.span.end;
                return Ok(Next::Over);
            }
            Some(leaves) => return self.map_leaves(slot, leaves).map(Next::Past),
            None => {}
        }
        if slot.level == LAST_LEVEL {
            // A request that is not whole, congruent pages.
            return Err(SpaceError::NotPages(slot.part.start).into());
        }
        self.make_table(slot)
    }
}

pub(super) struct Breaker<'a, M> {
    pub(super) machine: &'a M,
    pub(super) bounds: VirtRange,
    pub(super) keep: Keep<'a>,
    pub(super) pending: PendingInvalidation,
    /// For each level, whether a table of it has lost an entry since the walk went into it. Only then can it be empty, and
    /// only then is it looked at: a table has up to 8192 entries.
    pub(super) lost: [bool; LAST_LEVEL as usize + 1],
    /// Look at every table: one that was made for nothing has never had an entry. Tables go only once they are empty then;
    /// else one of which nothing is kept goes as it is.
    pub(super) every_table: bool,
    pub(super) g: Granule,
}

impl<M: Machine> Breaker<'_, M> {
    /// Whether `table` goes with all that it maps, by the one entry that leads to it, `slot`.
    fn goes_whole(&mut self, slot: &Slot, table: PhysAddr) -> bool {
        slot.part == slot.span
            && !self.every_table
            && self.bounds.covers(&slot.span)
            && !holds_tables(self.g, self.machine, slot, table)
            && !(self.keep)(slot.span)
    }

    /// Breaks the leaves of `run`, up to the first entry that leads to a table; returns how many entries that were. As of a
    /// table, `keep` is asked once for all of them, and keeps none of what it does not keep.
    #[inline(never)]
    fn leaves(&mut self, run: &Entries) -> Result<usize> {
        let (g, all) = (self.g, !self.every_table && !(self.keep)(run.span(0, run.count)));
        let (machine, tables, mut broken) = (self.machine, run.table_bits(), run.count..0);
        let mut breaks = |i: usize, old: Descriptor| {
            broken = broken.start.min(i)..i + 1;
            old.broken()
        };
        // Two loops: what a call of `keep` needs would be kept up for each entry.
        let done = if all {
            change_run::<M>(g, machine, run, tables, |i, old| old.is_valid().then(|| breaks(i, old)))?
        } else {
            change_run::<M>(g, machine, run, tables, |i, old| {
                (old.is_valid() && !(self.keep)(run.span(i, i + 1))).then(|| breaks(i, old))
            })?
        };
        if !broken.is_empty() {
            self.pending.add_leaves(run.span(broken.start, broken.end), run.first.span.len(), false);
            self.lost[usize::from(run.first.level)] = true;
        }
        Ok(done)
    }
}

impl<M: Machine> Visit for Breaker<'_, M> {
    fn visit(&mut self, slot: &Slot, end: VirtAddr) -> Result<Next> {
        let g = self.g;
        let old = read::<M>(self.machine, slot);
        let table = old.is_table(slot.level);
        if !table && slot.span.end < end {
            return self.leaves(&Entries::after(g, slot, end)).map(Next::Past);
        }
        let (own, below) = (table && !old.is_shared(), old.address(g));
        let goes = if own { self.goes_whole(slot, below) } else { old.is_valid() && !(self.keep)(slot.span) };
        if goes {
            let broken = if own { old.broken_whole() } else { old.broken() };
            write::<M>(g, self.machine, slot, broken, Contents::MayDiffer)?;
            // Each leaf that the table maps may be in a TLB. What many entries share maps pages.
            let leaf = if own { 1 << g.level_shift(slot.level + 1) } else { g.page_size };
            self.pending.add_leaves(slot.span, if table { leaf } else { slot.span.len() }, table);
            self.lost[usize::from(slot.level)] = true;
        }
        Ok(if own && !goes { Next::Descend(below) } else { Next::Over })
    }

    fn leave(&mut self, slot: &Slot) -> Result<()> {
        let g = self.g;
        let lost = core::mem::take(&mut self.lost[usize::from(slot.level + 1)]);
        if !(lost || self.every_table) {
            return Ok(());
        }
        let old = read::<M>(self.machine, slot);
        let child = old.address(g);
        if self.bounds.covers(&slot.span) && is_emptied(g, self.machine, slot, child) {
            let below = slot.level + 1 < LAST_LEVEL;
            let broken = if below { old.broken() } else { old.broken_whole() };
            write::<M>(g, self.machine, slot, broken, Contents::MayDiffer)?;
            self.pending.add_table(slot.span.start, slot.span.len());
            self.lost[usize::from(slot.level)] = true;
        }
        Ok(())
    }
}

pub(super) struct Reaper<'a, M> {
    pub(super) machine: &'a M,
    pub(super) gone: TakeBack<'a>,
    /// Whether `gone` hears of leaves.
    pub(super) leaves: bool,
    pub(super) g: Granule,
}

/// Leaves of one table that are gone and follow each other: they mapped frames that do too, or shared one.
#[derive(Clone, Copy)]
struct Leaves {
    /// The number of the first.
    from: usize,
    first: Descriptor,
    count: u64,
    /// What the next entry was, if its leaf is one of them, and how much more than the one before it.
    next: u64,
    step: u64,
}

impl Leaves {
    const NONE: Self = Self { from: 0, first: Descriptor::EMPTY, count: 0, next: 0, step: 0 };

    /// Leaf number `i` of `run`, which `was` mapped, is gone; `gone` hears of those before it where it is not one of them.
    #[inline(always)]
    fn add(&mut self, g: Granule, run: &Entries, (i, was): (usize, Descriptor), gone: TakeBack<'_>) {
        if was.bits() == self.next {
            self.count += 1;
        } else {
            self.tell(g, run, gone);
            (self.from, self.first, self.count) = (i, was, 1);
            self.step = if was.is_shared() { 0 } else { run.first.span.len() };
        }
        self.next = was.bits().wrapping_add(self.step);
    }

    /// The next leaf is not gone.
    #[inline(always)]
    const fn end(&mut self) {
        self.next = 0;
    }

    #[inline(never)]
    fn tell(self, g: Granule, run: &Entries, gone: TakeBack<'_>) {
        let (va, pa, entries) = (run.span(self.from, self.from).start, self.first.address(g), self.count);
        if entries > 0 {
            gone(if self.first.is_shared() {
                Gone::SharedLeaf { va, pa, entries }
            } else {
                Gone::Leaves { va, pa, size: entries * run.first.span.len() }
            });
        }
    }
}

impl<M: Machine> Reaper<'_, M> {
    /// Nothing leads to this table any more, so all that it maps is gone, whether its entries were broken or not. They stay as
    /// they are: the next use of the frame clears it.
    fn whole(&mut self, run: &Entries) {
        if !self.leaves {
            return;
        }
        let (g, mut leaves) = (self.g, Leaves::NONE);
        for (i, entry) in machine::table(self.machine, run.first.table, run.count).iter().enumerate() {
            let was = Descriptor::from_bits(entry.load(Relaxed));
            if was.is_empty() {
                leaves.end();
            } else {
                leaves.add(g, run, (i, was), self.gone);
            }
        }
        leaves.tell(g, run, self.gone);
    }

    /// Empties what is broken of the leaves of `run`, up to the first entry that leads to a table; returns how many entries
    /// that were.
    #[inline(never)]
    fn broken(&mut self, run: &Entries) -> Result<usize> {
        let (g, tables) = (self.g, run.table_bits());
        if !self.leaves {
            return change_run::<M>(g, self.machine, run, tables, |_, old| {
                old.is_broken().then_some(Descriptor::EMPTY)
            });
        }
        let (mut leaves, gone) = (Leaves::NONE, &mut *self.gone);
        let done = change_run::<M>(g, self.machine, run, tables, |i, old| {
            if !old.is_broken() {
                leaves.end();
                return None;
            }
            leaves.add(g, run, (i, old), gone);
            Some(Descriptor::EMPTY)
        })?;
        leaves.tell(g, run, self.gone);
        Ok(done)
    }
}

impl<M: Machine> Visit for Reaper<'_, M> {
    fn visit(&mut self, slot: &Slot, end: VirtAddr) -> Result<Next> {
        let g = self.g;
        let old = read::<M>(self.machine, slot);
        let was = if old.is_broken() { old.unbroken() } else { old };
        if !was.is_table(slot.level) {
            return self.broken(&Entries::after(g, slot, end)).map(Next::Past);
        }
        let table = was.address(g);
        if old.is_broken_whole() {
            self.whole(&Entries::of(g, table, slot.level + 1, slot.span));
            return self.leave(slot).map(|()| Next::Over);
        }
        if !was.is_shared() {
            return Ok(Next::Descend(table));
        }
        if old.is_broken() {
            write::<M>(g, self.machine, slot, Descriptor::EMPTY, Contents::MayDiffer)?;
            (self.gone)(Gone::SharedTable { span: slot.span, table });
        }
        Ok(Next::Over)
    }

    fn leave(&mut self, slot: &Slot) -> Result<()> {
        let g = self.g;
        let old = read::<M>(self.machine, slot);
        if old.is_broken() {
            write::<M>(g, self.machine, slot, Descriptor::EMPTY, Contents::MayDiffer)?;
            (self.gone)(Gone::Table(old.unbroken().address(g)));
        }
        Ok(())
    }
}

pub(super) struct Scanner<'a, M> {
    pub(super) machine: &'a M,
    pub(super) found: &'a mut dyn FnMut(&Entries, Descriptor) -> bool,
    /// Whether leaves that continue each other are found together.
    pub(super) by_runs: bool,
    /// The shared table that has just been walked below an entry of each level.
    pub(super) shared: [Option<PhysAddr>; LAST_LEVEL as usize],
    pub(super) g: Granule,
}

impl<M: Machine> Visit for Scanner<'_, M> {
    fn visit(&mut self, slot: &Slot, end: VirtAddr) -> Result<Next> {
        let g = self.g;
        let d = read::<M>(self.machine, slot);
        if d.is_empty() {
            return Ok(Next::Past(empty_from(g, self.machine, slot, end)));
        }
        let leaves = self.by_runs && d.is_leaf(slot.level) && !d.is_shared();
        let count = if leaves { leaves_from(g, self.machine, slot, end) } else { 1 };
        let into = (self.found)(&Entries { first: *slot, count }, d);
        if !into || !d.is_table(slot.level) {
            return Ok(Next::Past(count));
        }
        let table = d.address(g);
        let last = &mut self.shared[usize::from(slot.level)];
        let seen = d.is_shared() && *last == Some(table);
        *last = d.is_shared().then_some(table);
        Ok(if seen { Next::Over } else { Next::Descend(table) })
    }
}
