//! Translation tables and what can be done with them. There is one walker over ranges, in [`super::walk`] (and [`Tables::path`],
//! the descent to one address); what is done with an entry is
//! a [`Visit`]: map, break, reap and scan are four of them, in `visitors`.
//!
//! Taking a mapping down is two walks with the TLB maintenance between them, so that nothing is let go too early (I5):
//!
//! ```text
//!   break_range   leaf -> broken (invalid, address kept); a table without live entries -> broken too
//!   TlbDebt::pay  no CPU can use the old translations any more
//!   reap          broken -> empty; the caller gets each frame and each table page back
//! ```

use core::sync::atomic::Ordering::Acquire;

use super::descriptor::{Attributes, Descriptor};
use super::flush::TlbDebt;
use super::live_update::Contents;
use super::visitors::{ANYWHERE, Breaker, Mapper, Reaper, Scanner};
pub use super::walk::{Next, Path, Slot, Step, Visit};
use super::walk::{read, slot, walk_level, write};
use crate::addr::{PhysAddr, VirtAddr, VirtRange};
use crate::error::{Error, Result};
use crate::granule::{Granule, LAST_LEVEL};
use crate::machine::{self, Machine};

/// Where table pages come from and go to.
pub trait TableFrames {
    /// A frame for a table, of one granule page; its contents do not matter.
    ///
    /// # Errors
    /// `Out` when there is none.
    fn alloc_table(&mut self) -> Result<PhysAddr>;
    /// Give a table's frame back.
    fn free_table(&mut self, table: PhysAddr);
    /// One more entry leads to this table: the first is counted by [`Self::alloc_table`].
    fn share_table(&mut self, _table: PhysAddr) {}
    /// One entry less leads to this table; whether it was the last. The table is not given back.
    fn unshare_table(&mut self, _table: PhysAddr) -> bool {
        true
    }
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
    /// Leaves of one granule page each, from `va` on, that shared `pa` with others.
    SharedLeaf {
        /// The virtual address that the first mapped.
        va: VirtAddr,
        /// The frame.
        pa: PhysAddr,
        /// How many they are.
        entries: u64,
    },
    /// An entry for `span` that shared a table with others. The table is as it was: its entries are no concern of who goes.
    SharedTable {
        /// What the entry covered.
        span: VirtRange,
        /// The table.
        table: PhysAddr,
    },
}

/// Which leaves [`Tables::break_range`] keeps, for who breaks so rarely that the walk should not be compiled for it alone.
pub type Keep<'a> = &'a mut dyn FnMut(VirtRange) -> bool;
/// Who gets what [`Tables::reap`] gives back, likewise.
pub type TakeBack<'a> = &'a mut dyn FnMut(Gone);

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

/// A set of translation tables for the upper half of the address space (TTBR1_EL1).
#[derive(Clone, Copy, Debug)]
pub struct Tables {
    root: PhysAddr,
    granule: Granule,
}

impl Tables {
    /// The tables under `root`, a table of the granule's start level.
    pub const fn new(granule: Granule, root: PhysAddr) -> Self {
        Self { root, granule }
    }

    /// The granule.
    #[inline(always)]
    pub const fn granule(&self) -> Granule {
        self.granule
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
        let g = self.granule();
        walk_level::<V>(g, self.root, g.start_level, range, visit)
    }

    /// The way to `va`.
    pub fn path<M: Machine>(&self, machine: &M, va: VirtAddr) -> Path {
        let g = self.granule();
        let mut path = Path::default();
        let part = VirtRange { start: va, end: va };
        let (mut table, mut level) = (self.root, g.start_level);
        loop {
            let slot = slot(g, table, level, part);
            let descriptor = read::<M>(machine, &slot);
            path.steps[usize::from(level)] = Some(Step { slot, descriptor });
            if !descriptor.is_table(level) {
                return path;
            }
            table = descriptor.address(g);
            level += 1;
        }
    }

    /// The physical address that `va` translates to.
    pub fn translate<M: Machine>(&self, machine: &M, va: VirtAddr) -> Option<PhysAddr> {
        let g = self.granule();
        let path = self.path(machine, va);
        let leaf = path.leaf()?;
        Some(leaf.descriptor.address(g) + (va - leaf.slot.span.start))
    }

    /// Map `request.range`, with the largest leaves that fit. Publishing is the caller's (one barrier for many maps).
    ///
    /// # Errors
    /// `AlreadyMapped`, or what `frames` ran out of; the tables are as before then.
    pub fn map<M: Machine>(
        &self,
        machine: &M,
        frames: &mut dyn TableFrames,
        request: &MapRequest,
    ) -> Result<()> {
        let g = self.granule();
        let mut mapper = Mapper::<M> { machine, frames, request, done: request.range.start, g };
        let result = self.walk(request.range, &mut mapper);
        let done = mapper.done;
        if result.is_err() {
            self.undo_map(machine, frames, request, done)?;
        }
        result
    }

    /// The leaves below `done` and the tables made on the way are the request's; a leaf that was in the way is not, even one
    /// that the range begins or ends in.
    #[cold]
    fn undo_map<M: Machine>(
        &self,
        machine: &M,
        frames: &mut dyn TableFrames,
        request: &MapRequest,
        done: VirtAddr,
    ) -> Result<()> {
        let ours = VirtRange { start: request.range.start, end: done };
        let keep: Keep<'_> = &mut |leaf| !ours.contains(leaf.start);
        self.break_leaves(machine, request.range, ANYWHERE, true, keep)?.pay(machine);
        let gone: TakeBack<'_> = &mut |gone| {
            if let Gone::Table(table) = gone {
                frames.free_table(table);
            }
        };
        self.reap(machine, request.range, gone)
    }

    /// Break every leaf of `range` that `keep` does not want to keep, and every table that is left without a live entry
    /// and lies in `bounds` (the floor and ceiling of I4). No memory is let go yet: pay the debt, then [`Self::reap`]. A table
    /// of pages may go as a whole: `keep` is asked for all of its span then, and keeps no part of what it does not keep.
    ///
    /// # Errors
    /// `WouldSplit` when the range begins or ends inside a leaf; nothing is changed then.
    pub fn break_range<M: Machine>(
        &self,
        machine: &M,
        range: VirtRange,
        bounds: VirtRange,
        mut keep: impl FnMut(VirtRange) -> bool,
    ) -> Result<TlbDebt> {
        self.refuse_split(machine, range)?;
        self.break_leaves(machine, range, bounds, false, &mut keep)
    }

    /// [`Self::break_range`] for a range of which `keep` keeps every leaf that is only partly inside; with `every_table`
    /// tables go too that were empty before.
    pub(super) fn break_leaves<M: Machine>(
        &self,
        machine: &M,
        range: VirtRange,
        bounds: VirtRange,
        every_table: bool,
        keep: Keep<'_>,
    ) -> Result<TlbDebt> {
        let g = self.granule();
        let (debt, lost) = (TlbDebt::none(), [false; LAST_LEVEL as usize + 1]);
        let mut breaker = Breaker::<M> { machine, bounds, keep, debt, lost, every_table, g };
        self.walk(range, &mut breaker)?;
        Ok(breaker.debt)
    }

    /// Refuse a range that begins or ends inside a leaf, or inside a run of leaves that share the Contiguous bit: a part of
    /// either cannot go by itself.
    ///
    /// # Errors
    /// `WouldSplit`; of a shared table likewise.
    pub fn refuse_split<M: Machine>(&self, machine: &M, range: VirtRange) -> Result<()> {
        let g = self.granule();
        for edge in [range.start, range.end] {
            let path = self.path(machine, edge);
            let Some(leaf) = path.leaf() else { continue };
            let run = g.contiguous_bytes(leaf.slot.level).filter(|_| leaf.descriptor.is_contiguous());
            let table = path.shared_table().map(|step| step.slot.span.len());
            let size = table.or(run).unwrap_or(leaf.slot.span.len());
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
    pub fn reap<M: Machine>(&self, machine: &M, range: VirtRange, mut gone: impl FnMut(Gone)) -> Result<()> {
        let g = self.granule();
        let gone: TakeBack<'_> = &mut gone;
        self.walk(range, &mut Reaper::<M> { machine, gone, g })
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
        let g = self.granule();
        let path = self.path(machine, va);
        let leaf = path.leaf().filter(|s| s.slot.level == LAST_LEVEL).ok_or(Error::NotMapped(va))?;
        let mut debt = TlbDebt::none();
        debt.owe_leaf(leaf.slot.span.start, g.page_size);
        write::<M>(g, machine, &leaf.slot, leaf.descriptor.broken(), Contents::MayDiffer)?;
        pay(debt);
        let new = Descriptor::leaf(pa, Attributes::DATA, LAST_LEVEL, false);
        write::<M>(g, machine, &leaf.slot, new, Contents::MayDiffer)?;
        machine.publish();
        Ok(())
    }

    /// Let the page at `va` map `pa` in one step, with the same attributes.
    ///
    /// # Errors
    /// `NotMapped` when there is no page mapping at `va`; `BreakBeforeMake` unless `contents` and attributes allow it.
    pub fn switch_page<M: Machine>(
        &self,
        machine: &M,
        va: VirtAddr,
        pa: PhysAddr,
        contents: Contents,
    ) -> Result<()> {
        let g = self.granule();
        let path = self.path(machine, va);
        let leaf = path.leaf().filter(|s| s.slot.level == LAST_LEVEL).ok_or(Error::NotMapped(va))?;
        write::<M>(g, machine, &leaf.slot, leaf.descriptor.moved_to(pa, g), contents)?;
        machine.publish();
        Ok(())
    }

    /// Call `found` for every entry of `range` that is not empty, tables before what they lead to. What a shared table leads
    /// to is reported once for entries that follow each other.
    ///
    /// # Errors
    /// None in practice.
    pub fn scan<M: Machine>(
        &self,
        machine: &M,
        range: VirtRange,
        mut found: impl FnMut(&Slot, Descriptor),
    ) -> Result<()> {
        let g = self.granule();
        // One walk for all who look: nothing that is measured does.
        let found: &mut dyn FnMut(&Slot, Descriptor) = &mut found;
        self.walk(range, &mut Scanner::<M> { machine, found, shared: None, g })
    }

    /// How many entries of `table` are live, counted no further than `limit`.
    pub fn live_entries<M: Machine>(
        g: Granule,
        machine: &M,
        table: PhysAddr,
        level: u8,
        limit: usize,
    ) -> usize {
        let entries = machine::table(machine, table, g.entries(level));
        entries.iter().filter(|e| Descriptor::from_bits(e.load(Acquire)).is_valid()).take(limit).count()
    }
}
