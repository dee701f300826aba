//! Why a memory block cannot change its state.

use core::fmt;

use crate::addr::{PhysAddr, PhysRange};

/// Why a memory block cannot change its state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BlockError {
    /// No memory block starts or lies there.
    Absent(PhysAddr),
    /// The block is not in the state that the operation needs.
    State {
        /// The block's start.
        block: PhysAddr,
        /// What it is.
        is: BlockIs,
        /// What the operation needs.
        needs: BlockNeeds,
    },
    /// A block with holes or with memory that the firmware keeps.
    NotWhole(PhysAddr),
    /// A part of a block without its first pages, which hold its memmap: these stay plugged as long as any part is.
    MemmapUnplugged {
        /// The block's start.
        block: PhysAddr,
        /// What has to be plugged.
        memmap: PhysRange,
    },
    /// A notifier that does not want memory to go online or offline.
    Vetoed {
        /// The range that was to go.
        range: PhysRange,
        /// The notifier's name.
        by: &'static str,
    },
    /// An offline was asked to stop.
    Interrupted {
        /// How many pages had migrated.
        migrated: u64,
    },
}

impl fmt::Display for BlockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Absent(at) => write!(f, "no memory block at {at}"),
            Self::State { block, is, needs } => {
                write!(f, "the memory block at {block} is {is}, not {needs}")
            }
            Self::NotWhole(block) => {
                write!(f, "the memory block at {block} has holes: only a whole block can go")
            }
            Self::MemmapUnplugged { block, memmap } => {
                write!(f, "the memory block at {block} has its memmap in {memmap}, which has to be plugged")
            }
            Self::Vetoed { range, by } => write!(f, "{range} stays as it is: vetoed by the notifier '{by}'"),
            Self::Interrupted { migrated } => {
                write!(f, "interrupted: {migrated} pages have migrated, and the blocks are online as before")
            }
        }
    }
}

/// What a memory block is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BlockIs {
    /// Not present.
    Absent,
    /// Offline.
    Offline,
    /// Online.
    Online,
    /// Isolated, on its way to offline.
    GoingOffline,
    /// Memory that a device gave to the system.
    GivenByDevice,
}

impl fmt::Display for BlockIs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Absent => "absent",
            Self::Offline => "offline",
            Self::Online => "online",
            Self::GoingOffline => "going-offline",
            Self::GivenByDevice => "given to the system by a device",
        })
    }
}

/// What an operation needs a memory block to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BlockNeeds {
    /// Offline.
    Offline,
    /// Online.
    Online,
    /// Memory that no device gave to the system.
    OwnMemory,
    /// In the state of the device's other blocks.
    SameState,
}

impl fmt::Display for BlockNeeds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Offline => "offline",
            Self::Online => "online",
            Self::OwnMemory => "memory of its own",
            Self::SameState => "in the same state as its device's other blocks",
        })
    }
}
