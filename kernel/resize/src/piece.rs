//! What of the region is added or removed in one go.
//!
//! ```text
//!   memory blocks     |        0        |        1        |        2        |        3        |
//!   to be plugged            |==========|=================|=================|======|
//!   pieces                   part       whole                               part
//! ```

use core::ops::Range;

use hotmap_mm::addr::{PhysAddr, PhysRange};
use hotmap_mm::error::{RangeError, Result};
use hotmap_mm::frame::block::Source;
use hotmap_mm::hotplug::home::MemmapHome;
use hotmap_mm::hotplug::range::HotRange;
use hotmap_mm::machine::Machine;
use hotmap_mm::mm::Mm;
use hotmap_mm::pfn::PfnRange;

use crate::Resizer;

/// A piece that is not in the kernel's memory yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Piece {
    /// Of a memory block that exists.
    OfBlock(Range<u64>),
    /// The first of a memory block.
    First(Range<u64>),
    /// Whole memory blocks, none of which exists.
    Whole(Range<u64>),
}

impl Piece {
    pub(crate) const fn range(&self) -> &Range<u64> {
        match self {
            Self::OfBlock(range) | Self::First(range) | Self::Whole(range) => range,
        }
    }
}

impl Resizer {
    /// The size of what comes and goes as a whole: a memory block, or a unit if that is more.
    pub(crate) fn chunk(&self) -> u64 {
        self.unit().max(self.granule.section_size)
    }
    /// The chunk of the address `at`.
    pub(crate) fn chunk_of(&self, at: u64) -> Range<u64> {
        let start = PhysAddr::new(at).align_down(self.chunk()).get();
        start..start.saturating_add(self.chunk())
    }
    /// The pages of a range.
    pub(crate) fn pages(&self, range: &Range<u64>) -> PfnRange {
        PfnRange::inside(self.granule, physical(range))
    }

    /// The first piece of `range`, of units that are not in the kernel's memory.
    pub(crate) fn first_piece<M: Machine>(&self, mm: &Mm<M>, range: Range<u64>) -> Piece {
        let block = self.chunk_of(range.start);
        let exists = |block: &Range<u64>| mm.frames().states_of(self.pages(block)).next().is_some();
        if exists(&block) {
            return Piece::OfBlock(range.start..range.end.min(block.end));
        }
        if range.start != block.start || range.end < block.end {
            return Piece::First(range.start..range.end.min(block.end));
        }
        let size = self.chunk();
        let mut end = block.end;
        while range.end - end >= size && !exists(&(end..end + size)) {
            end += size;
        }
        Piece::Whole(range.start..end)
    }

    /// Where the memmap of a block lies whose first pages are plugged: nothing holds two blocks together.
    const fn home(&self) -> MemmapHome {
        match self.policy.home {
            MemmapHome::SelfRange { .. } | MemmapHome::Given(_) => MemmapHome::SelfHosted,
            home => home,
        }
    }

    /// Adds a piece to the kernel's memory.
    ///
    /// # Errors
    /// Why it cannot be; nothing has changed then.
    pub(crate) fn add<M: Machine>(&self, mm: &mut Mm<M>, piece: &Piece) -> Result<()> {
        let range = piece.range();
        let hot = |mm: &Mm<M>, whole: &Range<u64>| {
            let start = PhysAddr::new(whole.start);
            HotRange::new(mm, start, whole.end - whole.start, self.source())
                .map(|hot| hot.on_node(self.node()).in_blocks())
        };
        match piece {
            Piece::OfBlock(_) => {
                let block = self.chunk_of(range.start);
                match mm.frames().block_of(self.pages(&block).start).map(|b| b.source) {
                    // Neighbouring regions may share a block: it has the source of the one that brought it.
                    Some(Source::VirtioMem(_)) => mm.plug_part(self.pages(range)),
                    _ => {
                        let range = physical(range);
                        Err(RangeError::Exists { range, present: PhysAddr::new(block.start) }.into())
                    }
                }
            }
            Piece::First(_) => {
                let block = self.chunk_of(range.start);
                let home = if range.start == block.start { self.home() } else { MemmapHome::Ram };
                let hot = hot(mm, &block)?;
                let plugged = self.pages(range);
                match self.policy.zone {
                    Some(zone) => mm.plug_block_part(&hot, plugged, home, zone, |_, _| {}),
                    None => mm.add_block_part(&hot, plugged, home, |_, _| {}),
                }
            }
            Piece::Whole(_) => {
                let hot = hot(mm, range)?;
                match self.policy.zone {
                    Some(zone) => mm.plug(&hot, self.home(), zone, |_, _| {}),
                    None => mm.add_memory(&hot, self.home(), |_, _| {}),
                }
            }
        }
    }
}

/// A range of physical addresses.
pub(crate) const fn physical(range: &Range<u64>) -> PhysRange {
    PhysRange { start: PhysAddr::new(range.start), end: PhysAddr::new(range.end) }
}
