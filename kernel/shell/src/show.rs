//! Commands that show how things are, for people.

use hotmap_mm::addr::{Bytes, VirtAddr, VirtRange};
use hotmap_mm::granule::Granule;
use hotmap_mm::layout::{DEVICES, IMAGE_START, LINEAR_SIZE, LINEAR_START, TENANTS};
use hotmap_mm::zone::ZoneKind;

use super::Outcome;
use super::args::Words;
use hotmap_kernel::arch::heap;
use hotmap_kernel::kernel::Kernel;
use hotmap_kernel::{kprint, kprintln};

/// The regions of the upper half, by name.
pub(super) fn regions<G: Granule>(kernel: &Kernel<G>) -> [(&'static str, VirtRange); 5] {
    let range = |start: VirtAddr, len: u64| VirtRange { start, end: start + len };
    [
        ("linear", range(LINEAR_START, LINEAR_SIZE)),
        ("image", VirtRange { start: IMAGE_START, end: DEVICES.start }),
        ("devices", DEVICES),
        ("tenants", TENANTS),
        ("vmemmap", kernel.mm.layout().vmemmap()),
    ]
}

pub(super) fn mem<G: Granule>(kernel: &mut Kernel<G>, _: &mut Words<'_>) -> Outcome {
    let counts = kernel.mm.counts();
    let rows = [
        ("present", counts.present),
        ("free", counts.free),
        ("allocated", counts.allocated),
        ("memmap (self-hosted)", counts.memmap_self),
        ("memmap (system RAM)", counts.memmap_ram),
        ("tables", counts.tables),
        ("reserved", counts.reserved),
    ];
    for (name, pages) in rows {
        kprintln!("{name:<22} {pages:>10} pages {:>10} KiB", pages * (G::SIZE >> 10));
    }
    let (used, size) = heap::usage();
    kprintln!("{:<22} {used:>10} of {size} bytes", "heap");
    Ok(())
}

pub(super) fn zones<G: Granule>(kernel: &mut Kernel<G>, _: &mut Words<'_>) -> Outcome {
    for kind in ZoneKind::ALL {
        let zone = kernel.mm.zone(kind);
        let (start, end) = zone.span(G::SECTION_PAGES);
        kprintln!(
            "{kind:<8} pfn {:#x}..{:#x}  blocks {}  present {}  free {}",
            start.get(),
            end.get(),
            zone.blocks().len(),
            zone.present,
            zone.free
        );
        for order in 0..=G::BLOCK_ORDER {
            let runs: usize = zone
                .blocks()
                .iter()
                .filter_map(|start| kernel.mm.block_of(*start))
                .map(|block| block.free.heads(&kernel.mm.pages(), order).count())
                .sum();
            if runs > 0 {
                kprintln!("  order {order:>2} ({:>8}): {runs}", Bytes(G::SIZE << order));
            }
        }
    }
    Ok(())
}

pub(super) fn blocks<G: Granule>(kernel: &mut Kernel<G>, _: &mut Words<'_>) -> Outcome {
    for block in kernel.mm.blocks() {
        kprintln!(
            "{}  {:<13} {:<8} {:<6} memmap {:<5} usable from {}  free {:>6}  tenants {}",
            block.start.address::<G>(),
            block.state.name(),
            block.state.zone().map_or("none", ZoneKind::name),
            Word(block.source),
            kernel.memmap_of(block),
            block.usable::<G>().start.address::<G>(),
            block.free.pages(),
            block.tenant_pages
        );
    }
    kprintln!("a memory block is {}", Bytes(G::SECTION_SIZE));
    Ok(())
}

/// Lets a `Display` value be padded.
struct Word<T>(T);

impl<T: core::fmt::Display> core::fmt::Display for Word<T> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let mut text = heapless::String::<16>::new();
        // Longer than 16 bytes cannot happen: "dimm4294967295".
        let _ = core::fmt::write(&mut text, format_args!("{}", self.0));
        f.pad(&text)
    }
}

pub(super) fn dimms<G: Granule>(kernel: &mut Kernel<G>, _: &mut Words<'_>) -> Outcome {
    if kernel.platform.ged.is_none() {
        kprintln!("this machine has no DIMM slots (firmware boot with -m SIZE,slots=N,maxmem=SIZE has them)");
        return Ok(());
    }
    for dimm in kernel.dimms.all() {
        kprintln!(
            "dimm{}  {}  {}  node {}  {}",
            dimm.slot,
            dimm.range,
            Bytes(dimm.range.len()),
            dimm.node,
            kernel.dimm_state(dimm)
        );
    }
    let slots = kernel.platform.ged.as_ref().map_or(0, |ged| ged.slot_count());
    kprintln!("{} of {slots} slots in use", kernel.dimms.all().len());
    Ok(())
}

pub(super) fn nvdimms<G: Granule>(kernel: &mut Kernel<G>, _: &mut Words<'_>) -> Outcome {
    if kernel.platform.nvdimm.is_none() {
        kprintln!("this machine has no NVDIMMs (firmware boot with -machine nvdimm=on can have them)");
        return Ok(());
    }
    for nvdimm in kernel.nvdimms.all() {
        let (number, range, state) = (nvdimm.number, nvdimm.range, kernel.nvdimm_state(nvdimm));
        kprint!("nvdimm{number}  {range}  {}", Bytes(range.len()));
        if let Some(node) = nvdimm.node {
            kprint!("  node {node}");
        }
        kprintln!("  {state}");
    }
    kprintln!("NVDIMMs: {} (QEMU cannot unplug one)", kernel.nvdimms.all().len());
    Ok(())
}

pub(super) fn tables<G: Granule>(kernel: &mut Kernel<G>, _: &mut Words<'_>) -> Outcome {
    let (tables, machine) = (kernel.mm.tables(), kernel.mm.machine());
    for (name, range) in regions(kernel) {
        let pages = tables.table_pages(machine, range);
        kprintln!("{name:<8} {pages:>6} pages {:>8} KiB", pages * (G::SIZE >> 10));
    }
    kprintln!(
        "{:<8} {:>6} pages, the root included (a table that two regions share is listed for both)",
        "all",
        kernel.mm.counts().tables
    );
    Ok(())
}

pub(super) fn layout<G: Granule>(kernel: &mut Kernel<G>, _: &mut Words<'_>) -> Outcome {
    for (name, range) in regions(kernel) {
        kprintln!("{:#018x}..{:#018x}  {name}", range.start.get(), range.end.get());
    }
    let layout = kernel.mm.layout();
    kprintln!("linear address = physical address - {} + {LINEAR_START}", layout.phys_base);
    kprintln!("struct page    = {} + (pfn - {:#x}) * 64", layout.vmemmap().start, layout.first_pfn().get());
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
