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
use core::ops::{Add, Sub};
use core::sync::atomic::{AtomicU64, Ordering};

/// What is counted. The first three come in a sequence, between two DSB and before an ISB.
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
    /// DSB and ISB after each other.
    Publish,
}

/// The names of the first nine.
const NAMES: [&str; 9] =
    ["tlbi", "tlbi_range", "tlbi_local", "dsb", "isb", "cache", "exceptions", "cleared", "copied"];

static COUNTS: [AtomicU64; NAMES.len() + 1] = [const { AtomicU64::new(0) }; NAMES.len() + 1];

/// The counters of TLBI have the operations in the bits below, and the sequences above: one addition counts both, and `memmap=demand`
/// invalidates twice for each page of memmap (602 instructions with it, 609 with three counters, 587 with none).
pub(super) const SEQUENCE: u64 = 1 << 36;

/// Counts `count` more of `cost`.
#[inline]
pub fn add(cost: Cost, count: u64) {
    let counter = &COUNTS[cost as usize];
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(count), Ordering::Relaxed);
}

/// Counts a sequence of `operations`, which are `cost`, between two DSB and before an ISB.
#[inline]
pub fn add_sequence(cost: Cost, operations: u64) {
    add(cost, SEQUENCE + operations);
}

/// The counts at a moment, or their difference.
#[derive(Clone, Copy, Debug, Default)]
pub struct Costs([u64; NAMES.len()]);

/// The counts since boot; of invalidations until there were 2^28 sequences of a kind.
pub fn read() -> Costs {
    let counts = COUNTS.each_ref().map(|count| count.load(Ordering::Relaxed));
    let mut costs = Costs(core::array::from_fn(|at| counts[at]));
    for cost in [Cost::Tlbi, Cost::TlbiRange, Cost::TlbiLocal] {
        let (sequences, operations) = (counts[cost as usize] / SEQUENCE, counts[cost as usize] % SEQUENCE);
        costs.0[cost as usize] = operations;
        costs.0[Cost::Dsb as usize] += 2 * sequences;
        costs.0[Cost::Isb as usize] += sequences;
    }
    for cost in [Cost::Dsb, Cost::Isb] {
        costs.0[cost as usize] += counts[Cost::Publish as usize];
    }
    costs
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

impl Add for Costs {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(core::array::from_fn(|at| self.0[at] + other.0[at]))
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
