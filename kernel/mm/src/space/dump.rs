//! What is mapped, as runs: neighbouring leaves of one size and one set of attributes that map neighbouring memory, or that
//! share one frame, are one line (Linux: `mm/ptdump.c`).

use super::table::KernelSpace;
use crate::addr::{PhysAddr, VirtRange};
use crate::entry::descriptor::Descriptor;
use crate::error::Result;
use crate::granule::LAST_LEVEL;
use crate::machine::Machine;

/// A run of leaves that continue each other or share a frame, or of entries that lead to a shared table, all but the first.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// The virtual range.
    pub range: VirtRange,
    /// The physical address of its first byte.
    pub pa: PhysAddr,
    /// The first leaf's descriptor: the attributes of all.
    pub descriptor: Descriptor,
    /// The size of each leaf in bytes; of a table, of what it serves.
    pub leaf: u64,
    table: bool,
}

impl Run {
    /// Whether it is entries that lead to the table at `pa`, as the entry before them does.
    pub const fn is_table(&self) -> bool {
        self.table
    }
    /// Whether all of its entries lead to one frame.
    pub fn is_one_frame(&self) -> bool {
        self.descriptor.is_shared()
    }
    fn continues(&self, next: &Self, same_bits: impl Fn(Descriptor) -> u64) -> bool {
        let mapped = if self.is_one_frame() { 0 } else { self.range.len() };
        self.range.end == next.range.start
            && self.pa + mapped == next.pa
            && (self.leaf, self.table) == (next.leaf, next.table)
            && same_bits(self.descriptor) == same_bits(next.descriptor)
    }
}

impl<M: Machine> KernelSpace<M> {
    /// Calls `line` for each run of leaves in `range`. What a shared table leads to is told once for entries that follow each
    /// other, as in [`Self::scan`]; the other entries are a run of tables.
    ///
    /// # Errors
    /// None in practice.
    pub fn runs(&self, range: VirtRange, mut line: impl FnMut(&Run)) -> Result<()> {
        let g = self.granule();
        let attributes = |d: Descriptor| d.bits() ^ d.address(g).get();
        let mut open: Option<Run> = None;
        let mut walked = [None; LAST_LEVEL as usize];
        self.scan(range, |slot, d| {
            let table = d.is_table(slot.level);
            if table {
                let shared = d.is_shared().then(|| d.address(g));
                let last = &mut walked[usize::from(slot.level)];
                if core::mem::replace(last, shared) != shared || shared.is_none() {
                    return;
                }
            } else if !d.is_leaf(slot.level) {
                return;
            }
            let next =
                Run { range: slot.span, pa: d.address(g), descriptor: d, leaf: slot.span.len(), table };
            match &mut open {
                Some(run) if run.continues(&next, attributes) => run.range.end = next.range.end,
                other => {
                    if let Some(run) = other.replace(next) {
                        line(&run);
                    }
                }
            }
        })?;
        if let Some(run) = open {
            line(&run);
        }
        Ok(())
    }

    /// How many table pages serve `range`, the root not counted, and one that is shared counted once.
    pub fn table_pages(&self, range: VirtRange) -> u64 {
        let g = self.granule();
        let (mut pages, mut shared) = (0, [None; LAST_LEVEL as usize]);
        let walked = self.scan(range, |slot, d| {
            if !d.is_table(slot.level) {
                return;
            }
            // Entries that share a table follow each other, with tables of their own between them.
            let (table, last) = (d.is_shared().then(|| d.address(g)), &mut shared[usize::from(slot.level)]);
            pages += u64::from(table.is_none() || table != *last);
            *last = table.or(*last);
        });
        debug_assert!(walked.is_ok(), "a scan has nothing to fail at");
        pages
    }
}
