//! From the device tree to [`BootInfo`]: what is RAM, what is taken of it, and which granule it will be.
#![expect(unsafe_code, reason = "reads the device tree blob where the boot protocol put it; rule B2")]

use core::fmt;

use hotmap_devicetree::{DtError, MachineDescription};
use hotmap_kernel::arch::psci::{self, Functions};
use hotmap_kernel::arch::{caches, cpu, image};
use hotmap_kernel::boot_info::{BootInfo, BootWay};
use hotmap_kernel::cpus::plan;
use hotmap_kernel::drivers::platform;
use hotmap_kernel::drivers::virtio::find;
use hotmap_kernel::drivers::windows::{self, BadTree, Loaded};
use hotmap_kernel::exit::Status;
use hotmap_mm::addr::{PhysAddr, PhysRange};
use hotmap_mm::error::Error;
use hotmap_mm::frame::page::PageKind;

/// Why boot ends here. The exit status is 3 where the CPU lacks something, else 2.
pub(crate) enum Stop {
    /// Entered at EL3, where firmware would have set up what EL1 needs.
    Level3,
    /// The device tree blob is not usable.
    DeviceTree(DtError),
    /// The boot arguments cannot be taken.
    Arguments,
    /// The device tree puts devices or memory where they cannot be.
    BadTree(BadTree),
    /// `granule=` names none.
    NoSuchGranule,
    /// The CPU does not have the granule.
    NoGranule,
    /// Memory that the CPU or the translation tables cannot address.
    BeyondPaRange(PhysRange),
    /// There is no RAM where the image runs.
    NoRam(PhysRange),
    /// The device tree sets the RAM aside where the image runs.
    SetAside {
        /// The region.
        by: PhysRange,
        /// The image.
        image: PhysRange,
    },
    /// Memory.
    Memory(Error),
}

/// B2: the boot protocol promises that x0 is the physical address of a device tree blob in RAM, to which nothing writes.
fn blob(at: u64, len: usize) -> &'static [u8] {
    // SAFETY: B2; the length is the header's own size, or what the header says.
    unsafe { core::slice::from_raw_parts(at as *const u8, len) }
}

/// Reads the device tree at `dtb`; returns what the kernel brings along.
pub(crate) fn read(info: &mut BootInfo, dtb: u64, image: PhysRange) -> Result<Loaded, Stop> {
    // A loader may have written it through its caches, and this CPU reads it with its own off.
    caches::clean_invalidate(dtb, hotmap_devicetree::HEADER_SIZE as u64);
    let header = blob(dtb, hotmap_devicetree::HEADER_SIZE);
    let size = hotmap_devicetree::total_size(header).map_err(Stop::DeviceTree)?;
    caches::clean_invalidate(dtb, u64::from(hotmap_devicetree::used_size(header)));
    hotmap_devicetree::parse(blob(dtb, size as usize), &mut info.machine).map_err(Stop::DeviceTree)?;
    if let Some(functions) = Functions::of(&info.machine.psci) {
        psci::init(&functions);
    }
    let start = PhysAddr::new(dtb);
    info.dtb = PhysRange { start, end: start + u64::from(size) };
    let from_flash = || PhysRange { start: PhysAddr::new(0), end: PhysAddr::new(image.len()) };
    let flash = (info.way == BootWay::Firmware).then(from_flash);
    Ok(Loaded { image, blob: info.dtb, flash })
}

/// Checks where the device tree puts devices and memory, and reads the boot arguments.
pub(crate) fn look_around(info: &mut BootInfo, loaded: &Loaded) -> Result<(), Stop> {
    windows::check(&info.machine, loaded).map_err(Stop::BadTree)?;
    find::find(&info.machine, loaded, &mut info.virtio);
    info.args.read(&info.machine.bootargs);
    platform::read_fw_cfg(info, loaded);
    Ok(())
}

/// Checks the granule that was asked for.
pub(crate) fn choose_granule(info: &mut BootInfo) -> Result<(), Stop> {
    if info.args.end_the_boot() {
        return Err(Stop::Arguments);
    }
    if info.args.bad_granule.is_some() {
        return Err(Stop::NoSuchGranule);
    }
    info.granule = info.args.granule;
    if cpu::features().has_granule(info.granule) { Ok(()) } else { Err(Stop::NoGranule) }
}

/// Checks that the redistributors that were found can be mapped.
pub(crate) fn check_redistributors(info: &BootInfo) -> Result<(), Stop> {
    windows::check_redistributors(&info.machine, &info.redistributors).map_err(Stop::BadTree)
}

/// Checks that the CPU can address all memory that the device tree names.
pub(crate) fn check_addresses(info: &BootInfo) -> Result<(), Stop> {
    let machine = &info.machine;
    let memory = machine.memory.iter().map(|m| m.region).chain(machine.pmem.iter().map(|pmem| pmem.region));
    let end = 1 << cpu::features().usable_pa_bits();
    let mut beyond = memory.filter(|region| region.end() > end);
    beyond.next().map_or(Ok(()), |region| Err(Stop::BeyondPaRange(range(region))))
}

/// Fills memblock: RAM, then the ranges that are in use.
pub(crate) fn find_memory(info: &mut BootInfo, image: PhysRange) -> Result<(), Stop> {
    info.image = image;
    let (machine, memblock) = (&info.machine, &mut info.memblock);
    for memory in machine.memory.iter().filter(|m| !m.hotpluggable) {
        memblock.add_ram(range(memory.region)).map_err(Stop::Memory)?;
    }
    if !memblock.ram().iter().any(|ram| ram.covers(&image)) {
        return Err(no_ram(machine, image));
    }
    info.ram_start = memblock.span().start;
    for reserved in &machine.reserved {
        let bytes = range(reserved.region);
        if reserved.no_map { memblock.carve(bytes) } else { memblock.reserve(bytes, PageKind::Reserved) }
            .map_err(Stop::Memory)?;
    }
    for taken in [Some(image), Some(info.dtb), machine.initrd.map(range)].into_iter().flatten() {
        memblock.reserve(taken, PageKind::Reserved).map_err(Stop::Memory)?;
    }
    let granule = info.granule.bytes();
    let size = info.args.heap.next_multiple_of(granule);
    let heap = memblock.alloc(size, granule, PageKind::Kernel).map_err(Stop::Memory)?;
    info.heap = PhysRange { start: heap, end: heap + size };
    let others = plan::highest(&info.machine, info.boot_affinity, info.args.max_cpus) as u64;
    if others > 0 {
        let size = others * image::STACK_BYTES;
        let stacks = memblock.alloc(size, image::STACK_BYTES, PageKind::Kernel).map_err(Stop::Memory)?;
        info.stacks = PhysRange { start: stacks, end: stacks + size };
    }
    Ok(())
}

/// Why there is no RAM for the image: the device tree may have set it aside.
fn no_ram(machine: &MachineDescription, image: PhysRange) -> Stop {
    let hotpluggable = machine.memory.iter().filter(|m| m.hotpluggable).map(|m| m.region);
    let mut aside = hotpluggable.chain(machine.pmem.iter().map(|pmem| pmem.region)).map(range);
    aside.find(|region| region.overlaps(&image)).map_or(Stop::NoRam(image), |by| Stop::SetAside { by, image })
}

fn range(region: hotmap_devicetree::Region) -> PhysRange {
    PhysRange { start: PhysAddr::new(region.start), end: PhysAddr::new(region.end()) }
}

/// The boot way: only firmware boot runs from flash.
pub(crate) const fn way(from_flash: bool) -> BootWay {
    if from_flash { BootWay::Firmware } else { BootWay::Image }
}

impl Stop {
    /// The exit status.
    pub(crate) const fn status(&self) -> Status {
        match self {
            Self::Level3 | Self::NoGranule => Status::Unsupported,
            _ => Status::Crashed,
        }
    }

    /// The message, with what `info` adds to it.
    pub(crate) fn say(&self, info: &BootInfo, f: &mut impl fmt::Write) -> fmt::Result {
        match self {
            Self::Level3 => {
                f.write_str("entered at EL3; hotmap runs at EL1 or EL2 (on QEMU: leave out secure=on)")
            }
            Self::DeviceTree(error) => write!(f, "{error}"),
            Self::Arguments => {
                for (i, complaint) in info.args.complaints.lines().enumerate() {
                    write!(f, "{}{complaint}", if i == 0 { "" } else { "\nerror: " })?;
                }
                Ok(())
            }
            Self::BadTree(bad) => write!(f, "{bad}"),
            Self::NoSuchGranule => {
                let name = info.args.bad_granule.as_deref().unwrap_or_default();
                write!(f, "granule={name}: there are 4k, 16k and 64k")
            }
            Self::NoGranule => {
                write!(
                    f,
                    "this CPU has no {} granule (ID_AA64MMFR0_EL1 = {:#x})",
                    info.granule,
                    cpu::features().mmfr0
                )
            }
            Self::BeyondPaRange(memory) => {
                let (cpu, usable) = (cpu::features().pa_bits(), cpu::features().usable_pa_bits());
                write!(
                    f,
                    "the device tree has memory at {memory}: a physical address has {usable} bits here ({cpu} in the CPU)"
                )
            }
            Self::NoRam(image) => write!(f, "the device tree has no RAM at {image}, where the image runs"),
            Self::SetAside { by, image } => {
                write!(f, "the device tree sets {by} aside, and the image runs at {image}")
            }
            Self::Memory(error) => write!(f, "{error}"),
        }
    }
}
