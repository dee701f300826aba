//! Why a device cannot be made, used or given to the system.

use core::fmt;

use crate::addr::{Bytes, PhysAddr, PhysRange};
use crate::granule::GranuleKind;

/// Why a device cannot be made, used or given to the system.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DeviceError {
    /// No device starts there.
    Absent(PhysAddr),
    /// More ranges than a device can have, or none.
    Ranges {
        /// How many.
        ranges: usize,
        /// The most.
        most: usize,
    },
    /// A device that goes: nothing new may hold its pages.
    Dying(PhysAddr),
    /// Memory that the CPU cannot reach, which the system cannot have.
    Private(PhysRange),
    /// No size that compound pages of the granule have.
    CompoundSize {
        /// The size in bytes.
        size: u64,
        /// The granule.
        granule: GranuleKind,
    },
    /// A device's memmap is not populated on demand.
    OnDemand(PhysRange),
    /// A device of which what is set aside for its memmap leaves no compound page.
    NoCompoundLeft {
        /// The device.
        range: PhysRange,
        /// The size of a compound page in bytes.
        size: u64,
    },
}

impl fmt::Display for DeviceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Absent(at) => write!(f, "no device starts at {at}"),
            Self::Ranges { ranges, most } => write!(f, "a device has 1 to {most} ranges, not {ranges}"),
            Self::Dying(at) => write!(f, "the device at {at} is on its way out"),
            Self::Private(range) => {
                write!(f, "{range} is private memory, out of the CPU's reach: no memory for the system")
            }
            Self::CompoundSize { size, granule } => {
                write!(
                    f,
                    "compound pages of the {granule} granule are not {}, but {}",
                    Bytes(size),
                    Bytes(granule.bytes())
                )?;
                granule
                    .granule()
                    .compound_shifts
                    .iter()
                    .try_for_each(|shift| write!(f, ", {}", Bytes(1 << shift)))
            }
            Self::OnDemand(range) => {
                write!(
                    f,
                    "{range} is a device: only memory has its memmap on demand; take system RAM or the device's own pages"
                )
            }
            Self::NoCompoundLeft { range, size } => {
                write!(f, "what {range} sets aside for its memmap leaves no compound page of {}", Bytes(size))
            }
        }
    }
}
