//! What the walks of [`super::table`] do at each entry: map, break, reap, scan.

use core::sync::atomic::Ordering::Relaxed;

use super::request::{Gone, Keep, MapRequest, TakeBack};
use super::walk::{Next, Visit, live_entries};
use crate::addr::{PhysAddr, VirtAddr, VirtRange};
use crate::entry::descriptor::Descriptor;
use crate::entry::flush::PendingInvalidation;
use crate::entry::live_update::Contents;
use crate::entry::slot::{Entries, Slot, change_run, read, write, write_run};
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

    fn leaf_fits(&self, slot: &Slot) -> bool {
        let g = self.g;
        let size = slot.span.len();
        g.leaf_levels[usize::from(slot.level)]
            && slot.part == slot.span
            && size <= self.request.max_leaf
            && self.pa(slot.span.start).is_aligned(size)
    }

    /// Whether the whole run of entries around `slot` is mapped by this request, and congruently.
    fn contiguous(&self, slot: &Slot) -> bool {
        let g = self.g;
        let Some(run) = g.contiguous_bytes(slot.level) else { return false };
        let start = slot.span.start.align_down(run);
        let range = self.request.range;
        self.request.contiguous
            && run <= self.request.max_leaf
            && range.start <= start
            && start + run <= range.end
            && self.pa(start).is_aligned(run)
    }

    /// Whether the part of the request below `slot` is whole, congruent pages.
    fn pages_fit(&self, slot: &Slot) -> bool {
        let (size, part) = (self.g.page_size, slot.part);
        size <= self.request.max_leaf
            && part.start.is_aligned(size)
            && part.end.is_aligned(size)
            && self.pa(part.start).is_aligned(size)
    }

    /// The pages of the request that are mapped by whole, congruent runs of entries with the Contiguous bit.
    fn contiguous_pages(&self) -> VirtRange {
        let range = self.request.range;
        let run = self.g.contiguous_bytes(LAST_LEVEL).filter(|run| *run <= self.request.max_leaf);
        let start = run.and_then(|run| range.start.checked_align_up(run));
        let whole = run.zip(start).filter(|(run, start)| self.pa(*start).is_aligned(*run));
        match whole.filter(|_| self.request.contiguous) {
            Some((run, start)) if start < range.end => VirtRange { start, end: range.end.align_down(run) },
            _ => VirtRange { start: range.end, end: range.end },
        }
    }

    /// Maps the pages of `slot`'s part, by the entries of `table`: 13 instructions for each, by a visit of a walk 84.
    #[inline(never)]
    fn pages(&mut self, slot: &Slot, table: PhysAddr) -> Result<()> {
        let (part, whole) = (slot.part, self.contiguous_pages());
        let (start, end) = (whole.start.clamp(part.start, part.end), whole.end.clamp(part.start, part.end));
        self.run(table, VirtRange { start: part.start, end: start }, false)?;
        self.run(table, VirtRange { start, end: end.max(start) }, true)?;
        self.run(table, VirtRange { start: end.max(start), end: part.end }, false)
    }

    /// Maps the pages of `part`, by entries of `table` that all have the Contiguous bit, or none.
    fn run(&mut self, table: PhysAddr, part: VirtRange, contiguous: bool) -> Result<()> {
        if part.is_empty() {
            return Ok(());
        }
        let (g, run) = (self.g, Entries::of(self.g, table, LAST_LEVEL, part));
        let first = Descriptor::leaf(self.pa(part.start), self.request.attributes, LAST_LEVEL, contiguous);
        let (mut at, mut next) = (0, first.bits());
        let written = write_run::<M>(self.machine, &run, |i| {
            at = i;
            let page = Descriptor::from_bits(next);
            next += g.page_size;
            page
        });
        // The entry that was in the way is not ours.
        self.done = run.span(0, if written.is_ok() { run.count } else { at }).end;
        written
    }

    fn add_table(&mut self, slot: &Slot) -> Result<PhysAddr> {
        let g = self.g;
        let table = self.frames.alloc_table()?;
        machine::zero_frame(self.machine, table, g.page_size);
        write::<M>(g, self.machine, slot, Descriptor::table(table), Contents::MayDiffer)?;
        Ok(table)
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
    fn entry(&mut self, slot: &Slot) -> Result<Next> {
        let g = self.g;
        let below = table_below::<M>(self.machine, slot, g)?;
        if below.is_some() || !self.leaf_fits(slot) {
            let table = match below {
                Some(table) => table,
                None if slot.level < LAST_LEVEL => self.add_table(slot)?,
                // Below the last level there is nothing: a request that is not whole, congruent pages.
                None => return Err(SpaceError::NotPages(slot.part.start).into()),
            };
            if slot.level + 1 < LAST_LEVEL || !self.pages_fit(slot) {
                return Ok(Next::Descend(table));
            }
            return self.pages(slot, table).map(|()| Next::Over);
        }
        let pa = self.pa(slot.span.start);
        let leaf = Descriptor::leaf(pa, self.request.attributes, slot.level, self.contiguous(slot));
        write::<M>(g, self.machine, slot, leaf, Contents::MayDiffer)?;
        self.done = slot.span.end;
        Ok(Next::Over)
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
    /// Whether a table of pages goes with all that it maps, by the one entry that leads to it.
    fn goes_whole(&mut self, slot: &Slot) -> bool {
        slot.level + 1 == LAST_LEVEL
            && slot.part == slot.span
            && !self.every_table
            && self.bounds.covers(&slot.span)
            && !(self.keep)(slot.span)
    }

    /// The pages of `slot`'s part, which `table` maps. As of a table, `keep` is asked once for all of them, and keeps none of
    /// what it does not keep.
    #[inline(never)]
    fn pages(&mut self, slot: &Slot, table: PhysAddr) -> Result<()> {
        let (g, run) = (self.g, Entries::of(self.g, table, LAST_LEVEL, slot.part));
        let all = !self.every_table && !(self.keep)(run.span(0, run.count));
        let broken = if all {
            change_run::<M>(g, self.machine, &run, |_, old| old.is_valid().then(|| old.broken()))?
        } else {
            change_run::<M>(g, self.machine, &run, |i, old| {
                (old.is_valid() && !(self.keep)(run.span(i, i + 1))).then(|| old.broken())
            })?
        };
        if !broken.is_empty() {
            self.pending.add_leaves(run.span(broken.start, broken.end), g.page_size, false);
            self.lost[usize::from(LAST_LEVEL)] = true;
        }
        Ok(())
    }
}

impl<M: Machine> Visit for Breaker<'_, M> {
    fn entry(&mut self, slot: &Slot) -> Result<Next> {
        let g = self.g;
        let old = read::<M>(self.machine, slot);
        let table = old.is_table(slot.level);
        let whole = table && !old.is_shared() && self.goes_whole(slot);
        if table && !old.is_shared() && !whole {
            if slot.level + 1 < LAST_LEVEL {
                return Ok(Next::Descend(old.address(g)));
            }
            self.pages(slot, old.address(g))?;
            return self.leave(slot).map(|()| Next::Over);
        }
        if whole || old.is_valid() && !(self.keep)(slot.span) {
            write::<M>(g, self.machine, slot, old.broken(), Contents::MayDiffer)?;
            // What the table maps are pages: each of them may be in a TLB.
            let leaf = if table { g.page_size } else { slot.span.len() };
            self.pending.add_leaves(slot.span, leaf, table);
            self.lost[usize::from(slot.level)] = true;
        }
        Ok(Next::Over)
    }

    fn leave(&mut self, slot: &Slot) -> Result<()> {
        let g = self.g;
        let lost = core::mem::take(&mut self.lost[usize::from(slot.level + 1)]);
        if !(lost || self.every_table) {
            return Ok(());
        }
        let old = read::<M>(self.machine, slot);
        let child = old.address(g);
        let empty = live_entries(g, self.machine, child, slot.level + 1, 1) == 0;
        if empty && self.bounds.covers(&slot.span) {
            write::<M>(g, self.machine, slot, old.broken(), Contents::MayDiffer)?;
            self.pending.add_table(slot.span.start, slot.span.len());
            self.lost[usize::from(slot.level)] = true;
        }
        Ok(())
    }
}

pub(super) struct Reaper<'a, M> {
    pub(super) machine: &'a M,
    pub(super) gone: TakeBack<'a>,
    pub(super) g: Granule,
}

/// Pages of one table that are gone and follow each other: they mapped frames that do too, or shared one.
#[derive(Clone, Copy)]
struct Pages {
    /// The number of the first.
    from: usize,
    first: Descriptor,
    count: u64,
    /// What the next entry was, if its page is one of them, and how much more than the one before it.
    next: u64,
    step: u64,
}

impl Pages {
    const NONE: Self = Self { from: 0, first: Descriptor::EMPTY, count: 0, next: 0, step: 0 };

    /// Page number `i` of `run`, which `was` mapped, is gone; `gone` hears of those before it where it is not one of them.
    #[inline(always)]
    fn add(&mut self, g: Granule, run: &Entries, (i, was): (usize, Descriptor), gone: TakeBack<'_>) {
        if was.bits() == self.next {
            self.count += 1;
        } else {
            self.tell(g, run, gone);
            (self.from, self.first, self.count) = (i, was, 1);
            self.step = if was.is_shared() { 0 } else { g.page_size };
        }
        self.next = was.bits() + self.step;
    }

    /// The next page is not gone.
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
                Gone::Leaves { va, pa, size: entries << g.page_shift }
            });
        }
    }
}

impl<M: Machine> Reaper<'_, M> {
    /// Nothing leads to this table any more, so all that it maps is gone, whether its entries were broken or not. They stay
    /// as they are: the next use of the frame clears it.
    #[inline(never)]
    fn table_of_pages(&mut self, slot: &Slot, table: PhysAddr) {
        let (g, mut pages) = (self.g, Pages::NONE);
        let run = Entries::of(g, table, LAST_LEVEL, slot.span);
        for (i, entry) in machine::table(self.machine, table, run.count).iter().enumerate() {
            let was = Descriptor::from_bits(entry.load(Relaxed));
            if was.is_empty() {
                pages.end();
            } else {
                pages.add(g, &run, (i, was), self.gone);
            }
        }
        pages.tell(g, &run, self.gone);
    }

    /// The pages of `slot`'s part, which `table` maps, as far as they are broken.
    #[inline(never)]
    fn pages(&mut self, slot: &Slot, table: PhysAddr) -> Result<()> {
        let (g, run) = (self.g, Entries::of(self.g, table, LAST_LEVEL, slot.part));
        let (mut pages, gone) = (Pages::NONE, &mut *self.gone);
        change_run::<M>(g, self.machine, &run, |i, old| {
            if !old.is_broken() {
                pages.end();
                return None;
            }
            pages.add(g, &run, (i, old), gone);
            Some(Descriptor::EMPTY)
        })?;
        pages.tell(g, &run, self.gone);
        Ok(())
    }
}

impl<M: Machine> Visit for Reaper<'_, M> {
    fn entry(&mut self, slot: &Slot) -> Result<Next> {
        let g = self.g;
        let old = read::<M>(self.machine, slot);
        let was = if old.is_broken() { old.unbroken() } else { old };
        let address = was.address(g);
        let table = was.is_table(slot.level);
        if table && !was.is_shared() {
            if slot.level + 1 < LAST_LEVEL {
                return Ok(Next::Descend(address));
            }
            if old.is_broken() {
                self.table_of_pages(slot, address);
            } else {
                self.pages(slot, address)?;
            }
            return self.leave(slot).map(|()| Next::Over);
        }
        if old.is_broken() {
            write::<M>(g, self.machine, slot, Descriptor::EMPTY, Contents::MayDiffer)?;
            let va = slot.span.start;
            (self.gone)(match (was.is_shared(), table) {
                (true, true) => Gone::SharedTable { span: slot.span, table: address },
                (true, false) => Gone::SharedLeaf { va, pa: address, entries: 1 },
                (false, _) => Gone::Leaves { va, pa: address, size: slot.span.len() },
            });
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
    pub(super) found: &'a mut dyn FnMut(&Slot, Descriptor) -> bool,
    /// The shared table that has just been walked below an entry of each level.
    pub(super) shared: [Option<PhysAddr>; LAST_LEVEL as usize],
    pub(super) g: Granule,
}

impl<M: Machine> Visit for Scanner<'_, M> {
    fn entry(&mut self, slot: &Slot) -> Result<Next> {
        let g = self.g;
        let d = read::<M>(self.machine, slot);
        let into = !d.is_empty() && (self.found)(slot, d);
        if !into || !d.is_table(slot.level) {
            return Ok(Next::Over);
        }
        let table = d.address(g);
        let last = &mut self.shared[usize::from(slot.level)];
        let seen = d.is_shared() && *last == Some(table);
        *last = d.is_shared().then_some(table);
        Ok(if seen { Next::Over } else { Next::Descend(table) })
    }
}
