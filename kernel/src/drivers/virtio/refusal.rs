//! Why a device is not used.

use core::fmt;

use hotmap_mm::addr::PhysRange;
use virtio_drivers::Error;
use virtio_drivers::transport::mmio::MmioError;
use virtio_drivers::transport::pci::VirtioPciError;

use crate::drivers::windows::Occupant;

/// Why a device, or the PCI host, is not used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// Nothing answers in its configuration space.
    NoAnswer(PhysRange),
    /// Its registers, or a window for them, where something else is.
    Taken {
        /// The registers.
        range: PhysRange,
        /// What else is there.
        what: Occupant,
        /// Where.
        by: PhysRange,
    },
    /// Registers that the CPU cannot address, or that are not mapped.
    OutOfReach(PhysRange),
    /// The device tree does not say `dma-coherent`.
    NotCoherent,
    /// A base address register with a size that none can have.
    Bar {
        /// Which.
        bar: usize,
        /// In bytes.
        size: u64,
    },
    /// A base address register for which no window of the host has room.
    NoRoom {
        /// Which.
        bar: usize,
        /// In bytes.
        size: u64,
    },
    /// A capability in a place that cannot have one.
    Capability(u8),
    /// A list of capabilities without an end.
    CapabilityRing,
    /// A capability whose structure is outside the registers.
    Structure(u8),
    /// A structure that a device must have, by its number (virtio 1.2, 4.1.4); 0: there is no list of capabilities.
    Missing(u8),
    /// The crate's transport over PCI.
    Pci(VirtioPciError),
    /// The crate's transport over MMIO.
    Mmio(MmioError),
    /// The device does not take a feature that it offers.
    Features(u64),
    /// Its reset does not end.
    Reset,
    /// It does not answer in a queue.
    Silent,
    /// The crate's queue.
    Queue(Error),
    /// More devices than are taken.
    TooMany(usize),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAnswer(range) => write!(f, "nothing answers in its configuration space at {range}"),
            Self::Taken { range, what, by } => write!(f, "its registers at {range} overlap {what} at {by}"),
            Self::OutOfReach(range) => write!(f, "its registers at {range} are out of reach"),
            Self::NotCoherent => f.write_str("the device tree does not call its DMA coherent (dma-coherent)"),
            Self::Bar { bar, size } => write!(f, "BAR {bar} has an impossible size, {size:#x}"),
            Self::NoRoom { bar, size } => {
                write!(f, "BAR {bar} of {size:#x} bytes fits into no window of the PCI host")
            }
            Self::Capability(place) => write!(f, "a capability at {place:#x}, where none can be"),
            Self::CapabilityRing => f.write_str("its list of capabilities has no end"),
            Self::Structure(place) => {
                write!(f, "the structure of its capability at {place:#x} is outside its BARs")
            }
            Self::Missing(0) => f.write_str("it has no capabilities"),
            Self::Missing(kind) => write!(f, "it has no structure of type {kind}"),
            Self::Pci(error) => write!(f, "{error}"),
            Self::Mmio(error) => write!(f, "{error}"),
            Self::Features(features) => write!(f, "it does not take features {features:#x}, which it offers"),
            Self::Reset => f.write_str("its reset does not end"),
            Self::Silent => f.write_str("it does not answer"),
            Self::Queue(error) => write!(f, "{error}"),
            Self::TooMany(most) => write!(f, "at most {most} devices are taken"),
        }
    }
}
