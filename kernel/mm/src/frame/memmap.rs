//! The memmap of a block on demand, as values: where it is mapped, and the image that free blocks share. What is done with
//! them is in frame/demand.

use core::sync::atomic::Ordering::Relaxed;

use crate::addr::PhysAddr;
use crate::entry::descriptor::{Attributes, Descriptor};
use crate::frame::page::{PAGE_BYTES_SHIFT, PageKind};
use crate::granule::{Granule, LAST_LEVEL};
use crate::machine::{self, Machine};

/// Where the memmap of a block is mapped: where a table serves one section (4K) the entry of level 2 that leads to it, else
/// the first of the block's entries of level 3.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DemandMemmap {
    /// The table.
    pub(crate) table: PhysAddr,
    /// The entry's index in it.
    pub(crate) index: u32,
}

/// What is done on demand.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DemandFigures {
    /// Memmap pages that got a frame of their own.
    pub populated: u64,
    /// Memmap pages that lost it.
    pub given_back: u64,
    /// Blocks that left the image.
    pub materialised: u64,
    /// Blocks that became the image again.
    pub collapsed: u64,
}

/// The blocks whose memmap is populated on demand.
#[derive(Clone, Copy, Debug, Default)]
pub struct Demand {
    pub(super) image: Option<Image>,
    pub(super) blocks: u64,
    pub(super) figures: DemandFigures,
    pub(super) skipped: u64,
}

impl Demand {
    /// The image, while there is a block on demand.
    pub const fn image(&self) -> Option<Image> {
        self.image
    }
    /// How many blocks are on demand.
    pub const fn blocks(&self) -> u64 {
        self.blocks
    }
    /// What was done.
    pub const fn figures(&self) -> DemandFigures {
        self.figures
    }
    /// TLB maintenance that a fault on purpose left out.
    pub(crate) const fn skipped(&self) -> u64 {
        self.skipped
    }
}

/// log2 of the pages that one memmap page describes: 6, 8, 10 at 4K, 16K, 64K.
pub(crate) fn described_order(g: Granule) -> u32 {
    g.page_shift - PAGE_BYTES_SHIFT
}

/// The level of the entries of a block's memmap that lead to the image: above the last where a table serves one section (4K).
pub(crate) fn image_level(g: Granule) -> u8 {
    if g.shares_tables() { LAST_LEVEL - 1 } else { LAST_LEVEL }
}

/// The frames of the image: system RAM, made with the first block on demand and freed with the last.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Image {
    /// The first memmap page of a free block: the head of all of it, then zeroed struct pages.
    pub head: PhysAddr,
    /// Each other page: zeroed struct pages.
    pub zero: PhysAddr,
    /// The table of both, where a table serves one section (4K).
    pub table: Option<PhysAddr>,
}

impl Image {
    /// The entry of the memmap page `number` of a free block.
    pub(crate) fn leaf(&self, number: u64) -> Descriptor {
        let frame = if number == 0 { self.head } else { self.zero };
        Descriptor::leaf(frame, Attributes::RODATA, LAST_LEVEL, false).shared()
    }

    /// Whether `pa` is in one of its frames.
    pub fn contains(&self, pa: PhysAddr, g: Granule) -> bool {
        let frame = pa.align_down(g.page_size);
        frame == self.head || frame == self.zero || Some(frame) == self.table
    }

    /// Whether the frames still say what a free block says: nothing but the one head, without links.
    pub(crate) fn is_clean<M: Machine>(&self, machine: &M, g: Granule) -> bool {
        let words = usize::try_from(g.page_size / 8).unwrap_or(0);
        let clean = |frame, from: usize| {
            machine::table(machine, frame, words)[from..].iter().all(|word| word.load(Relaxed) == 0)
        };
        let head = machine::page_in(machine, self.head, 0);
        let says = (head.kind(), head.order(), head.refs(), head.private(), head.links());
        says == (PageKind::Free, g.section_order, 0, 0, (0, 0)) && clean(self.head, 3) && clean(self.zero, 0)
    }
}
