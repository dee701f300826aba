//! What could not be plugged or unplugged, and why.

use alloc::vec::Vec;
use core::ops::Range;

use hotmap_mm::error::Error;
use hotmap_mm::list;

/// A range that stays as it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stay {
    /// Its addresses.
    pub range: Range<u64>,
    /// Why.
    pub why: Error,
}

/// The most that are listed: what is found after these is counted.
pub const MOST_LISTED: usize = 64;

/// What stays.
#[derive(Clone, Debug, Default)]
pub struct Stuck {
    listed: Vec<Stay>,
    more: u64,
}

impl Stuck {
    /// Nothing.
    pub const fn new() -> Self {
        Self { listed: Vec::new(), more: 0 }
    }
    /// What stays, in the order in which it was found.
    pub fn as_slice(&self) -> &[Stay] {
        &self.listed
    }
    /// How many were found after those that are listed.
    pub const fn more(&self) -> u64 {
        self.more
    }
    /// Whether something stays.
    pub fn is_empty(&self) -> bool {
        self.listed.is_empty() && self.more == 0
    }
    /// Whether the same ranges stay, for reasons of the same kind.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        let kind = |stay: &Stay| core::mem::discriminant(&stay.why);
        let alike = |(a, b): (&Stay, &Stay)| a.range == b.range && kind(a) == kind(b);
        (self.listed.len(), self.more) == (other.listed.len(), other.more)
            && self.listed.iter().zip(&other.listed).all(alike)
    }
    pub(crate) fn clear(&mut self) {
        *self = Self::new();
    }
    /// `range` stays.
    pub(crate) fn note(&mut self, range: Range<u64>, why: Error) {
        if self.listed.len() < MOST_LISTED && list::reserve(&mut self.listed, 1).is_ok() {
            self.listed.push(Stay { range, why });
        } else {
            self.more += 1;
        }
    }
}
