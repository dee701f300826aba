//! TLB maintenance as a debt: whoever breaks a live entry gets one of these and must pay it before the memory that the
//! entry mapped, or the table that it pointed to, is used for anything else (I5).

use crate::addr::{VirtAddr, VirtRange};
use crate::machine::Machine;

/// What must be invalidated. Dropping it unpaid is how stale translations are made, hence `must_use`.
#[must_use = "TLB maintenance is owed: pay it before the memory underneath is reused (I5)"]
#[derive(Debug, Default)]
pub struct TlbDebt {
    range: Option<VirtRange>,
    stride: u64,
    tables: bool,
}

impl TlbDebt {
    /// Nothing owed.
    pub const fn none() -> Self {
        Self { range: None, stride: 0, tables: false }
    }

    /// A leaf of `size` bytes at `va` was broken.
    #[inline(always)]
    pub fn owe_leaf(&mut self, va: VirtAddr, size: u64) {
        self.owe_leaves(
            VirtRange { start: va, end: VirtAddr::new(va.get().saturating_add(size)) },
            size,
            false,
        );
    }

    /// An entry for `span` was broken whose leaves are `size` bytes each; it pointed to a table of them when `table`.
    #[inline(always)]
    pub fn owe_leaves(&mut self, span: VirtRange, size: u64, table: bool) {
        self.tables |= table;
        let stride = if self.stride == 0 { size } else { self.stride.min(size) };
        self.owe(span.start, span.len(), stride);
    }

    /// An entry that pointed to a table, covering `size` bytes at `va`, was broken.
    pub fn owe_table(&mut self, va: VirtAddr, size: u64) {
        let stride = if self.stride == 0 { size } else { self.stride };
        self.tables = true;
        self.owe(va, size.min(stride), stride);
    }

    #[inline(always)]
    fn owe(&mut self, va: VirtAddr, size: u64, stride: u64) {
        let new = VirtRange { start: va, end: VirtAddr::new(va.get().saturating_add(size)) };
        let old = self.range.unwrap_or(new);
        self.range = Some(VirtRange { start: old.start.min(new.start), end: old.end.max(new.end) });
        self.stride = stride;
    }

    /// Whether nothing is owed.
    pub const fn is_none(&self) -> bool {
        self.range.is_none()
    }

    /// Invalidate what is owed on every CPU, and wait for it.
    pub fn pay<M: Machine>(self, machine: &M) {
        if let Some(range) = self.range {
            machine.invalidate(range, self.stride, self.tables);
        }
    }
}
