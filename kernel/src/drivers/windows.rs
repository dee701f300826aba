//! Where the devices' registers are, by the device tree and by QEMU's memory map, and the rules for it: a device tree may say
//! anything. [`check`] comes before the first access to a register whose address the tree gives.
//!
//! ```text
//!            below 4 GiB, aligned, as large as what the driver uses
//!   |--flash--|  |-GIC-|-UART-|-fw_cfg-|-GED-|      |------------------- RAM -------------------|
//!                                                        |image|    |device tree|
//! ```
//! No two of these share a byte, except for what lies in RAM.

use core::fmt;

use heapless::Vec;
use hotmap_devicetree::{Console, Gic, MachineDescription, REDISTRIBUTOR_CAPACITY, Region};
use hotmap_mm::addr::{Bytes, PhysAddr, PhysRange};

use super::affinity::REDISTRIBUTOR_BYTES;
use super::{ged, nvdimm};
use crate::per_cpu::CPUS;

/// QEMU virt's first UART: where messages go before the device tree has been read.
pub const EARLY_UART: u64 = 0x0900_0000;
/// The root's `compatible` on QEMU's virt. Other VMMs have the same one, and no fw_cfg.
pub const QEMU_VIRT: &str = "linux,dummy-virt";
/// Where RAM starts on QEMU's virt; below it are flash and devices (`hw/arm/virt.c`, `VIRT_MEM` in `base_memmap`).
const QEMU_VIRT_RAM: PhysAddr = PhysAddr::new(0x4000_0000);
/// Where the registers of these devices end; those of a bus may lie above.
const DEVICES_END: u64 = 1 << 32;
/// The most windows beside redistributors: UART, fw_cfg, three of QEMU's virt, two of a GIC.
const OTHERS: usize = 7;

/// A device whose registers the kernel uses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Device {
    /// The console's UART, a PL011.
    Uart,
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
            Self::Uart => "UART",
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
    /// IHI 0069, 12.8 and 12.10; QEMU, docs/specs/fw_cfg.rst (without the DMA register).
    pub const fn bytes(self) -> u64 {
        match self {
            Self::Uart | Self::DistributorV2 | Self::CpuInterface => 0x1000,
            Self::DistributorV3 => 0x1_0000,
            Self::Redistributor => REDISTRIBUTOR_BYTES,
            Self::FwCfg => 0x10,
            Self::EventSelector | Self::MemorySlots => ged::WINDOW_BYTES,
            Self::Nvdimm => nvdimm::WINDOW_BYTES,
        }
    }

    /// What its registers' address is a multiple of: a GIC's frame (the same chapters), a PL011's page, fw_cfg's widest
    /// access.
    const fn alignment(self) -> u64 {
        match self {
            Self::DistributorV3 | Self::Redistributor => 0x1_0000,
            Self::FwCfg => 8,
            _ => 0x1000,
        }
    }
}

/// A device's registers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Window {
    /// Whose they are.
    pub device: Device,
    /// Where: no more than the driver uses, and less only where the device tree gives less.
    pub range: PhysRange,
}

impl Window {
    fn of(device: Device, region: Region) -> Self {
        Self { device, range: range(Region { start: region.start, size: region.size.min(device.bytes()) }) }
    }
}

/// The console's registers: the device tree's, or where QEMU's virt has its first UART (hw/arm/virt.c, `VIRT_UART`), so that
/// a kernel without a console can at least say so.
pub fn console(machine: &MachineDescription) -> Region {
    match machine.console {
        Console::Pl011(uart) => uart.region,
        Console::Absent | Console::Other(_) => Region { start: EARLY_UART, size: Device::Uart.bytes() },
    }
}

/// The register windows that the kernel maps, with the redistributor of each CPU that runs at `redistributors` (0: none).
/// Whether something answers there is not known yet.
pub fn mapped(machine: &MachineDescription, redistributors: &[u64]) -> Vec<Window, { CPUS + OTHERS }> {
    let found = redistributors.iter().filter(|start| **start != 0);
    let found =
        found.map(|&start| Window::of(Device::Redistributor, Region { start, size: REDISTRIBUTOR_BYTES }));
    others(machine).into_iter().chain(found).collect()
}

/// The register windows that the device tree claims: each region of redistributors is one, all of it.
fn claimed(machine: &MachineDescription) -> Vec<Window, { REDISTRIBUTOR_CAPACITY + OTHERS }> {
    let regions = match &machine.gic {
        Gic::V3 { redistributors, .. } => redistributors.as_slice(),
        _ => &[],
    };
    let regions =
        regions.iter().map(|region| Window { device: Device::Redistributor, range: range(*region) });
    others(machine).into_iter().chain(regions).collect()
}

/// All windows but the redistributors.
fn others(machine: &MachineDescription) -> Vec<Window, OTHERS> {
    let mut windows = Vec::new();
    // No more than OTHERS are added.
    let mut add = |device, region| {
        let _ = windows.push(Window::of(device, region));
    };
    add(Device::Uart, console(machine));
    if let Some(region) = machine.fw_cfg {
        add(Device::FwCfg, region);
    }
    if machine.fw_cfg.is_some() && machine.compatible == QEMU_VIRT {
        add(Device::EventSelector, Region { start: ged::GED_BASE, size: ged::WINDOW_BYTES });
        add(Device::MemorySlots, Region { start: ged::SLOTS_BASE, size: ged::WINDOW_BYTES });
        add(Device::Nvdimm, Region { start: nvdimm::REGISTER_BASE, size: nvdimm::WINDOW_BYTES });
    }
    match &machine.gic {
        Gic::Absent => {}
        Gic::V2 { distributor, cpu_interface } => {
            add(Device::DistributorV2, *distributor);
            add(Device::CpuInterface, *cpu_interface);
        }
        Gic::V3 { distributor, .. } => add(Device::DistributorV3, *distributor),
    }
    windows
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
        })
    }
}

/// Why the device tree cannot be right.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BadTree {
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
    /// Memory where something else is.
    Memory {
        /// The memory.
        memory: PhysRange,
        /// What else is there.
        what: Occupant,
        /// Where.
        range: PhysRange,
    },
    /// Memory below QEMU virt's RAM.
    BelowRam(PhysRange),
}

impl fmt::Display for BadTree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("device tree: ")?;
        if let Self::Small(window)
        | Self::Unaligned(window)
        | Self::OutOfReach(window)
        | Self::Overlap { window, .. } = self
        {
            write!(f, "{} registers at {}: ", window.device.name(), window.range)?;
        }
        match self {
            Self::Small(window) => {
                write!(f, "{:#x} bytes, and the driver uses {:#x}", window.range.len(), window.device.bytes())
            }
            Self::Unaligned(window) => write!(f, "not aligned to {:#x}", window.device.alignment()),
            Self::OutOfReach(_) => {
                write!(f, "devices lie above 0 and below {}", Bytes(DEVICES_END))
            }
            Self::Overlap { what, range, .. } => write!(f, "they overlap {what} at {range}"),
            Self::Memory { memory, what, range } => {
                write!(f, "memory at {memory}: it overlaps {what} at {range}")
            }
            Self::BelowRam(memory) => {
                write!(f, "memory at {memory}: on QEMU's virt, RAM starts at {QEMU_VIRT_RAM}")
            }
        }
    }
}

/// What the kernel brings along: where it must be that no register is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Loaded {
    /// The image, where it runs.
    pub image: PhysRange,
    /// The device tree blob.
    pub blob: PhysRange,
    /// The flash that the image was copied out of, unless it was loaded into RAM.
    pub flash: Option<PhysRange>,
}

/// Checks every window and all memory against each other, before anything is touched.
///
/// # Errors
/// The first rule that is broken.
pub fn check(machine: &MachineDescription, loaded: &Loaded) -> Result<(), BadTree> {
    let windows = claimed(machine);
    for (at, window) in windows.iter().enumerate() {
        if window.device != Device::Redistributor {
            check_reach(*window)?;
        }
        check_alone(*window)?;
        let others = registers(&windows[..at]);
        let mut taken = here(loaded).chain(memory(machine)).chain(not_memory(machine, loaded)).chain(others);
        if let Some((what, range)) = taken.find(|(_, range)| range.overlaps(&window.range)) {
            return Err(BadTree::Overlap { window: *window, what, range });
        }
    }
    for (_, memory) in memory(machine) {
        if machine.compatible == QEMU_VIRT && memory.start < QEMU_VIRT_RAM {
            return Err(BadTree::BelowRam(memory));
        }
        if let Some((what, range)) = not_memory(machine, loaded).find(|(_, range)| range.overlaps(&memory)) {
            return Err(BadTree::Memory { memory, what, range });
        }
    }
    Ok(())
}

/// Checks that the redistributors that are used can be mapped. (A region of them may lie anywhere.)
///
/// # Errors
/// [`BadTree::OutOfReach`].
pub fn check_redistributors(machine: &MachineDescription, redistributors: &[u64]) -> Result<(), BadTree> {
    mapped(machine, redistributors).iter().try_for_each(|window| check_reach(*window))
}

/// The rules for one window alone.
fn check_alone(window: Window) -> Result<(), BadTree> {
    let Window { device, range } = window;
    if !range.start.is_aligned(device.alignment()) {
        return Err(BadTree::Unaligned(window));
    }
    if range.len() < device.bytes() { Err(BadTree::Small(window)) } else { Ok(()) }
}

fn check_reach(window: Window) -> Result<(), BadTree> {
    let in_reach = window.range.start.get() != 0 && window.range.end.get() <= DEVICES_END;
    if in_reach { Ok(()) } else { Err(BadTree::OutOfReach(window)) }
}

/// What is where `range` is, of all that the kernel knows; the PCI configuration space only where there is nothing else.
pub fn conflict(
    machine: &MachineDescription,
    loaded: &Loaded,
    range: PhysRange,
) -> Option<(Occupant, PhysRange)> {
    let windows = claimed(machine);
    let taken = here(loaded).chain(memory(machine)).chain(registers(&windows));
    taken.chain(not_memory(machine, loaded)).find(|(_, taken)| taken.overlaps(&range))
}

/// What the kernel brings along.
fn here(loaded: &Loaded) -> impl Iterator<Item = (Occupant, PhysRange)> {
    [(Occupant::Image, loaded.image), (Occupant::Tree, loaded.blob)].into_iter()
}

/// Registers.
fn registers(windows: &[Window]) -> impl Iterator<Item = (Occupant, PhysRange)> + '_ {
    windows.iter().map(|window| (Occupant::Registers(window.device), window.range))
}

/// Everything that the device tree calls memory.
fn memory(machine: &MachineDescription) -> impl Iterator<Item = (Occupant, PhysRange)> + '_ {
    let memory = machine.memory.iter().map(|memory| (Occupant::Ram, range(memory.region)));
    memory.chain(machine.pmem.iter().map(|pmem| (Occupant::Pmem, range(pmem.region))))
}

/// What is neither memory nor registers that the kernel uses.
fn not_memory<'a>(
    machine: &'a MachineDescription,
    loaded: &Loaded,
) -> impl Iterator<Item = (Occupant, PhysRange)> + 'a {
    let flash = machine.flash.iter().map(|flash| (Occupant::Flash, range(*flash)));
    let ecam = machine.pci.ecam.iter().map(|ecam| (Occupant::PciConfiguration, range(*ecam)));
    let started = loaded.flash.map(|flash| (Occupant::StartFlash, flash));
    flash.chain(started).chain(ecam)
}

fn range(region: Region) -> PhysRange {
    PhysRange { start: PhysAddr::new(region.start), end: PhysAddr::new(region.end()) }
}

#[cfg(test)]
mod tests;
