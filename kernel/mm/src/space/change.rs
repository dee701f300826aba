//! Changing live mappings under readers, without a hole wherever the architecture allows it.
//!
//! ```text
//!   rewrite        entries one by one, each change legal in one step (permissions; another address while read-only)
//!   split, join    a block and the table of its pieces replace each other:
//!                    FEAT_BBM level 2    in one step, then TLB maintenance
//!                    without             window open, invalid, TLB maintenance, new entry, window closed
//! ```
//! The caller invalidates between two rewrites of the same entries.

use super::table::KernelSpace;
use super::walk::{Next, Visit};
use crate::addr::{PhysAddr, VirtAddr, VirtRange};
use crate::entry::descriptor::Descriptor;
use crate::entry::flush::PendingInvalidation;
use crate::entry::live_update::Contents;
use crate::entry::slot::{Slot, read, write};
use crate::error::{Error, Result, SpaceError};
use crate::granule::Granule;
use crate::machine::Bbm;
use crate::machine::{self, Machine};

/// What becomes of a leaf: the address that it maps, and what it says.
pub type Rewrite<'a> = &'a mut dyn FnMut(VirtAddr, Descriptor) -> Descriptor;

struct Rewriter<'a, M> {
    machine: &'a M,
    contents: Contents,
    change: Rewrite<'a>,
    pending: PendingInvalidation,
    g: Granule,
}

impl<M: Machine> Visit for Rewriter<'_, M> {
    fn visit(&mut self, slot: &Slot, _end: VirtAddr) -> Result<Next> {
        let g = self.g;
        let old = read::<M>(self.machine, slot);
        if old.is_table(slot.level) {
            return Ok(Next::Descend(old.address(g)));
        }
        let new = (self.change)(slot.span.start, old);
        if new != old {
            let contents =
                if self.is_true(old, new, slot.span.len()) { self.contents } else { Contents::MayDiffer };
            write::<M>(g, self.machine, slot, new, contents)?;
            self.pending.add_leaf(slot.span.start, slot.span.len());
        }
        Ok(Next::Over)
    }
}

impl<M: Machine> Rewriter<'_, M> {
    /// Whether contents that are said to be the same are. Where there are debug checks, every word is compared; elsewhere
    /// the caller is believed, since that costs more than all the rest.
    fn is_true(&self, old: Descriptor, new: Descriptor, size: u64) -> bool {
        let g = self.g;
        let (from, to) = (old.address(g), new.address(g));
        let looked_at = cfg!(debug_assertions) && self.contents == Contents::Same && from != to;
        !looked_at || machine::same_contents(self.machine, from, to, size)
    }
}

impl<M: Machine> KernelSpace<M> {
    /// Lets `change` say what becomes of each leaf of `range`, which has no shared table in it; `contents` is what the caller
    /// knows of the memory behind the old and the new address.
    ///
    /// # Errors
    /// `SpaceError::BreakBeforeMake` at the first change that is not legal in one step; those before it are made, and their
    /// TLB maintenance is done.
    pub fn rewrite(
        &mut self,
        range: VirtRange,
        contents: Contents,
        change: Rewrite<'_>,
    ) -> Result<PendingInvalidation> {
        let g = self.granule();
        let pending = PendingInvalidation::none();
        let mut rewriter = Rewriter::<M> { machine: &self.machine, contents, change, pending, g };
        let result = self.walk(range, &mut rewriter);
        match result {
            Ok(()) => Ok(rewriter.pending),
            Err(error) => {
                rewriter.pending.invalidate(&self.machine);
                Err(error)
            }
        }
    }

    /// [`Self::rewrite`] between places with the same contents. No CPU uses the old translations on return.
    ///
    /// # Errors
    /// As [`Self::rewrite`].
    pub fn rewrite_same(&mut self, range: VirtRange, change: Rewrite<'_>) -> Result<()> {
        let pending = self.rewrite(range, Contents::Same, change)?;
        self.invalidate(pending);
        Ok(())
    }

    /// Lets the block at `va` be the table of its pieces instead. `table` is an unused frame, and belongs to the tables
    /// from here on.
    ///
    /// # Errors
    /// `SpaceError::NotMapped` when there is no block at `va`; `SpaceError::BreakBeforeMake`. Nothing has changed then.
    pub fn split_block(&mut self, va: VirtAddr, table: PhysAddr) -> Result<()> {
        let g = self.granule();
        let path = self.path(va);
        let block = path
            .leaf()
            .filter(|leaf| self.has_pieces(leaf.slot.level))
            .ok_or(Error::Space(SpaceError::NotMapped(va)))?;
        let level = block.slot.level;
        for index in 0..g.entries(level + 1) {
            let piece = block.descriptor.piece(level, index as u64, g);
            machine::fill_table(&self.machine, table, index..index + 1, piece.bits());
        }
        self.replace(&block.slot, Descriptor::table(table))
    }

    /// Lets the table at `va` be the block that its entries make together. The table's frame belongs to the caller from here
    /// on.
    ///
    /// # Errors
    /// `SpaceError::NotMapped` when there is no table of `level + 1` at `va`, or its entries do not make a block;
    /// `SpaceError::BreakBeforeMake`. Nothing has changed then.
    pub fn join_block(&mut self, va: VirtAddr, level: u8) -> Result<PhysAddr> {
        let g = self.granule();
        let path = self.path(va);
        let not_one = Error::Space(SpaceError::NotMapped(va));
        let step = path.steps().find(|step| step.slot.level == level).ok_or(not_one)?;
        if !step.descriptor.is_table(level) || step.descriptor.is_shared() || !self.has_pieces(level) {
            return Err(not_one);
        }
        let table = step.descriptor.address(g);
        let entries = machine::table(&self.machine, table, g.entries(level + 1));
        let entry = |i: usize| entries.get(i).map_or(0, |e| e.load(core::sync::atomic::Ordering::Acquire));
        let block = Descriptor::from_bits(entry(0)).whole();
        let one = block.is_leaf(level)
            && block.address(g).is_aligned(step.slot.span.len())
            && (0..entries.len()).all(|i| entry(i) == block.piece(level, i as u64, g).bits());
        if !one {
            return Err(not_one);
        }
        self.replace(&step.slot, block)?;
        Ok(table)
    }

    /// Whether a leaf of `level` may be one, and has pieces.
    fn has_pieces(&self, level: u8) -> bool {
        let g = self.granule();
        level < crate::granule::LAST_LEVEL && g.leaf_levels[usize::from(level)]
    }

    /// A block and the table of its pieces: the one for the other, and no CPU has anything of the old one left on return.
    /// They say the same by construction: `split_block` has just written the pieces, `join_block` has compared them.
    fn replace(&mut self, slot: &Slot, new: Descriptor) -> Result<()> {
        let (g, machine) = (self.granule(), &self.machine);
        let old = read::<M>(machine, slot);
        // Of a block there is one entry in a TLB, of a table's pages as many as there are. A window is as long as this
        // takes.
        let needed = || {
            let mut pending = PendingInvalidation::none();
            let table = old.is_table(slot.level);
            pending.add_leaves(slot.span, if table { g.page_size } else { slot.span.len() }, table);
            pending
        };
        let supported = machine.bbm();
        if supported == Bbm::Level2 || self.hooks.skips_break() {
            machine.publish();
            write::<M>(g, machine, slot, new, Contents::Resized(supported))?;
            needed().invalidate(machine);
            return Ok(());
        }
        machine.window_open(slot.span);
        let made = write::<M>(g, machine, slot, old.broken(), Contents::MayDiffer).and_then(|()| {
            needed().invalidate(machine);
            write::<M>(g, machine, slot, new, Contents::MayDiffer)
        });
        machine.publish();
        machine.window_close();
        made
    }
}
