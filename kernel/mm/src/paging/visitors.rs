//! What the walks of [`super::table`] do at each entry: map, break, reap, scan.

use core::marker::PhantomData;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::descriptor::Descriptor;
use super::flush::TlbDebt;
use super::live_update::Contents;
use super::table::{Gone, Keep, MapRequest, TableFrames, Tables, TakeBack};
use super::walk::{Next, Slot, Visit, read, write};
use crate::addr::{PhysAddr, VirtAddr, VirtRange};
use crate::error::{Error, Result};
use crate::granule::{Granule, LAST_LEVEL};
use crate::machine::{self, Machine};

/// Where tables that an undo leaves empty may be freed: anywhere, since one that is empty after the undo was made by what is
/// undone.
pub(super) const ANYWHERE: VirtRange = VirtRange { start: VirtAddr::new(0), end: VirtAddr::new(u64::MAX) };

pub(super) struct Mapper<'a, G, M> {
    pub(super) machine: &'a M,
    pub(super) frames: &'a mut dyn TableFrames,
    pub(super) request: &'a MapRequest,
    pub(super) done: VirtAddr,
    pub(super) _granule: PhantomData<G>,
}

impl<G: Granule, M: Machine> Mapper<'_, G, M> {
    fn pa(&self, va: VirtAddr) -> PhysAddr {
        self.request.pa + (va - self.request.range.start)
    }

    fn leaf_fits(&self, slot: &Slot) -> bool {
        let size = slot.span.len();
        G::GEOMETRY.leaf_levels[usize::from(slot.level)]
            && slot.part == slot.span
            && size <= self.request.max_leaf
            && self.pa(slot.span.start).is_aligned(size)
    }

    /// Whether the whole run of entries around `slot` is mapped by this request, and congruently.
    fn contiguous(&self, slot: &Slot) -> bool {
        let Some(run) = G::GEOMETRY.contiguous_bytes(slot.level) else { return false };
        let start = slot.span.start.align_down(run);
        let range = self.request.range;
        self.request.contiguous
            && run <= self.request.max_leaf
            && range.start <= start
            && start + run <= range.end
            && self.pa(start).is_aligned(run)
    }

    fn add_table(&mut self, slot: &Slot) -> Result<PhysAddr> {
        let table = self.frames.alloc_table()?;
        machine::zero_frame(self.machine, table, G::SIZE);
        write::<G, M>(self.machine, slot, Descriptor::table(table), Contents::MayDiffer)?;
        Ok(table)
    }
}

impl<G: Granule, M: Machine> Visit for Mapper<'_, G, M> {
    fn entry(&mut self, slot: &Slot) -> Result<Next> {
        let old = read::<M>(self.machine, slot);
        if old.is_table(slot.level) && !old.is_shared() {
            return Ok(Next::Descend(old.address(&G::GEOMETRY)));
        }
        if !old.is_empty() {
            return Err(Error::AlreadyMapped(slot.part.start));
        }
        if !self.leaf_fits(slot) {
            // Below the last level there is nothing: a request that is not whole, congruent pages.
            let aligned = slot.level < LAST_LEVEL;
            return if aligned {
                self.add_table(slot).map(Next::Descend)
            } else {
                Err(Error::NotPages(slot.part.start))
            };
        }
        let pa = self.pa(slot.span.start);
        let leaf = Descriptor::leaf(pa, self.request.attributes, slot.level, self.contiguous(slot));
        write::<G, M>(self.machine, slot, leaf, Contents::MayDiffer)?;
        self.done = slot.span.end;
        Ok(Next::Over)
    }
}

pub(super) struct Breaker<'a, G, M> {
    pub(super) machine: &'a M,
    pub(super) bounds: VirtRange,
    pub(super) keep: Keep<'a>,
    pub(super) debt: TlbDebt,
    /// For each level, whether a table of it has lost an entry since the walk went into it. Only then can it be empty, and
    /// only then is it looked at: a table has up to 8192 entries.
    pub(super) lost: [bool; LAST_LEVEL as usize + 1],
    /// Look at every table: one that was made for nothing has never had an entry. Tables go only once they are empty then;
    /// else one of which nothing is kept goes as it is.
    pub(super) every_table: bool,
    pub(super) _granule: PhantomData<G>,
}

impl<G: Granule, M: Machine> Breaker<'_, G, M> {
    /// Whether a table of pages goes with all that it maps, by the one entry that leads to it.
    fn goes_whole(&mut self, slot: &Slot) -> bool {
        slot.level + 1 == LAST_LEVEL
            && slot.part == slot.span
            && !self.every_table
            && self.bounds.covers(&slot.span)
            && !(self.keep)(slot.span)
    }
}

impl<G: Granule, M: Machine> Visit for Breaker<'_, G, M> {
    fn entry(&mut self, slot: &Slot) -> Result<Next> {
        let old = read::<M>(self.machine, slot);
        let table = old.is_table(slot.level);
        let whole = table && !old.is_shared() && self.goes_whole(slot);
        if table && !old.is_shared() && !whole {
            return Ok(Next::Descend(old.address(&G::GEOMETRY)));
        }
        if whole || old.is_valid() && !(self.keep)(slot.span) {
            write::<G, M>(self.machine, slot, old.broken(), Contents::MayDiffer)?;
            // What the table maps are pages: each of them may be in a TLB.
            let leaf = if table { G::SIZE } else { slot.span.len() };
            self.debt.owe_leaves(slot.span, leaf, table);
            self.lost[usize::from(slot.level)] = true;
        }
        Ok(Next::Over)
    }

    fn leave(&mut self, slot: &Slot) -> Result<()> {
        let lost = core::mem::take(&mut self.lost[usize::from(slot.level + 1)]);
        if !(lost || self.every_table) {
            return Ok(());
        }
        let old = read::<M>(self.machine, slot);
        let child = old.address(&G::GEOMETRY);
        let empty = Tables::<G>::live_entries(self.machine, child, slot.level + 1, 1) == 0;
        if empty && self.bounds.covers(&slot.span) {
            write::<G, M>(self.machine, slot, old.broken(), Contents::MayDiffer)?;
            self.debt.owe_table(slot.span.start, slot.span.len());
            self.lost[usize::from(slot.level)] = true;
        }
        Ok(())
    }
}

pub(super) struct Reaper<'a, G, M> {
    pub(super) machine: &'a M,
    pub(super) gone: TakeBack<'a>,
    pub(super) _granule: PhantomData<G>,
}

impl<G: Granule, M: Machine> Reaper<'_, G, M> {
    /// Nothing leads to this table any more, so all that it maps is gone, whether its entries were broken or not. They stay
    /// as they are: whoever uses the frame next clears it. One frame that is mapped over and over is one thing that is gone.
    fn table_of_pages(&mut self, slot: &Slot, table: PhysAddr) {
        let entries = machine::table(self.machine, table, G::GEOMETRY.entries(LAST_LEVEL));
        let bits = |at: usize| entries[at].load(Relaxed);
        let (mut at, mut va) = (0, slot.span.start);
        while at < entries.len() {
            let d = Descriptor::from_bits(bits(at));
            let alike = |entry: &&AtomicU64| entry.load(Relaxed) == d.bits();
            let run = if d.is_shared() { entries[at..].iter().take_while(alike).count() } else { 1 };
            let pa = d.address(&G::GEOMETRY);
            if d.is_shared() {
                (self.gone)(Gone::SharedLeaf { va, pa, entries: run as u64 });
            } else if !d.is_empty() {
                (self.gone)(Gone::Leaf { va, pa, size: G::SIZE });
            }
            at += run;
            va = va + run as u64 * G::SIZE;
        }
    }
}

impl<G: Granule, M: Machine> Visit for Reaper<'_, G, M> {
    fn entry(&mut self, slot: &Slot) -> Result<Next> {
        let old = read::<M>(self.machine, slot);
        let was = if old.is_broken() { old.mended() } else { old };
        let address = was.address(&G::GEOMETRY);
        let table = was.is_table(slot.level);
        if table && !was.is_shared() {
            if old.is_broken() && slot.level + 1 == LAST_LEVEL {
                self.table_of_pages(slot, address);
                return self.leave(slot).map(|()| Next::Over);
            }
            return Ok(Next::Descend(address));
        }
        if old.is_broken() {
            write::<G, M>(self.machine, slot, Descriptor::EMPTY, Contents::MayDiffer)?;
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
        let old = read::<M>(self.machine, slot);
        if old.is_broken() {
            write::<G, M>(self.machine, slot, Descriptor::EMPTY, Contents::MayDiffer)?;
            (self.gone)(Gone::Table(old.mended().address(&G::GEOMETRY)));
        }
        Ok(())
    }
}

pub(super) struct Scanner<'a, G, M> {
    pub(super) machine: &'a M,
    pub(super) found: &'a mut dyn FnMut(&Slot, Descriptor),
    /// The shared table that has just been walked.
    pub(super) shared: Option<PhysAddr>,
    pub(super) _granule: PhantomData<G>,
}

impl<G: Granule, M: Machine> Visit for Scanner<'_, G, M> {
    fn entry(&mut self, slot: &Slot) -> Result<Next> {
        let d = read::<M>(self.machine, slot);
        if !d.is_empty() {
            (self.found)(slot, d);
        }
        if !d.is_table(slot.level) {
            return Ok(Next::Over);
        }
        let table = d.address(&G::GEOMETRY);
        let seen = d.is_shared() && self.shared == Some(table);
        self.shared = d.is_shared().then_some(table);
        Ok(if seen { Next::Over } else { Next::Descend(table) })
    }
}
