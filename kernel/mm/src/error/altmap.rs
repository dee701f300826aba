//! Why memmap cannot be in an altmap, or an altmap cannot be left.

use core::fmt;

use crate::addr::{Bytes, PhysAddr, PhysRange};

/// Why memmap cannot be in an altmap, or an altmap cannot be left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AltmapError {
    /// An altmap that does not start at its range's start.
    Misplaced {
        /// Where the altmap starts.
        base: PhysAddr,
        /// The range.
        range: PhysRange,
    },
    /// An altmap that does not fit into its range.
    TooLarge {
        /// The pages of reserve and memmap.
        pages: u64,
        /// The range.
        range: PhysRange,
        /// The pages of the range.
        of: u64,
    },
    /// An altmap that would lose pages to padding before its first block.
    Padding {
        /// Where the altmap starts.
        base: PhysAddr,
        /// The pages.
        pages: u64,
    },
    /// A request to an altmap that is not whole pages.
    NotWholePages {
        /// The bytes asked for.
        bytes: u64,
        /// The page size in bytes.
        page: u64,
    },
    /// An altmap on memory that the CPU cannot reach.
    OnPrivate(PhysRange),
    /// An altmap for a device of several ranges.
    Ranges {
        /// How many.
        ranges: usize,
    },
    /// A memory block that another one's memmap lies in, or the other way round: they go together.
    HeldTogether {
        /// The block that would go or stay alone.
        block: PhysAddr,
        /// The block where the altmap of both is.
        host: PhysAddr,
    },
}

impl fmt::Display for AltmapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Misplaced { base, range } => {
                write!(f, "the altmap at {base} does not start its range {range}")
            }
            Self::TooLarge { pages, range, of } => {
                write!(f, "reserve and memmap are {pages} pages, and {range} has {of}")
            }
            Self::Padding { base, pages } => {
                write!(f, "the altmap at {base} would lose {pages} pages to padding before its first block")
            }
            Self::NotWholePages { bytes, page } => {
                write!(f, "{bytes} bytes of an altmap are not whole pages of {}", Bytes(page))
            }
            Self::OnPrivate(range) => {
                write!(f, "an altmap on {range}: private memory is out of the CPU's reach")
            }
            Self::Ranges { ranges } => write!(f, "an altmap serves one range, not {ranges}"),
            Self::HeldTogether { block, host } => {
                write!(
                    f,
                    "the memmap of the memory block at {block} is in the altmap at {host}: they go together"
                )
            }
        }
    }
}
