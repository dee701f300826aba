//! Memory blocks: the unit that goes online and offline (Linux: `struct memory_block`). A block is a section whose
//! memory is, or could be, given to the buddy allocator.

use core::fmt;

use crate::error::BlockIs;
use crate::frame::buddy::FreeArea;
use crate::frame::memmap::DemandMemmap;
use crate::frame::zone::ZoneKind;
use crate::granule::Granule;
use crate::list::Keyed;
use crate::pfn::{Pfn, PfnRange};

/// Where a block's memory came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    /// RAM that was there at boot.
    Boot,
    /// The DIMM in this slot.
    Dimm(u32),
    /// A node of the device tree.
    DeviceTree,
    /// A device that gave its memory to the system.
    Kmem,
    /// The virtio-mem device of this number.
    VirtioMem(u32),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boot => f.write_str("boot"),
            Self::Dimm(slot) => write!(f, "dimm{slot}"),
            Self::DeviceTree => f.write_str("dt"),
            Self::Kmem => f.write_str("kmem"),
            Self::VirtioMem(device) => write!(f, "virtio-mem{device}"),
        }
    }
}

/// What a block is doing. A block that is online is in a zone; one that is going offline still is, but nothing new is
/// allocated from it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BlockState {
    /// Present, described, not in use.
    Offline,
    /// Its memory is in this zone.
    Online(ZoneKind),
    /// Isolated in this zone: what is in use is being moved away.
    GoingOffline(ZoneKind),
}

impl BlockState {
    /// The word of `state` and of messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Offline => "offline",
            Self::Online(_) => "online",
            Self::GoingOffline(_) => "going-offline",
        }
    }
    /// What a refusal says of it.
    pub const fn described(self) -> BlockIs {
        match self {
            Self::Offline => BlockIs::Offline,
            Self::Online(_) => BlockIs::Online,
            Self::GoingOffline(_) => BlockIs::GoingOffline,
        }
    }
    /// The zone, unless offline.
    pub const fn zone(self) -> Option<ZoneKind> {
        match self {
            Self::Offline => None,
            Self::Online(zone) | Self::GoingOffline(zone) => Some(zone),
        }
    }
}

/// A memory block.
#[derive(Clone, Debug)]
pub struct MemoryBlock {
    /// The first page.
    pub start: Pfn,
    /// What it is doing.
    pub state: BlockState,
    /// Where it came from.
    pub source: Source,
    /// Its NUMA node.
    pub node: u32,
    /// The pages at its start that hold its own memmap.
    pub memmap_pages: u64,
    /// Other pages that hold its own memmap, marked so: what a block on demand lends (frame/demand), or a driver's choice
    /// (vmemmap/hosted.rs).
    pub memmap_inside: u64,
    /// Poisoned pages in it. Their marks, and those of `memmap_inside`, stay while it is offline.
    pub poisoned: u64,
    /// Pages without memory now: parts that are not plugged (frame/unplugged). They keep their mark likewise.
    pub unplugged: u64,
    /// The pages that are memory, its own memmap included: fewer than a block's worth only in a boot block with holes, and
    /// while a part is not plugged.
    pub present: u64,
    /// Its free lists. While it is offline: none, but for a block on demand, which keeps them.
    pub free: FreeArea,
    /// Tenants' pages in it.
    pub tenant_pages: u64,
    /// Where its memmap is mapped, if that is populated on demand.
    pub demand: Option<DemandMemmap>,
}

impl MemoryBlock {
    /// All pages of the block.
    pub fn pages(&self, g: Granule) -> PfnRange {
        PfnRange::new(self.start, g.section_pages)
    }
    /// How many of its pages hold its own memmap.
    pub const fn own_memmap(&self) -> u64 {
        self.memmap_pages + self.memmap_inside
    }
    /// How many pages between [`Self::usable`]'s ends have a mark that they keep while the block is offline.
    pub const fn marked_inside(&self) -> u64 {
        self.memmap_inside + self.poisoned + self.unplugged
    }
    /// The pages that the buddy allocator may have, but for those of [`Self::marked_inside`].
    pub fn usable(&self, g: Granule) -> PfnRange {
        PfnRange { start: self.start + self.memmap_pages, end: self.start + g.section_pages }
    }
}

impl Keyed for MemoryBlock {
    fn key(&self) -> u64 {
        self.start.get()
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn the_words_of_state_say_source_and_state() {
        let sources = [Source::Boot, Source::Dimm(3), Source::DeviceTree, Source::Kmem, Source::VirtioMem(0)];
        let words = ["boot", "dimm3", "dt", "kmem", "virtio-mem0"];
        assert_eq!(sources.map(|source| source.to_string()), words);
        let states = [
            BlockState::Offline,
            BlockState::Online(ZoneKind::Normal),
            BlockState::GoingOffline(ZoneKind::Movable),
        ];
        assert_eq!(states.map(BlockState::name), ["offline", "online", "going-offline"]);
    }
}
