//! Isolation and the walk over what is in use: what is free is passed, and so is memmap that a block hosts, wherever it lies.

use hotmap_mm::error::{BlockError, BlockIs, BlockNeeds, Error, PageError, PageNeeds};
use hotmap_mm::frame::block::BlockState;
use hotmap_mm::frame::page::PageKind;
use hotmap_mm::frame::zone::ZoneKind;
use hotmap_mm::pfn::{Pfn, PfnRange};

use super::check::{Outcome, check, frame_at, is_refused, same, same_at};
use super::expected::Expected;
use super::snapshot::Snapshot;
use super::spare::boot_block;
use super::subject::{Test, test};
use super::tenant::with_tenant;
use hotmap_kernel::kernel::Kernel;

pub(super) const TESTS: &[Test] = &[
    test(
        "nothing is allocated from an isolated block until the isolation is undone",
        isolated_blocks_serve_nobody,
    ),
    test("the scan names the first page in use", the_first_page_is_named),
    test("the scan finds each tenant page once, in order, and no memmap", the_walk_finds_tenants),
    test(
        "memmap inside a block keeps its mark while the block goes offline and online",
        planted_memmap_stays,
    ),
];

fn isolated_blocks_serve_nobody(kernel: &mut Kernel) -> Outcome {
    let (block, before) = (boot_block(kernel)?, Snapshot::of(kernel));
    let pages = kernel.section(block);
    let isolated = kernel.mm.frames_mut().start_isolate(pages)?;
    let again = kernel.mm.frames_mut().start_isolate(pages);
    let outcome = with_tenant(kernel, 8, |kernel, guest| {
        let frame = frame_at(kernel, guest.page(kernel, 0))?;
        let state = kernel.block_of(frame).map(|block| block.state);
        check!(matches!(state, Some(BlockState::Online(_))), "{frame} is in a block that is {state:?}");
        Ok(())
    });
    let used = kernel.mm.frames().test_isolated(pages);
    kernel.mm.frames_mut().undo_isolate(pages);
    outcome?;
    check!(isolated == pages, "{:?} was isolated, not {pages:?}", isolated);
    check!(used.is_none(), "{used:?} is in use in a block that is all free");
    let block = kernel.address(block);
    is_refused(
        again,
        Error::Block(BlockError::State { block, is: BlockIs::GoingOffline, needs: BlockNeeds::Online }),
    )?;
    before.is_still(kernel)
}

fn the_first_page_is_named(kernel: &mut Kernel) -> Outcome {
    let block = boot_block(kernel)?;
    let pages = kernel.section(block);
    let (first, second) = (block + kernel.section_pages() / 2, block + (kernel.section_pages() - 1));
    kernel.mm.pin(first)?;
    kernel.mm.pin(second)?;
    let found = kernel.mm.frames().test_isolated(pages);
    let behind = kernel.mm.frames().test_isolated(PfnRange { start: first + 1, end: pages.end });
    kernel.mm.unpin(first)?;
    kernel.mm.unpin(second)?;
    check!(found == Some(first), "{found:?} instead of {first}");
    check!(behind == Some(second), "{behind:?} instead of {second}");
    Ok(())
}

/// The pages are counted by the walk, and each must be one that the CPU finds behind the tenant's addresses.
fn the_walk_finds_tenants(kernel: &mut Kernel) -> Outcome {
    with_tenant(kernel, 7, |kernel, guest| {
        for i in 0..7 {
            let frame = frame_at(kernel, guest.page(kernel, i))?;
            let used = kernel.mm.frames().next_used(PfnRange::new(frame, 1));
            let found = used.is_some_and(|u| (u.pfn, u.kind, u.end) == (frame, PageKind::Tenant, frame + 1));
            check!(found, "{frame}, a tenant's, is found as {used:?}");
        }
        let frame = frame_at(kernel, guest.page(kernel, 0))?;
        let Some(block) = kernel.block_of(frame) else {
            return Err(Error::Page(PageError::NotPresent(frame)).into());
        };
        let (mut rest, expected) = (kernel.section(block.start), block.tenant_pages);
        let mut tenants = 0;
        while let Some(used) = kernel.mm.frames().next_used(rest) {
            check!(used.pfn >= rest.start && used.end > used.pfn, "{used:?} in {rest:?}");
            check!(used.kind != PageKind::MemmapSelf, "{} holds memmap", used.pfn);
            tenants += u64::from(used.kind == PageKind::Tenant);
            rest.start = used.end;
        }
        same("tenants' pages of the block", tenants, expected)
    })
}

/// Memmap inside of a block: what a driver keeps in one that has its memmap; in a block on demand, which refuses that, what it
/// lends when a page is taken.
fn planted_memmap_stays(kernel: &mut Kernel) -> Outcome {
    let (block, before) = (boot_block(kernel)?, Snapshot::of(kernel));
    let outcome = if kernel.block_of(block).is_some_and(|block| block.demand.is_some()) {
        lent_memmap_stays(kernel, block)
    } else {
        hosted_memmap_stays(kernel, block)
    };
    outcome.and_then(|()| before.is_still(kernel))
}

fn hosted_memmap_stays(kernel: &mut Kernel, block: Pfn) -> Outcome {
    let runs = [(block + 1037, 0), (block + kernel.section_pages() / 2, 3)];
    for (pfn, order) in runs {
        kernel.mm.host_memmap(pfn, order)?;
        kernel.mm.frames().pages().get(pfn).set_refs(7);
    }
    let outcome = memmap_stays(kernel, block, &runs.map(|(pfn, order)| Mark { pfn, order, refs: 7 }));
    for (pfn, _) in runs {
        kernel.mm.unhost_memmap(pfn)?;
    }
    outcome
}

/// A poisoned page stays taken while the block is offline, so that the block goes on to lend.
fn lent_memmap_stays(kernel: &mut Kernel, block: Pfn) -> Outcome {
    let (planted, poisoned) = (block + 1037, block + 2074);
    is_refused(
        kernel.mm.host_memmap(planted, 0),
        Error::Page(PageError::State { pfn: planted, is: PageKind::Free, needs: PageNeeds::NotOnDemand }),
    )?;
    kernel.mm.poison(poisoned)?;
    let outcome = lent(kernel, block).and_then(|marks| memmap_stays(kernel, block, &marks));
    kernel.mm.unpoison(poisoned)?;
    outcome
}

/// The pages that a block lends to its memmap: as many as it counts.
fn lent(kernel: &Kernel, block: Pfn) -> Outcome<heapless::Vec<Mark, 32>> {
    let (mut marks, pages) = (heapless::Vec::new(), kernel.mm.frames().pages());
    for i in 0..kernel.section_pages() {
        let (pfn, page) = (block + i, pages.get(block + i));
        if page.kind() == PageKind::MemmapSelf {
            let mark = Mark { pfn, order: 0, refs: page.refs() };
            check!(marks.push(mark).is_ok(), "the block at {block} lends more than {} pages", marks.len());
        }
    }
    let counted = kernel.block_of(block).map_or(0, |block| block.memmap_inside);
    check!(!marks.is_empty(), "the block at {block} lends nothing");
    same_at("pages that are lent", block, marks.len() as u64, counted)?;
    Ok(marks)
}

fn memmap_stays(kernel: &mut Kernel, block: Pfn, marks: &[Mark]) -> Outcome {
    let pages = kernel.section(block);
    let findings = kernel.mm.audit(&mut |_| {});
    let used = kernel.mm.frames().test_isolated(pages);
    // With a page in use behind it, the scanner must look at each page.
    let last = block + (kernel.section_pages() - 1);
    kernel.mm.pin(last)?;
    let behind = kernel.mm.frames().test_isolated(pages);
    kernel.mm.unpin(last)?;
    let offline = kernel.mm.offline_block(block);
    let gone = are_marked(kernel, marks);
    let online = kernel.mm.online_block(block, ZoneKind::Normal);
    let back = are_marked(kernel, marks);
    offline?;
    online?;
    gone.and(back)?;
    check!(findings.is_clean(), "an audit with memmap inside a block: {findings}");
    check!(used.is_none(), "{used:?} is memmap, and was not passed over");
    check!(behind == Some(last), "{behind:?} is the first page in use, not {last}");
    Ok(())
}

/// A run that holds memmap.
#[derive(Clone, Copy, Debug)]
struct Mark {
    pfn: Pfn,
    order: u32,
    refs: u32,
}

fn are_marked(kernel: &Kernel, marks: &[Mark]) -> Outcome {
    for Mark { pfn, order, refs } in marks {
        let page = kernel.mm.frames().pages().get(*pfn);
        check!(page.kind() == PageKind::MemmapSelf, "{pfn} is {}, not memmap", page.kind());
        same_at("the order of the memmap", pfn, page.order().into(), u64::from(*order))?;
        same_at("the references of the memmap", pfn, page.refs().into(), u64::from(*refs))?;
    }
    Ok(())
}
