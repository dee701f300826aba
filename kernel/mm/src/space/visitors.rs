//! What the walks of [`super::table`] do at each entry: map, break, reap, scan.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::request::{Gone, Keep, MapRequest, TakeBack};
use super::walk::{Next, Visit, live_entries};
use crate::addr::{PhysAddr, VirtAddr, VirtRange};
use crate::entry::descriptor::Descriptor;
use crate::entry::flush::PendingInvalidation;
use crate::entry::live_update::Contents;
use crate::entry::slot::{Slot, read, write};
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
        if let Some(table) = table_below::<M>(self.machine, slot, g)? {
            return Ok(Next::Descend(table));
        }
        if !self.leaf_fits(slot) {
            // Below the last level there is nothing: a request that is not whole, congruent pages.
            let aligned = slot.level < LAST_LEVEL;
            return if aligned {
                self.add_table(slot).map(Next::Descend)
            } else {
                Err(SpaceError::NotPages(slot.part.start).into())
            };
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
}

impl<M: Machine> Visit for Breaker<'_, M> {
    fn entry(&mut self, slot: &Slot) -> Result<Next> {
        let g = self.g;
        let old = read::<M>(self.machine, slot);
        let table = old.is_table(slot.level);
        let whole = table && !old.is_shared() && self.goes_whole(slot);
        if table && !old.is_shared() && !whole {
            return Ok(Next::Descend(old.address(g)));
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

impl<M: Machine> Reaper<'_, M> {
    /// Nothing leads to this table any more, so all that it maps is gone, whether its entries were broken or not. They stay
    /// as they are: the next use of the frame clears it. One frame that is mapped over and over is one thing that is gone.
    fn table_of_pages(&mut self, slot: &Slot, table: PhysAddr) {
        let g = self.g;
        let entries = machine::table(self.machine, table, g.entries(LAST_LEVEL));
        let bits = |at: usize| entries[at].load(Relaxed);
        let (mut at, mut va) = (0, slot.span.start);
        while at < entries.len() {
            let d = Descriptor::from_bits(bits(at));
            let alike = |entry: &&AtomicU64| entry.load(Relaxed) == d.bits();
            let run = if d.is_shared() { entries[at..].iter().take_while(alike).count() } else { 1 };
            let pa = d.address(g);
            if d.is_shared() {
                (self.gone)(Gone::SharedLeaf { va, pa, entries: run as u64 });
            } else if !d.is_empty() {
                (self.gone)(Gone::Leaf { va, pa, size: g.page_size });
            }
            at += run;
            va = va + run as u64 * g.page_size;
        }
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
            if old.is_broken() && slot.level + 1 == LAST_LEVEL {
                self.table_of_pages(slot, address);
                return self.leave(slot).map(|()| Next::Over);
            }
            return Ok(Next::Descend(address));
        }
        if old.is_broken() {
            write::<M>(g, self.machine, slot, Descriptor::EMPTY, Contents::MayDiffer)?;
            let va = slot.span.start;
            (self.gone)(match (was.is_shared(), table) {
                (true, true) => Gone::SharedTable { span: slot.span, table: address },
                (true, false) => Gone::SharedLeaf { va, pa: address, entries: 1 },
                (false, _) => Gone::Leaf { va, pa: address, size: slot.span.len() },
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
    pub(super) found: &'a mut dyn FnMut(&Slot, Descriptor),
    /// The shared table that has just been walked.
    pub(super) shared: Option<PhysAddr>,
    pub(super) g: Granule,
}

impl<M: Machine> Visit for Scanner<'_, M> {
    fn entry(&mut self, slot: &Slot) -> Result<Next> {
        let g = self.g;
        let d = read::<M>(self.machine, slot);
        if !d.is_empty() {
            (self.found)(slot, d);
        }
        if !d.is_table(slot.level) {
            return Ok(Next::Over);
        }
        let table = d.address(g);
        let seen = d.is_shared() && self.shared == Some(table);
        self.shared = d.is_shared().then_some(table);
        Ok(if seen { Next::Over } else { Next::Descend(table) })
    }
}
