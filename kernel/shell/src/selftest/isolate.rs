//! Isolation and the walk over what is in use: what is free is passed, and so is memmap that a block hosts, wherever it lies.

use hotmap_mm::error::{BlockError, BlockIs, BlockNeeds, Error, PageError};
use hotmap_mm::frame::block::BlockState;
use hotmap_mm::frame::page::PageKind;
use hotmap_mm::frame::zone::ZoneKind;
use hotmap_mm::pfn::{Pfn, PfnRange};

use super::check::{Outcome, check, frame_at, is_refused, same, same_at};
use super::model::Model;
use super::snapshot::Snapshot;
use super::spare::boot_block;
use super::tenant::with_tenant;
use super::{Test, test};

pub(super) const TESTS: &[Test] = &[
    test("nothing is allocated from an isolated block, until that is undone", isolated_blocks_serve_nobody),
    test("the first page in use is named", the_first_page_is_named),
    test("every page of a tenant is found once, in order, and no memmap", the_walk_finds_tenants),
    test("memmap inside of a block keeps its mark while the block goes and comes", planted_memmap_stays),
];

fn isolated_blocks_serve_nobody(model: &mut dyn Model) -> Outcome {
    let (block, before) = (boot_block(model)?, Snapshot::of(model));
    let pages = model.section(block);
    let isolated = model.start_isolate(pages)?;
    let again = model.start_isolate(pages);
    let outcome = with_tenant(model, 8, |model, guest| {
        let frame = frame_at(model, guest.page(model, 0))?;
        let state = model.block_of(frame).map(|block| block.state);
        check!(matches!(state, Some(BlockState::Online(_))), "{frame} is in a block that is {state:?}");
        Ok(())
    });
    let used = model.test_isolated(pages);
    model.undo_isolate(pages);
    outcome?;
    check!(isolated == pages, "{:?} was isolated, not {pages:?}", isolated);
    check!(used.is_none(), "{used:?} is in use in a block that is all free");
    let block = model.address(block);
    is_refused(
        again,
        Error::Block(BlockError::State { block, is: BlockIs::GoingOffline, needs: BlockNeeds::Online }),
    )?;
    before.is_still(model)
}

fn the_first_page_is_named(model: &mut dyn Model) -> Outcome {
    let block = boot_block(model)?;
    let pages = model.section(block);
    let (first, second) = (block + model.section_pages() / 2, block + (model.section_pages() - 1));
    model.pin(first)?;
    model.pin(second)?;
    let found = model.test_isolated(pages);
    let behind = model.test_isolated(PfnRange { start: first + 1, end: pages.end });
    model.unpin(first)?;
    model.unpin(second)?;
    check!(found == Some(first), "{found:?} instead of {first}");
    check!(behind == Some(second), "{behind:?} instead of {second}");
    Ok(())
}

/// The pages are counted by the walk, and each must be one that the CPU finds behind the tenant's addresses.
fn the_walk_finds_tenants(model: &mut dyn Model) -> Outcome {
    with_tenant(model, 7, |model, guest| {
        for i in 0..7 {
            let frame = frame_at(model, guest.page(model, i))?;
            let used = model.next_used(PfnRange::new(frame, 1));
            let found = used.is_some_and(|u| (u.pfn, u.kind, u.end) == (frame, PageKind::Tenant, frame + 1));
            check!(found, "{frame}, a tenant's, is found as {used:?}");
        }
        let frame = frame_at(model, guest.page(model, 0))?;
        let Some(block) = model.block_of(frame) else {
            return Err(Error::Page(PageError::NotPresent(frame)).into());
        };
        let (mut rest, expected) = (model.section(block.start), block.tenant_pages);
        let mut tenants = 0;
        while let Some(used) = model.next_used(rest) {
            check!(used.pfn >= rest.start && used.end > used.pfn, "{used:?} in {rest:?}");
            check!(used.kind != PageKind::MemmapSelf, "{} holds memmap", used.pfn);
            tenants += u64::from(used.kind == PageKind::Tenant);
            rest.start = used.end;
        }
        same("tenants' pages of the block", tenants, expected)
    })
}

fn planted_memmap_stays(model: &mut dyn Model) -> Outcome {
    let (block, before) = (boot_block(model)?, Snapshot::of(model));
    let runs = [(block + 1037, 0), (block + model.section_pages() / 2, 3)];
    for (pfn, order) in runs {
        model.host_memmap(pfn, order)?;
        model.page(pfn).set_refs(7);
    }
    let pages = model.section(block);
    let used = model.test_isolated(pages);
    // With a page in use behind it, the scanner must look at each page.
    let last = block + (model.section_pages() - 1);
    model.pin(last)?;
    let behind = model.test_isolated(pages);
    model.unpin(last)?;
    let offline = model.offline(block);
    let gone = are_marked(model, &runs);
    let online = model.online(block, ZoneKind::Normal);
    let back = are_marked(model, &runs);
    for (pfn, _) in runs {
        model.unhost_memmap(pfn)?;
    }
    offline?;
    online?;
    gone.and(back)?;
    check!(used.is_none(), "{used:?} is memmap, and was not passed over");
    check!(behind == Some(last), "{behind:?} is the first page in use, not {last}");
    before.is_still(model)
}

fn are_marked(model: &dyn Model, runs: &[(Pfn, u32)]) -> Outcome {
    for (pfn, order) in runs {
        let page = model.page(*pfn);
        check!(page.kind() == PageKind::MemmapSelf, "{pfn} is {}, not memmap", page.kind());
        same_at("the order of the memmap", pfn, page.order().into(), u64::from(*order))?;
        same_at("the references of the memmap", pfn, page.refs().into(), 7)?;
    }
    Ok(())
}
