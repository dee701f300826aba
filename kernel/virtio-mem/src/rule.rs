//! The rules of a configuration.

use core::fmt;

/// A rule that a configuration broke, with the value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConfigRule {
    /// The block size is not a power of two.
    BlockSize(u64),
    /// The region is empty, or ends beyond the last address.
    Region {
        /// Its address.
        addr: u64,
        /// Its size.
        size: u64,
    },
    /// A field is not a multiple of the block size.
    Unaligned {
        /// The field's name in the specification.
        field: &'static str,
        /// Its value.
        value: u64,
        /// The block size.
        block_size: u64,
    },
    /// A field is larger than the region.
    TooLarge {
        /// The field's name in the specification.
        field: &'static str,
        /// Its value.
        value: u64,
        /// The size of the region.
        region_size: u64,
    },
}

impl fmt::Display for ConfigRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::BlockSize(size) => write!(f, "block_size is {size:#x}: it has to be a power of two"),
            Self::Region { addr, size } => {
                write!(
                    f,
                    "region_size is {size:#x} at addr {addr:#x}: the region has to be a range of addresses"
                )
            }
            Self::Unaligned { field, value, block_size } => {
                write!(f, "{field} is {value:#x}: it has to be a multiple of block_size, {block_size:#x}")
            }
            Self::TooLarge { field, value, region_size } => {
                write!(f, "{field} is {value:#x}: it has to be at most region_size, {region_size:#x}")
            }
        }
    }
}
