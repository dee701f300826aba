//! Huge pages: what a pool has comes from free memory and goes back to it, and the CPU itself finds one read-only page behind
//! all tails of a page that is optimised.

use hotmap_mm::debug::faults::Plan;
use hotmap_mm::error::{Error, HugeError, HvoRule, PageError, PageNeeds, Resource};
use hotmap_mm::frame::page::PageKind;
use hotmap_mm::hugetlb::pool::Resized;
use hotmap_mm::pfn::Pfn;

use super::check::{Outcome, check, fail, frame_at, is_refused, ran_out, same, same_at, skip};
use super::cpus::{NOT_ENTERED, ONE_CPU, TURNS};
use super::expected::Expected;
use super::snapshot::Snapshot;
use super::subject::{Test, test};
use hotmap_kernel::arch::{fault, translate};
use hotmap_kernel::cpus::start;
use hotmap_kernel::kernel::Kernel;
use hotmap_kernel::readers;

pub(super) const TESTS: &[Test] = &[
    test("the sizes are those of the granule's block and contiguous leaves", sizes),
    test("a pool's pages come from free memory and go back, and each tail finds its head", a_pool),
    test("optimised, all tails of a page are one page, for loads only", optimised),
    test("restored, each page of memmap is its own again", restored),
    test("readers find heads while memmap is split, shared, restored and joined", under_readers),
    test("without frames a page stays optimised", without_frames),
    test("a page that is demoted is pages of the smaller size", demoted),
    test("pages in use stay, and sharing that saves nothing is refused with its rule", what_is_refused),
];

pub(super) const NO_ROOM: &str = "no room for a huge page of the size that sharing is worth for";
const ON_DEMAND: &str = "huge pages of the size are blocks on demand: there is no memmap to share";
/// The pages of its memmap.
const MEMMAP: u64 = 8;

fn sizes(kernel: &mut Kernel) -> Outcome {
    let expected = kernel.numbers().huge_sizes;
    for (i, size) in expected.into_iter().enumerate().filter(|(_, size)| *size != 0) {
        let pool = kernel.mm.hugetlb.pools().nth(i).map_or(0, |pool| kernel.page_size() << pool.order());
        same("the size of huge pages", pool, size)?;
        same("its pages", 1 << kernel.mm.hugetlb.order_of(size)?, size / kernel.page_size())?;
    }
    let more = expected.iter().filter(|size| **size != 0).count();
    same("sizes", kernel.mm.hugetlb.pools().count() as u64, more as u64)?;
    is_refused(kernel.mm.hugetlb.order_of(4 << 30), Error::Huge(HugeError::Size { bytes: 4 << 30 }))
}

fn has(kernel: &Kernel, order: u32) -> u64 {
    kernel.mm.hugetlb.pool(order).map_or(0, |pool| pool.total())
}

/// Runs `body` with one more huge page, taken, of a size for which sharing saves memory; `hvo`: whether it is optimised.
fn with_page(kernel: &mut Kernel, hvo: bool, body: fn(&mut Kernel, Pfn, u32) -> Outcome) -> Outcome {
    let order = kernel.mm.hugetlb.order_of(kernel.numbers().worth_sharing)?;
    let (before, set) = (has(kernel, order), kernel.mm.hugetlb.hvo);
    kernel.mm.hugetlb.hvo = hvo;
    let resized = kernel.mm.hugetlb_resize(order, before + 1);
    kernel.mm.hugetlb.hvo = set;
    match resized? {
        Resized { stopped: None, .. } => {}
        Resized { stopped: Some(_), .. } => return skip(&NO_ROOM),
    }
    let head = kernel.mm.hugetlb_take(order)?;
    let outcome = if is_on_demand(kernel, head) { skip(&ON_DEMAND) } else { body(kernel, head, order) };
    kernel.mm.hugetlb_put(head)?;
    kernel.mm.hugetlb_resize(order, before)?;
    outcome
}

/// Whether the huge page at `head` is in memory on demand.
fn is_on_demand(kernel: &Kernel, head: Pfn) -> bool {
    kernel.block_of(head).is_some_and(|block| block.demand.is_some())
}

/// Every tail says which page is its head.
pub(super) fn leads_to_head(kernel: &Kernel, head: Pfn, order: u32) -> Outcome {
    for i in 0..1 << order {
        let (kind, found) = kernel.mm.frames().use_of(head + i)?;
        check!(kind == PageKind::HugeTlb, "{} is {kind}", head + i);
        same_at("the head", head + i, found.get(), head.get())?;
    }
    Ok(())
}

fn a_pool(kernel: &mut Kernel) -> Outcome {
    let order = kernel.mm.hugetlb.order_of(2 << 20)?;
    let (before, counts, pool) = (Snapshot::of(kernel), kernel.mm.frames().counts(), has(kernel, order));
    let set = kernel.mm.hugetlb.hvo;
    kernel.mm.hugetlb.hvo = false;
    let resized = kernel.mm.hugetlb_resize(order, pool + 3);
    kernel.mm.hugetlb.hvo = set;
    same("huge pages", resized?.total, pool + 3)?;
    same("allocated pages", kernel.mm.frames().counts().allocated, counts.allocated + (3 << order))?;
    let head = kernel.mm.hugetlb_take(order)?;
    let outcome = leads_to_head(kernel, head, order);
    kernel.mm.hugetlb_put(head)?;
    kernel.mm.hugetlb_resize(order, pool)?;
    outcome?;
    before.is_still(kernel)
}

/// The CPU finds the frames of a huge page's memmap: the first is its own, and the others are one, which is read-only.
fn is_shared(kernel: &Kernel, head: Pfn) -> Outcome {
    let page = |i| kernel.mm.space().layout().page_address(head) + i * kernel.page_size();
    let shared = frame_at(kernel, page(1))?;
    check!(frame_at(kernel, page(0))? != shared, "the head's page is shared");
    for i in 1..MEMMAP {
        same_at("the frame", page(i), frame_at(kernel, page(i))?.get(), shared.get())?;
        let store = translate::store(page(i));
        check!(store.is_forbidden(), "{}: to the CPU a store is {store}", page(i));
    }
    Ok(())
}

fn optimised(kernel: &mut Kernel) -> Outcome {
    with_page(kernel, false, |kernel, head, order| {
        let counts = kernel.mm.frames().counts();
        // Another page of the pool may share already; a block of memmap may have to be split.
        let shares = kernel.mm.hugetlb.tails().as_flattened().iter().any(|tail| tail.frame.is_some());
        kernel.mm.optimise(head)?;
        let now = kernel.mm.frames().counts();
        let outcome = is_shared(kernel, head).and_then(|()| leads_to_head(kernel, head, order));
        let findings = kernel.mm.audit(&mut |_| {});
        kernel.mm.restore(head)?;
        outcome?;
        check!(findings.is_clean(), "an audit meanwhile: {findings}");
        let own = u64::from(!shares);
        same("pages of memmap less", counts.memmap_ram - now.memmap_ram, MEMMAP - 1 - own)?;
        let tables = now.tables - counts.tables;
        same("free pages more", now.free - counts.free, MEMMAP - 1 - own - tables)
    })
}

fn restored(kernel: &mut Kernel) -> Outcome {
    with_page(kernel, true, |kernel, head, order| {
        check!(
            kernel.mm.frames().pages().get(head).as_huge_head().is_optimised(),
            "{head} is not optimised in its pool"
        );
        is_shared(kernel, head)?;
        kernel.mm.restore(head)?;
        leads_to_head(kernel, head, order)?;
        for i in 0..MEMMAP {
            let va = kernel.mm.space().layout().page_address(head) + i * kernel.page_size();
            let store = translate::store(va);
            check!(store.address().is_some(), "{va}: to the CPU a store is {store}");
            let frame = frame_at(kernel, va)?;
            for other in
                (0..i).map(|j| kernel.mm.space().layout().page_address(head) + j * kernel.page_size())
            {
                check!(frame_at(kernel, other)? != frame, "{va} and {other} share {frame}");
            }
        }
        Ok(())
    })
}

fn under_readers(kernel: &mut Kernel) -> Outcome {
    if start::online().count() == 1 {
        return skip(&ONE_CPU);
    }
    with_page(kernel, false, |kernel, head, order| {
        check!(readers::show_huge_page(head, order), "no room on the board");
        let windows = fault::figures().windows;
        readers::start();
        let read = start::wait_until(|| readers::totals().checks > 0);
        fault::stretch_next(TURNS);
        let changed = kernel.mm.optimise(head).and_then(|()| kernel.mm.restore(head));
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

fn without_frames(kernel: &mut Kernel) -> Outcome {
    with_page(kernel, true, |kernel, head, order| {
        let before = Snapshot::of(kernel);
        for plan in (1..MEMMAP).flat_map(|n| [Plan::Nth(n), Plan::From(n)]) {
            kernel.mm.frames_mut().faults.arm(plan);
            let refused = kernel.mm.restore(head);
            kernel.mm.frames_mut().faults.arm(Plan::Off);
            ran_out(refused, |out| matches!(out, Resource::Frames { order: 0 }))?;
            is_shared(kernel, head)?;
            before.is_still(kernel)?;
        }
        leads_to_head(kernel, head, order)
    })
}

fn demoted(kernel: &mut Kernel) -> Outcome {
    // The largest that a block can have.
    let most = kernel.numbers().huge_sizes.into_iter().filter(|size| *size <= 512 << 20).max();
    let (large, small) =
        (kernel.mm.hugetlb.order_of(most.unwrap_or(0))?, kernel.mm.hugetlb.order_of(2 << 20)?);
    let (before, pools) = (Snapshot::of(kernel), (has(kernel, large), has(kernel, small)));
    let Resized { stopped, .. } = kernel.mm.hugetlb_resize(large, pools.0 + 1)?;
    if stopped.is_some() {
        return skip(&NO_ROOM);
    }
    let head = kernel.mm.hugetlb_take(large)?;
    kernel.mm.hugetlb_put(head)?;
    if is_on_demand(kernel, head) {
        kernel.mm.hugetlb_resize(large, pools.0)?;
        return skip(&ON_DEMAND);
    }
    kernel.mm.hugetlb_demote(head, small)?;
    let parts = 1 << (large - small);
    let found = (has(kernel, large), has(kernel, small));
    let outcome = leads_to_head(kernel, head + (1 << small), small);
    kernel.mm.hugetlb_resize(small, pools.1)?;
    check!(found == (pools.0, pools.1 + parts), "{} and {} huge pages", found.0, found.1);
    outcome?;
    before.is_still(kernel)
}

fn what_is_refused(kernel: &mut Kernel) -> Outcome {
    let size = kernel.numbers().huge_sizes[0];
    let order = kernel.mm.hugetlb.order_of(size)?;
    let pool = has(kernel, order);
    let Resized { stopped: None, .. } = kernel.mm.hugetlb_resize(order, pool + 1)? else {
        return Err(fail(format_args!("no room for a huge page of {size} bytes")));
    };
    let head = kernel.mm.hugetlb_take(order)?;
    let taken = kernel.mm.hugetlb.pool(order).map_or(0, |pool| pool.taken());
    let too_small = kernel.mm.hugetlb_resize(order, taken - 1);
    let demoted = kernel.mm.hugetlb_demote(head, order);
    let shared = kernel.mm.optimise(head);
    let pinned = kernel.mm.pin(head + 1);
    kernel.mm.hugetlb_put(head)?;
    kernel.mm.hugetlb_resize(order, pool)?;
    is_refused(too_small, Error::Huge(HugeError::InUse { bytes: size, used: taken, asked: taken - 1 }))?;
    is_refused(demoted, Error::Huge(HugeError::Size { bytes: size }))?;
    is_refused(
        shared,
        Error::Huge(HugeError::NotOptimisable { pfn: head, rule: HvoRule::Memmap { pages: 1 } }),
    )?;
    let needs = PageNeeds::FreeTenantOrDevice;
    is_refused(pinned, Error::Page(PageError::State { pfn: head + 1, is: PageKind::HugeTlb, needs }))
}
