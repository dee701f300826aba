//! An extent and its blocks' pieces, as values. What is done with them is in frame/extents.

use crate::frame::block::{BlockState, Source};
use crate::list::Keyed;
use crate::pfn::PfnRange;

/// Neighbouring blocks, all alike: on demand, mapping the image.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Extent {
    /// The blocks' pages.
    pub pages: PfnRange,
    /// What all of them are doing.
    pub state: BlockState,
    /// Where they came from.
    pub source: Source,
    /// Their NUMA node.
    pub node: u32,
    /// Whether their struct pages can be read (I1).
    pub(crate) present: bool,
}

impl Keyed for Extent {
    fn key(&self) -> u64 {
        self.pages.start.get()
    }
}

/// The record of some blocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Record {
    /// An extent's.
    Extent,
    /// A memory block.
    Block,
    /// None: nothing is present there.
    Absent,
}

/// Neighbouring blocks that have one record, or none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Piece {
    pub(crate) pages: PfnRange,
    pub(crate) record: Record,
    /// Their state, if there is a record.
    pub(crate) state: Option<BlockState>,
}
