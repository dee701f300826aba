//! Translation tables and what can be done with them. There is one walker over ranges, in [`super::walk`] (and
//! [`KernelSpace::path`], the descent to one address); what is done with an entry is a [`Visit`]: map, break, reap and scan
//! are four of them, in `visitors`.
//!
//! Taking a mapping down is two walks with the TLB maintenance between them, so that nothing is let go too early (I5):
//!
//! ```text
//!   break_range   leaf -> broken (invalid, address kept); a table without live entries -> broken too
//!   invalidate    no CPU can use the old translations any more
//!   reap          broken -> empty; the caller gets each frame and each table page back
//! ```

use super::request::{Gone, Keep, MapRequest, TakeBack};
use super::visitors::{ANYWHERE, Breaker, Mapper, Reaper, Scanner};
use super::walk::walk_level;
use super::walk::{Path, PathEntry, Visit};
use crate::addr::{PhysAddr, VirtAddr, VirtRange};
use crate::debug::hooks::Hooks;
use crate::entry::descriptor::Descriptor;
use crate::entry::flush::PendingInvalidation;
use crate::entry::slot::{Entries, Slot, is_empty, read, slot};
use crate::error::{Result, SpaceError};
use crate::frame::tables::TableFrames;
use crate::granule::{Granule, LAST_LEVEL};
use crate::layout::Layout;
use crate::machine::Machine;

/// The kernel's address space: the translation tables of the upper half (TTBR1_EL1), and where things are in it. A change takes
/// the space by `&mut`.
pub struct KernelSpace<M: Machine> {
    pub(super) machine: M,
    layout: Layout,
    root: PhysAddr,
    skipped: u64,
    pub(crate) hooks: Hooks,
}

impl<M: Machine> KernelSpace<M> {
    /// The tables under `root`, a table of the granule's start level.
    pub const fn new(machine: M, layout: Layout, root: PhysAddr) -> Self {
        Self { machine, layout, root, skipped: 0, hooks: Hooks::new() }
    }

    /// The machine.
    #[inline(always)]
    pub const fn machine(&self) -> &M {
        &self.machine
    }

    /// Where things are.
    #[inline(always)]
    pub const fn layout(&self) -> Layout {
        self.layout
    }

    /// The granule.
    #[inline(always)]
    pub const fn granule(&self) -> Granule {
        self.layout.granule()
    }

    /// The root's physical address, for TTBR1_EL1.
    pub const fn root(&self) -> PhysAddr {
        self.root
    }

    /// Invalidations that were skipped: none, but for a fault that is put in on purpose.
    pub const fn skipped_invalidations(&self) -> u64 {
        self.skipped
    }

    /// Invalidates on every CPU, and waits for it.
    pub fn invalidate(&mut self, pending: PendingInvalidation) {
        if self.hooks.skips_invalidation() && !pending.is_none() {
            self.skipped += 1;
        } else {
            pending.invalidate(&self.machine);
        }
    }

    /// Orders the table writes so far before their use by the walker.
    pub fn publish(&self) {
        self.machine.publish();
    }

    /// The bounds within which empty tables of `region` may be freed (I4).
    pub(crate) fn bounds(&self, region: VirtRange) -> VirtRange {
        self.hooks.table_bounds(region)
    }

    /// Walks `range` with `visit`.
    ///
    /// # Errors
    /// The visitor's.
    pub fn walk<V: Visit>(&self, range: VirtRange, visit: &mut V) -> Result<()> {
        let g = self.granule();
        walk_level::<V>(g, self.root, g.start_level, range, visit)
    }

    /// The way to `va`.
    pub fn path(&self, va: VirtAddr) -> Path {
        let g = self.granule();
        let mut path = Path::default();
        let part = VirtRange { start: va, end: va };
        let (mut table, mut level) = (self.root, g.start_level);
        loop {
            let slot = slot(g, table, level, part);
            let descriptor = read::<M>(&self.machine, &slot);
            path.steps[usize::from(level)] = Some(PathEntry { slot, descriptor });
            if !descriptor.is_table(level) {
                return path;
            }
            table = descriptor.address(g);
            level += 1;
        }
    }

    /// The physical address that `va` translates to.
    pub fn translate(&self, va: VirtAddr) -> Option<PhysAddr> {
        let g = self.granule();
        let path = self.path(va);
        let leaf = path.leaf()?;
        Some(leaf.descriptor.address(g) + (va - leaf.slot.span.start))
    }

    /// Maps `request.range`, with the largest leaves that fit. Publishing is the caller's (one barrier for many maps).
    ///
    /// # Errors
    /// `SpaceError::AlreadyMapped`, or what `frames` ran out of; the tables are as before then.
    pub fn map(&mut self, frames: &mut dyn TableFrames, request: &MapRequest) -> Result<()> {
        let g = self.granule();
        let mut mapper =
            Mapper::<M> { machine: &self.machine, frames, request, done: request.range.start, g };
        let result = self.walk(request.range, &mut mapper);
        let done = mapper.done;
        if result.is_err() {
            self.undo_map(frames, request, done)?;
        }
        result
    }

    /// The leaves below `done` and the tables made on the way are the request's; a leaf that was in the way is not, even one
    /// that the range begins or ends in.
    #[cold]
    fn undo_map(&mut self, frames: &mut dyn TableFrames, request: &MapRequest, done: VirtAddr) -> Result<()> {
        let ours = VirtRange { start: request.range.start, end: done };
        let keep: Keep<'_> = &mut |leaf| !ours.contains(leaf.start);
        self.break_leaves(request.range, ANYWHERE, true, keep)?.invalidate(&self.machine);
        self.reap_unowned(frames, request.range)
    }

    /// Breaks every leaf of `range` that `keep` does not want to keep, and every table that is left without a live entry
    /// and lies in `bounds` (the floor and ceiling of I4). No memory is freed yet: invalidate, then [`Self::reap`]. A table
    /// of pages may go as a whole: `keep` is asked for all of its span then, and keeps no part of what it does not keep.
    ///
    /// # Errors
    /// `SpaceError::WouldSplit` when the range begins or ends inside a leaf; nothing is changed then.
    pub fn break_range(
        &mut self,
        range: VirtRange,
        bounds: VirtRange,
        mut keep: impl FnMut(VirtRange) -> bool,
    ) -> Result<PendingInvalidation> {
        self.refuse_split(range)?;
        self.break_leaves(range, bounds, false, &mut keep)
    }

    /// [`Self::break_range`] for a range of which `keep` keeps every leaf that is only partly inside; with `every_table`
    /// tables go too that were empty before.
    pub(super) fn break_leaves(
        &mut self,
        range: VirtRange,
        bounds: VirtRange,
        every_table: bool,
        keep: Keep<'_>,
    ) -> Result<PendingInvalidation> {
        let g = self.granule();
        let (pending, lost) = (PendingInvalidation::none(), [false; LAST_LEVEL as usize + 1]);
        let mut breaker =
            Breaker::<M> { machine: &self.machine, bounds, keep, pending, lost, every_table, g };
        self.walk(range, &mut breaker)?;
        Ok(breaker.pending)
    }

    /// Breaks the tables on the way to `page` that are left empty, of which one of `level` has lost entries.
    pub(super) fn break_emptied(
        &mut self,
        page: VirtRange,
        bounds: VirtRange,
        level: u8,
        pending: &mut PendingInvalidation,
    ) -> Result<()> {
        let g = self.granule();
        let mut lost = [false; LAST_LEVEL as usize + 1];
        lost[usize::from(level)] = true;
        let (keep, pending_now) = (&mut |_| true, core::mem::take(pending));
        let mut breaker = Breaker::<M> {
            machine: &self.machine,
            bounds,
            keep,
            pending: pending_now,
            lost,
            every_table: false,
            g,
        };
        self.walk(page, &mut breaker)?;
        *pending = breaker.pending;
        Ok(())
    }

    /// Refuses a range that begins or ends inside a leaf, or inside a run of leaves that share the Contiguous bit: a part of
    /// either cannot go by itself.
    ///
    /// # Errors
    /// `SpaceError::WouldSplit`; of a shared table likewise.
    pub fn refuse_split(&self, range: VirtRange) -> Result<()> {
        let g = self.granule();
        for edge in [range.start, range.end] {
            let path = self.path(edge);
            let Some(leaf) = path.leaf() else { continue };
            let run = g.contiguous_bytes(leaf.slot.level).filter(|_| leaf.descriptor.is_contiguous());
            let table = path.shared_table().map(|step| step.slot.span.len());
            let size = table.or(run).unwrap_or(leaf.slot.span.len());
            if !edge.is_aligned(size) {
                return Err(SpaceError::WouldSplit { block: edge.align_down(size), size }.into());
            }
        }
        Ok(())
    }

    /// Empties every broken entry of `range` and hands out what was behind it.
    ///
    /// # Errors
    /// None in practice: emptying a broken entry is always legal.
    pub fn reap(&mut self, range: VirtRange, mut gone: impl FnMut(Gone)) -> Result<()> {
        let g = self.granule();
        let gone: TakeBack<'_> = &mut gone;
        self.walk(range, &mut Reaper::<M> { machine: &self.machine, gone, leaves: true, g })
    }

    /// [`Self::reap`] where no leaf owns what it maps: the tables are freed, and leaves of a table that goes are not looked at.
    ///
    /// # Errors
    /// None in practice.
    pub fn reap_unowned(&mut self, frames: &mut dyn TableFrames, range: VirtRange) -> Result<()> {
        let g = self.granule();
        let gone: TakeBack<'_> = &mut |gone| {
            if let Gone::Table(table) = gone {
                frames.free_table(table);
            }
        };
        self.walk(range, &mut Reaper::<M> { machine: &self.machine, gone, leaves: false, g })
    }

    /// Calls `found` for every entry of `range` that is not empty, tables before what they lead to. What a shared table leads
    /// to is reported once for entries that follow each other.
    ///
    /// # Errors
    /// None in practice.
    pub fn scan(&self, range: VirtRange, mut found: impl FnMut(&Slot, Descriptor)) -> Result<()> {
        // `dyn`: one copy of the walk; scans are not measured.
        let found: &mut dyn FnMut(&Entries, Descriptor) -> bool = &mut |entries, d| {
            found(&entries.first, d);
            true
        };
        let (g, shared, by_runs) = (self.granule(), [None; LAST_LEVEL as usize], false);
        self.walk(range, &mut Scanner::<M> { machine: &self.machine, found, by_runs, shared, g })
    }

    /// [`Self::scan`], into the tables for which `found` says so, and with leaves of one table that continue each other
    /// together: neighbouring memory, the same attributes.
    ///
    /// # Errors
    /// None in practice.
    pub(crate) fn scan_where(
        &self,
        range: VirtRange,
        found: impl FnMut(&Entries, Descriptor) -> bool,
    ) -> Result<()> {
        self.scan_below(self.root, self.granule().start_level, range, found)
    }

    /// [`Self::scan_where`] in `table`, of `level`, through which all of `range` is mapped.
    ///
    /// # Errors
    /// None in practice.
    pub(crate) fn scan_below(
        &self,
        table: PhysAddr,
        level: u8,
        range: VirtRange,
        mut found: impl FnMut(&Entries, Descriptor) -> bool,
    ) -> Result<()> {
        let found: &mut dyn FnMut(&Entries, Descriptor) -> bool = &mut found;
        let (g, shared, by_runs) = (self.granule(), [None; LAST_LEVEL as usize], true);
        let mut scanner = Scanner::<M> { machine: &self.machine, found, by_runs, shared, g };
        walk_level(g, table, level, range, &mut scanner)
    }

    /// Whether no entry of `table` is live.
    pub(crate) fn is_empty_table(&self, table: PhysAddr, level: u8) -> bool {
        is_empty(self.granule(), &self.machine, table, level)
    }
}
