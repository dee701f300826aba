//! What is asked of the address space, and what it gives back.

use crate::addr::{PhysAddr, VirtAddr, VirtRange};
use crate::entry::descriptor::Attributes;

/// What `KernelSpace::reap` gives back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Gone {
    /// Leaves from `va` on that mapped what follows `pa`: one block, or pages of one table.
    Leaves {
        /// The virtual address that the first mapped.
        va: VirtAddr,
        /// The first frame.
        pa: PhysAddr,
        /// The bytes that they mapped.
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
    /// An entry for `span` that shared a table with others. The table is as it was: its entries stay valid for the others.
    SharedTable {
        /// What the entry covered.
        span: VirtRange,
        /// The table.
        table: PhysAddr,
    },
}

/// Which leaves `KernelSpace::break_range` keeps. `dyn`: a walk that is rare is not compiled for each caller.
pub type Keep<'a> = &'a mut dyn FnMut(VirtRange) -> bool;
/// Receives what `KernelSpace::reap` gives back; `dyn` for the same reason.
pub type TakeBack<'a> = &'a mut dyn FnMut(Gone);

/// A page that gets another frame.
#[derive(Clone, Copy, Debug)]
pub struct Exchange {
    /// The virtual address that maps it.
    pub va: VirtAddr,
    /// The frame that it has.
    pub from: PhysAddr,
    /// The frame that it gets.
    pub to: PhysAddr,
    /// The table that its entry is in, once that is looked up.
    pub(super) table: PhysAddr,
}

impl Exchange {
    /// The page at `va`, which `from` holds, goes to `to`.
    pub const fn new(va: VirtAddr, from: PhysAddr, to: PhysAddr) -> Self {
        Self { va, from, to, table: PhysAddr::new(0) }
    }
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
