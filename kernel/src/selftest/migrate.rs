//! Pages in use move out of a block that goes offline: to other frames, with all that is in them, behind the same addresses.

use hotmap_mm::error::Error;
use hotmap_mm::granule::Granule;
use hotmap_mm::hotplug::block::{BlockState, MemoryBlock};
use hotmap_mm::page::PageKind;
use hotmap_mm::pfn::Pfn;
use hotmap_mm::zone::ZoneKind;

use super::check::{Outcome, check, is_refused, is_used_as, same, same_at, skip};
use super::snapshot::Snapshot;
use super::tenant::{Guest, frame_at, with_tenant};
use super::{Test, test};
use crate::arch::translate;
use crate::kernel::Kernel;

pub(super) const fn tests<G: Granule>() -> &'static [Test<G>] {
    const {
        &[
            test("a tenant survives its block's going offline, in other frames", a_tenant_moves),
            test("a tenant's page that is held stays, and its block with it", a_held_page_stays),
            test("so does a free page that is held", a_pinned_page_stays),
        ]
    }
}

/// The tenant's pages.
const PAGES: u64 = 16;

/// The block that the tenant's pages are in, if it can be emptied: with the tenant as the only one in it, the newest of its
/// zone, so that it comes back as before, and with memory elsewhere to move to.
fn home<G: Granule>(kernel: &Kernel<G>, guest: &Guest) -> Outcome<(Pfn, ZoneKind)> {
    let frame = frame_at::<G>(guest.page::<G>(0))?;
    let Some(block) = kernel.mm.block_of(frame) else { return Err(Error::NotPresent(frame).into()) };
    let zone = block.state.zone().unwrap_or(ZoneKind::Normal);
    let newest = kernel.mm.zone(zone).blocks().last() == Some(&block.start);
    let alone = block.tenant_pages == PAGES && block.free.pages() + PAGES == block.usable::<G>().len();
    let elsewhere = kernel.mm.counts().free - block.free.pages();
    if newest && alone && block.present == G::SECTION_PAGES && elsewhere > PAGES {
        Ok((block.start, zone))
    } else {
        skip("the tenant's block cannot be emptied: others are in it, or there is no other")
    }
}

fn block_of<G: Granule>(kernel: &Kernel<G>, start: Pfn) -> Outcome<&MemoryBlock> {
    kernel.mm.block_of(start).ok_or_else(|| Error::NoBlock(start.address::<G>()).into())
}

/// Where every page of the tenant is, to the CPU.
fn frames<G: Granule>(guest: &Guest) -> Outcome<[Pfn; PAGES as usize]> {
    let mut frames = [Pfn::new(0); PAGES as usize];
    for (i, frame) in frames.iter_mut().enumerate() {
        *frame = frame_at::<G>(guest.page::<G>(i as u64))?;
    }
    Ok(frames)
}

fn a_tenant_moves<G: Granule>(kernel: &mut Kernel<G>) -> Outcome {
    with_tenant(kernel, PAGES, |kernel, guest| {
        let (block, zone) = home(kernel, guest)?;
        let (before, counts) = (frames::<G>(guest)?, kernel.mm.counts());
        let migrated = kernel.mm.offline(block)?.migrated;
        let outcome = has_moved(kernel, guest, block, &before);
        kernel.mm.online(block, zone)?;
        outcome?;
        same("migrated pages", migrated, PAGES)?;
        for frame in before {
            is_used_as(frame, kernel.mm.use_of(frame)?.0, PageKind::Free)?;
        }
        same("free pages of the block", block_of(kernel, block)?.free.pages(), block_of(kernel, block)?.usable::<G>().len())?;
        super::snapshot::counts_are(&kernel.mm.counts(), &counts)
    })
}

/// Every page is somewhere else, in a block that is online, writable, right, and knows it.
fn has_moved<G: Granule>(kernel: &Kernel<G>, guest: &Guest, left: Pfn, before: &[Pfn]) -> Outcome {
    same("pages that hold what was written", kernel.mm.tenant_check(guest.id)?, PAGES)?;
    same("tenants' pages in the block that is offline", block_of(kernel, left)?.tenant_pages, 0)?;
    for (i, old) in before.iter().enumerate() {
        let va = guest.page::<G>(i as u64);
        let now = frame_at::<G>(va)?;
        let (load, store) = (translate::load(va), translate::store(va));
        check!(load == store, "{va}: load {load:?}, store {store:?}");
        let block = block_of(kernel, now)?;
        check!(block.start != left && block.state.zone().is_some(), "{va}: {old} became {now} at {}", block.start);
        is_used_as(now, kernel.mm.use_of(now)?.0, PageKind::Tenant)?;
        let page = kernel.mm.pages().get(now);
        same_at("the address that a moved page knows", now, page.private(), va.get())?;
        same_at("the references of a moved page", now, page.refs().into(), 1)?;
        is_used_as(*old, kernel.mm.use_of(*old)?.0, PageKind::Tail)?;
    }
    Ok(())
}

/// Offlining `block` is refused for `pfn`, and changes nothing.
fn stays<G: Granule>(kernel: &mut Kernel<G>, guest: &Guest, block: Pfn, pfn: Pfn, refs: u32) -> Outcome {
    let (before, frames_before) = (Snapshot::of(kernel), frames::<G>(guest)?);
    is_refused(kernel.mm.offline(block), Error::Pinned { pfn, refs })?;
    before.is_still(kernel)?;
    let state = block_of(kernel, block)?.state;
    check!(matches!(state, BlockState::Online(_)), "the block at {block} is {state:?} after a refusal");
    for (now, before) in frames::<G>(guest)?.iter().zip(frames_before) {
        check!(*now == before, "{before} moved to {now} although the block stays");
    }
    same("pages that hold what was written", kernel.mm.tenant_check(guest.id)?, PAGES)
}

/// With the hold gone, the block goes.
fn goes<G: Granule>(kernel: &mut Kernel<G>, block: Pfn, zone: ZoneKind) -> Outcome {
    let migrated = kernel.mm.offline(block)?.migrated;
    kernel.mm.online(block, zone)?;
    same("migrated pages", migrated, PAGES)
}

fn a_held_page_stays<G: Granule>(kernel: &mut Kernel<G>) -> Outcome {
    with_tenant(kernel, PAGES, |kernel, guest| {
        let (block, zone) = home(kernel, guest)?;
        let pfn = frame_at::<G>(guest.page::<G>(PAGES / 2))?;
        kernel.mm.pin(pfn)?;
        let outcome = stays(kernel, guest, block, pfn, 2);
        kernel.mm.unpin(pfn)?;
        outcome?;
        goes(kernel, block, zone)
    })
}

fn a_pinned_page_stays<G: Granule>(kernel: &mut Kernel<G>) -> Outcome {
    with_tenant(kernel, PAGES, |kernel, guest| {
        let (block, zone) = home(kernel, guest)?;
        let pfn = block + (G::SECTION_PAGES - 1);
        is_used_as(pfn, kernel.mm.use_of(pfn)?.0, PageKind::Free)?;
        kernel.mm.pin(pfn)?;
        let outcome = stays(kernel, guest, block, pfn, 1);
        kernel.mm.unpin(pfn)?;
        outcome?;
        is_used_as(pfn, kernel.mm.use_of(pfn)?.0, PageKind::Free)?;
        goes(kernel, block, zone)
    })
}
