//! The buddy allocator: runs of every order, split and joined, and what is refused. The free lists are compared as sets: the
//! order within a list may change.

use alloc::vec::Vec;

use hotmap_mm::error::{Error, Resource};
use hotmap_mm::frame::page::PageKind;
use hotmap_mm::frame::zone::ZoneKind;
use hotmap_mm::frame::{Mobility, counts::Counts};
use hotmap_mm::list;
use hotmap_mm::pfn::{Pfn, PfnRange};

use super::check::{Outcome, check, is_refused, is_used_as, same, same_at, skip};
use super::model::Model;
use super::paging::Random;
use super::snapshot::counts_are;
use super::{Test, test};

pub(super) const TESTS: &[Test] = &[
    test("a run of every order is aligned, accounted, and joined again", every_order),
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
        let run = super::snapshot::checksum([pfn.get(), u64::from(order)].into_iter());
        self.sum = self.sum.wrapping_add(run);
        self.pages += 1 << order;
        self.runs += 1;
    }
    /// The same runs as `before`.
    fn are(&self, before: &Self) -> Outcome {
        same("pages on the free lists", self.pages, before.pages)?;
        same("free runs (checksum)", self.sum, before.sum)
    }
    fn of(model: &dyn Model, zone: ZoneKind) -> Self {
        let mut lists = Self::default();
        for block in model.zone(zone).blocks().iter().filter_map(|start| model.block_of(*start)) {
            model.each_free_run(block, &mut |pfn, order| lists.add(pfn, order));
        }
        lists
    }
}

/// The largest order of which zone Normal has a free run.
fn largest(model: &dyn Model) -> Option<u32> {
    let blocks = model.zone(ZoneKind::Normal).blocks().iter();
    blocks.filter_map(|start| model.block_of(*start)?.free.largest()).max()
}

fn every_order(model: &mut dyn Model) -> Outcome {
    // A whole block is the largest run that there is.
    for order in 0..=model.block_order() + 1 {
        let fits = largest(model).is_some_and(|largest| order <= largest);
        if fits {
            one_run(model, order)?;
        } else {
            let refused = model.alloc(order, PageKind::Kernel, Mobility::Unmovable);
            is_refused(refused, Error::Out(Resource::Frames { order }))?;
        }
    }
    Ok(())
}

fn one_run(model: &mut dyn Model, order: u32) -> Outcome {
    let (before, lists, pages) = (model.counts(), FreeLists::of(model, ZoneKind::Normal), 1 << order);
    let run = model.alloc(order, PageKind::Kernel, Mobility::Unmovable)?;
    let mut taken = before;
    taken.free -= pages;
    taken.allocated += pages;
    counts_are(&model.counts(), &taken)?;
    same_at("the offset in its order", run, run.get() % pages, 0)?;
    for pfn in [run, run + (pages / 2), run + (pages - 1)] {
        let (_, head) = model.use_of(pfn)?;
        is_used_as(model, pfn, PageKind::Kernel)?;
        same_at("the head", pfn, head.get(), run.get())?;
    }
    let (order_now, refs) = (model.page(run).order(), model.page(run).refs());
    check!((order_now, refs) == (order, 1), "{run}: order {order_now}, {refs} references");
    model.free(run);
    let joined = FreeLists::of(model, ZoneKind::Normal);
    joined.are(&lists)?;
    counts_are(&model.counts(), &before)
}

/// How many runs are in use at once.
const RUNS: usize = 64;

fn no_overlap(model: &mut dyn Model) -> Outcome {
    let (lists, mut random) = (FreeLists::of(model, ZoneKind::Normal), Random(0xda94_2042_e4dd_58b5));
    let mut runs = [PfnRange::default(); RUNS];
    let mut outcome = Ok(());
    for i in 0..RUNS {
        let order = (random.next() % 6) as u32;
        match model.alloc(order, PageKind::Kernel, Mobility::Unmovable) {
            Ok(pfn) => runs[i] = PfnRange::new(pfn, 1 << order),
            Err(error) => outcome = Err(error.into()),
        }
        outcome = outcome.and(is_apart(&runs[..i], runs[i]));
    }
    // Backwards from the middle, then forwards: buddies meet in both orders.
    for run in runs[..RUNS / 2].iter().rev().chain(&runs[RUNS / 2..]).filter(|run| !run.is_empty()) {
        model.free(run.start);
    }
    outcome?;
    let joined = FreeLists::of(model, ZoneKind::Normal);
    joined.are(&lists)
}

fn is_apart(others: &[PfnRange], run: PfnRange) -> Outcome {
    let overlapping = others.iter().find(|other| other.start < run.end && run.start < other.end);
    overlapping.map_or(Ok(()), |other| {
        same_at("a run in use that overlaps another", run.start, other.start.get(), 0)
    })
}

fn kernel_memory_stays_out_of_movable(model: &mut dyn Model) -> Outcome {
    let (normal, movable) = ZoneKind::ALL.map(|zone| FreeLists::of(model, zone)).into();
    let mut runs = Vec::new();
    // Taken from the largest order down, each free run is taken as it is.
    if list::reserve(&mut runs, normal.runs).is_err() {
        return skip(&"the heap has no room for a list of all that is free");
    }
    let outcome = exhaust(model, &mut runs).and_then(|()| nothing_is_left(model, movable));
    runs.iter().for_each(|run| model.free(*run));
    outcome?;
    let joined = FreeLists::of(model, ZoneKind::Normal);
    joined.are(&normal)
}

/// Take all of zone Normal, as kernel memory.
fn exhaust(model: &mut dyn Model, runs: &mut Vec<Pfn>) -> Outcome {
    for order in (0..=model.block_order()).rev() {
        while let Ok(run) = model.alloc(order, PageKind::Kernel, Mobility::Unmovable) {
            check!(runs.len() < runs.capacity(), "more runs than the {} on the free lists", runs.capacity());
            runs.push(run);
            let zone = model.block_of(run).and_then(|block| block.state.zone());
            check!(zone == Some(ZoneKind::Normal), "kernel memory at {run}, which is not in zone Normal");
        }
    }
    Ok(())
}

fn nothing_is_left(model: &mut dyn Model, movable: FreeLists) -> Outcome {
    same("free pages of zone Normal", model.zone(ZoneKind::Normal).free, 0)?;
    let refused = model.alloc(0, PageKind::Kernel, Mobility::Unmovable);
    is_refused(refused, Error::Out(Resource::Frames { order: 0 }))?;
    FreeLists::of(model, ZoneKind::Movable).are(&movable)?;
    // What can be moved is served from there.
    let page = model.alloc(0, PageKind::Pinned, Mobility::Movable);
    let served = page.map(|page| model.free(page)).is_ok();
    check!(served == (movable.pages > 0), "of {} free pages in Movable: one? {served}", movable.pages);
    Ok(())
}

fn bad_frees_are_warnings(model: &mut dyn Model) -> Outcome {
    let before = model.warnings();
    let outcome = bad_frees(model);
    model.forget_warnings(before);
    outcome
}

fn bad_frees(model: &mut dyn Model) -> Outcome {
    let run = model.alloc(3, PageKind::Kernel, Mobility::Unmovable)?;
    let refused_tail = refuses_to_free(model, run + 5);
    model.free(run);
    refused_tail?;
    refuses_to_free(model, run)?;
    let reserved = model.pfn(model.info().image.start);
    refuses_to_free(model, reserved)?;
    refuses_to_free(model, Pfn::new(1 << 36))?;
    let hosted = model.blocks().iter().find(|block| block.memmap_pages > 0).map(|block| block.start);
    hosted.map_or(Ok(()), |memmap| refuses_to_free(model, memmap))
}

fn refuses_to_free(model: &mut dyn Model, pfn: Pfn) -> Outcome {
    let (counts, mut warnings) = (model.counts(), model.warnings());
    let lists = ZoneKind::ALL.map(|zone| FreeLists::of(model, zone));
    model.free(pfn);
    warnings.bad_free += 1;
    same_at("warnings of bad frees after one", pfn, model.warnings().bad_free, warnings.bad_free)?;
    check!(model.warnings() == warnings, "the free of {pfn} is a warning of another kind");
    let unchanged = lists == ZoneKind::ALL.map(|zone| FreeLists::of(model, zone));
    check!(unchanged, "the free of {pfn} changed a free list");
    counts_are(&model.counts(), &counts)
}

fn books_agree(model: &mut dyn Model) -> Outcome {
    let mut free = 0;
    for kind in ZoneKind::ALL {
        let (zone, lists) = (model.zone(kind), FreeLists::of(model, kind));
        let blocks = zone.blocks().iter().filter_map(|start| model.block_of(*start));
        let (listed, present) = blocks.fold((0, 0), |(f, p), b| (f + b.free.pages(), p + b.present));
        same_at("free pages on the lists", kind, lists.pages, zone.free)?;
        same_at("free pages of the blocks", kind, listed, zone.free)?;
        same_at("present pages of the blocks", kind, present, zone.present)?;
        free += zone.free;
    }
    let Counts { present, free: all_free, allocated, memmap_self, memmap_ram, tables, reserved } =
        model.counts();
    same("pages by use", all_free + allocated + memmap_self + memmap_ram + tables + reserved, present)?;
    same("free pages of all zones", free, all_free)
}
