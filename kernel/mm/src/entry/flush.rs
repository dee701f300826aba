//! TLB maintenance that a change makes necessary, as a value: breaking a live entry returns one, and it has to be done
//! before the memory that the entry mapped, or the table that it pointed to, is used for anything else (I5).

use crate::addr::{VirtAddr, VirtRange};
use crate::machine::Machine;

/// What must be invalidated. To drop it leaves stale translations, hence `must_use`.
#[must_use = "invalidate before the memory underneath is reused (I5)"]
#[derive(Debug, Default)]
pub struct PendingInvalidation {
    range: Option<VirtRange>,
    stride: u64,
    tables: bool,
}

impl PendingInvalidation {
    /// Nothing to invalidate.
    pub const fn none() -> Self {
        Self { range: None, stride: 0, tables: false }
    }

    /// A leaf of `size` bytes at `va` was broken.
    #[inline(always)]
    pub fn add_leaf(&mut self, va: VirtAddr, size: u64) {
        self.add_leaves(VirtRange { start: va, end: va.saturating_add(size) }, size, false);
    }

    /// An entry for `span` was broken whose leaves are `size` bytes each; it pointed to a table of them when `table`.
    #[inline(always)]
    pub fn add_leaves(&mut self, span: VirtRange, size: u64, table: bool) {
        self.tables |= table;
        let stride = if self.stride == 0 { size } else { self.stride.min(size) };
        self.add(span.start, span.len(), stride);
    }

    /// An entry that pointed to a table, covering `size` bytes at `va`, was broken.
    pub fn add_table(&mut self, va: VirtAddr, size: u64) {
        let stride = if self.stride == 0 { size } else { self.stride };
        self.tables = true;
        self.add(va, size.min(stride), stride);
    }

    #[inline(always)]
    fn add(&mut self, va: VirtAddr, size: u64, stride: u64) {
        let new = VirtRange { start: va, end: va.saturating_add(size) };
        let old = self.range.unwrap_or(new);
        self.range = Some(VirtRange { start: old.start.min(new.start), end: old.end.max(new.end) });
        self.stride = stride;
    }

    /// Whether there is nothing to invalidate.
    pub const fn is_none(&self) -> bool {
        self.range.is_none()
    }

    /// Invalidates on every CPU, and waits for it.
    pub fn invalidate<M: Machine>(self, machine: &M) {
        if let Some(range) = self.range {
            machine.invalidate(range, self.stride, self.tables);
        }
    }
}
