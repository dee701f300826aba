//! Where the devices' registers are, by the device tree and by ACPI, and the rules for it: both may say anything. [`check`]
//! comes before the first access to a register whose address the tree gives, [`check_announced`] before one of ACPI's.
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
use hotmap_mm::addr::{PhysAddr, PhysRange};

use super::affinity::REDISTRIBUTOR_BYTES;
use super::uart::Model;
use crate::per_cpu::CPUS;

mod window;

pub use window::{BadWindow, Device, Occupant, Window};

use window::DEVICES_END;

/// QEMU virt's first UART (hw/arm/virt.c, `VIRT_UART`): where the reason goes why boot ends before a device tree has told of
/// a console.
pub const EARLY_UART: u64 = 0x0900_0000;
/// The root's `compatible` on QEMU's virt. Other VMMs have the same one, but no fw_cfg beside it.
const QEMU_VIRT: &str = "linux,dummy-virt";
/// Where RAM starts on QEMU's virt; below it are flash and devices (`hw/arm/virt.c`, `VIRT_MEM` in `base_memmap`).
const QEMU_VIRT_RAM: PhysAddr = PhysAddr::new(0x4000_0000);
/// The most windows beside redistributors: UART, fw_cfg, two of a GIC.
const OTHERS: usize = 4;

/// The console's kind and registers: the device tree's, or QEMU virt's first UART, so that a kernel without a console can at
/// least say so.
pub fn console(machine: &MachineDescription) -> (Model, Region) {
    match machine.console {
        Console::Pl011(uart) => (Model::Pl011, uart.region),
        Console::Ns16550(uart, spacing) => (Model::Ns16550(spacing), uart.region),
        Console::Absent | Console::Other(_) => {
            let size = Device::Uart(Model::Pl011).bytes();
            (Model::Pl011, Region { start: EARLY_UART, size })
        }
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
    let (model, region) = console(machine);
    add(Device::Uart(model), region);
    if let Some(region) = machine.fw_cfg {
        add(Device::FwCfg, region);
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

/// Why the device tree cannot be right.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BadTree {
    /// A device's registers.
    Window(BadWindow),
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

impl From<BadWindow> for BadTree {
    fn from(bad: BadWindow) -> Self {
        Self::Window(bad)
    }
}

impl fmt::Display for BadTree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("device tree: ")?;
        match self {
            Self::Window(bad) => write!(f, "{bad}"),
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
        check_claimed(machine, loaded, *window, &windows[..at])?;
    }
    for (_, memory) in memory(machine) {
        if is_qemus(machine) && memory.start < QEMU_VIRT_RAM {
            return Err(BadTree::BelowRam(memory));
        }
        if let Some((what, range)) = not_memory(machine, loaded).find(|(_, range)| range.overlaps(&memory)) {
            return Err(BadTree::Memory { memory, what, range });
        }
    }
    Ok(())
}

/// The console's kind and the address of its registers, if these break no rule: boot prints there before it checks all
/// windows.
pub fn sound_console(machine: &MachineDescription, loaded: &Loaded) -> Option<(Model, u64)> {
    let windows = claimed(machine);
    let (window, others) = windows.split_first()?;
    check_claimed(machine, loaded, *window, others).ok()?;
    let (model, region) = console(machine);
    Some((model, region.start))
}

fn is_qemus(machine: &MachineDescription) -> bool {
    machine.compatible == QEMU_VIRT && machine.fw_cfg.is_some()
}

fn check_claimed(
    machine: &MachineDescription,
    loaded: &Loaded,
    window: Window,
    others: &[Window],
) -> Result<(), BadWindow> {
    if window.device != Device::Redistributor {
        check_reach(window)?;
    }
    check_alone(window)?;
    let taken = here(loaded).chain(memory(machine)).chain(not_memory(machine, loaded));
    check_free(window, taken.chain(registers(others)))
}

/// Checks that the redistributors that are used can be mapped. (A region of them may lie anywhere.)
///
/// # Errors
/// [`BadTree::Window`] with [`BadWindow::OutOfReach`].
pub fn check_redistributors(machine: &MachineDescription, redistributors: &[u64]) -> Result<(), BadTree> {
    Ok(mapped(machine, redistributors).iter().try_for_each(|window| check_reach(*window))?)
}

/// Checks a window that the device tree does not have, against all that the device tree has, and `others`.
///
/// # Errors
/// The first rule that is broken.
pub fn check_announced(
    machine: &MachineDescription,
    loaded: &Loaded,
    others: impl Iterator<Item = (Occupant, PhysRange)>,
    window: Window,
) -> Result<(), BadWindow> {
    check_reach(window)?;
    check_alone(window)?;
    check_free(window, conflict(machine, loaded, window.range).into_iter().chain(others))
}

fn check_free(
    window: Window,
    mut taken: impl Iterator<Item = (Occupant, PhysRange)>,
) -> Result<(), BadWindow> {
    match taken.find(|(_, range)| range.overlaps(&window.range)) {
        Some((what, range)) => Err(BadWindow::Overlap { window, what, range }),
        None => Ok(()),
    }
}

/// The rules for one window alone.
fn check_alone(window: Window) -> Result<(), BadWindow> {
    let Window { device, range } = window;
    if !range.start.is_aligned(device.alignment()) {
        return Err(BadWindow::Unaligned(window));
    }
    if range.len() < device.bytes() { Err(BadWindow::Small(window)) } else { Ok(()) }
}

fn check_reach(window: Window) -> Result<(), BadWindow> {
    let in_reach = window.range.start.get() != 0 && window.range.end.get() <= DEVICES_END;
    if in_reach { Ok(()) } else { Err(BadWindow::OutOfReach(window)) }
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
pub(super) fn registers(windows: &[Window]) -> impl Iterator<Item = (Occupant, PhysRange)> + '_ {
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
