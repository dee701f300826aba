//! What one piece led to.

use core::ops::Range;

use hotmap_mm::error::Error;

/// What one piece led to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    /// It is plugged, or idle.
    Done,
    /// Nothing has changed: smaller pieces are tried next.
    Again,
    /// It stays as it is, until something else changes.
    Stays {
        /// The piece.
        at: Range<u64>,
        /// Why.
        why: Error,
    },
    /// Memory is short for it.
    Short {
        /// The piece.
        at: Range<u64>,
        /// What is short.
        why: Error,
    },
    /// The device said NACK.
    Refused,
    /// The device said BUSY.
    Busy,
    /// The console ended it.
    Interrupted,
    /// There is no piece.
    End,
}
