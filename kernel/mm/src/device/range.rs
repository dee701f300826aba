//! What a device's page map is made of.

use crate::addr::PhysRange;
use crate::device::compound::{Compound, Dedup};
use crate::device::pagemap::{DeviceState, DeviceType, Pagemap, Ranges};
use crate::frame::altmap::Altmap;
use crate::granule::Granule;
use crate::pfn::Pfn;

/// Whole subsections inside the linear map's reach, of one type, with an altmap that fits.
///
/// When it was made, nothing was present there, and no device whose memory the system has claimed it. Both can have changed
/// since, so the operations that take one check both again.
#[derive(Clone, Copy, Debug)]
pub struct DeviceRange {
    pub(super) ranges: Ranges,
    pub(super) kind: DeviceType,
    pub(super) altmap: Option<Altmap>,
    pub(super) compound: Compound,
    pub(super) dedup: Dedup,
    pub(super) node: u32,
}

impl DeviceRange {
    /// The same, on NUMA node `node` (0 is where nothing is said).
    pub const fn on_node(self, node: u32) -> Self {
        Self { node, ..self }
    }

    /// The first page of the first range: the device's name.
    pub const fn start(&self) -> Pfn {
        self.ranges.start()
    }
    /// The altmap that it will have.
    pub const fn altmap(&self) -> Option<Altmap> {
        self.altmap
    }
    /// The page map that it will be, with nothing done yet.
    pub const fn pagemap(&self) -> Pagemap {
        let Self { ranges, kind, altmap, compound, dedup, node } = *self;
        let aside = match altmap {
            Some(altmap) => Some(altmap.offset()),
            None => None,
        };
        Pagemap { ranges, kind, aside, compound, dedup, state: DeviceState::Changing, holds: 0, node }
    }
    /// The first range's bytes, for messages.
    pub(super) fn first_addresses(&self, g: Granule) -> PhysRange {
        self.ranges.as_slice()[0].addresses(g)
    }
}
