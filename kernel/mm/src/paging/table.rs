//! The only walker. It visits the entries of a range, parents before children, at every level of every granule; what is
//! done with an entry is a [`Visit`]: map, break, reap and scan are four of them.
//!
//! Taking a mapping down is two walks with the TLB maintenance between them, so that nothing is let go too early (I5):
//!
//! ```text
//!   break_range   leaf -> broken (invalid, address kept); a table without live entries -> broken too
//!   TlbDebt::pay  no CPU can use the old translations any more
//!   reap          broken -> empty; the caller gets each frame and each table page back
//! ```

use core::marker::PhantomData;
use core::sync::atomic::Ordering::{Acquire, Release};

use super::descriptor::{Attributes, Descriptor};
use super::flush::TlbDebt;
use super::live_update::{self, Contents};
use crate::addr::{PhysAddr, VirtAddr, VirtRange};
use crate::error::{Error, Result};
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

/// Where table pages come from and go to.
pub trait TableFrames {
    /// A frame for a table, of one granule page; its contents do not matter.
    ///
    /// # Errors
    /// `Out` when there is none.
    fn alloc_table(&mut self) -> Result<PhysAddr>;
    /// Give a table's frame back.
    fn free_table(&mut self, table: PhysAddr);
}

/// What [`Tables::reap`] gives back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Gone {
    /// A leaf of `size` bytes at `va` that mapped `pa`.
    Leaf {
        /// The virtual address that it mapped.
        va: VirtAddr,
        /// The frame.
        pa: PhysAddr,
        /// The leaf's size in bytes.
        size: u64,
    },
    /// A table page.
    Table(PhysAddr),
}

/// What to map, and how.
#[derive(Clone, Copy, Debug)]
pub struct MapRequest {
    /// The virtual range, whole granule pages.
    pub range: VirtRange,
    /// The physical address of its first byte.
    pub pa: PhysAddr,
    /// Memory type and permission.
    pub attributes: Attributes,
    /// The largest leaf, and the largest run of contiguous entries, in bytes: no more than what can go by itself.
    pub max_leaf: u64,
    /// Whether the Contiguous bit may be used: not where entries come and go one by one.
    pub contiguous: bool,
}

/// One step of a walk to an address.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// Where the entry is.
    pub slot: Slot,
    /// What it says.
    pub descriptor: Descriptor,
}

/// The way to an address: one step for each level, until an invalid entry or a leaf.
#[derive(Clone, Copy, Debug, Default)]
pub struct Path {
    steps: [Option<Step>; LAST_LEVEL as usize + 1],
}

impl Path {
    /// The steps from the root on.
    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        self.steps.iter().flatten()
    }
    /// The last step, if it is a leaf.
    pub fn leaf(&self) -> Option<&Step> {
        self.steps().last().filter(|s| s.descriptor.is_leaf(s.slot.level))
    }
}

/// A set of translation tables for the upper half of the address space (TTBR1_EL1).
#[derive(Clone, Copy, Debug)]
pub struct Tables<G: Granule> {
    root: PhysAddr,
    _granule: PhantomData<G>,
}

/// What one entry of `level` covers around `va`.
fn span<G: Granule>(level: u8, va: VirtAddr) -> VirtRange {
    let size = 1u64 << G::GEOMETRY.level_shift(level);
    let start = va.align_down(size);
    VirtRange { start, end: VirtAddr::new(start.get().saturating_add(size)) }
}

fn slot<G: Granule>(table: PhysAddr, level: u8, part: VirtRange) -> Slot {
    let index =
        (part.start.get() >> G::GEOMETRY.level_shift(level)) & (G::GEOMETRY.entries(level) as u64 - 1);
    #[expect(clippy::cast_possible_truncation, reason = "an index into a table of at most 8192 entries")]
    Slot { table, level, index: index as usize, span: span::<G>(level, part.start), part }
}

fn walk_level<G: Granule, V: Visit>(
    table: PhysAddr,
    level: u8,
    range: VirtRange,
    visit: &mut V,
) -> Result<()> {
    let mut at = range.start;
    while at < range.end {
        let end = span::<G>(level, at).end.min(range.end);
        let here = slot::<G>(table, level, VirtRange { start: at, end });
        if let Next::Descend(child) = visit.entry(&here)? {
            walk_level::<G, V>(child, level + 1, here.part, visit)?;
            visit.leave(&here)?;
        }
        at = end;
    }
    Ok(())
}

/// Read an entry.
fn read<G: Granule, M: Machine>(machine: &M, slot: &Slot) -> Descriptor {
    let entries = machine::table(machine, slot.table, G::GEOMETRY.entries(slot.level));
    Descriptor::from_bits(entries[slot.index].load(Acquire))
}

/// Write an entry: the only place that does, so that no change escapes the break-before-make rules (I5).
fn write<G: Granule, M: Machine>(
    machine: &M,
    slot: &Slot,
    new: Descriptor,
    contents: Contents,
) -> Result<()> {
    let entries = machine::table(machine, slot.table, G::GEOMETRY.entries(slot.level));
    let old = Descriptor::from_bits(entries[slot.index].load(Acquire));
    live_update::check(&G::GEOMETRY, slot.level, old, new, contents)
        .map_err(|rule| Error::BreakBeforeMake { at: slot.span.start, rule })?;
    // Release: what the new entry leads to (a cleared table) is visible before the entry is.
    entries[slot.index].store(new.bits(), Release);
    machine.entry_written(slot.table, slot.index, old.bits(), new.bits());
    Ok(())
}

impl<G: Granule> Tables<G> {
    /// The tables under `root`, a table of the granule's start level.
    pub const fn new(root: PhysAddr) -> Self {
        Self { root, _granule: PhantomData }
    }

    /// The root's physical address, for TTBR1_EL1.
    pub const fn root(&self) -> PhysAddr {
        self.root
    }

    /// Walk `range` with `visit`.
    ///
    /// # Errors
    /// The visitor's.
    pub fn walk<V: Visit>(&self, range: VirtRange, visit: &mut V) -> Result<()> {
        walk_level::<G, V>(self.root, G::GEOMETRY.start_level(), range, visit)
    }

    /// The way to `va`.
    pub fn path<M: Machine>(&self, machine: &M, va: VirtAddr) -> Path {
        let mut path = Path::default();
        let part = VirtRange { start: va, end: va };
        let (mut table, mut level) = (self.root, G::GEOMETRY.start_level());
        loop {
            let slot = slot::<G>(table, level, part);
            let descriptor = read::<G, M>(machine, &slot);
            path.steps[usize::from(level)] = Some(Step { slot, descriptor });
            if !descriptor.is_table(level) {
                return path;
            }
            table = descriptor.address(&G::GEOMETRY);
            level += 1;
        }
    }

    /// The physical address that `va` translates to.
    pub fn translate<M: Machine>(&self, machine: &M, va: VirtAddr) -> Option<PhysAddr> {
        let path = self.path(machine, va);
        let leaf = path.leaf()?;
        Some(leaf.descriptor.address(&G::GEOMETRY) + (va - leaf.slot.span.start))
    }

    /// Map `request.range`, with the largest leaves that fit. Publishing is the caller's (one barrier for many maps).
    ///
    /// # Errors
    /// `AlreadyMapped`, or what `frames` ran out of; the tables are as before then.
    pub fn map<M: Machine>(
        &self,
        machine: &M,
        frames: &mut impl TableFrames,
        request: &MapRequest,
    ) -> Result<()> {
        let mut mapper =
            Mapper::<G, M, _> { machine, frames, request, done: request.range.start, _granule: PhantomData };
        let result = self.walk(request.range, &mut mapper);
        let done = mapper.done;
        if result.is_err() {
            // The leaves below `done` and the tables made on the way are ours; a leaf that was in the way is not.
            let debt = self.break_range(machine, request.range, request.range_bounds::<G>(), |leaf| {
                leaf.start >= done
            })?;
            debt.pay(machine);
            self.reap(machine, request.range, |gone| {
                if let Gone::Table(table) = gone {
                    frames.free_table(table);
                }
            })?;
        }
        result
    }

    /// Break every leaf of `range` that `keep` does not want to keep, and every table that is left without a live entry
    /// and lies in `bounds` (the floor and ceiling of I4). No memory is let go yet: pay the debt, then [`Self::reap`].
    ///
    /// # Errors
    /// `WouldSplit` when the range begins or ends inside a leaf; nothing is changed then.
    pub fn break_range<M: Machine>(
        &self,
        machine: &M,
        range: VirtRange,
        bounds: VirtRange,
        keep: impl FnMut(VirtRange) -> bool,
    ) -> Result<TlbDebt> {
        self.refuse_split(machine, range)?;
        let mut breaker =
            Breaker::<G, M, _> { machine, bounds, keep, debt: TlbDebt::none(), _granule: PhantomData };
        self.walk(range, &mut breaker)?;
        Ok(breaker.debt)
    }

    /// Refuse a range that begins or ends inside a leaf, or inside a run of leaves that share the Contiguous bit: a part of
    /// either cannot go by itself.
    ///
    /// # Errors
    /// `WouldSplit`.
    pub fn refuse_split<M: Machine>(&self, machine: &M, range: VirtRange) -> Result<()> {
        for edge in [range.start, range.end] {
            let path = self.path(machine, edge);
            let Some(leaf) = path.leaf() else { continue };
            let run = G::GEOMETRY.contiguous_bytes(leaf.slot.level).filter(|_| leaf.descriptor.is_contiguous());
            let size = run.unwrap_or(leaf.slot.span.len());
            if !edge.is_aligned(size) {
                return Err(Error::WouldSplit { block: edge.align_down(size), size });
            }
        }
        Ok(())
    }

    /// Empty every broken entry of `range` and hand out what was behind it.
    ///
    /// # Errors
    /// None in practice: emptying a broken entry is always legal.
    pub fn reap<M: Machine>(&self, machine: &M, range: VirtRange, gone: impl FnMut(Gone)) -> Result<()> {
        self.walk(range, &mut Reaper::<G, M, _> { machine, gone, _granule: PhantomData })
    }

    /// Let the page at `va` map `pa` instead, by break-before-make: the old frame is no longer reachable on return.
    ///
    /// # Errors
    /// `NotMapped` when there is no page mapping at `va`.
    pub fn exchange_page<M: Machine>(
        &self,
        machine: &M,
        va: VirtAddr,
        pa: PhysAddr,
        pay: impl FnOnce(TlbDebt),
    ) -> Result<()> {
        let path = self.path(machine, va);
        let leaf = path.leaf().filter(|s| s.slot.level == LAST_LEVEL).ok_or(Error::NotMapped(va))?;
        let mut debt = TlbDebt::none();
        debt.owe_leaf(leaf.slot.span.start, G::SIZE);
        write::<G, M>(machine, &leaf.slot, leaf.descriptor.broken(), Contents::MayDiffer)?;
        pay(debt);
        let new = Descriptor::leaf(pa, Attributes::DATA, LAST_LEVEL, false);
        write::<G, M>(machine, &leaf.slot, new, Contents::MayDiffer)?;
        machine.publish();
        Ok(())
    }

    /// Call `found` for every entry of `range` that is not empty, tables before what they lead to.
    ///
    /// # Errors
    /// None in practice.
    pub fn scan<M: Machine>(
        &self,
        machine: &M,
        range: VirtRange,
        found: impl FnMut(&Slot, Descriptor),
    ) -> Result<()> {
        self.walk(range, &mut Scanner::<G, M, _> { machine, found, _granule: PhantomData })
    }

    /// How many entries of the table behind `slot`'s entry are live, counted no further than `limit`.
    pub fn live_entries<M: Machine>(machine: &M, table: PhysAddr, level: u8, limit: usize) -> usize {
        let entries = machine::table(machine, table, G::GEOMETRY.entries(level));
        entries.iter().filter(|e| Descriptor::from_bits(e.load(Acquire)).is_valid()).take(limit).count()
    }
}

impl MapRequest {
    /// The bounds inside which tables made for this request may be freed again: any, since a table that is empty after
    /// the undo was empty (and so absent) before.
    fn range_bounds<G: Granule>(&self) -> VirtRange {
        let first = G::GEOMETRY.start_level();
        VirtRange { start: span::<G>(first, self.range.start).start, end: VirtAddr::new(u64::MAX) }
    }
}

struct Mapper<'a, G, M, F> {
    machine: &'a M,
    frames: &'a mut F,
    request: &'a MapRequest,
    done: VirtAddr,
    _granule: PhantomData<G>,
}

impl<G: Granule, M: Machine, F: TableFrames> Mapper<'_, G, M, F> {
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

impl<G: Granule, M: Machine, F: TableFrames> Visit for Mapper<'_, G, M, F> {
    fn entry(&mut self, slot: &Slot) -> Result<Next> {
        let old = read::<G, M>(self.machine, slot);
        if old.is_table(slot.level) {
            return Ok(Next::Descend(old.address(&G::GEOMETRY)));
        }
        if !old.is_empty() {
            return Err(Error::AlreadyMapped(slot.part.start));
        }
        if !self.leaf_fits(slot) {
            return self.add_table(slot).map(Next::Descend);
        }
        let pa = self.pa(slot.span.start);
        let leaf = Descriptor::leaf(pa, self.request.attributes, slot.level, self.contiguous(slot));
        write::<G, M>(self.machine, slot, leaf, Contents::MayDiffer)?;
        self.done = slot.span.end;
        Ok(Next::Over)
    }
}

struct Breaker<'a, G, M, K> {
    machine: &'a M,
    bounds: VirtRange,
    keep: K,
    debt: TlbDebt,
    _granule: PhantomData<G>,
}

impl<G: Granule, M: Machine, K: FnMut(VirtRange) -> bool> Visit for Breaker<'_, G, M, K> {
    fn entry(&mut self, slot: &Slot) -> Result<Next> {
        let old = read::<G, M>(self.machine, slot);
        if old.is_table(slot.level) {
            return Ok(Next::Descend(old.address(&G::GEOMETRY)));
        }
        if old.is_leaf(slot.level) && !(self.keep)(slot.span) {
            write::<G, M>(self.machine, slot, old.broken(), Contents::MayDiffer)?;
            self.debt.owe_leaf(slot.span.start, slot.span.len());
        }
        Ok(Next::Over)
    }

    fn leave(&mut self, slot: &Slot) -> Result<()> {
        let old = read::<G, M>(self.machine, slot);
        let child = old.address(&G::GEOMETRY);
        let empty = Tables::<G>::live_entries(self.machine, child, slot.level + 1, 1) == 0;
        if empty && self.bounds.covers(&slot.span) {
            write::<G, M>(self.machine, slot, old.broken(), Contents::MayDiffer)?;
            self.debt.owe_table(slot.span.start, slot.span.len());
        }
        Ok(())
    }
}

struct Reaper<'a, G, M, F> {
    machine: &'a M,
    gone: F,
    _granule: PhantomData<G>,
}

impl<G: Granule, M: Machine, F: FnMut(Gone)> Visit for Reaper<'_, G, M, F> {
    fn entry(&mut self, slot: &Slot) -> Result<Next> {
        let old = read::<G, M>(self.machine, slot);
        let was = if old.is_broken() { old.mended() } else { old };
        let address = was.address(&G::GEOMETRY);
        if was.is_table(slot.level) {
            return Ok(Next::Descend(address));
        }
        if old.is_broken() {
            write::<G, M>(self.machine, slot, Descriptor::EMPTY, Contents::MayDiffer)?;
            (self.gone)(Gone::Leaf { va: slot.span.start, pa: address, size: slot.span.len() });
        }
        Ok(Next::Over)
    }

    fn leave(&mut self, slot: &Slot) -> Result<()> {
        let old = read::<G, M>(self.machine, slot);
        if old.is_broken() {
            write::<G, M>(self.machine, slot, Descriptor::EMPTY, Contents::MayDiffer)?;
            (self.gone)(Gone::Table(old.mended().address(&G::GEOMETRY)));
        }
        Ok(())
    }
}

struct Scanner<'a, G, M, F> {
    machine: &'a M,
    found: F,
    _granule: PhantomData<G>,
}

impl<G: Granule, M: Machine, F: FnMut(&Slot, Descriptor)> Visit for Scanner<'_, G, M, F> {
    fn entry(&mut self, slot: &Slot) -> Result<Next> {
        let d = read::<G, M>(self.machine, slot);
        if !d.is_empty() {
            (self.found)(slot, d);
        }
        if d.is_table(slot.level) { Ok(Next::Descend(d.address(&G::GEOMETRY))) } else { Ok(Next::Over) }
    }
}
