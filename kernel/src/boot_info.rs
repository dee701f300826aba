//! What boot hands over: plain data, with no pointer into anything, so that it is the same before and after the move to the
//! high addresses.

use hotmap_devicetree::MachineDescription;
use hotmap_mm::addr::{PhysAddr, PhysRange};
use hotmap_mm::granule::GranuleKind;
use hotmap_mm::memblock::Memblock;

use crate::args::BootArgs;
use crate::drivers::acpi;
use crate::drivers::virtio::found::Found;
use crate::per_cpu::CPUS;

/// How the image was started.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BootWay {
    /// By `-kernel`: no GED, so no DIMMs.
    Image,
    /// By `-bios`, out of flash.
    Firmware,
}

impl BootWay {
    /// The word of `state`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Firmware => "firmware",
        }
    }
}

/// Everything that boot found out.
pub struct BootInfo {
    /// What the device tree says.
    pub machine: MachineDescription,
    /// RAM and what is taken of it.
    pub memblock: Memblock,
    /// The boot arguments.
    pub args: BootArgs,
    /// The granule that the tables are made for.
    pub granule: GranuleKind,
    /// How the image was started.
    pub way: BootWay,
    /// The exception level at entry.
    pub entry_level: u64,
    /// The boot CPU's affinity fields of MPIDR_EL1.
    pub boot_affinity: u64,
    /// GICv3: each CPU's redistributor, by its number; 0 where there is none.
    pub redistributors: [u64; CPUS],
    /// The virtio devices that the kernel drives.
    pub virtio: Found,
    /// The registers that ACPI announces.
    pub acpi: acpi::Found,
    /// The root of the kernel's tables.
    pub root: PhysAddr,
    /// Where RAM starts: what the layout is computed from.
    pub ram_start: PhysAddr,
    /// The image in physical memory, from its first byte to the end of its stack.
    pub image: PhysRange,
    /// The device tree blob.
    pub dtb: PhysRange,
    /// The kernel heap's arena.
    pub heap: PhysRange,
    /// The other CPUs' stacks, one after the other in the order of their numbers; empty where there is no other CPU.
    pub stacks: PhysRange,
    /// Where another CPU starts, with its MMU off.
    pub secondary_entry: PhysAddr,
}

impl BootInfo {
    /// Nothing known yet.
    pub const fn new() -> Self {
        let none = PhysRange { start: PhysAddr::new(0), end: PhysAddr::new(0) };
        Self {
            // Constants, all of them zero: else each is built on the stack, and copied.
            machine: const { MachineDescription::new() },
            memblock: const { Memblock::new() },
            args: BootArgs::new(),
            granule: GranuleKind::K4,
            way: BootWay::Image,
            entry_level: 0,
            boot_affinity: 0,
            redistributors: [0; CPUS],
            virtio: const { Found::new() },
            acpi: const { acpi::Found::new() },
            root: PhysAddr::new(0),
            ram_start: PhysAddr::new(0),
            image: none,
            dtb: none,
            heap: none,
            stacks: none,
            secondary_entry: PhysAddr::new(0),
        }
    }
}

impl Default for BootInfo {
    fn default() -> Self {
        Self::new()
    }
}
