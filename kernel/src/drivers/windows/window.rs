//! Registers that the kernel uses, what else can be where they are, and why they cannot be there.

use core::fmt;

use hotmap_devicetree::Region;
use hotmap_mm::addr::{Bytes, PhysAddr, PhysRange};

use crate::drivers::affinity::REDISTRIBUTOR_BYTES;
use crate::drivers::uart::Model;
use crate::drivers::{ged, nvdimm};

/// Where the registers of these devices end; those of a bus may lie above.
pub(super) const DEVICES_END: u64 = 1 << 32;

/// A device whose registers the kernel uses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Device {
    /// The console's UART.
    Uart(Model),
    /// A GICv2's distributor.
    DistributorV2,
    /// A GICv2's CPU interface.
    CpuInterface,
    /// A GICv3's distributor.
    DistributorV3,
    /// A GICv3's redistributor, or a region of them.
    Redistributor,
    /// QEMU's firmware configuration device.
    FwCfg,
    /// The Generic Event Device's event selector.
    EventSelector,
    /// The memory slots.
    MemorySlots,
    /// The NVDIMM register.
    Nvdimm,
}

impl Device {
    /// Its name in messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Uart(_) => "UART",
            Self::DistributorV2 | Self::DistributorV3 => "GIC distributor",
            Self::CpuInterface => "GIC CPU interface",
            Self::Redistributor => "GIC redistributor",
            Self::FwCfg => "fw_cfg",
            Self::EventSelector => "GED event selector",
            Self::MemorySlots => "memory slots",
            Self::Nvdimm => "NVDIMM register",
        }
    }

    /// The bytes that its driver uses. Sources: DDI 0183, 3.2; IHI 0048, 4.1.2 and 4.1.3 (a CPU interface without GICC_DIR);
    /// IHI 0069, 12.8 and 12.10; QEMU, docs/specs/fw_cfg.rst (without the DMA register), and the drivers' sources.
    pub const fn bytes(self) -> u64 {
        match self {
            Self::Uart(Model::Ns16550(spacing)) => spacing.bytes(),
            Self::Uart(Model::Pl011) | Self::DistributorV2 | Self::CpuInterface => 0x1000,
            Self::DistributorV3 => 0x1_0000,
            Self::Redistributor => REDISTRIBUTOR_BYTES,
            Self::FwCfg => 0x10,
            Self::EventSelector => ged::EVENTS_BYTES as u64,
            Self::MemorySlots => ged::SLOTS_BYTES as u64,
            Self::Nvdimm => nvdimm::REGISTER_BYTES as u64,
        }
    }

    /// What its registers' address is a multiple of: a GIC's frame (the same chapters), a PL011's page, the widest access of
    /// the others.
    pub(super) const fn alignment(self) -> u64 {
        match self {
            Self::DistributorV3 | Self::Redistributor => 0x1_0000,
            Self::FwCfg => 8,
            Self::EventSelector | Self::MemorySlots | Self::Nvdimm => 4,
            Self::Uart(Model::Ns16550(spacing)) => spacing.width as u64,
            Self::Uart(Model::Pl011) | Self::DistributorV2 | Self::CpuInterface => 0x1000,
        }
    }
}

/// A device's registers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Window {
    /// Whose they are.
    pub device: Device,
    /// Where: no more than the driver uses, and less only where the device tree or ACPI gives less.
    pub range: PhysRange,
}

impl Window {
    pub(super) fn of(device: Device, region: Region) -> Self {
        Self::at(device, region.start, region.size)
    }

    /// The registers at `start`, where `bytes` bytes are said to be.
    pub fn at(device: Device, start: u64, bytes: u64) -> Self {
        let end = start.saturating_add(bytes.min(device.bytes()));
        Self { device, range: PhysRange { start: PhysAddr::new(start), end: PhysAddr::new(end) } }
    }
}

/// What is at an address. Not its name: boot keeps it, and a pointer of before the move to the high addresses leads nowhere.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Occupant {
    /// The image.
    Image,
    /// The device tree blob.
    Tree,
    /// RAM.
    Ram,
    /// Persistent memory.
    Pmem,
    /// Flash.
    Flash,
    /// The flash that the image was started from.
    StartFlash,
    /// The PCI host's configuration space.
    PciConfiguration,
    /// A device's registers.
    Registers(Device),
    /// A virtio device's registers.
    Virtio,
}

impl fmt::Display for Occupant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Image => "the image",
            Self::Tree => "the device tree",
            Self::Ram => "RAM",
            Self::Pmem => "persistent memory",
            Self::Flash => "flash",
            Self::StartFlash => "the flash that the image was started from",
            Self::PciConfiguration => "PCI configuration space",
            Self::Registers(device) => device.name(),
            Self::Virtio => "a virtio device",
        })
    }
}

/// Why registers cannot be where they are said to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BadWindow {
    /// Fewer bytes than the driver uses.
    Small(Window),
    /// An address that the device cannot have.
    Unaligned(Window),
    /// Address 0, or one that the kernel does not map.
    OutOfReach(Window),
    /// Registers where something else is.
    Overlap {
        /// The registers.
        window: Window,
        /// What else is there.
        what: Occupant,
        /// Where.
        range: PhysRange,
    },
}

impl fmt::Display for BadWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Small(window)
        | Self::Unaligned(window)
        | Self::OutOfReach(window)
        | Self::Overlap { window, .. }) = self;
        let Window { device, range } = window;
        write!(f, "{} registers at {range}: ", device.name())?;
        match self {
            Self::Small(_) => {
                write!(f, "{:#x} bytes, and the driver uses {:#x}", range.len(), device.bytes())
            }
            Self::Unaligned(_) => write!(f, "not aligned to {:#x}", device.alignment()),
            Self::OutOfReach(_) => write!(f, "devices lie above 0 and below {}", Bytes(DEVICES_END)),
            Self::Overlap { what, range, .. } => write!(f, "they overlap {what} at {range}"),
        }
    }
}
