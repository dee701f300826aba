//! Compaction: with a page in use in every run, a run is made by moving the pages that can move.
//!
//! Every block but the newest of boot RAM is isolated for this, and there the last page of each run is held. So a tenant's
//! pages come to lie in runs in pieces, and letting go of the page beside one makes that run the cheapest.

use alloc::vec::Vec;

use hotmap_mm::error::Resource;
use hotmap_mm::frame::block::{BlockState, Source};
use hotmap_mm::frame::page::PageKind;
use hotmap_mm::hotplug::home::MemmapHome;
use hotmap_mm::hotplug::range::HotRange;
use hotmap_mm::pfn::Pfn;

use super::check::{Outcome, check, fail, frame_at, ran_out, same, same_at, skip};
use super::expected::Expected;
use super::snapshot::Snapshot;
use super::spare::{Spare, boot_block, with_spare};
use super::subject::{Test, test};
use super::tenant::{Guest, hosting};
use super::vmemmap::struct_page;
use hotmap_kernel::kernel::Kernel;

pub(super) const TESTS: &[Test] = &[
    test("compaction migrates pages to make a run, and loses nothing", a_run_is_made),
    test("memmap in system RAM is one block although that is in pieces", a_memmap_block_is_made),
];

const PAGES: u64 = 8;
const MIB2: u64 = 2 << 20;

/// log2 of the pages in 2 MiB.
fn order(kernel: &Kernel) -> u32 {
    (MIB2 / kernel.page_size()).trailing_zeros()
}

type Body<'a> = &'a dyn Fn(&mut Kernel, &Guest) -> Outcome;

/// Runs `body` with all that can be allocated in pieces of less than 2 MiB, and a tenant in it.
fn in_pieces(kernel: &mut Kernel, body: Body<'_>) -> Outcome {
    let (block, before) = (boot_block(kernel)?, Snapshot::of(kernel));
    let outcome = isolate_all_but(kernel, block).and_then(|()| {
        let outcome = hold(kernel, block, true).and_then(|()| hosting(kernel, PAGES, body));
        hold(kernel, block, false).and(outcome)
    });
    for start in starts(kernel) {
        let pages = kernel.section(start);
        kernel.mm.frames_mut().undo_isolate(pages);
    }
    outcome.and_then(|()| before.is_still(kernel))
}

fn starts(kernel: &Kernel) -> Vec<Pfn> {
    kernel.mm.frames().blocks().map(|block| block.start).collect()
}

fn isolate_all_but(kernel: &mut Kernel, block: Pfn) -> Outcome {
    for start in starts(kernel) {
        let Some(other) = kernel.block_of(start) else { continue };
        if other.start == block || other.state == BlockState::Offline {
            continue;
        }
        if other.present != kernel.section_pages() {
            return skip(&"a block of boot RAM has holes, and cannot be isolated");
        }
        let pages = kernel.section(other.start);
        kernel.mm.frames_mut().start_isolate(pages)?;
    }
    Ok(())
}

/// Pins the last page of every free run of `block`, or unpins those that are pinned.
fn hold(kernel: &mut Kernel, block: Pfn, wanted: bool) -> Outcome {
    let run = 1 << order(kernel);
    for i in 1..=kernel.section_pages() / run {
        let pfn = block + (i * run - 1);
        match kernel.mm.frames().use_of(pfn)?.0 {
            PageKind::Free if wanted => kernel.mm.pin(pfn)?,
            PageKind::Pinned if !wanted => kernel.mm.unpin(pfn)?,
            _ => {}
        }
    }
    Ok(())
}

/// Unpins the page in the run with the tenant's page `i`; returns the tenant's page and the run.
fn release(kernel: &mut Kernel, guest: &Guest, i: u64) -> Outcome<(Pfn, Pfn)> {
    let (frame, run) = (frame_at(kernel, guest.page(kernel, i))?, 1 << order(kernel));
    let start = Pfn::new(frame.get() / run * run);
    let last = start + (run - 1);
    check!(
        kernel.mm.frames().use_of(last)?.0 == PageKind::Pinned,
        "{last}, beside the tenant's {frame}, is not held"
    );
    kernel.mm.unpin(last)?;
    Ok((frame, start))
}

/// A page of the tenant's, no earlier than `from`, in a run of which the last page is held and all else can move: it is free,
/// the tenant's, or lent by a block on demand. (Another may be beside a table.) Returns how many pages have to move, too.
fn movable(kernel: &Kernel, guest: &Guest, from: u64) -> Outcome<(u64, u64)> {
    let (run, frames) = (1 << order(kernel), kernel.mm.frames());
    for i in from..PAGES {
        let start = Pfn::new(frame_at(kernel, guest.page(kernel, i))?.get() / run * run);
        let (mut moving, mut stays) = (0, frames.use_of(start + (run - 1))?.0 != PageKind::Pinned);
        for pfn in (0..run - 1).map(|at| start + at) {
            match frames.use_of(pfn)?.0 {
                PageKind::Free => {}
                PageKind::Tenant => moving += 1,
                _ if frames.is_lent(pfn) => moving += 1,
                _ => stays = true,
            }
        }
        if !stays {
            return Ok((i, moving));
        }
    }
    Err(fail(format_args!("no page of the tenant is in a run of which all can move")))
}

fn a_run_is_made(kernel: &mut Kernel) -> Outcome {
    in_pieces(kernel, &|kernel, guest| {
        let order = order(kernel);
        ran_out(kernel.mm.compact(order), |out| matches!(out, Resource::Frames { .. }))?;
        let (i, moving) = movable(kernel, guest, 0)?;
        let (frame, run) = release(kernel, guest, i)?;
        let made = kernel.mm.compact(order)?;
        same("the first page of the run", made.run.get(), run.get())?;
        same("pages moved", made.moved, moving)?;
        let (kind, head) = kernel.mm.frames().use_of(frame)?;
        check!(kind == PageKind::Free && head == run, "{frame} is {kind}, of the run at {head}");
        same_at(
            "the order of the run",
            run,
            kernel.mm.frames().pages().get(head).order().into(),
            order.into(),
        )?;
        let now = frame_at(kernel, guest.page(kernel, i))?;
        check!(now != frame, "{frame} has not moved");
        same("pages that hold what was written", kernel.mm.tenant_check(guest.id)?, PAGES)
    })
}

fn a_memmap_block_is_made(kernel: &mut Kernel) -> Outcome {
    if kernel.numbers().memmap_leaf != MIB2 {
        return skip(&"at this granule a section's memmap is not a block");
    }
    with_spare(kernel, |kernel, spare| {
        in_pieces(kernel, &|kernel, guest| memmap_is_a_block(kernel, guest, spare))
    })
}

/// The first block of the spare DIMM, with its memmap in system RAM. Its tables take a page here and there, so some runs
/// must be there to choose from.
fn memmap_is_a_block(kernel: &mut Kernel, guest: &Guest, spare: &Spare) -> Outcome {
    let mut next = 0;
    for _ in 0..4 {
        let (i, _) = movable(kernel, guest, next)?;
        release(kernel, guest, i)?;
        next = i + 1;
    }
    let block = spare.pages.start;
    let memory = kernel.addresses(kernel.section(block));
    let hot = HotRange::new(&kernel.mm, memory.start, memory.len(), Source::Dimm(255))?;
    kernel.mm.add_memory(&hot, MemmapHome::Ram, |_, _| {})?;
    let leaf = kernel.mm.space().path(struct_page(kernel, block)).leaf().map_or(0, |s| s.slot.span.len());
    kernel.mm.remove_memory(memory)?;
    same("the leaf of the memmap", leaf, MIB2)?;
    same("pages that hold what was written", kernel.mm.tenant_check(guest.id)?, PAGES)
}
