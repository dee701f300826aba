//! Tenants: their pages are theirs alone, they notice every word that changes, and nothing of them stays.

use core::sync::atomic::Ordering::Relaxed;

use hotmap_mm::addr::{PhysAddr, VirtAddr, VirtRange};
use hotmap_mm::error::{Error, PageError, RangeError, Resource, TenantError};
use hotmap_mm::frame::page::PageKind;

use super::check::{Outcome, check, fail, frame_at, is_refused, is_used_as, ran_out, same, same_at};
use super::model::Model;
use super::snapshot::{Snapshot, counts_are};
use super::{Test, test};
use hotmap_kernel::arch::{peek, translate, word};

pub(super) const TESTS: &[Test] = &[
    test("a tenant's pages are frames of its own, which know their address", pages_are_its_own),
    test("nothing of a tenant that left is mapped or in use", nothing_stays),
    test("a word that changed is found, and named", a_wrong_word_is_named),
    test("a tenant of which a page is held does not leave", a_held_page_stays),
    test("no pages, too many pages, and tenants that are not there are refused", nonsense_is_refused),
];

/// More than a word of a table's entries, fewer than the smallest machine has.
const PAGES: u64 = 9;

/// A tenant that lives for the time of a test.
pub(super) struct Guest {
    pub(super) id: u32,
    pub(super) range: VirtRange,
}

/// Run `body` with a tenant of `pages` pages, which leaves whatever `body` says.
pub(super) fn with_tenant(
    model: &mut dyn Model,
    pages: u64,
    body: fn(&mut dyn Model, &Guest) -> Outcome,
) -> Outcome {
    hosting(model, pages, &body)
}

/// [`with_tenant`] for a `body` that knows more.
pub(super) fn hosting(
    model: &mut dyn Model,
    pages: u64,
    body: &dyn Fn(&mut dyn Model, &Guest) -> Outcome,
) -> Outcome {
    let id = model.tenant_new(pages)?;
    let range = model.tenants().iter().find(|tenant| tenant.id == id).map(|tenant| tenant.range);
    let outcome = match range {
        Some(range) => body(model, &Guest { id, range }),
        None => Err(fail(format_args!("tenant {id} is not on the list"))),
    };
    model.tenant_drop(id)?;
    outcome
}

impl Guest {
    /// The address of its page `i`.
    pub(super) fn page(&self, model: &dyn Model, i: u64) -> VirtAddr {
        self.range.start + i * model.page_size()
    }
}

fn pages_are_its_own(model: &mut dyn Model) -> Outcome {
    with_tenant(model, PAGES, |model, guest| {
        same("bytes of the tenant's addresses", guest.range.len(), PAGES * model.page_size())?;
        same("pages that hold what was written", model.tenant_check(guest.id)?, PAGES)?;
        for i in 0..PAGES {
            let va = guest.page(model, i);
            let frame = frame_at(model, va)?;
            is_used_as(model, frame, PageKind::Tenant)?;
            same_at("the order of a tenant's page", frame, model.page(frame).order().into(), 0)?;
            same_at("the address that a tenant's page knows", frame, model.page(frame).private(), va.get())?;
            for j in 0..i {
                let other = frame_at(model, guest.page(model, j))?;
                check!(other != frame, "pages {i} and {j} of the tenant are both {frame}");
            }
        }
        Ok(())
    })
}

fn nothing_stays(model: &mut dyn Model) -> Outcome {
    let before = model.counts();
    let id = model.tenant_new(PAGES)?;
    let range =
        model.tenants().iter().find(|tenant| tenant.id == id).map_or(VirtRange::default(), |t| t.range);
    let first = frame_at(model, range.start);
    model.tenant_drop(id)?;
    let (first, mut va) = (first?, range.start);
    is_used_as(model, first, PageKind::Free)?;
    while va < range.end {
        let load = translate::load(va);
        let aborts = peek::load_aborts(va);
        check!(load.is_unmapped() && aborts, "{va}, where a tenant was, can be loaded; walked, it is {load}");
        va = va + model.page_size();
    }
    counts_are(&model.counts(), &before)?;
    is_refused(model.tenant_check(id), Error::Tenant(TenantError::Absent(id)))
}

fn a_wrong_word_is_named(model: &mut dyn Model) -> Outcome {
    with_tenant(model, PAGES, |model, guest| {
        let words = word(model.page_size() / 8);
        for (page, word) in [(0, 0), (PAGES / 2, words / 3), (PAGES - 1, words - 1)] {
            changed_word_is_named(model, guest, page, word)?;
        }
        same("pages that hold what was written", model.tenant_check(guest.id)?, PAGES)
    })
}

/// Change one word by the page's other address, in the linear map, look what the tenant says, and put it back. So the
/// tenant reads the frame that the tables lead to, and no other that a TLB remembers.
pub(super) fn changed_word_is_named(model: &dyn Model, guest: &Guest, page: u64, index: usize) -> Outcome {
    let at = guest.page(model, page) + index as u64 * 8;
    let frame = frame_at(model, at)?;
    let Some(shared) = model.tenant_word(frame, index) else {
        return Err(fail(format_args!("{frame}, behind {at}, is not a tenant's")));
    };
    let expected = shared.load(Relaxed);
    let found = expected ^ 1 << (index % 64);
    shared.store(found, Relaxed);
    let checked = model.tenant_check(guest.id);
    shared.store(expected, Relaxed);
    is_refused(checked, Error::Tenant(TenantError::Corrupt { tenant: guest.id, at, found, expected }))
}

fn a_held_page_stays(model: &mut dyn Model) -> Outcome {
    with_tenant(model, PAGES, |model, guest| {
        let pfn = frame_at(model, guest.page(model, PAGES - 1))?;
        model.pin(pfn)?;
        let before = model.counts();
        let refused = model.tenant_drop(guest.id);
        model.unpin(pfn)?;
        is_refused(refused, Error::Page(PageError::Pinned { pfn, refs: 2 }))?;
        counts_are(&model.counts(), &before)?;
        same("pages that hold what was written", model.tenant_check(guest.id)?, PAGES)
    })
}

fn nonsense_is_refused(model: &mut dyn Model) -> Outcome {
    let before = Snapshot::of(model);
    is_refused(model.tenant_new(0), Error::Range(RangeError::Empty(PhysAddr::new(0))))?;
    let area = hotmap_mm::layout::TENANTS.len();
    for pages in [area / model.page_size() + 1, u64::MAX / model.page_size() + 1, u64::MAX] {
        ran_out(model.tenant_new(pages), |out| matches!(out, Resource::TenantAddresses { .. }))?;
    }
    is_refused(model.tenant_check(u32::MAX), Error::Tenant(TenantError::Absent(u32::MAX)))?;
    is_refused(model.tenant_drop(u32::MAX), Error::Tenant(TenantError::Absent(u32::MAX)))?;
    before.is_still(model)
}
