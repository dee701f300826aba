//! The costs of windows: the longest one, and the retries of readers. These counters order nothing.

use crate::atomic::{AtomicU64, Relaxed, constructor, zeroes};
use crate::cpu::{CPUS, Cpu};

/// A time, or a length of time, on both clocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Clock {
    /// The generic timer's ticks (CNTVCT_EL0).
    pub ticks: u64,
    /// Retired instructions of the writer (0 if they are not counted).
    pub instructions: u64,
}

/// The counts so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Figures {
    /// Windows that were opened and closed.
    pub windows: u64,
    /// The longest window, by each clock.
    pub longest: Clock,
    /// Retries after waiting for a window's end, by CPU.
    pub waited: [u64; CPUS],
    /// Retries because the address translated again when the fault was looked at, by CPU.
    pub late: [u64; CPUS],
}

/// The counters.
#[derive(Debug)]
pub(crate) struct Counters {
    // Written by the writer only.
    opened_ticks: AtomicU64,
    opened_instructions: AtomicU64,
    longest_ticks: AtomicU64,
    longest_instructions: AtomicU64,
    // Each element is written by its CPU only.
    waited: [AtomicU64; CPUS],
    late: [AtomicU64; CPUS],
}

impl Counters {
    constructor! {
        /// All zero.
        pub(crate) fn new() -> Self {
            Self {
                opened_ticks: AtomicU64::new(0),
                opened_instructions: AtomicU64::new(0),
                longest_ticks: AtomicU64::new(0),
                longest_instructions: AtomicU64::new(0),
                waited: zeroes(),
                late: zeroes(),
            }
        }
    }

    pub(crate) fn opened(&self, now: Clock) {
        self.opened_ticks.store(now.ticks, Relaxed);
        self.opened_instructions.store(now.instructions, Relaxed);
    }

    /// Excludes the time between from the window's length.
    pub(crate) fn left_out(&self, from: Clock, to: Clock) {
        self.opened_ticks.fetch_add(to.ticks.saturating_sub(from.ticks), Relaxed);
        self.opened_instructions.fetch_add(to.instructions.saturating_sub(from.instructions), Relaxed);
    }

    /// Returns the length of the window that ends now, with 0 for a clock that ran backwards.
    pub(crate) fn closed(&self, now: Clock) -> Clock {
        let length = Clock {
            ticks: now.ticks.saturating_sub(self.opened_ticks.load(Relaxed)),
            instructions: now.instructions.saturating_sub(self.opened_instructions.load(Relaxed)),
        };
        self.longest_ticks.fetch_max(length.ticks, Relaxed);
        self.longest_instructions.fetch_max(length.instructions, Relaxed);
        length
    }

    pub(crate) fn waited(&self, cpu: Cpu) {
        self.waited[cpu.index()].fetch_add(1, Relaxed);
    }

    pub(crate) fn late(&self, cpu: Cpu) {
        self.late[cpu.index()].fetch_add(1, Relaxed);
    }

    pub(crate) fn figures(&self, windows: u64) -> Figures {
        Figures {
            windows,
            longest: Clock {
                ticks: self.longest_ticks.load(Relaxed),
                instructions: self.longest_instructions.load(Relaxed),
            },
            waited: core::array::from_fn(|cpu| self.waited[cpu].load(Relaxed)),
            late: core::array::from_fn(|cpu| self.late[cpu].load(Relaxed)),
        }
    }
}
