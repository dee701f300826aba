//! Why an operation was refused: each variant names a rule and carries the value that broke it, so that the message can say
//! why. One file for each subject; [`Error`] is any of them.

mod altmap;
mod block;
mod device;
mod huge;
mod page;
mod range;
mod resource;
mod space;
mod tenant;

use core::fmt;

pub use altmap::AltmapError;
pub use block::{BlockError, BlockIs, BlockNeeds};
pub use device::DeviceError;
pub use huge::{HugeError, HvoRule};
pub use page::{PageError, PageNeeds};
pub use range::RangeError;
pub use resource::Resource;
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
    /// The operation was asked to stop.
    Interrupted,
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
            Self::Interrupted => f.write_str("interrupted"),
        }
    }
}

impl core::error::Error for Error {}

/// The model's result.
pub type Result<T> = core::result::Result<T, Error>;
