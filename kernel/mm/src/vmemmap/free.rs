//! Unmapping the memmap of a range of pages, and giving its memory back to where it came from.

use crate::addr::{PhysAddr, VirtAddr, VirtRange};
use crate::bugs::Bug;
use crate::machine::Machine;
use crate::model::Mm;
use crate::paging::table::{Gone, TableFrames};
use crate::pfn::{Pfn, PfnRange};
use crate::vmemmap::compound::Tails;

impl<M: Machine> Mm<M> {
    /// Unmap the memmap of whole sections of memory, all of which go.
    pub(crate) fn depopulate_sections(&mut self, range: PfnRange) {
        if !self.has_bug(Bug::KeepMemmap) {
            self.depopulate_run(range);
        }
    }

    /// Unmap the memmap of `range`, whose pages are no longer valid. Leaves that present neighbours need stay (I7), and so
    /// does all of an early section's while anything of the section is present.
    pub(crate) fn depopulate(&mut self, range: PfnRange) {
        let g = self.granule();
        if self.has_bug(Bug::KeepMemmap) {
            return;
        }
        if !self.sections_of(range).iter().any(|section| section.early) {
            return self.depopulate_run(range);
        }
        let mut gone = PfnRange { start: range.start, end: range.start };
        for part in range.sections(g) {
            if self.section_of(part.start).is_some_and(|s| s.early && !s.present.is_empty()) {
                self.depopulate_run(gone);
                gone.start = part.end;
            }
            gone.end = part.end;
        }
        self.depopulate_run(gone);
    }

    fn depopulate_run(&mut self, range: PfnRange) {
        if let Some(leaves) = (!range.is_empty()).then(|| self.leaves_around(range)).and_then(|l| l.ok()) {
            self.free_leaves(leaves, self.layout.memmap(range));
        }
    }

    /// Unmap every unoccupied leaf of `leaves`, free the tables that are left empty, and release the memory. What lies in
    /// `own` describes nobody else, so that only the leaves at its edges have to be looked at.
    pub(crate) fn free_leaves(&mut self, leaves: VirtRange, own: VirtRange) {
        let g = self.granule();
        if leaves.is_empty() {
            return;
        }
        let (tables, machine, bounds) = (self.tables, self.machine.clone(), self.layout.vmemmap_bounds());
        let own = if self.has_bug(Bug::FreeNeighbour) { leaves } else { own };
        let debt = match tables
            .break_range(&machine, leaves, bounds, |leaf| !own.covers(&leaf) && self.is_occupied(leaf))
        {
            Ok(debt) => debt,
            Err(_) => {
                // A memmap block reaches over the range's end: its other half describes somebody else, so it stays.
                self.warnings.stuck += 1;
                return;
            }
        };
        self.pay(debt);
        let (mut run, mut tails) = (Run::default(), Tails::default());
        let reaped = tables.reap(&machine, leaves, |gone| match gone {
            Gone::Leaf { va, pa, size } if run.grow(va, pa, size, g.section_memmap) => {}
            Gone::Leaf { va, pa, size } => {
                self.release_run(core::mem::replace(&mut run, Run { va, pa, size }))
            }
            Gone::Table(table) => self.free_table(table),
            Gone::SharedLeaf { pa, entries, .. } => self.forget_tail(&mut tails, pa, entries),
            Gone::SharedTable { table, .. } => self.forget_shared_table(&mut tails, table),
        });
        self.release_run(run);
        self.release_tails(tails);
        debug_assert!(reaped.is_ok(), "emptying a broken entry is always legal");
    }

    /// Give back neighbouring leaves of one section's memmap, to an altmap at once, to system RAM one by one.
    fn release_run(&mut self, run: Run) {
        let g = self.granule();
        if run.size > 0 {
            self.release_memmap(PfnRange::new(Pfn::containing(g, run.pa), run.size >> g.page_shift));
        }
    }
}

/// Leaves that follow each other in both address spaces and describe the same section.
#[derive(Clone, Copy, Default)]
struct Run {
    va: VirtAddr,
    pa: PhysAddr,
    size: u64,
}

impl Run {
    /// Take the leaf in, if it continues the run.
    fn grow(&mut self, va: VirtAddr, pa: PhysAddr, size: u64, section: u64) -> bool {
        let continues = self.size > 0
            && self.va + self.size == va
            && self.pa + self.size == pa
            && self.va.align_down(section) == va.align_down(section);
        if continues {
            self.size += size;
        }
        continues
    }
}
