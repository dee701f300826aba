//! Changing tables that are in use: what the break-before-make rules forbid is refused, and undone. Everything happens in a
//! corner of the tenants' area, by read-only mappings of memory that is mapped elsewhere.

use hotmap_mm::addr::{PhysAddr, VirtAddr, VirtRange};
use hotmap_mm::entry::descriptor::Attributes;
use hotmap_mm::error::{Error, Result, SpaceError};
use hotmap_mm::frame::counts::Counts;
use hotmap_mm::space::request::MapRequest;

use super::check::{Outcome, check, is_refused, same_at, skip};
use super::entries;
use super::entries::{exchange_page, unmap};
use super::expected::Expected;
use super::paging::each_entry;
use super::snapshot::counts_are;
use super::subject::{Test, test};
use hotmap_kernel::arch::{peek, translate};
use hotmap_kernel::kernel::Kernel;

pub(super) const TESTS: &[Test] = &[
    test("a page translates while it is mapped, and not after", a_page_comes_and_goes),
    test("mapping over a live entry is refused and undone", mapping_over_is_refused),
    test("unmapping a part of a block leaf is refused", splitting_is_refused),
];

/// Addresses that no tenant gets, who take the lowest first; aligned to every block.
const SCRATCH: VirtAddr = VirtAddr::new(0xffff_9fff_0000_0000);

fn scratch(offset: u64, len: u64) -> VirtRange {
    VirtRange { start: SCRATCH + offset, end: SCRATCH + offset + len }
}

fn map(kernel: &mut Kernel, range: VirtRange, pa: PhysAddr) -> Result<()> {
    let max_leaf = kernel.numbers().block;
    entries::map(
        kernel,
        &MapRequest { range, pa, attributes: Attributes::RODATA, max_leaf, contiguous: false },
    )
}

/// The CPU sees `pa` at `va`, for loads only. The load that is tried fills the TLB, so that a translation that is not
/// invalidated later shows.
fn shows(va: VirtAddr, pa: PhysAddr) -> Outcome {
    check!(!peek::load_aborts(va), "{va} cannot be loaded, although it is mapped");
    let (load, store) = (translate::load(va), translate::store(va));
    check!(load.address() == Some(pa) && store.is_forbidden(), "{va}: load {load}, store {store}, not {pa}");
    Ok(())
}

fn shows_nothing(va: VirtAddr) -> Outcome {
    let load = translate::load(va);
    check!(load.is_unmapped() && peek::load_aborts(va), "{va} can be loaded; walked, it is {load}");
    Ok(())
}

/// As many table pages as there were, and everything else too.
fn nothing_was_spent(kernel: &Kernel, before: &Counts) -> Outcome {
    counts_are(&kernel.mm.frames().counts(), before)
}

fn a_page_comes_and_goes(kernel: &mut Kernel) -> Outcome {
    let (page, before) = (scratch(0, kernel.page_size()), kernel.mm.frames().counts());
    let pa = kernel.info.image.start;
    shows_nothing(page.start)?;
    map(kernel, page, pa)?;
    let shown = shows(page.start, pa).and(shows_nothing(page.end));
    unmap(kernel, page)?;
    shown.and(shows_nothing(page.start))?;
    nothing_was_spent(kernel, &before)
}

fn mapping_over_is_refused(kernel: &mut Kernel) -> Outcome {
    let (page, pa) = (kernel.page_size(), kernel.info.image.start);
    let second = scratch(page, page);
    map(kernel, second, pa)?;
    let before = kernel.mm.frames().counts();
    // The first page is free to map, and was mapped when the second one is found in the way.
    let attempt = map(kernel, scratch(0, 2 * page), pa);
    let outcome = is_refused(attempt, Error::Space(SpaceError::AlreadyMapped(second.start)))
        .and(shows_nothing(SCRATCH))
        .and(shows(second.start, pa))
        .and(nothing_was_spent(kernel, &before));
    unmap(kernel, scratch(0, 2 * page))?;
    outcome
}

fn splitting_is_refused(kernel: &mut Kernel) -> Outcome {
    let size = kernel.numbers().block;
    let mut memory = None;
    each_entry(kernel, &mut |slot, d| {
        if slot.level == 2 && d.is_leaf(2) {
            memory = Some(kernel.output(d));
        }
        Ok(())
    })?;
    let Some(pa) = memory else { return skip(&"no memory here fills a block") };
    let block = scratch(0, size);
    map(kernel, block, pa)?;
    let outcome = block_stays_whole(kernel, block, pa);
    unmap(kernel, block)?;
    outcome.and(shows_nothing(block.start))
}

fn block_stays_whole(kernel: &mut Kernel, block: VirtRange, pa: PhysAddr) -> Outcome {
    let (size, page, before) = (block.len(), kernel.page_size(), kernel.mm.frames().counts());
    let path = kernel.mm.space().path(block.start);
    same_at("the size of the leaf", block.start, path.leaf().map_or(0, |step| step.slot.span.len()), size)?;
    let refusal = Error::Space(SpaceError::WouldSplit { block: block.start, size });
    for part in [scratch(0, size / 2), scratch(size / 2, size / 2), scratch(page, page)] {
        is_refused(unmap(kernel, part), refusal)?;
    }
    // A range inside the block, and one that ends in it: what was mapped before the block is undone, the block is not.
    let inside = scratch(size / 2, page);
    is_refused(map(kernel, inside, pa), Error::Space(SpaceError::AlreadyMapped(inside.start)))?;
    let before_it = VirtRange { start: VirtAddr::new(block.start.get() - page), end: block.start + page };
    is_refused(map(kernel, before_it, pa), Error::Space(SpaceError::AlreadyMapped(block.start)))?;
    shows_nothing(before_it.start)?;
    is_refused(exchange_page(kernel, block.start, pa), Error::Space(SpaceError::NotMapped(block.start)))?;
    shows(block.start, pa)?;
    shows(VirtAddr::new(block.end.get() - 8), pa + (size - 8))?;
    nothing_was_spent(kernel, &before)
}
