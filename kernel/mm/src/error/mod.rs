//! Why an operation was refused: each variant names a rule and carries the value that broke it, so that the message can say why.
//! One file for each subject; [`Error`] is any of them.

mod altmap;
mod block;
mod device;
mod huge;
mod page;
mod range;
mod space;
mod tenant;

use core::fmt;

use crate::addr::Bytes;
pub use altmap::AltmapError;
pub use block::{BlockError, BlockIs, BlockNeeds};
pub use device::DeviceError;
pub use huge::{HugeError, HvoRule};
pub use page::{PageError, PageNeeds};
pub use range::RangeError;
pub use space::{BbmRule, SpaceError};
pub use tenant::TenantError;

/// Why an operation was refused. Nothing has changed then, but for what docs/reference/refusals.md lists.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Error {
    /// Not enough of something.
    Out(Resource),
    /// A range.
    Range(RangeError),
    /// An altmap.
    Altmap(AltmapError),
    /// A change of the address space.
    Space(SpaceError),
    /// A memory block.
    Block(BlockError),
    /// A page.
    Page(PageError),
    /// A device.
    Device(DeviceError),
    /// A huge page or a pool.
    Huge(HugeError),
    /// A tenant.
    Tenant(TenantError),
}

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
    /// Pages of an altmap. There is no fallback to system RAM: who asked for an altmap asked to spend no RAM.
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

macro_rules! from {
    ($($variant:ident($inner:ident)),+ $(,)?) => {
        $(impl From<$inner> for Error {
            fn from(error: $inner) -> Self {
                Self::$variant(error)
            }
        })+
    };
}

from!(
    Range(RangeError),
    Altmap(AltmapError),
    Space(SpaceError),
    Block(BlockError),
    Page(PageError),
    Device(DeviceError),
    Huge(HugeError),
    Tenant(TenantError)
);

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

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Out(resource) => write!(f, "out of memory: {resource}"),
            Self::Range(error) => error.fmt(f),
            Self::Altmap(error) => error.fmt(f),
            Self::Space(error) => error.fmt(f),
            Self::Block(error) => error.fmt(f),
            Self::Page(error) => error.fmt(f),
            Self::Device(error) => error.fmt(f),
            Self::Huge(error) => error.fmt(f),
            Self::Tenant(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for Error {}

/// The model's result.
pub type Result<T> = core::result::Result<T, Error>;
