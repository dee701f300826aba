//! Why the address space cannot be changed so.

use core::fmt;

use crate::addr::{Bytes, VirtAddr};

/// Why the address space cannot be changed so.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SpaceError {
    /// A virtual address that is mapped already.
    AlreadyMapped(VirtAddr),
    /// A virtual or physical address in a mapping request that is not the start of a page.
    NotPages(VirtAddr),
    /// A virtual address that is not mapped.
    NotMapped(VirtAddr),
    /// The range ends inside a block, which would have to be split.
    WouldSplit {
        /// The block's virtual address.
        block: VirtAddr,
        /// The block's size in bytes.
        size: u64,
    },
    /// A change to a live descriptor that the break-before-make rules forbid.
    BreakBeforeMake {
        /// The address that the descriptor translates.
        at: VirtAddr,
        /// The rule that it would break.
        rule: BbmRule,
    },
}

impl fmt::Display for SpaceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::AlreadyMapped(va) => write!(f, "{va} is mapped already"),
            Self::NotPages(va) => write!(f, "the mapping at {va} is not made of whole pages"),
            Self::NotMapped(va) => write!(f, "{va} is not mapped"),
            Self::WouldSplit { block, size } => {
                write!(f, "the {} block at {block} would have to be split", Bytes(size))
            }
            Self::BreakBeforeMake { at, rule } => write!(f, "break-before-make at {at}: {rule}"),
        }
    }
}

/// The rule that a change would break.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BbmRule {
    /// A table becomes a block or page, or the other way round.
    BlockSize,
    /// The Contiguous bit changes.
    Contiguous,
    /// Memory type, cacheability or shareability changes.
    MemoryType,
    /// The nG bit changes.
    Global,
    /// The output address changes while old or new is writable.
    AddressWhileWritable,
    /// The output address changes and the contents may differ.
    AddressWithOtherContents,
    /// One table is exchanged for another.
    TableAddress,
}

impl fmt::Display for BbmRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BlockSize => "the block size of a live entry may not change in one step",
            Self::Contiguous => "the Contiguous bit of a live entry may not change in one step",
            Self::MemoryType => "the memory type of a live entry may not change in one step",
            Self::Global => "the nG bit of a live entry may not change in one step",
            Self::AddressWhileWritable => {
                "the output address may not change while old or new entry is writable"
            }
            Self::AddressWithOtherContents => {
                "the output address may not change to memory with other contents"
            }
            Self::TableAddress => "a live table may not be exchanged for another in one step",
        })
    }
}
