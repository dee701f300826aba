//! What struct pages cost: how many pages of vmemmap there are, and how many frames are behind them. Read from the tables.

use core::ops::AddAssign;

use crate::addr::{PhysAddr, VirtAddr};
use crate::entry::descriptor::Descriptor;
use crate::entry::slot::Slot;
use crate::granule::Granule;
use crate::machine::Machine;
use crate::pfn::PfnRange;
use crate::space::table::KernelSpace;

/// The memmap of some pages; everything counts granule pages.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MemmapCost {
    /// Pages of vmemmap.
    pub mapped: u64,
    /// Frames that one of them leads to.
    pub own: u64,
    /// Frames that several lead to, each counted once.
    pub shared: u64,
    /// Pages of vmemmap that lead to those.
    pub mappings: u64,
}

impl MemmapCost {
    /// The frames behind it.
    pub const fn backed(&self) -> u64 {
        self.own + self.shared
    }
    /// The frames that sharing saves.
    pub const fn saved(&self) -> u64 {
        self.mapped.saturating_sub(self.backed())
    }
}

impl AddAssign for MemmapCost {
    fn add_assign(&mut self, more: Self) {
        self.mapped += more.mapped;
        self.own += more.own;
        self.shared += more.shared;
        self.mappings += more.mappings;
    }
}

/// A count that is being made.
#[derive(Default)]
struct Count {
    cost: MemmapCost,
    /// Where the span ends of the shared table whose entries are being looked at: what it maps has been counted with the
    /// entry that leads to it.
    inside: VirtAddr,
    /// The last frame that was shared: tails of one compound page follow each other.
    last: Option<PhysAddr>,
}

impl Count {
    fn entry(&mut self, g: Granule, slot: &Slot, d: Descriptor) {
        let (address, pages) = (d.address(g), slot.part.len() >> g.page_shift);
        let counted = slot.part.start < self.inside;
        if d.is_table(slot.level) {
            if d.is_shared() && !counted {
                self.inside = slot.part.end;
                self.cost.mapped += pages;
                self.cost.mappings += pages;
            }
            return;
        }
        if !d.is_valid() {
            return;
        }
        self.cost.mapped += if counted { 0 } else { pages };
        if !d.is_shared() {
            self.cost.own += pages;
            return;
        }
        self.cost.mappings += if counted { 0 } else { pages };
        self.cost.shared += u64::from(self.last != Some(address));
        self.last = Some(address);
    }
}

/// What the struct pages of `pages` cost. A frame that they share with other pages' counts in full.
pub fn memmap_cost<M: Machine>(space: &KernelSpace<M>, pages: PfnRange) -> MemmapCost {
    let g = space.granule();
    let mut count = Count::default();
    let walked = space.scan(space.layout().memmap(pages), |slot, d| count.entry(g, slot, d));
    debug_assert!(walked.is_ok(), "a scan has nothing to fail at");
    count.cost
}
