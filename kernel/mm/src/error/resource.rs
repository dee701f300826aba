//! What an operation ran out of.

use core::fmt;

use crate::addr::Bytes;

/// What an operation ran out of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Resource {
    /// Page frames of system RAM (a run of `1 << order`).
    Frames {
        /// log2 of the run's pages.
        order: u32,
    },
    /// Boot memory, before the buddy allocator runs.
    Memblock {
        /// The bytes asked for.
        bytes: u64,
    },
    /// The kernel heap.
    Heap {
        /// The bytes asked for.
        bytes: usize,
    },
    /// Pages of an altmap. There is no fallback to system RAM: an altmap is asked for to spend none.
    Altmap {
        /// The pages asked for.
        pages: u64,
    },
    /// Entries of a fixed table.
    Slots {
        /// What the table holds.
        what: &'static str,
    },
    /// Whole free memory blocks side by side, for a huge page that is larger than one.
    FreeBlocks {
        /// The huge page's size in bytes.
        bytes: u64,
    },
    /// Free huge pages of the pool.
    HugePages {
        /// Their size in bytes.
        bytes: u64,
    },
    /// Virtual addresses for a tenant's mapping.
    TenantAddresses {
        /// The bytes asked for.
        bytes: u64,
    },
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Frames { order } => write!(f, "no free run of {} pages in system RAM", 1u64 << order),
            Self::Memblock { bytes } => write!(f, "no {} of boot memory left", Bytes(bytes)),
            Self::Heap { bytes } => {
                write!(f, "the kernel heap has no {bytes} bytes left (boot argument heap= sets its size)")
            }
            Self::Altmap { pages } => {
                write!(f, "the altmap has no {pages} pages left, and there is no fallback to RAM")
            }
            Self::Slots { what } => write!(f, "the table of {what} is full"),
            Self::FreeBlocks { bytes } => write!(
                f,
                "no {} of whole free memory blocks side by side in one zone (a block that hosts its own memmap is never whole)",
                Bytes(bytes)
            ),
            Self::HugePages { bytes } => write!(f, "no free huge page of {} in the pool", Bytes(bytes)),
            Self::TenantAddresses { bytes } => write!(f, "no {} of tenant addresses left", Bytes(bytes)),
        }
    }
}
