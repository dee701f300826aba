//! What costs a real CPU more than other instructions do, counted where it is done: TLB maintenance waits for every CPU, a barrier
//! for what came before it. INST_RETIRED says nothing of that.
//!
//! ```text
//!  tlb, caches, bulk, counter, cpu, exceptions     add() beside each such instruction
//!  meter                                           read() before and after an operation, and mark()
//! ```
//! The counts of one CPU are exact; of several that work at once some may be lost, for an exact count would need exclusives, and
//! those are what it costs. A plugin in QEMU counts the same from outside (tests/counter), and a boot test compares.

use core::fmt;
use core::ops::Sub;
use core::sync::atomic::{AtomicU64, Ordering};

/// What is counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cost {
    /// TLBI to the Inner Shareable domain, of one address or of all.
    Tlbi,
    /// The same by range (FEAT_TLBIRANGE).
    TlbiRange,
    /// TLBI on this CPU alone.
    TlbiLocal,
    /// DSB.
    Dsb,
    /// ISB.
    Isb,
    /// DC and IC, but for DC ZVA.
    Cache,
    /// Exceptions taken.
    Exception,
    /// Bytes that [`bulk`](super::bulk) cleared or filled.
    Cleared,
    /// Bytes that it copied.
    Copied,
}

const NAMES: [&str; 9] =
    ["tlbi", "tlbi_range", "tlbi_local", "dsb", "isb", "cache", "exceptions", "cleared", "copied"];

static COUNTS: [AtomicU64; NAMES.len()] = [const { AtomicU64::new(0) }; NAMES.len()];

/// Counts `count` more of `cost`.
#[inline]
pub fn add(cost: Cost, count: u64) {
    let counter = &COUNTS[cost as usize];
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(count), Ordering::Relaxed);
}

/// The counts at a moment, or their difference.
#[derive(Clone, Copy, Debug)]
pub struct Costs([u64; NAMES.len()]);

/// The counts since boot.
pub fn read() -> Costs {
    Costs(COUNTS.each_ref().map(|count| count.load(Ordering::Relaxed)))
}

/// Shows an observer of instructions where the meter is: `hint #112`, a NOP on every CPU (Arm ARM, "HINT": unallocated).
#[inline]
pub fn mark() {
    #[cfg(target_os = "none")]
    {
        #![expect(unsafe_code, reason = "an instruction that no crate names; rule M1")]
        // SAFETY: M1; a hint without an effect.
        unsafe { core::arch::asm!("hint #112", options(nomem, nostack, preserves_flags)) };
    }
}

impl Sub for Costs {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(core::array::from_fn(|at| self.0[at].saturating_sub(other.0[at])))
    }
}

/// ` tlbi=2 dsb=4 ...`: those that are not zero.
impl fmt::Display for Costs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut all = NAMES.iter().zip(self.0).filter(|(_, count)| *count != 0);
        all.try_for_each(|(name, count)| write!(f, " {name}={count}"))
    }
}
