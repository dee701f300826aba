//! Why a range is refused.

use core::fmt;

use crate::addr::{Bytes, PhysAddr, PhysRange};

/// Why a range is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RangeError {
    /// A range without a byte.
    Empty(PhysAddr),
    /// A range whose end wraps around the address space.
    Wraps {
        /// Where it starts.
        start: PhysAddr,
        /// Its length in bytes.
        len: u64,
    },
    /// Memory comes and goes in whole memory blocks.
    NotBlockAligned {
        /// The range.
        range: PhysRange,
        /// The memory block size in bytes.
        block: u64,
    },
    /// An address that must be the start of a memory block.
    NotBlockStart {
        /// The address.
        at: PhysAddr,
        /// The memory block size in bytes.
        block: u64,
    },
    /// Devices, and parts of a memory block, come and go in whole subsections.
    NotSubsectionAligned(PhysRange),
    /// What has to lie in one memory block.
    NotOneBlock {
        /// The range.
        range: PhysRange,
        /// The memory block size in bytes.
        block: u64,
    },
    /// What has to be whole compound pages.
    NotCompoundAligned {
        /// The memory.
        range: PhysRange,
        /// The size of a compound page in bytes.
        size: u64,
    },
    /// The linear map cannot reach the range.
    BeyondLinearMap {
        /// The range.
        range: PhysRange,
        /// What the linear map can reach.
        reach: PhysRange,
    },
    /// Something is present there already.
    Exists {
        /// The range.
        range: PhysRange,
        /// Where what is present starts.
        present: PhysAddr,
    },
}

impl fmt::Display for RangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Empty(at) => write!(f, "the range at {at} is empty"),
            Self::Wraps { start, len } => write!(f, "{start} + {len:#x} wraps around the address space"),
            Self::NotBlockAligned { range, block } => {
                write!(f, "{range} is not aligned to the {} memory block", Bytes(block))
            }
            Self::NotBlockStart { at, block } => {
                write!(f, "{at} is not the start of a {} memory block", Bytes(block))
            }
            Self::NotSubsectionAligned(range) => {
                write!(f, "{range} is not aligned to the 2 MiB subsection")
            }
            Self::NotOneBlock { range, block } => {
                write!(f, "{range} does not lie in one {} memory block", Bytes(block))
            }
            Self::NotCompoundAligned { range, size } => {
                write!(f, "{range} is not aligned to the {} compound page", Bytes(size))
            }
            Self::BeyondLinearMap { range, reach } => {
                write!(f, "{range} is out of the linear map's reach, {reach}")
            }
            Self::Exists { range, present } => {
                write!(f, "{range} overlaps memory that is present at {present}")
            }
        }
    }
}
