//! For how long pages of tenants are unmapped while they migrate: what an access to one of them would wait for.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::counter;

static START: AtomicU64 = AtomicU64::new(0);
static LONGEST: AtomicU64 = AtomicU64::new(0);

/// `Machine::exchange_open`.
pub(crate) fn open() {
    START.store(counter::instructions(), Relaxed);
}

/// `Machine::exchange_close`.
pub(crate) fn close() {
    LONGEST.fetch_max(counter::instructions() - START.load(Relaxed), Relaxed);
}

/// The longest time since the last call, in instructions; 0 where they are not counted.
pub fn take_longest() -> u64 {
    LONGEST.swap(0, Relaxed)
}
