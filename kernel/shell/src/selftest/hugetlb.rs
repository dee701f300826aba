//! Huge pages: what a pool has comes from free memory and goes back to it, and the CPU itself finds one read-only page behind
//! all tails of a page that is optimised.

use hotmap_mm::debug::faults::Plan;
use hotmap_mm::error::{Error, HugeError, HvoRule, PageError, PageNeeds, Resource};
use hotmap_mm::frame::page::PageKind;
use hotmap_mm::hugetlb::pool::Resized;
use hotmap_mm::pfn::Pfn;

use super::check::{Outcome, check, fail, frame_at, is_refused, ran_out, same, same_at, skip};
use super::cpus::{NOT_ENTERED, ONE_CPU, TURNS};
use super::model::Model;
use super::snapshot::Snapshot;
use super::{Test, test};
use hotmap_kernel::arch::translate;
use hotmap_kernel::cpus::start;
use hotmap_kernel::readers::{self, fault};

pub(super) const TESTS: &[Test] = &[
    test("the granule has the sizes of its blocks and contiguous runs", sizes),
    test("a pool's pages come from free memory, lead to their heads, and go back", a_pool),
    test("optimised, all tails of a page are one page, for loads only", optimised),
    test("restored, each page of memmap is its own again", restored),
    test("readers find heads while memmap is split, shared, restored and joined", under_readers),
    test("without frames a page stays optimised", without_frames),
    test("a page that is demoted is pages of the smaller size", demoted),
    test("what is in use stays, and what is not worth sharing is refused by rule", what_is_refused),
];

const NO_ROOM: &str = "no room for a huge page of the size that sharing is worth for";
/// The pages of its memmap.
const MEMMAP: u64 = 8;

fn sizes(model: &mut dyn Model) -> Outcome {
    let expected = model.numbers().huge_sizes;
    for (i, size) in expected.into_iter().enumerate().filter(|(_, size)| *size != 0) {
        let pool = model.mm().hugetlb.pools().nth(i).map_or(0, |pool| model.page_size() << pool.order());
        same("the size of huge pages", pool, size)?;
        same("its pages", 1 << model.mm().huge_order(size)?, size / model.page_size())?;
    }
    let more = expected.iter().filter(|size| **size != 0).count();
    same("sizes", model.mm().hugetlb.pools().count() as u64, more as u64)?;
    is_refused(model.mm().huge_order(4 << 30), Error::Huge(HugeError::Size { bytes: 4 << 30 }))
}

fn has(model: &dyn Model, order: u32) -> u64 {
    model.mm().hugetlb.pool(order).map_or(0, |pool| pool.total())
}

/// Run `body` with one huge page more of the size that sharing is worth for, which is taken; `hvo` says whether it is optimised.
fn with_page(model: &mut dyn Model, hvo: bool, body: fn(&mut dyn Model, Pfn, u32) -> Outcome) -> Outcome {
    let order = model.mm().huge_order(model.numbers().worth_sharing)?;
    let (before, set) = (has(model, order), model.mm().hugetlb.hvo);
    model.mm_mut().hugetlb.hvo = hvo;
    let resized = model.mm_mut().hugetlb_resize(order, before + 1);
    model.mm_mut().hugetlb.hvo = set;
    match resized? {
        Resized { stopped: None, .. } => {}
        Resized { stopped: Some(_), .. } => return skip(&NO_ROOM),
    }
    let head = model.mm_mut().hugetlb_take(order)?;
    let outcome = body(model, head, order);
    model.mm_mut().hugetlb_put(head)?;
    model.mm_mut().hugetlb_resize(order, before)?;
    outcome
}

/// Every tail says which page is its head.
fn leads_to(model: &dyn Model, head: Pfn, order: u32) -> Outcome {
    for i in 0..1 << order {
        let (kind, found) = model.use_of(head + i)?;
        check!(kind == PageKind::HugeTlb, "{} is {kind}", head + i);
        same_at("the head", head + i, found.get(), head.get())?;
    }
    Ok(())
}

fn a_pool(model: &mut dyn Model) -> Outcome {
    let order = model.mm().huge_order(2 << 20)?;
    let (before, counts, pool) = (Snapshot::of(model), model.counts(), has(model, order));
    let set = model.mm().hugetlb.hvo;
    model.mm_mut().hugetlb.hvo = false;
    let resized = model.mm_mut().hugetlb_resize(order, pool + 3);
    model.mm_mut().hugetlb.hvo = set;
    same("huge pages", resized?.total, pool + 3)?;
    same("allocated pages", model.counts().allocated, counts.allocated + (3 << order))?;
    let head = model.mm_mut().hugetlb_take(order)?;
    let outcome = leads_to(model, head, order);
    model.mm_mut().hugetlb_put(head)?;
    model.mm_mut().hugetlb_resize(order, pool)?;
    outcome?;
    before.is_still(model)
}

/// The CPU finds the frames of a huge page's memmap: the first is its own, and the others are one, which is read-only.
fn is_shared(model: &dyn Model, head: Pfn) -> Outcome {
    let page = |i| model.page_address(head) + i * model.page_size();
    let shared = frame_at(model, page(1))?;
    check!(frame_at(model, page(0))? != shared, "the head's page is shared");
    for i in 1..MEMMAP {
        same_at("the frame", page(i), frame_at(model, page(i))?.get(), shared.get())?;
        let store = translate::store(page(i));
        check!(store.is_forbidden(), "{}: to the CPU a store is {store}", page(i));
    }
    Ok(())
}

fn optimised(model: &mut dyn Model) -> Outcome {
    with_page(model, false, |model, head, order| {
        let counts = model.counts();
        // Another page of the pool may share already; a block of memmap may have to be split.
        let shares = model.mm().hugetlb.tails().as_flattened().iter().any(|tail| tail.frame.is_some());
        model.mm_mut().optimise(head)?;
        let now = model.counts();
        let outcome = is_shared(model, head).and_then(|()| leads_to(model, head, order));
        let findings = model.audit(&mut |_| {});
        model.mm_mut().restore(head)?;
        outcome?;
        check!(findings.is_clean(), "an audit meanwhile: {findings}");
        let own = u64::from(!shares);
        same("pages of memmap less", counts.memmap_ram - now.memmap_ram, MEMMAP - 1 - own)?;
        let tables = now.tables - counts.tables;
        same("free pages more", now.free - counts.free, MEMMAP - 1 - own - tables)
    })
}

fn restored(model: &mut dyn Model) -> Outcome {
    with_page(model, true, |model, head, order| {
        check!(model.page(head).as_huge_head().is_optimised(), "{head} is not optimised in its pool");
        is_shared(model, head)?;
        model.mm_mut().restore(head)?;
        leads_to(model, head, order)?;
        for i in 0..MEMMAP {
            let va = model.page_address(head) + i * model.page_size();
            let store = translate::store(va);
            check!(store.address().is_some(), "{va}: to the CPU a store is {store}");
            let frame = frame_at(model, va)?;
            for other in (0..i).map(|j| model.page_address(head) + j * model.page_size()) {
                check!(frame_at(model, other)? != frame, "{va} and {other} share {frame}");
            }
        }
        Ok(())
    })
}

fn under_readers(model: &mut dyn Model) -> Outcome {
    if start::online().count() == 1 {
        return skip(&ONE_CPU);
    }
    with_page(model, false, |model, head, order| {
        check!(readers::show_huge_page(head, order), "no room on the board");
        let windows = fault::figures().windows;
        readers::start();
        let read = start::wait_until(|| readers::totals().checks > 0);
        fault::stretch_next(TURNS);
        let changed = model.mm_mut().optimise(head).and_then(|()| model.mm_mut().restore(head));
        fault::stretch_next(0);
        let totals = readers::stop();
        readers::hide(|page| page.head == head.get());
        changed?;
        check!(read && totals.wrong == 0, "{totals}");
        // FEAT_BBM level 2, and memmap that is no block, need no window.
        if fault::figures().windows != windows && !fault::was_entered() {
            return skip(&NOT_ENTERED);
        }
        Ok(())
    })
}

fn without_frames(model: &mut dyn Model) -> Outcome {
    with_page(model, true, |model, head, order| {
        let before = Snapshot::of(model);
        for plan in (1..MEMMAP).flat_map(|n| [Plan::Nth(n), Plan::From(n)]) {
            model.arm(plan);
            let refused = model.mm_mut().restore(head);
            model.arm(Plan::Off);
            ran_out(refused, |out| matches!(out, Resource::Frames { order: 0 }))?;
            is_shared(model, head)?;
            before.is_still(model)?;
        }
        leads_to(model, head, order)
    })
}

fn demoted(model: &mut dyn Model) -> Outcome {
    // The largest that a block can have.
    let most = model.numbers().huge_sizes.into_iter().filter(|size| *size <= 512 << 20).max();
    let (large, small) = (model.mm().huge_order(most.unwrap_or(0))?, model.mm().huge_order(2 << 20)?);
    let (before, pools) = (Snapshot::of(model), (has(model, large), has(model, small)));
    let Resized { stopped, .. } = model.mm_mut().hugetlb_resize(large, pools.0 + 1)?;
    if stopped.is_some() {
        return skip(&NO_ROOM);
    }
    let head = model.mm_mut().hugetlb_take(large)?;
    model.mm_mut().hugetlb_put(head)?;
    model.mm_mut().hugetlb_demote(head, small)?;
    let parts = 1 << (large - small);
    let found = (has(model, large), has(model, small));
    let outcome = leads_to(model, head + (1 << small), small);
    model.mm_mut().hugetlb_resize(small, pools.1)?;
    check!(found == (pools.0, pools.1 + parts), "{} and {} huge pages", found.0, found.1);
    outcome?;
    before.is_still(model)
}

fn what_is_refused(model: &mut dyn Model) -> Outcome {
    let size = model.numbers().huge_sizes[0];
    let order = model.mm().huge_order(size)?;
    let pool = has(model, order);
    let Resized { stopped: None, .. } = model.mm_mut().hugetlb_resize(order, pool + 1)? else {
        return Err(fail(format_args!("no room for a huge page of {size} bytes")));
    };
    let head = model.mm_mut().hugetlb_take(order)?;
    let taken = model.mm().hugetlb.pool(order).map_or(0, |pool| pool.taken());
    let too_small = model.mm_mut().hugetlb_resize(order, taken - 1);
    let demoted = model.mm_mut().hugetlb_demote(head, order);
    let shared = model.mm_mut().optimise(head);
    let pinned = model.pin(head + 1);
    model.mm_mut().hugetlb_put(head)?;
    model.mm_mut().hugetlb_resize(order, pool)?;
    is_refused(too_small, Error::Huge(HugeError::InUse { bytes: size, used: taken, asked: taken - 1 }))?;
    is_refused(demoted, Error::Huge(HugeError::Size { bytes: size }))?;
    is_refused(
        shared,
        Error::Huge(HugeError::NotOptimisable { pfn: head, rule: HvoRule::Memmap { pages: 1 } }),
    )?;
    let needs = PageNeeds::FreeTenantOrDevice;
    is_refused(pinned, Error::Page(PageError::State { pfn: head + 1, is: PageKind::HugeTlb, needs }))
}
