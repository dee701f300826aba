//! The buddy allocator: runs of every order, split and joined, and what is refused. The free lists are compared as sets: the
//! order within a list may change.

use alloc::vec::Vec;

use hotmap_mm::error::{Error, Resource};
use hotmap_mm::frame::block::MemoryBlock;
use hotmap_mm::frame::page::PageKind;
use hotmap_mm::frame::zone::ZoneKind;
use hotmap_mm::frame::{Mobility, counts::Counts};
use hotmap_mm::list;
use hotmap_mm::pfn::{Pfn, PfnRange};

use super::check::{Outcome, check, fail, is_refused, is_used_as, same, same_at, skip};
use super::expected::Expected;
use super::paging::Random;
use super::snapshot::counts_are;
use super::subject::{Test, test};
use crate::units::each_free_run;
use hotmap_kernel::kernel::Kernel;

pub(super) const TESTS: &[Test] = &[
    test("a run of every order is aligned, accounted, and merged when freed", every_order),
    test("runs in use do not overlap", no_overlap),
    test("kernel memory never comes from zone Movable", kernel_memory_stays_out_of_movable),
    test("freeing what is not in use is a warning and changes nothing", bad_frees_are_warnings),
    test("zones, blocks and free lists add up", books_agree),
];

/// The free lists of a zone's blocks: a sum over all runs, whatever their order, and how many pages and runs they are.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
struct FreeLists {
    sum: u64,
    pages: u64,
    runs: usize,
}

impl FreeLists {
    fn add(&mut self, pfn: Pfn, order: u32) {
        let run = crate::checksum::checksum([pfn.get(), u64::from(order)].into_iter());
        self.sum = self.sum.wrapping_add(run);
        self.pages += 1 << order;
        self.runs += 1;
    }
    /// The same runs as `before`.
    fn are(&self, before: &Self) -> Outcome {
        same("pages on the free lists", self.pages, before.pages)?;
        same("free runs (checksum)", self.sum, before.sum)
    }
    fn of(kernel: &Kernel, zone: ZoneKind) -> Self {
        let mut lists = Self::default();
        for block in kernel.mm.frames().blocks_in(zone).filter_map(|start| kernel.block_of(start)) {
            each_free_run(kernel, &block, |pfn, order| lists.add(pfn, order));
        }
        lists
    }
}

/// The largest order of which zone Normal can give a run.
fn largest(kernel: &Kernel) -> Option<u32> {
    let blocks = kernel.mm.frames().blocks_in(ZoneKind::Normal);
    blocks.filter_map(|start| largest_of(kernel, &kernel.block_of(start)?)).max()
}

/// The same of one block: one on demand keeps pages for the memmap of its runs, so that it cannot give all of itself.
fn largest_of(kernel: &Kernel, block: &MemoryBlock) -> Option<u32> {
    let most = kernel.block_order() - u32::from(block.demand.is_some());
    block.free.largest().map(|largest| largest.min(most))
}

/// How many pages of its own the block of `pfn` lends to its memmap: none unless that is on demand.
fn lent(kernel: &Kernel, pfn: Pfn) -> u64 {
    kernel.block_of(pfn).filter(|block| block.demand.is_some()).map_or(0, |block| block.memmap_inside)
}

fn every_order(kernel: &mut Kernel) -> Outcome {
    // No run is larger than a block.
    for order in 0..=kernel.block_order() + 1 {
        let fits = largest(kernel).is_some_and(|largest| order <= largest);
        if fits {
            one_run(kernel, order)?;
        } else {
            let refused = kernel.mm.frames_mut().alloc(order, PageKind::Kernel, Mobility::Unmovable);
            is_refused(refused, Error::Out(Resource::Frames { order }))?;
        }
    }
    Ok(())
}

fn one_run(kernel: &mut Kernel, order: u32) -> Outcome {
    let (before, lists, pages) =
        (kernel.mm.frames().counts(), FreeLists::of(kernel, ZoneKind::Normal), 1 << order);
    let run = kernel.mm.frames_mut().alloc(order, PageKind::Kernel, Mobility::Unmovable)?;
    // The rest of the machine lends what it lent before: what is more, the block of the run has begun to lend.
    let (mut taken, more) = (before, kernel.mm.frames().counts().memmap_self - before.memmap_self);
    check!(more <= lent(kernel, run), "{more} pages more hold memmap, and {run}'s block lends fewer");
    taken.free -= pages + more;
    taken.allocated += pages;
    taken.memmap_self += more;
    counts_are(&kernel.mm.frames().counts(), &taken)?;
    same_at("the offset in its order", run, run.get() % pages, 0)?;
    for pfn in [run, run + (pages / 2), run + (pages - 1)] {
        let (_, head) = kernel.mm.frames().use_of(pfn)?;
        is_used_as(kernel, pfn, PageKind::Kernel)?;
        same_at("the head", pfn, head.get(), run.get())?;
    }
    let (order_now, refs) =
        (kernel.mm.frames().pages().get(run).order(), kernel.mm.frames().pages().get(run).refs());
    check!((order_now, refs) == (order, 1), "{run}: order {order_now}, {refs} references");
    kernel.mm.frames_mut().free(run);
    let joined = FreeLists::of(kernel, ZoneKind::Normal);
    joined.are(&lists)?;
    counts_are(&kernel.mm.frames().counts(), &before)
}

/// How many runs are in use at once.
const RUNS: usize = 64;

fn no_overlap(kernel: &mut Kernel) -> Outcome {
    let (lists, mut random) = (FreeLists::of(kernel, ZoneKind::Normal), Random(0xda94_2042_e4dd_58b5));
    let mut runs = [PfnRange::default(); RUNS];
    let mut outcome = Ok(());
    for i in 0..RUNS {
        let order = (random.next() % 6) as u32;
        match kernel.mm.frames_mut().alloc(order, PageKind::Kernel, Mobility::Unmovable) {
            Ok(pfn) => runs[i] = PfnRange::new(pfn, 1 << order),
            Err(error) => outcome = Err(error.into()),
        }
        outcome = outcome.and(is_apart(&runs[..i], runs[i]));
    }
    // Backwards from the middle, then forwards: buddies meet in both orders.
    for run in runs[..RUNS / 2].iter().rev().chain(&runs[RUNS / 2..]).filter(|run| !run.is_empty()) {
        kernel.mm.frames_mut().free(run.start);
    }
    outcome?;
    let joined = FreeLists::of(kernel, ZoneKind::Normal);
    joined.are(&lists)
}

fn is_apart(others: &[PfnRange], run: PfnRange) -> Outcome {
    let overlapping = others.iter().find(|other| other.start < run.end && run.start < other.end);
    overlapping.map_or(Ok(()), |other| {
        same_at("a run in use that overlaps another", run.start, other.start.get(), 0)
    })
}

fn kernel_memory_stays_out_of_movable(kernel: &mut Kernel) -> Outcome {
    let (normal, movable) = ZoneKind::ALL.map(|zone| FreeLists::of(kernel, zone)).into();
    let mut runs = Vec::new();
    // Taken from the largest order down, each free run is taken as it is; but all of a block on demand is taken in pieces, at
    // most two of an order, since it lends some.
    let blocks = kernel.mm.frames().blocks_in(ZoneKind::Normal).filter_map(|start| kernel.block_of(start));
    let whole = blocks.filter(|block| block.free.largest() > largest_of(kernel, block)).count();
    if list::reserve(&mut runs, normal.runs + whole * 2 * kernel.block_order() as usize).is_err() {
        return skip(&"the heap has no room for a list of all that is free");
    }
    let outcome = exhaust(kernel, &mut runs).and_then(|()| nothing_is_left(kernel, movable));
    runs.iter().for_each(|run| kernel.mm.frames_mut().free(*run));
    outcome?;
    let joined = FreeLists::of(kernel, ZoneKind::Normal);
    joined.are(&normal)
}

/// Takes all of zone Normal, as kernel memory. There is room for all runs.
fn exhaust(kernel: &mut Kernel, runs: &mut Vec<Pfn>) -> Outcome {
    for order in (0..=kernel.block_order()).rev() {
        while let Ok(run) = kernel.mm.frames_mut().alloc(order, PageKind::Kernel, Mobility::Unmovable) {
            if runs.len() == runs.capacity() {
                kernel.mm.frames_mut().free(run);
                return Err(fail(format_args!("more than the {} runs that were expected", runs.len())));
            }
            runs.push(run);
            let zone = kernel.block_of(run).and_then(|block| block.state.zone());
            check!(zone == Some(ZoneKind::Normal), "kernel memory at {run}, which is not in zone Normal");
        }
    }
    Ok(())
}

fn nothing_is_left(kernel: &mut Kernel, movable: FreeLists) -> Outcome {
    same("free pages of zone Normal", kernel.mm.frames().zone(ZoneKind::Normal).free, 0)?;
    let refused = kernel.mm.frames_mut().alloc(0, PageKind::Kernel, Mobility::Unmovable);
    is_refused(refused, Error::Out(Resource::Frames { order: 0 }))?;
    FreeLists::of(kernel, ZoneKind::Movable).are(&movable)?;
    // What can be moved is served from there.
    let page = kernel.mm.frames_mut().alloc(0, PageKind::Pinned, Mobility::Movable);
    let served = page.map(|page| kernel.mm.frames_mut().free(page)).is_ok();
    check!(served == (movable.pages > 0), "of {} free pages in Movable: one? {served}", movable.pages);
    Ok(())
}

fn bad_frees_are_warnings(kernel: &mut Kernel) -> Outcome {
    let before = kernel.mm.frames().warnings;
    let outcome = bad_frees(kernel);
    kernel.mm.frames_mut().warnings = before;
    outcome
}

fn bad_frees(kernel: &mut Kernel) -> Outcome {
    let run = kernel.mm.frames_mut().alloc(3, PageKind::Kernel, Mobility::Unmovable)?;
    let refused_tail = refuses_to_free(kernel, run + 5);
    kernel.mm.frames_mut().free(run);
    refused_tail?;
    refuses_to_free(kernel, run)?;
    let reserved = kernel.pfn(kernel.info.image.start);
    refuses_to_free(kernel, reserved)?;
    refuses_to_free(kernel, Pfn::new(1 << 36))?;
    let hosted = kernel.mm.frames().blocks().find(|block| block.memmap_pages > 0).map(|block| block.start);
    hosted.map_or(Ok(()), |memmap| refuses_to_free(kernel, memmap))
}

fn refuses_to_free(kernel: &mut Kernel, pfn: Pfn) -> Outcome {
    let (counts, mut warnings) = (kernel.mm.frames().counts(), kernel.mm.frames().warnings);
    let lists = ZoneKind::ALL.map(|zone| FreeLists::of(kernel, zone));
    kernel.mm.frames_mut().free(pfn);
    warnings.bad_free += 1;
    same_at("warnings of bad frees after one", pfn, kernel.mm.frames().warnings.bad_free, warnings.bad_free)?;
    check!(kernel.mm.frames().warnings == warnings, "the free of {pfn} is a warning of another kind");
    let unchanged = lists == ZoneKind::ALL.map(|zone| FreeLists::of(kernel, zone));
    check!(unchanged, "the free of {pfn} changed a free list");
    counts_are(&kernel.mm.frames().counts(), &counts)
}

fn books_agree(kernel: &mut Kernel) -> Outcome {
    let mut free = 0;
    for kind in ZoneKind::ALL {
        let (zone, lists) = (kernel.mm.frames().zone(kind), FreeLists::of(kernel, kind));
        let blocks = kernel.mm.frames().blocks_in(kind).filter_map(|start| kernel.block_of(start));
        let (listed, present) = blocks.fold((0, 0), |(f, p), b| (f + b.free.pages(), p + b.present));
        same_at("free pages on the lists", kind, lists.pages, zone.free)?;
        same_at("free pages of the blocks", kind, listed, zone.free)?;
        same_at("present pages of the blocks", kind, present, zone.present)?;
        free += zone.free;
    }
    let Counts { present, free: all_free, allocated, memmap_self, memmap_ram, tables, reserved } =
        kernel.mm.frames().counts();
    same("pages by use", all_free + allocated + memmap_self + memmap_ram + tables + reserved, present)?;
    same("free pages of all zones", free, all_free)
}
