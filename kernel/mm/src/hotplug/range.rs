//! A range that may be added. It is validated here; `add_memory` checks again what can have changed since: that nothing is
//! present there, and that no device claims it.

use crate::addr::{PhysAddr, PhysRange};
use crate::error::{RangeError, Result};
use crate::frame::block::Source;
use crate::granule::Granule;
use crate::layout::Layout;
use crate::machine::Machine;
use crate::mm::Mm;
use crate::pfn::PfnRange;

/// A range of whole memory blocks, inside the linear map's reach.
///
/// When it was made, nothing was present there, and no device claimed it. Both can have changed since, so the operations
/// that take one check both again.
#[derive(Clone, Copy, Debug)]
pub struct HotRange {
    pages: PfnRange,
    source: Source,
    node: u32,
    in_blocks: bool,
}

impl HotRange {
    /// Validate `len` bytes at `start`.
    ///
    /// # Errors
    /// `RangeError::Empty`, `RangeError::Wraps`, `RangeError::NotBlockAligned`, `RangeError::BeyondLinearMap` or
    /// `RangeError::Exists`: each names the rule and the value.
    pub fn new<M: Machine>(mm: &Mm<M>, start: PhysAddr, len: u64, source: Source) -> Result<Self> {
        let g = mm.granule();
        let range = whole_blocks(g, start, len)?;
        refuse_beyond(mm.space.layout(), range)?;
        let pages = PfnRange::inside(g, range);
        if let Some(present) = mm.frames.first_section_of(pages).map(|start| start.address(g)) {
            return Err(RangeError::Exists { range, present }.into());
        }
        // What a device gave to the system is claimed by that device, also while it is on its way.
        mm.devices.refuse_claimed(g, pages)?;
        Ok(Self { pages, source, node: 0, in_blocks: false })
    }

    /// The range's pages.
    pub const fn pages(&self) -> PfnRange {
        self.pages
    }
    /// The same range, on NUMA node `node` (0 is where nothing is said).
    pub const fn on_node(self, node: u32) -> Self {
        Self { node, ..self }
    }
    /// Its NUMA node.
    pub const fn node(&self) -> u32 {
        self.node
    }
    /// The same range, of which single memory blocks can be removed later: no leaf of the linear map is larger than one.
    /// (Otherwise removing a part of a leaf is refused: `SpaceError::WouldSplit`.)
    pub const fn in_blocks(self) -> Self {
        Self { in_blocks: true, ..self }
    }
    /// What is removed at once, in pages: the largest leaf of the linear map.
    pub(crate) fn removal_unit(&self, g: Granule) -> u64 {
        if self.in_blocks { g.section_pages } else { self.pages.len() }
    }
    /// Where the memory comes from.
    pub const fn source(&self) -> Source {
        self.source
    }
}

/// `len` bytes at `start`, if they are whole memory blocks.
///
/// # Errors
/// `RangeError::Empty`, `RangeError::Wraps`, `RangeError::NotBlockAligned`.
pub(crate) fn whole_blocks(g: Granule, start: PhysAddr, len: u64) -> Result<PhysRange> {
    let block = g.section_size;
    whole(start, len, block, |range| RangeError::NotBlockAligned { range, block })
}

/// `len` bytes at `start`, if they begin and end at multiples of `unit`, a power of two; `not_aligned` says how they are
/// refused otherwise.
///
/// # Errors
/// `RangeError::Empty`, `RangeError::Wraps`, or `not_aligned`'s.
pub(crate) fn whole(
    start: PhysAddr,
    len: u64,
    unit: u64,
    not_aligned: impl FnOnce(PhysRange) -> RangeError,
) -> Result<PhysRange> {
    if len == 0 {
        return Err(RangeError::Empty(start).into());
    }
    let range = PhysRange::checked_new(start, len).ok_or(RangeError::Wraps { start, len })?;
    if !start.is_aligned(unit) || !range.end.is_aligned(unit) {
        return Err(not_aligned(range).into());
    }
    Ok(range)
}

/// Refuses a range that the linear map does not reach.
///
/// # Errors
/// `RangeError::BeyondLinearMap`.
pub(crate) fn refuse_beyond(layout: Layout, range: PhysRange) -> Result<()> {
    let reach = layout.reach();
    if reach.covers(&range) { Ok(()) } else { Err(RangeError::BeyondLinearMap { range, reach }.into()) }
}
