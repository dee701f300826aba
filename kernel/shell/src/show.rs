//! Commands that show how things are, for people.

use hotmap_mm::addr::{Bytes, VirtAddr, VirtRange};
use hotmap_mm::frame::block::{MemoryBlock, Source};
use hotmap_mm::frame::counts::Counts;
use hotmap_mm::frame::page::PAGE_BYTES;
use hotmap_mm::frame::zone::ZoneKind;
use hotmap_mm::granule::MAX_ORDERS;
use hotmap_mm::layout::{DEVICES, IMAGE_START, LINEAR_SIZE, LINEAR_START, TENANTS};

use super::Outcome;
use super::args::Words;
use crate::units::Units;
use crate::units::each_free_run;
use hotmap_kernel::arch::fault;
use hotmap_kernel::arch::heap;
use hotmap_kernel::cpus::start::{self, Whereabouts};
use hotmap_kernel::cpus::{signals, work};
use hotmap_kernel::kernel::Kernel;
use hotmap_kernel::{console, kprint, kprintln};

/// The regions of the upper half, by name.
pub(super) fn regions(kernel: &Kernel) -> [(&'static str, VirtRange); 5] {
    let range = |start: VirtAddr, len: u64| VirtRange { start, end: start + len };
    [
        ("linear", range(LINEAR_START, LINEAR_SIZE)),
        ("image", VirtRange { start: IMAGE_START, end: DEVICES.start }),
        ("devices", DEVICES),
        ("tenants", TENANTS),
        ("vmemmap", kernel.mm.space().layout().vmemmap()),
    ]
}

/// Pages by use, by name.
pub(super) const fn by_use(counts: &Counts) -> [(&'static str, u64); 7] {
    [
        ("present", counts.present),
        ("free", counts.free),
        ("allocated", counts.allocated),
        ("memmap (self-hosted)", counts.memmap_self),
        ("memmap (system RAM)", counts.memmap_ram),
        ("tables", counts.tables),
        ("reserved", counts.reserved),
    ]
}

pub(super) fn mem(kernel: &mut Kernel, _: &mut Words<'_>) -> Outcome {
    for (name, pages) in by_use(&kernel.mm.frames().counts()) {
        kprintln!("{name:<22} {pages:>10} pages {:>10} KiB", pages * (kernel.page_size() >> 10));
    }
    let (used, size) = heap::usage();
    kprintln!("{:<22} {used:>10} of {size} bytes", "heap");
    Ok(())
}

pub(super) fn zones(kernel: &mut Kernel, _: &mut Words<'_>) -> Outcome {
    for kind in ZoneKind::ALL {
        let zone = kernel.mm.frames().zone(kind);
        let (start, end) = kernel.mm.frames().zone_span(kind);
        kprintln!(
            "{kind:<8} pfn {:#x}..{:#x}  blocks {}  present {}  free {}",
            start.get(),
            end.get(),
            kernel.mm.frames().blocks_in(kind).count(),
            zone.present,
            zone.free
        );
        let mut runs = [0u64; MAX_ORDERS];
        for block in kernel.mm.frames().blocks_in(kind).filter_map(|start| kernel.mm.frames().block_of(start))
        {
            each_free_run(kernel, &block, |_, order| runs[order as usize] += 1);
        }
        for (order, runs) in runs.into_iter().enumerate() {
            if runs > 0 {
                kprintln!("  order {order:>2} ({:>8}): {runs}", Bytes(kernel.page_size() << order));
            }
        }
    }
    Ok(())
}

pub(super) fn blocks(kernel: &mut Kernel, _: &mut Words<'_>) -> Outcome {
    let width = if kernel.mm.frames().demand().blocks() == 0 { 5 } else { "512 of 512".len() };
    let virtio = |block: MemoryBlock| matches!(block.source, Source::VirtioMem(_));
    let sources = if kernel.mm.frames().blocks().any(virtio) { "virtio-mem0".len() } else { "dimm10".len() };
    for block in kernel.mm.frames().blocks() {
        kprint!(
            "{}  {:<13} {:<8} {:<sources$} memmap {:<width$} usable from {}  free {:>6}  tenants {}",
            kernel.address(block.start),
            block.state.name(),
            block.state.zone().map_or("none", ZoneKind::name),
            Word(block.source),
            Word(Memmap(kernel, &block)),
            kernel.usable_start(&block),
            kernel.free_pages(&block),
            block.tenant_pages
        );
        if block.unplugged != 0 {
            kprint!("  {} plugged", Bytes(block.present * kernel.page_size()));
        }
        kprint!("\n");
    }
    kprintln!("a memory block is {}", Bytes(kernel.block_size()));
    Ok(())
}

/// Where a block's memmap lies; on demand, how many of its pages have a frame of their own.
struct Memmap<'a>(&'a Kernel, &'a MemoryBlock);

impl core::fmt::Display for Memmap<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Self(kernel, block) = self;
        if block.demand.is_none() {
            return f.write_str(kernel.memmap_of(block));
        }
        if block.is_image(kernel.granule()) {
            return f.write_str("image");
        }
        let pages = kernel.block_pages() * PAGE_BYTES / kernel.page_size();
        write!(f, "{} of {pages}", kernel.mm.frames().populated_pages(block.start))
    }
}

/// Lets a `Display` value be padded.
struct Word<T>(T);

impl<T: core::fmt::Display> core::fmt::Display for Word<T> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let mut text = heapless::String::<20>::new();
        // Longer than 20 bytes cannot happen: "virtio-mem4294967295".
        let _ = core::fmt::write(&mut text, format_args!("{}", self.0));
        f.pad(&text)
    }
}

pub(super) fn dimms(kernel: &mut Kernel, _: &mut Words<'_>) -> Outcome {
    let Some(slots) = kernel.platform.ged.as_ref().map(|ged| ged.slot_count()) else {
        kprintln!("this machine has no DIMM slots (firmware boot with -m SIZE,slots=N,maxmem=SIZE has them)");
        return Ok(());
    };
    for dimm in kernel.dimms.all() {
        kprintln!(
            "dimm{}  {}  {}  node {}  {}",
            dimm.slot,
            dimm.range,
            Bytes(dimm.range.len()),
            dimm.node,
            kernel.dimm_state(dimm)
        );
        if let Some(reason) = kernel.dimm_reason(dimm) {
            kprintln!("  {reason}");
        }
    }
    kprintln!("{} of {slots} slots in use", kernel.dimms.all().len());
    Ok(())
}

pub(super) fn nvdimms(kernel: &mut Kernel, _: &mut Words<'_>) -> Outcome {
    if kernel.platform.nvdimm.is_none() {
        kprintln!("this machine has no NVDIMMs (firmware boot with -machine nvdimm=on can have them)");
        return Ok(());
    }
    let nvdimms = kernel.nvdimms.all();
    for nvdimm in nvdimms {
        let (number, range, state) = (nvdimm.number, nvdimm.range, kernel.nvdimm_state(nvdimm));
        kprint!("nvdimm{number}  {range}  {}", Bytes(range.len()));
        if let Some(node) = nvdimm.node {
            kprint!("  node {node}");
        }
        kprintln!("  {state}");
    }
    kprintln!("NVDIMMs: {} (QEMU cannot unplug one)", nvdimms.len());
    Ok(())
}

pub(super) fn tables(kernel: &mut Kernel, _: &mut Words<'_>) -> Outcome {
    for (name, range) in regions(kernel) {
        let pages = kernel.mm.space().table_pages(range);
        kprintln!("{name:<8} {pages:>6} pages {:>8} KiB", pages * (kernel.page_size() >> 10));
    }
    kprintln!(
        "{:<8} {:>6} pages, the root included (a table that two regions share is listed for both)",
        "all",
        kernel.mm.frames().counts().tables
    );
    Ok(())
}

pub(super) fn layout(kernel: &mut Kernel, _: &mut Words<'_>) -> Outcome {
    for (name, range) in regions(kernel) {
        kprintln!("{:#018x}..{:#018x}  {name}", range.start.get(), range.end.get());
    }
    let base = kernel.mm.space().layout().phys_base;
    kprintln!("linear address = physical address - {} + {LINEAR_START}", base);
    kprintln!(
        "struct page    = {} + (pfn - {:#x}) * 64",
        kernel.mm.space().layout().vmemmap().start,
        kernel.pfn(base).get()
    );
    for ram in kernel.info.memblock.ram() {
        kprintln!("boot RAM  {ram}  {}", Bytes(ram.len()));
    }
    for region in kernel.regions.all() {
        kprint!("region    {region}, {}", kernel.region_state(region));
        region.parts().iter().for_each(|part| kprint!("  {part}"));
        kprint!("\n");
    }
    kprintln!("image     {}", kernel.info.image);
    kprintln!("dtb       {}", kernel.info.dtb);
    kprintln!("heap      {}", kernel.info.heap);
    Ok(())
}

pub(super) fn cpus(kernel: &mut Kernel, _: &mut Words<'_>) -> Outcome {
    kprintln!("cpu  mpidr        role     jobs       interrupts retries    state");
    let windows = fault::figures();
    for (mpidr, place) in start::each(kernel.info) {
        if let Whereabouts::Online(number) = place {
            let (jobs, interrupts) = (work::jobs_done(number), signals::interrupts(number));
            let retries = windows.waited[number] + windows.late[number] + fault::conflicts(number);
            let role = role(number);
            kprint!("{number:<4} {mpidr:<#12x} {role:<8} {jobs:<10} {interrupts:<10} {retries:<10} ");
        } else {
            kprint!("{:<4} {mpidr:<#12x} {:<8} {:<10} {:<10} {:<10} ", "-", "-", "-", "-", "-");
        }
        kprintln!("{place}");
    }
    Ok(())
}

/// What a CPU that runs is there for.
fn role(number: usize) -> &'static str {
    match work::task(number) {
        _ if number == 0 => "boot",
        _ if signals::is_parked(number) => "parked",
        Some(task) => task.name(),
        None => "idle",
    }
}

/// Indented, so that a program does not take a line that is repeated for an event.
pub(super) fn log(_: &mut Kernel, _: &mut Words<'_>) -> Outcome {
    let (mut from, mut line) = (0, [0; 256]);
    while let Some(logged) = console::logged(from, &mut line) {
        if logged.at > from {
            kprintln!("log: {} bytes of older lines are dropped", logged.at - from);
        }
        kprintln!("  {}", str::from_utf8(&line[..logged.len]).unwrap_or("(not text)"));
        from = logged.next;
    }
    if from == 0 {
        kprintln!("log: nothing was logged");
    }
    Ok(())
}
