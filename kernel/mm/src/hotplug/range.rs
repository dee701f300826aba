//! A range that may be added. It is validated here; `add_memory` checks again what can have changed since: that nothing is present
//! there, and that no device claims it.

use crate::addr::{PhysAddr, PhysRange};
use crate::error::{Error, RangeError, Result};
use crate::frame::block::Source;
use crate::machine::Machine;
use crate::mm::Mm;
use crate::pfn::PfnRange;

/// A range of whole memory blocks, inside the linear map's reach, where nothing is present.
///
/// Holding one proves that this was so for the model that made it, and is so until that model changes.
#[derive(Clone, Copy, Debug)]
pub struct HotRange {
    pages: PfnRange,
    source: Source,
    node: u32,
}

impl HotRange {
    /// Validate `len` bytes at `start`.
    ///
    /// # Errors
    /// `Empty`, `Wraps`, `NotBlockAligned`, `BeyondLinearMap` or `Exists`: each names the rule and the value.
    pub fn new<M: Machine>(mm: &Mm<M>, start: PhysAddr, len: u64, source: Source) -> Result<Self> {
        let g = mm.granule();
        if len == 0 {
            return Err(Error::Range(RangeError::Empty(start)));
        }
        let range =
            PhysRange::checked_new(start, len).ok_or(Error::Range(RangeError::Wraps { start, len }))?;
        if !start.is_aligned(g.section_size) || !range.end.is_aligned(g.section_size) {
            return Err(Error::Range(RangeError::NotBlockAligned { range, block: g.section_size }));
        }
        let reach = mm.space.layout().reach();
        if !reach.covers(&range) {
            return Err(Error::Range(RangeError::BeyondLinearMap { range, reach }));
        }
        let pages = PfnRange::inside(g, range);
        if let Some(section) = mm.frames.sections().iter().find(|s| pages.contains(s.start)) {
            return Err(Error::Range(RangeError::Exists { range, present: section.start.address(g) }));
        }
        // What a device gave to the system is claimed by that device, also while it is on its way.
        if let Some(device) = mm.kmem_at(pages) {
            return Err(Error::Range(RangeError::Exists { range, present: device.address(g) }));
        }
        Ok(Self { pages, source, node: 0 })
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
    /// Where the memory comes from.
    pub const fn source(&self) -> Source {
        self.source
    }
}
