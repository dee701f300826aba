//! What bounds the time of a view.

use std::cell::Cell;

/// The most struct pages that one view reads: 32 MiB of them.
pub(crate) const STRUCT_PAGES: u64 = 1 << 19;
/// The most tables that one view reads.
pub(crate) const TABLES: u64 = 1 << 15;
/// The most runs or ranges that a view lists.
pub(crate) const ROWS: usize = 8192;

/// What is left of something that must not grow without bound.
pub(crate) struct Budget(Cell<u64>);

impl Budget {
    pub(crate) const fn new(most: u64) -> Self {
        Self(Cell::new(most))
    }
    /// Takes `count`, if there is as much.
    pub(crate) fn take(&self, count: u64) -> bool {
        let left = self.0.get().checked_sub(count);
        self.0.set(left.unwrap_or(0));
        left.is_some()
    }
    pub(crate) fn is_spent(&self) -> bool {
        self.0.get() == 0
    }
}
