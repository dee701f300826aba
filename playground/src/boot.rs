//! From a request's arguments to a kernel on an emulated machine, as boot (boot/src) does it on a real one: memblock, the linear
//! map, the image, the devices' registers; then the model and the devices.

use std::rc::Rc;

use hotmap_devicetree::{MemoryRegion, PmemRegion, Region};
use hotmap_emulator::devices::slots::Slots;
use hotmap_emulator::devices::virtio_mem::Model;
use hotmap_emulator::machine::Emulated;
use hotmap_emulator::rig::{GIB, MIB, range, spec_of};
use hotmap_kernel::arch::machine;
use hotmap_kernel::boot_info::{BootInfo, BootWay};
use hotmap_kernel::console;
use hotmap_kernel::drivers::platform::Platform;
use hotmap_kernel::kernel::Kernel;
use hotmap_kernel::number;
use hotmap_mm::addr::{PhysAddr, PhysRange};
use hotmap_mm::boot;
use hotmap_mm::frame::page::PageKind;
use hotmap_mm::layout::{LINEAR_SIZE, LINEAR_START, Layout};
use hotmap_mm::mm::Mm;
use hotmap_view::State;

use crate::request::Boot;

/// Where QEMU's virt has RAM (hw/arm/virt.c, VIRT_MEM), and the device tree at its start.
const RAM: u64 = 0x4000_0000;
const BLOB: (u64, u64) = (RAM, MIB);
/// Where the image copies itself out of flash (boot/src/entry.rs), and about how long it is: code and constants, and all of it.
const IMAGE: u64 = 0x4040_0000;
const CONSTANT: u64 = 704 << 10;
const IMAGE_BYTES: u64 = 896 << 10;
/// Device memory begins at a multiple of this above RAM (hw/arm/virt.c, virt_set_memmap), and may have so much here.
const DEVICE_ALIGN: u64 = GIB;
const DEVICE_BYTES: u64 = 16 << 40;
/// Persistent memory begins at a multiple of this.
const PMEM_ALIGN: u64 = 256 * GIB;
/// The most RAM: a browser has 4 GiB for all of the module.
const MOST_RAM: u64 = 1 << 40;
/// The least: the image's end, and the heap, and something to use.
const LEAST_RAM: u64 = 64 * MIB;
/// The size of a device block of virtio memory, and what QEMU keeps usable beyond what is requested (hw/virtio/virtio-mem.c,
/// VIRTIO_MEM_USABLE_EXTENT).
const VMEM_BLOCK: u64 = 2 * MIB;
const VMEM_EXTRA: u64 = 1024 * MIB;
/// The most slots (hw/acpi, ACPI_MAX_RAM_SLOTS).
const MOST_SLOTS: u32 = 256;

/// A kernel, and the other side of its devices.
pub(crate) struct Machine {
    pub(crate) kernel: Kernel,
    pub(crate) machine: Emulated,
    pub(crate) slots: Slots,
    pub(crate) vmems: Vec<Model>,
    /// How many NUMA nodes there are.
    pub(crate) nodes: usize,
    /// Whether the last operation failed.
    pub(crate) failed: bool,
    /// What `state` says, if it was asked since the last operation, and what it said before that.
    pub(crate) now: Option<Rc<State>>,
    pub(crate) before: Option<Rc<State>>,
}

/// Boots the machine.
///
/// # Errors
/// What is wrong with the request, or the model's error.
pub(crate) fn boot(request: &Boot) -> Result<Machine, String> {
    let info = read_arguments(request)?;
    let ram = ram_of(request)?;
    let nodes = ram.len();
    let granule = info.granule.granule();
    let machine = Emulated::new(spec_of(granule));
    let mut end = RAM;
    for (node, size) in (0..).zip(ram) {
        let region = Region { start: end, size };
        let memory = MemoryRegion { region, hotpluggable: false, numa_node: Some(node) };
        info.machine.memory.push(memory).map_err(|_| "nodes: too many")?;
        info.memblock.add_ram(range(end, size)).map_err(|error| error.to_string())?;
        end += size;
    }
    machine.plug(RAM, end - RAM);
    let behind_ram: &[String] = if request.pmem_behind_ram { &request.pmem } else { &[] };
    let pmem_end = add_pmem(info, &machine, end, behind_ram)?;
    let device_start = pmem_end.next_multiple_of(DEVICE_ALIGN);
    let (vmems, vmem_end) = virtio_mem(&machine, device_start, &request.virtio_mem)?;
    let count = request.slots.unwrap_or(8);
    if count > MOST_SLOTS {
        return Err(format!("slots: {count}: a machine has at most {MOST_SLOTS}"));
    }
    let room_end = if request.pmem.is_empty() || request.pmem_behind_ram {
        vmem_end + DEVICE_BYTES
    } else {
        let start = (vmem_end + PMEM_ALIGN / 2).next_multiple_of(PMEM_ALIGN);
        add_pmem(info, &machine, start, &request.pmem)?;
        start
    };
    let slots = Slots::new(&machine, count, vmem_end..room_end);
    let mm = start_model(info, &machine).map_err(|error| error.to_string())?;
    machine::adopt(&machine);
    // A machine that panicked may have left it on.
    console::set_quiet(false);
    let platform = Platform::with(&slots, vmems.clone());
    let kernel = Kernel::new(info, mm, platform);
    // What breaks a rule from here on is told, and ends nothing: `bug=` breaks some.
    machine.tolerate();
    Ok(Machine { kernel, machine, slots, vmems, nodes, failed: false, now: None, before: None })
}

/// The boot arguments, read by the kernel's parser; lives as long as the program.
fn read_arguments(request: &Boot) -> Result<&'static mut BootInfo, String> {
    let info = Box::leak(Box::new(BootInfo::new()));
    if let Some(granule) = &request.granule {
        if granule.split_whitespace().count() != 1 {
            return Err(format!("granule={granule}: there are 4k, 16k and 64k"));
        }
        info.args.read(&format!("granule={granule}"));
    }
    info.args.read(&request.args);
    if info.args.end_the_boot() {
        return Err(info.args.complaints.trim_end().to_owned());
    }
    if let Some(name) = &info.args.bad_granule {
        return Err(format!("granule={name}: there are 4k, 16k and 64k"));
    }
    (info.granule, info.way, info.entry_level) = (info.args.granule, BootWay::Firmware, 1);
    Ok(info)
}

/// The sizes of RAM, by node.
fn ram_of(request: &Boot) -> Result<Vec<u64>, String> {
    let sizes: Vec<&str> = match &request.nodes[..] {
        [] => vec![request.memory.as_deref().unwrap_or("1G")],
        nodes => nodes.iter().map(String::as_str).collect(),
    };
    let sizes: Vec<u64> = sizes.into_iter().map(size).collect::<Result<_, _>>()?;
    let total = sizes.iter().fold(0u64, |total, size| total.saturating_add(*size));
    let aligned = sizes.iter().all(|size| size.is_multiple_of(MIB) && *size != 0);
    if !aligned || sizes[0] < LEAST_RAM || total > MOST_RAM {
        return Err("memory: whole MiB, at least 64M in the first node, at most 1T in all".to_owned());
    }
    Ok(sizes)
}

/// The number of bytes that `text` says.
///
/// # Errors
/// It says none.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    number::parse(text).ok_or_else(|| format!("{text}: expected a size, such as 512M or 1G"))
}

/// Devices with regions one after the other from `start` on, and where those end.
fn virtio_mem(machine: &Emulated, start: u64, sizes: &[String]) -> Result<(Vec<Model>, u64), String> {
    let (mut devices, mut end) = (Vec::new(), start);
    for text in sizes {
        let bytes = size(text)?;
        if bytes == 0 || !bytes.is_multiple_of(VMEM_BLOCK) || bytes > DEVICE_BYTES / 16 {
            return Err(format!("virtio_mem: {text}: a region is a multiple of 2M, at most 1T"));
        }
        let device = Model::new(machine, VMEM_BLOCK, end, bytes, end..end + bytes);
        let mut state = device.state.borrow_mut();
        state.extra = VMEM_EXTRA;
        state.config.usable_region_size = 0;
        drop(state);
        devices.push(device);
        end += bytes;
    }
    Ok((devices, end))
}

/// Persistent memory from `start` on, as the device tree describes it. Returns where it ends.
fn add_pmem(info: &mut BootInfo, machine: &Emulated, start: u64, sizes: &[String]) -> Result<u64, String> {
    let mut end = start;
    for text in sizes {
        let bytes = size(text)?;
        if bytes == 0 || !bytes.is_multiple_of(VMEM_BLOCK) || bytes > DEVICE_BYTES / 16 {
            return Err(format!("pmem: {text}: a range is a multiple of 2M, at most 1T"));
        }
        // Not side by side: what is one range is one.
        let start = if end == start { start } else { (end + GIB).next_multiple_of(GIB) };
        let region =
            PmemRegion { region: Region { start, size: bytes }, volatile: false, numa_node: Some(0) };
        info.machine.pmem.push(region).map_err(|_| "pmem: too many")?;
        machine.plug(start, bytes);
        end = start + bytes;
    }
    Ok(end)
}

/// Memory: what is taken of it, the first tables, the MMU, then the model.
fn start_model(info: &mut BootInfo, machine: &Emulated) -> hotmap_mm::error::Result<Mm<Emulated>> {
    let granule = info.granule.granule();
    info.ram_start = info.memblock.span().start;
    info.image = range(IMAGE, IMAGE_BYTES);
    info.dtb = range(BLOB.0, BLOB.1);
    for taken in [info.image, info.dtb] {
        info.memblock.reserve(taken, PageKind::Reserved)?;
    }
    let size = info.args.heap.next_multiple_of(granule.page_size);
    let heap = info.memblock.alloc(size, granule.page_size, PageKind::Kernel)?;
    info.heap = PhysRange { start: heap, end: heap + size };
    let layout = Layout::new(granule, info.ram_start, 48);
    let mut space = boot::new_space(machine.clone(), layout, &mut info.memblock)?;
    boot::map_boot_ram(&mut space, &mut info.memblock, range(IMAGE, CONSTANT))?;
    let linear = LINEAR_START.get()..LINEAR_START.get() + LINEAR_SIZE;
    info.root = PhysAddr::new(space.root().get());
    machine.enable_mmu(info.root.get(), linear, layout.phys_base.get());
    Mm::boot(space, &mut info.memblock, info.args.boot_memmap)
}
