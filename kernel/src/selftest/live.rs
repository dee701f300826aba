//! Changing tables that are in use: what the break-before-make rules forbid is refused, and undone. Everything happens in a
//! corner of the tenants' area, by read-only mappings of memory that is mapped elsewhere.

use hotmap_mm::addr::{PhysAddr, VirtAddr, VirtRange};
use hotmap_mm::error::{Error, Result};
use hotmap_mm::granule::Granule;
use hotmap_mm::layout::TENANTS;
use hotmap_mm::model::Counts;
use hotmap_mm::paging::descriptor::Attributes;
use hotmap_mm::paging::table::{Gone, MapRequest, TableFrames};

use super::check::{Outcome, check, is_refused, same_at, skip};
use super::expected::numbers;
use super::paging::each_entry;
use super::snapshot::counts_are;
use super::{Test, test};
use crate::arch::translate;
use crate::kernel::Kernel;

pub(super) const fn tests<G: Granule>() -> &'static [Test<G>] {
    const {
        &[
            test("a page is mapped, and gone when it is unmapped", a_page_comes_and_goes),
            test("what is mapped is not mapped over, and the attempt is undone", mapping_over_is_refused),
            test("a part of a block is not taken down", splitting_is_refused),
        ]
    }
}

/// Addresses that no tenant gets, who take the lowest first; aligned to every block.
const SCRATCH: VirtAddr = VirtAddr::new(0xffff_9fff_0000_0000);

fn scratch(offset: u64, len: u64) -> VirtRange {
    VirtRange { start: SCRATCH + offset, end: SCRATCH + offset + len }
}

fn map<G: Granule>(kernel: &mut Kernel<G>, range: VirtRange, pa: PhysAddr) -> Result<()> {
    let (tables, machine) = (kernel.mm.tables(), *kernel.mm.machine());
    let max_leaf = numbers(G::KIND).block;
    let request = MapRequest { range, pa, attributes: Attributes::RODATA, max_leaf, contiguous: false };
    tables.map(&machine, &mut kernel.mm, &request)?;
    hotmap_mm::machine::Machine::publish(&machine);
    Ok(())
}

fn unmap<G: Granule>(kernel: &mut Kernel<G>, range: VirtRange) -> Result<()> {
    let (tables, machine) = (kernel.mm.tables(), *kernel.mm.machine());
    tables.break_range(&machine, range, TENANTS, |_| false)?.pay(&machine);
    tables.reap(&machine, range, |gone| {
        if let Gone::Table(table) = gone {
            kernel.mm.free_table(table);
        }
    })
}

/// The CPU sees `pa` at `va`, for loads only.
fn shows(va: VirtAddr, pa: PhysAddr) -> Outcome {
    let (load, store) = (translate::load(va), translate::store(va));
    check!(load.address() == Some(pa) && store.is_forbidden(), "{va}: load {load:?}, store {store:?}, not {pa}");
    Ok(())
}

fn shows_nothing(va: VirtAddr) -> Outcome {
    let load = translate::load(va);
    check!(load.is_unmapped(), "{va}: {load:?}");
    Ok(())
}

/// As many table pages as there were, and everything else too.
fn nothing_was_spent<G: Granule>(kernel: &Kernel<G>, before: &Counts) -> Outcome {
    counts_are(&kernel.mm.counts(), before)
}

fn a_page_comes_and_goes<G: Granule>(kernel: &mut Kernel<G>) -> Outcome {
    let (page, pa, before) = (scratch(0, G::SIZE), kernel.info.image.start, kernel.mm.counts());
    shows_nothing(page.start)?;
    map(kernel, page, pa)?;
    let shown = shows(page.start, pa).and(shows_nothing(page.end));
    unmap(kernel, page)?;
    shown.and(shows_nothing(page.start))?;
    nothing_was_spent(kernel, &before)
}

fn mapping_over_is_refused<G: Granule>(kernel: &mut Kernel<G>) -> Outcome {
    let (second, pa) = (scratch(G::SIZE, G::SIZE), kernel.info.image.start);
    map(kernel, second, pa)?;
    let before = kernel.mm.counts();
    // The first page is free to map, and was mapped when the second one is found in the way.
    let attempt = map(kernel, scratch(0, 2 * G::SIZE), pa);
    let outcome = is_refused(attempt, Error::AlreadyMapped(second.start))
        .and(shows_nothing(SCRATCH))
        .and(shows(second.start, pa))
        .and(nothing_was_spent(kernel, &before));
    unmap(kernel, scratch(0, 2 * G::SIZE))?;
    outcome
}

fn splitting_is_refused<G: Granule>(kernel: &mut Kernel<G>) -> Outcome {
    let size = numbers(G::KIND).block;
    let mut memory = None;
    each_entry(kernel, &mut |slot, d| {
        if slot.level == 2 && d.is_leaf(2) {
            memory = Some(d.address(&G::GEOMETRY));
        }
        Ok(())
    })?;
    let Some(pa) = memory else { return skip("no memory here fills a block") };
    let block = scratch(0, size);
    map(kernel, block, pa)?;
    let outcome = block_stays_whole(kernel, block, pa);
    unmap(kernel, block)?;
    outcome.and(shows_nothing(block.start))
}

fn block_stays_whole<G: Granule>(kernel: &mut Kernel<G>, block: VirtRange, pa: PhysAddr) -> Outcome {
    let (size, before) = (block.len(), kernel.mm.counts());
    let path = kernel.mm.tables().path(kernel.mm.machine(), block.start);
    same_at("the size of the leaf", block.start, path.leaf().map_or(0, |step| step.slot.span.len()), size)?;
    let refusal = Error::WouldSplit { block: block.start, size };
    for part in [scratch(0, size / 2), scratch(size / 2, size / 2), scratch(G::SIZE, G::SIZE)] {
        is_refused(unmap(kernel, part), refusal)?;
    }
    let inside = scratch(size / 2, G::SIZE);
    is_refused(map(kernel, inside, pa), Error::AlreadyMapped(inside.start))?;
    let (tables, machine) = (kernel.mm.tables(), *kernel.mm.machine());
    let exchange = tables.exchange_page(&machine, block.start, pa, |debt| debt.pay(&machine));
    is_refused(exchange, Error::NotMapped(block.start))?;
    shows(block.start, pa)?;
    shows(VirtAddr::new(block.end.get() - 8), pa + (size - 8))?;
    nothing_was_spent(kernel, &before)
}
