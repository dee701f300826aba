//! A range that may be added: the only place where one is validated. After it nobody checks again.

use crate::addr::{PhysAddr, PhysRange};
use crate::error::{Error, Result};
use crate::granule::Granule;
use crate::hotplug::block::Source;
use crate::machine::Machine;
use crate::model::Mm;
use crate::pfn::{Pfn, PfnRange};

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
    pub fn new<G: Granule, M: Machine>(
        mm: &Mm<G, M>,
        start: PhysAddr,
        len: u64,
        source: Source,
    ) -> Result<Self> {
        if len == 0 {
            return Err(Error::Empty(start));
        }
        let range = PhysRange::checked_new(start, len).ok_or(Error::Wraps { start, len })?;
        if !start.is_aligned(G::SECTION_SIZE) || !range.end.is_aligned(G::SECTION_SIZE) {
            return Err(Error::NotBlockAligned { range, block: G::SECTION_SIZE });
        }
        let reach = mm.layout().reach();
        if !reach.covers(&range) {
            return Err(Error::BeyondLinearMap { range, reach });
        }
        let pages = PfnRange::inside::<G>(range);
        if let Some(section) = mm.sections().iter().find(|s| pages.contains(s.start)) {
            return Err(Error::Exists { range, present: section.start.address::<G>() });
        }
        // What a device gave to the system is claimed by that device, also while it is on its way.
        if let Some(device) = mm.kmem_at(pages) {
            return Err(Error::Exists { range, present: device.address::<G>() });
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
    /// The first page of each of its blocks.
    pub fn blocks<G: Granule>(pages: PfnRange) -> impl DoubleEndedIterator<Item = Pfn> + Clone {
        (0..pages.len() / G::SECTION_PAGES).map(move |i| pages.start + i * G::SECTION_PAGES)
    }
}
