//! `dedup`: what the struct pages cost, mapped against backed, and a picture of one compound page's memmap. Everything is
//! read from the tables.

use core::fmt::Write;

use hotmap_mm::addr::{Bytes, PhysAddr};
use hotmap_mm::error::{Error, SpaceError};
use hotmap_mm::frame::block::MemoryBlock;
use hotmap_mm::frame::page::PAGE_BYTES;
use hotmap_mm::hugetlb::pool::Use;
use hotmap_mm::layout::LINEAR_SIZE;
use hotmap_mm::pfn::{Pfn, PfnRange};
use hotmap_mm::vmemmap::cost::{MemmapCost, memmap_cost};

use super::Outcome;
use super::args::Words;
use crate::units::Units;
use hotmap_kernel::kernel::Kernel;
use hotmap_kernel::kprintln;

pub(super) const DEDUP: &str = "dedup [PFN|addr:A]";

pub(super) fn dedup(kernel: &mut Kernel, words: &mut Words<'_>) -> Outcome {
    if words.left() > 0 {
        let pfn = words.page(kernel, DEDUP)?;
        return picture(kernel, pfn);
    }
    table(kernel);
    Ok(())
}

/// The struct pages of blocks on demand, but for those that a huge page takes as a whole; and how many frames of the image one
/// page of vmemmap alone leads to: these share nothing, and are in `own`.
fn on_demand(kernel: &Kernel) -> (MemmapCost, u64) {
    let (frames, g) = (kernel.mm.frames(), kernel.granule());
    let each = kernel.block_pages() * PAGE_BYTES / kernel.page_size();
    let (mut cost, mut images) = (MemmapCost::default(), 0);
    for block in frames.blocks().filter(|block| leads_to_image(kernel, block)) {
        images += u64::from(block.is_image(g));
        cost.mapped += each;
        cost.own += frames.populated_pages(block.start);
    }
    let mappings = [images, cost.mapped - cost.own - images];
    let alone = mappings.iter().filter(|count| **count == 1).count() as u64;
    cost.own += alone;
    cost.shared = mappings.iter().filter(|count| **count > 1).count() as u64;
    cost.mappings = cost.mapped - cost.own;
    (cost, alone)
}

/// Whether memmap pages of a block lead to the image of a free block: not if a huge page takes all of it.
fn leads_to_image(kernel: &Kernel, block: &MemoryBlock) -> bool {
    block.demand.is_some() && (block.is_image(kernel.granule()) || block.memmap_inside > 0)
}

/// All struct pages. A shared frame counts once, however many compound pages lead to it.
pub(super) fn total(kernel: &Kernel) -> MemmapCost {
    let first = kernel.pfn(kernel.mm.space().layout().phys_base);
    let all = memmap_cost(kernel.mm.space(), PfnRange::new(first, LINEAR_SIZE / kernel.page_size()));
    let huge = kernel.mm.hugetlb.tails().as_flattened();
    let huge = huge.iter().filter(|tail| tail.frame.is_some()).count() as u64;
    let devices: u64 = kernel.mm.devices().iter().map(|device| device.tail_pages()).sum();
    let (demand, alone) = on_demand(kernel);
    let (own, mappings) = (all.own + alone, all.mappings - alone);
    MemmapCost { shared: huge + devices + demand.shared, own, mappings, ..all }
}

/// A row of the table: what it is, how much memory, what its struct pages cost.
fn row(kernel: &Kernel, what: core::fmt::Arguments<'_>, pages: u64, cost: MemmapCost) {
    let size = kernel.page_size();
    // By MiB: the bytes of a TiB's struct pages times a GiB do not fit into a word.
    let mib = ((pages * size) >> 20).max(1);
    let per_gib = |frames: u64| Bytes((frames * size * 1024 / mib).next_multiple_of(1024));
    let of = Bytes(pages * size);
    let (mapped, backed) = (Bytes(cost.mapped * size), Bytes(cost.backed() * size));
    kprintln!(
        "{:<34} {:>9} {:>11} {:>11}   {:>9} {:>9}",
        Cell(what),
        Cell(of),
        Cell(mapped),
        Cell(backed),
        Cell(per_gib(cost.mapped)),
        Cell(per_gib(cost.backed()))
    );
}

/// Something that can be put into a column, though what it prints is not one string.
struct Cell<T>(T);

impl<T: core::fmt::Display> core::fmt::Display for Cell<T> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let mut text = heapless::String::<40>::new();
        write!(text, "{}", self.0)?;
        f.pad(&text)
    }
}

fn table(kernel: &Kernel) {
    kprintln!(
        "{:<34} {:>9} {:>11} {:>11}   per GiB: mapped, backed",
        "struct pages of",
        "memory",
        "mapped",
        "backed"
    );
    for device in kernel.mm.devices().iter() {
        let mut cost = MemmapCost::default();
        device.ranges().iter().for_each(|range| cost += memmap_cost(kernel.mm.space(), *range));
        row(kernel, format_args!("device {}", kernel.address(device.start())), device.pages(), cost);
    }
    let huge = &kernel.mm;
    for pool in huge.hugetlb.pools().filter(|pool| pool.total() > 0) {
        let mut cost = MemmapCost::default();
        for which in [Use::Free, Use::Taken] {
            let heads = pool.heads(huge.frames(), which);
            heads.for_each(|head| {
                cost += memmap_cost(kernel.mm.space(), PfnRange::new(head, 1 << pool.order()))
            });
        }
        // Not theirs alone: one for all of a zone.
        cost.shared = 0;
        let size = Bytes(kernel.page_size() << pool.order());
        let pages = pool.total() << pool.order();
        row(kernel, format_args!("huge pages of {size}"), pages, cost);
    }
    let (cost, _) = on_demand(kernel);
    if cost.mapped > 0 {
        let described = cost.mapped * kernel.page_size() / PAGE_BYTES;
        row(kernel, format_args!("memory on demand"), described, cost);
    }
    let all = total(kernel);
    let described = kernel.mm.frames().sections().count() as u64 * kernel.block_pages();
    row(kernel, format_args!("everything"), described, all);
    kprintln!(
        "{} shared frames serve {} pages of vmemmap: {} frames saved; {} pages of tables for vmemmap",
        all.shared,
        all.mappings,
        all.saved(),
        kernel.mm.space().table_pages(kernel.mm.space().layout().vmemmap())
    );
}

/// Pages of memmap that follow each other, and where they lead.
struct Group {
    first: u64,
    count: u64,
    at: PhysAddr,
    leaf: u64,
    shared: bool,
    writable: bool,
}

/// The memmap of the compound page (or run) around `pfn`, page by page.
fn picture(kernel: &Kernel, pfn: Pfn) -> Outcome {
    let (kind, head) = kernel.mm.frames().use_of(pfn)?;
    let order = kernel.mm.frames().pages().get(head).order();
    let (size, per_page) = (kernel.page_size(), kernel.page_size() / PAGE_BYTES);
    kprintln!("{kind} at {head}: {} pages, {}", 1u64 << order, Bytes(size << order));
    if 1 << order < per_page {
        let (bytes, first) = ((1u64 << order) * PAGE_BYTES, Pfn::new(head.get() / per_page * per_page));
        let last = first + (per_page - 1);
        kprintln!("{bytes} bytes of memmap, in the page for {first} to {last}: no page of its own to share");
        return Ok(());
    }
    kprintln!("  memmap page  struct pages of            leads to");
    let pages = (1 << order) / per_page;
    let mut open: Option<Group> = None;
    for index in 0..pages {
        let va = kernel.mm.space().layout().page_address(head) + index * size;
        let path = kernel.mm.space().path(va);
        let step = path.leaf().ok_or(Error::Space(SpaceError::NotMapped(va)))?;
        let at =
            kernel.mm.space().translate(va).ok_or(Error::Space(SpaceError::NotMapped(va)))?.align_down(size);
        let (shared, writable) = (step.descriptor.is_shared(), step.descriptor.is_writable());
        match &mut open {
            Some(group) if group.goes_on(at, size, shared, writable) => group.count += 1,
            other => {
                let leaf = step.slot.span.len();
                if let Some(group) =
                    other.replace(Group { first: index, count: 1, at, leaf, shared, writable })
                {
                    show(head, per_page, &group);
                }
            }
        }
    }
    if let Some(group) = open {
        show(head, per_page, &group);
    }
    let cost = memmap_cost(kernel.mm.space(), PfnRange::new(head, 1 << order));
    let (mapped, backed, shared) = (cost.mapped, cost.backed(), cost.shared);
    kprintln!("{mapped} pages of vmemmap, {backed} frames behind them, {shared} of these shared");
    Ok(())
}

impl Group {
    fn goes_on(&self, at: PhysAddr, size: u64, shared: bool, writable: bool) -> bool {
        let next = if self.shared { self.at } else { self.at + self.count * size };
        at == next && (shared, writable) == (self.shared, self.writable)
    }
}

fn show(head: Pfn, per_page: u64, group: &Group) {
    let Group { first, count, at, leaf, shared, writable } = group;
    let last = first + count - 1;
    let (start, end) = (head + first * per_page, head + (last + 1) * per_page);
    let rights = if *writable { "rw" } else { "r-" };
    let frames = match (shared, count) {
        (true, _) => "one frame for all of them",
        (false, 1) => "a frame of its own",
        (false, _) => "frames of their own",
    };
    let leaf = Bytes(*leaf);
    kprintln!("  {first:>4}..{last:<5}  {start}..{end}  {at} {rights}  {frames} (leaf {leaf})");
}

/// What `state` has of it; the pools are written by who keeps them.
pub(super) fn describe(kernel: &Kernel, json: &mut super::json::Json) {
    let all = total(kernel);
    json.number("shared_pages", all.shared);
    json.number("mappings", all.mappings);
    json.number("saved_pages", all.saved());
}
