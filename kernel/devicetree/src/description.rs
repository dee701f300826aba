//! The result: what the machine is, in numbers and text, with no reference into the blob.
//!
//! [`MachineDescription::new`] is all zero bytes, so that a static one costs the image nothing (.bss). This is
//! why "the tree says nothing" is a first variant `Absent` here and not an `Option` around an enum: an
//! `Option` keeps its `None` in an unused value of the enum, which is not zero.
use core::num::NonZeroU32;

use heapless::{String, Vec};

use crate::console::Console;
use crate::error::DtError;
use crate::interrupt::Interrupt;
use crate::name::NAME_CAPACITY;
use crate::region::Region;

/// How many memory regions fit. QEMU knows 128 NUMA nodes (`MAX_NODES`, include/sysemu/numa.h).
pub const MEMORY_CAPACITY: usize = 128;
/// How many persistent memory regions fit.
pub const PMEM_CAPACITY: usize = 16;
/// How many flash banks fit. QEMU's virt has two (hw/arm/virt.c, `create_flash`).
pub const FLASH_CAPACITY: usize = 4;
/// How many reservations fit, from both places together.
pub const RESERVED_CAPACITY: usize = 64;
/// How many CPUs are listed; more are counted.
pub const CPU_CAPACITY: usize = 32;
/// How many GICv3 redistributor regions fit. QEMU's virt has at most two (hw/arm/virt.c, VIRT_HIGH_GIC_REDIST2).
pub const REDISTRIBUTOR_CAPACITY: usize = 8;
/// How many entries of a PCI host's `interrupt-map` fit. QEMU's virt has 16 (hw/arm/virt.c, `create_pcie_irq_map`).
pub const PCI_INTERRUPT_CAPACITY: usize = 32;
/// How many virtio devices over MMIO fit. QEMU's virt has 32 places (hw/arm/virt.c, `NUM_VIRTIO_TRANSPORTS`).
pub const VIRTIO_MMIO_CAPACITY: usize = 32;
/// How many complaints fit.
pub const COMPLAINT_CAPACITY: usize = 4;
/// The longest boot argument string, in bytes. Linux's arm64 limit (`COMMAND_LINE_SIZE`) is the same.
pub const BOOTARGS_CAPACITY: usize = 2048;
/// The longest root `compatible` string, in bytes.
pub const COMPATIBLE_CAPACITY: usize = 64;

/// A range of RAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryRegion {
    /// Where it is.
    pub region: Region,
    /// The node says `hotpluggable`: the kernel may leave it out at boot and add it later.
    pub hotpluggable: bool,
    /// `numa-node-id`, if the node has one.
    pub numa_node: Option<u32>,
}

/// A range of persistent memory (`pmem-region`, Linux Documentation/devicetree/bindings/pmem).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PmemRegion {
    /// Where it is.
    pub region: Region,
    /// The node says `volatile`: the contents do not survive a power cycle.
    pub volatile: bool,
    /// `numa-node-id`, if the node has one.
    pub numa_node: Option<u32>,
}

/// A range that the kernel must not use as it likes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// Where it is.
    pub region: Region,
    /// The node says `no-map`: it must not even be mapped.
    pub no_map: bool,
    /// The name of the /reserved-memory child, with its unit address; empty for an entry of the memory
    /// reservation block, which has none.
    pub name: String<NAME_CAPACITY, u8>,
}

/// The interrupt controller.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Gic {
    /// No GIC that we know.
    #[default]
    Absent,
    /// GICv2: `arm,cortex-a15-gic`, `arm,gic-400`.
    V2 {
        /// Distributor registers.
        distributor: Region,
        /// CPU interface registers.
        cpu_interface: Region,
    },
    /// GICv3: `arm,gic-v3`.
    V3 {
        /// Distributor registers.
        distributor: Region,
        /// Redistributor registers, in the order of the node.
        redistributors: Vec<Region, REDISTRIBUTOR_CAPACITY>,
        /// Distance of one CPU's redistributor from the next, in bytes; 0: the architecture's 128 KiB.
        redistributor_stride: u64,
    },
}

/// A range of addresses that a PCI host gives to devices' registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PciWindow {
    /// Its first address on the PCI bus, for the devices' base address registers.
    pub bus: u64,
    /// Where it is for the CPU.
    pub region: Region,
}

/// An entry of `interrupt-map`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PciInterrupt {
    /// Bus, device and function as in bits 23:8 of a PCI address.
    pub device: u32,
    /// 1 for INTA to 4 for INTD.
    pub pin: u32,
    /// What it is at the GIC.
    pub interrupt: Interrupt,
}

/// A PCI Express host (`pci-host-ecam-generic`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pci {
    /// Configuration space (ECAM): 4 KiB for each function, from bus `first_bus` on. `None`: there is no such host.
    pub ecam: Option<Region>,
    /// The number of its first bus.
    pub first_bus: u8,
    /// What the devices read and write is what the CPU has in its caches.
    pub coherent: bool,
    /// For base address registers of 32 bits.
    pub memory32: Option<PciWindow>,
    /// For base address registers of 64 bits.
    pub memory64: Option<PciWindow>,
    /// For I/O ports.
    pub io: Option<PciWindow>,
    /// `interrupt-map`.
    pub interrupts: Vec<PciInterrupt, PCI_INTERRUPT_CAPACITY>,
    /// `interrupt-map-mask`: which bits of `device` and of `pin` are compared.
    pub interrupt_mask: (u32, u32),
}

impl Pci {
    /// No host; all zero bytes.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            ecam: None,
            first_bus: 0,
            coherent: false,
            memory32: None,
            memory64: None,
            io: None,
            interrupts: Vec::new(),
            interrupt_mask: (0, 0),
        }
    }

    pub(crate) fn clear(&mut self) {
        self.ecam = None;
        (self.first_bus, self.coherent) = (0, false);
        (self.memory32, self.memory64, self.io) = (None, None, None);
        self.interrupts.clear();
        self.interrupt_mask = (0, 0);
    }

    /// The interrupt of `pin` (1 to 4) of a function; `None` for pin 0, which is none, and where the map has no entry.
    #[must_use]
    pub fn interrupt(&self, bus: u8, device: u8, function: u8, pin: u8) -> Option<Interrupt> {
        let (device_mask, pin_mask) = self.interrupt_mask;
        let address = u32::from(bus) << 16 | u32::from(device) << 11 | u32::from(function) << 8;
        let (address, pin) =
            (address & device_mask, Some(u32::from(pin)).filter(|pin| *pin != 0)? & pin_mask);
        let matches = |e: &&PciInterrupt| e.device & device_mask == address && e.pin & pin_mask == pin;
        self.interrupts.iter().find(matches).map(|entry| entry.interrupt)
    }
}

/// A place for a virtio device over MMIO (`virtio,mmio`); its registers say whether there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VirtioMmio {
    /// The registers.
    pub region: Region,
    /// Its interrupt, if the node has one and it is a GIC's.
    pub interrupt: Option<Interrupt>,
    /// What the device reads and writes is what the CPU has in its caches.
    pub coherent: bool,
}

/// How PSCI is called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PsciConduit {
    /// There is no PSCI.
    #[default]
    Absent,
    /// `method = "hvc"`.
    Hvc,
    /// `method = "smc"`.
    Smc,
}

/// The newest PSCI that the node is compatible with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum PsciVersion {
    /// There is no PSCI.
    #[default]
    Absent,
    /// `arm,psci`: function numbers are in the node.
    V0_1,
    /// `arm,psci-0.2`: standard function numbers.
    V0_2,
    /// `arm,psci-1.0`: with PSCI_FEATURES.
    V1_0,
}

/// The /psci node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Psci {
    /// How it is called.
    pub conduit: PsciConduit,
    /// What can be called.
    pub version: PsciVersion,
    /// `cpu_on` of a node that is [`PsciVersion::V0_1`]: the number of CPU_ON.
    pub cpu_on: Option<u32>,
}

/// How a CPU that is off is turned on: its node's `enable-method`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EnableMethod {
    /// The node does not say. (A machine with one CPU need not.)
    #[default]
    Absent,
    /// `psci`: by CPU_ON.
    Psci,
    /// Something else.
    Other,
}

/// A CPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cpu {
    /// `reg`: on arm64 the affinity fields of its MPIDR_EL1. Not checked: it may say anything.
    pub mpidr: u64,
    /// How it is turned on.
    pub enable_method: EnableMethod,
}

/// What may lie in a region that is set aside, and must not be lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// A reservation, from either place.
    Reservation,
    /// The initial RAM disk.
    Initrd,
}

/// Everything the kernel wants to know from the device tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MachineDescription {
    /// The first string of the root's `compatible`: QEMU's virt says `linux,dummy-virt`.
    pub compatible: String<COMPATIBLE_CAPACITY>,
    /// RAM, in ascending order, no two sharing a byte. A hotpluggable or persistent range that lies inside
    /// a plain one is cut out of it: QEMU's `-dtb` adds such nodes inside its RAM.
    pub memory: Vec<MemoryRegion, MEMORY_CAPACITY>,
    /// Persistent memory, in ascending order; shares no byte with `memory`.
    pub pmem: Vec<PmemRegion, PMEM_CAPACITY>,
    /// The memory reservation block, then /reserved-memory, in the order of the blob. They may overlap (the
    /// same range is often in both), and may lie outside RAM.
    pub reserved: Vec<Reservation, RESERVED_CAPACITY>,
    /// The initial RAM disk. It is not in `reserved`.
    pub initrd: Option<Region>,
    /// The kernel's arguments.
    pub bootargs: String<BOOTARGS_CAPACITY>,
    /// Where `stdout-path` points.
    pub console: Console,
    /// The ID of the generic timer's virtual timer interrupt, if it is a GIC's.
    pub timer: Option<NonZeroU32>,
    /// The interrupt controller.
    pub gic: Gic,
    /// Power State Coordination Interface.
    pub psci: Psci,
    /// The CPUs, in the order of the blob, the first [`CPU_CAPACITY`] of them.
    pub cpus: Vec<Cpu, CPU_CAPACITY>,
    /// How many CPUs there are.
    pub cpu_count: u32,
    /// QEMU's fw_cfg registers.
    pub fw_cfg: Option<Region>,
    /// The PCI Express host.
    pub pci: Pci,
    /// Places for virtio devices over MMIO, in the order of the blob, the first [`VIRTIO_MMIO_CAPACITY`] of them.
    pub virtio_mmio: Vec<VirtioMmio, VIRTIO_MMIO_CAPACITY>,
    /// Why nodes of these two were left out, the first [`COMPLAINT_CAPACITY`] reasons.
    pub complaints: Vec<DtError, COMPLAINT_CAPACITY>,
    /// Flash banks, in the order of the blob.
    pub flash: Vec<Region, FLASH_CAPACITY>,
}

impl MachineDescription {
    /// A description of nothing; all zero bytes.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            compatible: String::new(),
            memory: Vec::new(),
            pmem: Vec::new(),
            reserved: Vec::new(),
            initrd: None,
            bootargs: String::new(),
            console: Console::Absent,
            timer: None,
            gic: Gic::Absent,
            psci: Psci { conduit: PsciConduit::Absent, version: PsciVersion::Absent, cpu_on: None },
            cpus: Vec::new(),
            cpu_count: 0,
            fw_cfg: None,
            pci: Pci::new(),
            virtio_mmio: Vec::new(),
            complaints: Vec::new(),
            flash: Vec::new(),
        }
    }

    /// The NUMA node of the RAM or persistent memory at `address`, if its node in the tree names one.
    #[must_use]
    pub fn numa_node_at(&self, address: u64) -> Option<u32> {
        let memory = self.memory.iter().map(|entry| (entry.region, entry.numa_node));
        let pmem = self.pmem.iter().map(|entry| (entry.region, entry.numa_node));
        memory.chain(pmem).find(|(region, _)| region.contains(address)).and_then(|(_, node)| node)
    }

    /// The first thing in `region` that is not the region's own: what the kernel must leave alone would be lost there.
    /// (The kernel's image and the blob itself are not in the tree.)
    #[must_use]
    pub fn held_in(&self, region: Region) -> Option<(Held, Region)> {
        let reserved = self.reserved.iter().map(|entry| (Held::Reservation, entry.region));
        let initrd = self.initrd.map(|initrd| (Held::Initrd, initrd));
        reserved.chain(initrd).find(|(_, held)| held.overlaps(region))
    }

    /// Back to nothing, field by field: assigning `new()` would build the 15 KiB on the stack.
    pub(crate) fn clear(&mut self) {
        self.compatible.clear();
        self.memory.clear();
        self.pmem.clear();
        self.reserved.clear();
        self.initrd = None;
        self.bootargs.clear();
        self.console = Console::Absent;
        self.timer = None;
        self.gic = Gic::Absent;
        self.psci = Psci::default();
        self.cpus.clear();
        self.cpu_count = 0;
        self.fw_cfg = None;
        self.pci.clear();
        self.virtio_mmio.clear();
        self.complaints.clear();
        self.flash.clear();
    }
}

impl Default for MachineDescription {
    fn default() -> Self {
        Self::new()
    }
}
