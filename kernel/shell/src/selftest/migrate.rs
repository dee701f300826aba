//! Pages in use move out of a block that goes offline: to other frames, with all that is in them, behind the same addresses.

use hotmap_mm::error::{BlockError, Error, PageError};
use hotmap_mm::frame::block::{BlockState, MemoryBlock};
use hotmap_mm::frame::page::PageKind;
use hotmap_mm::frame::zone::ZoneKind;
use hotmap_mm::pfn::Pfn;

use super::check::{Outcome, check, frame_at, is_refused, is_used_as, same, same_at, skip};
use super::expected::Expected;
use super::snapshot::{Snapshot, counts_are};
use super::subject::{Test, test};
use super::tenant::{Guest, changed_word_is_named, with_tenant};
use hotmap_kernel::arch::translate;
use hotmap_kernel::kernel::Kernel;

pub(super) const TESTS: &[Test] = &[
    test("when a block goes offline, its tenant's pages migrate to other frames", a_tenant_moves),
    test("a pinned tenant page keeps its block online", a_held_page_stays),
    test("a pinned free page keeps its block online", a_pinned_page_stays),
];

/// The tenant's pages.
pub(super) const PAGES: u64 = 16;
/// A frame for each.
type Frames = [Pfn; 16];

/// The block that the tenant's pages are in, if it can be emptied: with the tenant as the only one in it, the newest of its
/// zone, so that it comes back as before, and with memory elsewhere to move to.
pub(super) fn home(kernel: &Kernel, guest: &Guest) -> Outcome<(Pfn, ZoneKind)> {
    let frame = frame_at(kernel, guest.page(kernel, 0))?;
    let Some(block) = kernel.block_of(frame) else {
        return Err(Error::Page(PageError::NotPresent(frame)).into());
    };
    let zone = block.state.zone().unwrap_or(ZoneKind::Normal);
    let newest = kernel.mm.frames().blocks_in(zone).last() == Some(block.start);
    let alone = block.tenant_pages == PAGES && block.free.pages() + PAGES == kernel.usable_pages(&block);
    let elsewhere = kernel.mm.frames().counts().free - block.free.pages();
    if newest && alone && block.present == kernel.section_pages() && elsewhere > PAGES {
        Ok((block.start, zone))
    } else {
        skip(&"the tenant's block cannot be emptied: others are in it, or there is no other")
    }
}

fn block_of(kernel: &Kernel, start: Pfn) -> Outcome<MemoryBlock> {
    kernel.block_of(start).ok_or_else(|| Error::Block(BlockError::Absent(kernel.address(start))).into())
}

/// Where every page of the tenant is, to the CPU.
fn frames(kernel: &Kernel, guest: &Guest) -> Outcome<Frames> {
    let mut frames = Frames::default();
    for (i, frame) in frames.iter_mut().enumerate() {
        *frame = frame_at(kernel, guest.page(kernel, i as u64))?;
    }
    Ok(frames)
}

fn a_tenant_moves(kernel: &mut Kernel) -> Outcome {
    with_tenant(kernel, PAGES, |kernel, guest| {
        let (block, zone) = home(kernel, guest)?;
        let (before, counts) = (frames(kernel, guest)?, kernel.mm.frames().counts());
        let migrated = kernel.mm.offline_block(block)?.migrated;
        let outcome = has_moved(kernel, guest, block, &before);
        kernel.mm.online_block(block, zone)?;
        outcome?;
        same("migrated pages", migrated, PAGES)?;
        for frame in before {
            is_used_as(kernel, frame, PageKind::Free)?;
        }
        let block = block_of(kernel, block)?;
        check!(kernel.is_all_free(&block), "{} free pages in the block that was emptied", block.free.pages());
        counts_are(&kernel.mm.frames().counts(), &counts)
    })
}

/// Every page is somewhere else, in a block that is online, writable, right, and knows it.
fn has_moved(kernel: &Kernel, guest: &Guest, left: Pfn, before: &[Pfn]) -> Outcome {
    same("pages that hold what was written", kernel.mm.tenant_check(guest.id)?, PAGES)?;
    same("tenants' pages in the block that is offline", block_of(kernel, left)?.tenant_pages, 0)?;
    for (i, old) in before.iter().enumerate() {
        let va = guest.page(kernel, i as u64);
        let now = frame_at(kernel, va)?;
        let (load, store) = (translate::load(va), translate::store(va));
        check!(load == store, "{va}: load {load}, store {store}");
        let block = block_of(kernel, now)?;
        check!(
            block.start != left && block.state.zone().is_some(),
            "{va}: {old} became {now} at {}",
            block.start
        );
        is_used_as(kernel, now, PageKind::Tenant)?;
        let page = kernel.mm.frames().pages().get(now);
        same_at("the address that a moved page knows", now, page.private(), va.get())?;
        same_at("the references of a moved page", now, page.refs().into(), 1)?;
        is_used_as(kernel, *old, PageKind::Tail)?;
    }
    changed_word_is_named(kernel, guest, PAGES - 1, 1)
}

/// Offlining `block` is refused for `pfn`, and changes nothing.
fn stays(kernel: &mut Kernel, guest: &Guest, block: Pfn, pfn: Pfn, refs: u32) -> Outcome {
    let (before, frames_before) = (Snapshot::of(kernel), frames(kernel, guest)?);
    is_refused(kernel.mm.offline_block(block), Error::Page(PageError::Pinned { pfn, refs }))?;
    before.is_still(kernel)?;
    let state = block_of(kernel, block)?.state;
    check!(
        matches!(state, BlockState::Online(_)),
        "the block at {block} is {} after a refusal",
        state.name()
    );
    for (now, before) in frames(kernel, guest)?.iter().zip(frames_before) {
        check!(*now == before, "{before} moved to {now} although the block stays");
    }
    same("pages that hold what was written", kernel.mm.tenant_check(guest.id)?, PAGES)
}

/// With the hold gone, the block goes.
fn goes(kernel: &mut Kernel, block: Pfn, zone: ZoneKind) -> Outcome {
    let migrated = kernel.mm.offline_block(block)?.migrated;
    kernel.mm.online_block(block, zone)?;
    same("migrated pages", migrated, PAGES)
}

fn a_held_page_stays(kernel: &mut Kernel) -> Outcome {
    with_tenant(kernel, PAGES, |kernel, guest| {
        let (block, zone) = home(kernel, guest)?;
        let pfn = frame_at(kernel, guest.page(kernel, PAGES / 2))?;
        kernel.mm.pin(pfn)?;
        let outcome = stays(kernel, guest, block, pfn, 2);
        kernel.mm.unpin(pfn)?;
        outcome?;
        goes(kernel, block, zone)
    })
}

fn a_pinned_page_stays(kernel: &mut Kernel) -> Outcome {
    with_tenant(kernel, PAGES, |kernel, guest| {
        let (block, zone) = home(kernel, guest)?;
        let pfn = block + (kernel.section_pages() - 1);
        is_used_as(kernel, pfn, PageKind::Free)?;
        kernel.mm.pin(pfn)?;
        let outcome = stays(kernel, guest, block, pfn, 1);
        kernel.mm.unpin(pfn)?;
        outcome?;
        is_used_as(kernel, pfn, PageKind::Free)?;
        goes(kernel, block, zone)
    })
}
