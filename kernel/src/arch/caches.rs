//! Data cache maintenance, for memory that a CPU reads or writes with its caches off.
//!
//! Such accesses go past the caches. A dirty line of before would be written over what they store when it is evicted, and
//! once the caches are on a clean one is read in its place. So a range is cleaned and invalidated before it is written and
//! again after that. (Arm ARM, "The data cache maintenance instruction (DC)", "Ordering and completion of data and
//! instruction cache instructions".)
#![expect(unsafe_code, reason = "assembly; rule M1")]

use core::arch::global_asm;

use super::costs::{self, Cost};

global_asm!(include_str!("caches.S"));

unsafe extern "C" {
    fn hotmap_clean_invalidate(start: u64, end: u64) -> u64;
}

/// Cleans and invalidates the data cache for `len` bytes at `start`, to the point of coherency.
pub fn clean_invalidate(start: u64, len: u64) {
    let end = start.saturating_add(len);
    // SAFETY: M1: cleaning and invalidating a line changes no value.
    let line = unsafe { hotmap_clean_invalidate(start, end) };
    costs::add(Cost::Cache, end.div_ceil(line) - start / line);
    costs::add(Cost::Dsb, 1);
}
