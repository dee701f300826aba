//! The counters: of all CPUs together.

use std::fmt::{self, Display, Formatter};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::opcode::KEYS;

/// What was executed since the start.
pub(crate) struct Counts {
    /// Instructions of the blocks that were entered.
    pub(crate) instructions: AtomicU64,
    /// By class ([`crate::opcode::Class`]).
    pub(crate) of: [AtomicU64; KEYS.len()],
}

pub(crate) static COUNTS: Counts =
    Counts { instructions: AtomicU64::new(0), of: [const { AtomicU64::new(0) }; KEYS.len()] };

/// Their values at a moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Snapshot {
    pub(crate) instructions: u64,
    pub(crate) of: [u64; KEYS.len()],
}

impl Counts {
    /// The values now, at an instruction that `rest` instructions of its block follow, itself included: they are counted already.
    pub(crate) fn now(&self, rest: u64) -> Snapshot {
        let of = self.of.each_ref().map(|count| count.load(Ordering::Relaxed));
        Snapshot { instructions: self.instructions.load(Ordering::Relaxed).saturating_sub(rest), of }
    }
}

impl Snapshot {
    /// What was added since `start`.
    pub(crate) fn since(&self, start: &Self) -> Self {
        let of = std::array::from_fn(|at| self.of[at] - start.of[at]);
        Self { instructions: self.instructions.saturating_sub(start.instructions), of }
    }
}

impl Display for Snapshot {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "instructions={}", self.instructions)?;
        KEYS.iter().zip(self.of).try_for_each(|(key, count)| write!(f, " {key}={count}"))
    }
}
