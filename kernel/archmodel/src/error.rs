//! Host model. The errors: each variant names the rule and carries the value.

use std::fmt;

use hotmap_mm::error::Resource;
use hotmap_mm::pfn::{Pfn, PfnRange};

/// An operation that returns one of these was undone. Linux's errno is beside each.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Error {
    /// Not enough of something (-ENOMEM). With an altmap there is no fallback to RAM.
    Out(Resource),
    /// x86 without PSE (no 2 MiB pages) refuses an altmap (-ENOMEM).
    NoPse,
    /// A range that is not made of whole sections (-EINVAL).
    NotSections {
        /// The range.
        range: PfnRange,
        /// The pages of a section.
        section: u64,
    },
    /// A range that vmemmap cannot describe (-E2BIG).
    BeyondVmemmap(PfnRange),
    /// A section of the range is valid already (-EEXIST).
    Exists(Pfn),
    /// A section of the range is not valid (-EINVAL).
    NotPresent(Pfn),
    /// A range that is partly in a device with an altmap: an altmap serves one range (-EINVAL).
    Straddles {
        /// The range.
        range: PfnRange,
        /// The device.
        device: PfnRange,
    },
    /// An altmap that does not fit into its device (-EINVAL).
    BadAltmap {
        /// The device.
        device: PfnRange,
        /// The pages that the altmap takes from its start.
        offset: u64,
    },
    /// A device that cannot go while its altmap is in use (-EBUSY).
    InUse {
        /// The device's first page.
        device: Pfn,
        /// The altmap's pages in use.
        alloc: u64,
    },
    /// No device starts there (-ENODEV).
    NoDevice(Pfn),
}

/// The models' result.
pub type Result<T> = std::result::Result<T, Error>;

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pages = |r: PfnRange| format!("{:#x}..{:#x}", r.start.get(), r.end.get());
        write!(f, "host model: ")?;
        match *self {
            Self::Out(resource) => write!(f, "out of memory: {resource}"),
            Self::NoPse => write!(f, "x86 without PSE has no 2 MiB pages, so it cannot use an altmap"),
            Self::NotSections { range, section } => {
                write!(f, "pfn {} is not made of whole sections of {section} pages", pages(range))
            }
            Self::BeyondVmemmap(range) => write!(f, "vmemmap does not describe pfn {}", pages(range)),
            Self::Exists(pfn) => write!(f, "the section at {pfn} is valid already"),
            Self::NotPresent(pfn) => write!(f, "the section at {pfn} is not valid"),
            Self::Straddles { range, device } => write!(
                f,
                "pfn {} is only partly in the device pfn {}: an altmap serves one range",
                pages(range),
                pages(device)
            ),
            Self::BadAltmap { device, offset } => {
                write!(f, "an altmap of {offset} pages does not fit the device pfn {}", pages(device))
            }
            Self::InUse { device, alloc } => {
                write!(f, "the device at {device} cannot go: {alloc} pages of its altmap are in use")
            }
            Self::NoDevice(pfn) => write!(f, "no device starts at {pfn}"),
        }
    }
}

impl std::error::Error for Error {}
