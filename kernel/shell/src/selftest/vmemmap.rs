//! vmemmap: where each struct page is, by a formula written out again; what is behind it; and what it says of its frame.

use hotmap_mm::addr::{PhysRange, VirtAddr};
use hotmap_mm::frame::block::BlockState;
use hotmap_mm::frame::page::{Page, PageKind};
use hotmap_mm::frame::section::{Backing, Section};
use hotmap_mm::pfn::{Pfn, PfnRange};

use super::check::{Outcome, check, is_used_as, same, same_at};
use super::expected::Expected;
use super::paging::{Random, each_entry};
use super::subject::{Test, test};
use super::tables::{is_lent, table_pages};
use hotmap_kernel::arch::translate;
use hotmap_kernel::kernel::Kernel;

pub(super) const TESTS: &[Test] = &[
    test(
        "a struct page is 64 bytes, at first_pfn's distance from vmemmap's start",
        pages_are_where_they_belong,
    ),
    test("every present section's memmap is mapped, with its granule's leaves", memmap_is_mapped),
    test("nothing else in vmemmap is mapped", nothing_beyond),
    test("image and device tree are marked reserved, the heap kernel", boot_memory_is_marked),
    test("tables and memmap are marked as tables and memmap", tables_and_memmap_are_marked),
    test("holes are exactly what no RAM covers", holes_are_no_ram),
];

/// Where the struct page of `pfn` is: vmemmap's start for the granule, plus 64 bytes for each page from the first one on.
pub(super) fn struct_page(kernel: &Kernel, pfn: Pfn) -> VirtAddr {
    let numbers = kernel.numbers();
    let first = kernel.info.ram_start.get() / numbers.first_page * numbers.first_page / numbers.page;
    VirtAddr::new(numbers.vmemmap.wrapping_add(pfn.get().wrapping_sub(first).wrapping_mul(64)))
}

fn pages_are_where_they_belong(kernel: &mut Kernel) -> Outcome {
    same("bytes of a struct page", size_of::<Page>() as u64, 64)?;
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    for section in kernel.mm.frames().sections() {
        let inside = section.start + random.next() % kernel.section_pages();
        for pfn in [section.start, inside, section.start + (kernel.section_pages() - 1)] {
            let va = struct_page(kernel, pfn);
            same_at(
                "the struct page's address",
                pfn,
                kernel.mm.space().layout().page_address(pfn).get(),
                va.get(),
            )?;
            let reference = core::ptr::from_ref(kernel.mm.frames().pages().get(pfn)) as u64;
            same_at("the reference to the struct page", pfn, reference, va.get())?;
            for byte in [0, 63] {
                let back = kernel.mm.space().layout().pfn_of_page(va + byte).map_or(0, Pfn::get);
                same_at("the pfn of the struct page's address", va + byte, back, pfn.get())?;
            }
        }
    }
    let vmemmap = kernel.mm.space().layout().vmemmap();
    for outside in [vmemmap.start.get() - 1, vmemmap.end.get()] {
        let pfn = kernel.mm.space().layout().pfn_of_page(VirtAddr::new(outside));
        check!(pfn.is_none(), "{outside:#x}, outside of vmemmap, has a pfn");
    }
    Ok(())
}

fn memmap_is_mapped(kernel: &mut Kernel) -> Outcome {
    // What a device's struct pages are mapped by is `device`'s to say.
    for section in kernel.mm.frames().sections().filter(|section| section.device_subsections == 0) {
        if matches!(section.backing, Backing::Demand) {
            memmap_on_demand_is_right(kernel, section.start)?;
            continue;
        }
        let mut at = struct_page(kernel, section.start);
        let end = struct_page(kernel, section.start + kernel.section_pages());
        while at < end {
            let leaf = kernel.mm.space().path(at).leaf().map_or(0, |s| s.slot.span.len());
            memmap_leaf_is_right(&section, at, leaf, kernel.page_size(), kernel.numbers().memmap_leaf)?;
            at = at + leaf;
        }
    }
    Ok(())
}

/// System RAM may have no free run for a whole block; an altmap and boot always have one.
fn memmap_leaf_is_right(section: &Section, at: VirtAddr, leaf: u64, page: u64, largest: u64) -> Outcome {
    let split = matches!(section.backing, Backing::Ram) && leaf == page;
    if !split {
        same_at("the size of the memmap's leaf", at, leaf, largest)?;
    }
    let (load, store) = (translate::load(at), translate::store(at));
    check!(load.address().is_some() && load == store, "memmap at {at}: load {load}, store {store}");
    Ok(())
}

/// On demand each page of a block's memmap can be loaded from, and stored to where a run begins in it, unless the block is
/// one free run.
fn memmap_on_demand_is_right(kernel: &Kernel, block: Pfn) -> Outcome {
    let (size, numbers) = (kernel.page_size(), kernel.numbers());
    let order = |pfn: Pfn| kernel.mm.frames().pages().get(pfn).order();
    // An offline block on demand has its heads too.
    let (kind, head) = kernel.mm.frames().pages().use_of(block);
    let is_image = (kind, head) == (PageKind::Free, block) && order(block) == kernel.block_order();
    // A huge page may reach over the block's start.
    let mut run = if head == block { block } else { head + (1 << order(head)) };
    for number in 0..numbers.memmap_pages {
        let va = struct_page(kernel, block) + number * size;
        let end = block + (number + 1) * (numbers.described / size);
        let begins = run < end && !is_image;
        while run < end {
            run = run + (1 << order(run));
        }
        let leaf = kernel.mm.space().path(va).leaf().map_or(0, |step| step.slot.span.len());
        same_at("the size of the memmap's leaf", va, leaf, size)?;
        let (load, store) = (translate::load(va), translate::store(va));
        let right = load.address().is_some() && if begins { load == store } else { store.is_forbidden() };
        check!(right, "memmap at {va}, a run begins in it: {begins}: load {load}, store {store}");
    }
    Ok(())
}

fn nothing_beyond(kernel: &mut Kernel) -> Outcome {
    for section in kernel.mm.frames().sections() {
        let next = section.start + kernel.section_pages();
        let va = struct_page(kernel, next);
        if kernel.section_of(next).is_none() {
            let load = translate::load(va);
            check!(load.is_unmapped() && !kernel.mm.frames().is_valid(next), "{va}, for {next}, is {load}");
        }
    }
    Ok(())
}

/// Every page that `memory` touches is used as `kind`.
fn all_used_as(kernel: &Kernel, memory: PhysRange, kind: PageKind) -> Outcome {
    let mut at = kernel.pfn(memory.start);
    while kernel.address(at) < memory.end {
        let (_, head) = kernel.mm.frames().use_of(at)?;
        is_used_as(kernel, at, kind)?;
        at = head + (1 << kernel.mm.frames().pages().get(head).order());
    }
    Ok(())
}

fn boot_memory_is_marked(kernel: &mut Kernel) -> Outcome {
    let info = kernel.info;
    check!(!info.image.is_empty() && !info.dtb.is_empty(), "image {}, device tree {}", info.image, info.dtb);
    all_used_as(kernel, info.image, PageKind::Reserved)?;
    all_used_as(kernel, info.dtb, PageKind::Reserved)?;
    all_used_as(kernel, info.heap, PageKind::Kernel)
}

fn tables_and_memmap_are_marked(kernel: &mut Kernel) -> Outcome {
    let root = kernel.mm.space().root();
    all_used_as(kernel, PhysRange { start: root, end: root + 1 }, PageKind::Table)?;
    each_entry(kernel, &mut |slot, d| {
        let pa = kernel.output(d);
        let lent = is_lent(kernel, slot, d);
        if d.is_table(slot.level) {
            let kind = if lent { PageKind::MemmapSelf } else { PageKind::Table };
            return all_used_as(kernel, PhysRange { start: pa, end: pa + 1 }, kind);
        }
        let Some(described) = kernel.mm.space().layout().pfn_of_page(slot.span.start) else { return Ok(()) };
        let in_device = kernel.mm.devices().iter().any(|device| device.contains(kernel.pfn(pa)));
        let kind = match kernel.section_of(described).map(|section| section.backing) {
            _ if in_device => PageKind::DeviceMemmap,
            Some(Backing::Altmap(_)) => PageKind::MemmapSelf,
            Some(Backing::Demand) if lent => PageKind::MemmapSelf,
            _ => PageKind::MemmapRam,
        };
        all_used_as(kernel, PhysRange { start: pa, end: pa + slot.span.len() }, kind)
    })?;
    same("table pages", kernel.mm.frames().counts().tables, table_pages(kernel)?)
}

fn holes_are_no_ram(kernel: &mut Kernel) -> Outcome {
    let ram = kernel.info.memblock.ram();
    let is_ram = |pfn: Pfn| {
        let page = kernel.addresses(PfnRange::new(pfn, 1));
        ram.iter().any(|range| range.covers(&page))
    };
    let online = |start: Pfn| kernel.block_of(start).is_some_and(|block| block.state != BlockState::Offline);
    for section in kernel.mm.frames().sections().filter(|section| section.early && online(section.start)) {
        let pages = kernel.section(section.start);
        let mut at = pages.start;
        while at < pages.end {
            let (kind, head) = kernel.mm.frames().use_of(at)?;
            let end = head + (1 << kernel.mm.frames().pages().get(head).order());
            for pfn in [at, Pfn::new(end.get() - 1)] {
                check!(
                    (kind == PageKind::Hole || kind.is_device()) != is_ram(pfn),
                    "{pfn} is {kind}; is it RAM? {}",
                    is_ram(pfn)
                );
            }
            at = end;
        }
    }
    Ok(())
}
