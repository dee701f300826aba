//! The pages that huge pages share: one page of ordered tails for each zone and order, made with its first user and freed with
//! its last. It is system RAM like other memmap, is written before anybody maps it, and never after.

use crate::frame::zone::ZoneKind;
use crate::granule::MAX_HUGE_SIZES;
use crate::pfn::Pfn;

/// A shared page.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SharedTail {
    /// The frame, while there is one.
    pub frame: Option<Pfn>,
    /// How many entries map it.
    pub mappings: u64,
}

/// All of them: for each zone, for each size in the pools' order.
pub type SharedTails = [[SharedTail; MAX_HUGE_SIZES]; ZoneKind::ALL.len()];
