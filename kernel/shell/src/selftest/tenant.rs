//! Tenants: their pages are theirs alone, they notice every word that changes, and nothing of them stays.

use core::sync::atomic::Ordering::Relaxed;

use hotmap_mm::addr::{PhysAddr, VirtAddr, VirtRange};
use hotmap_mm::error::{Error, PageError, RangeError, Resource, TenantError};
use hotmap_mm::frame::page::PageKind;

use super::check::{Outcome, check, fail, frame_at, is_refused, is_used_as, ran_out, same, same_at};
use super::expected::Expected;
use super::snapshot::{Snapshot, counts_are};
use super::subject::{Test, test};
use hotmap_kernel::arch::{peek, translate, word};
use hotmap_kernel::kernel::Kernel;

pub(super) const TESTS: &[Test] = &[
    test("a tenant's frames are its own, and record its virtual address", pages_are_its_own),
    test("a dropped tenant leaves nothing mapped or in use", nothing_stays),
    test("the check finds and names a word that changed", a_wrong_word_is_named),
    test("a tenant with a pinned page is not dropped", a_held_page_stays),
    test("zero pages, too many pages, and unknown tenants are refused", nonsense_is_refused),
];

/// More than a word of a table's entries, fewer than the smallest machine has.
const PAGES: u64 = 9;

/// A tenant that lives for the time of a test.
pub(super) struct Guest {
    pub(super) id: u32,
    pub(super) range: VirtRange,
}

/// Runs `body` with a tenant of `pages` pages, and drops the tenant even if `body` fails.
pub(super) fn with_tenant(
    kernel: &mut Kernel,
    pages: u64,
    body: fn(&mut Kernel, &Guest) -> Outcome,
) -> Outcome {
    hosting(kernel, pages, &body)
}

/// [`with_tenant`] for a `body` that knows more.
pub(super) fn hosting(
    kernel: &mut Kernel,
    pages: u64,
    body: &dyn Fn(&mut Kernel, &Guest) -> Outcome,
) -> Outcome {
    let id = kernel.mm.tenant_new(pages)?;
    let range = kernel.mm.tenants().iter().find(|tenant| tenant.id == id).map(|tenant| tenant.range);
    let outcome = match range {
        Some(range) => body(kernel, &Guest { id, range }),
        None => Err(fail(format_args!("tenant {id} is not on the list"))),
    };
    kernel.mm.tenant_drop(id)?;
    outcome
}

impl Guest {
    /// The address of its page `i`.
    pub(super) fn page(&self, kernel: &Kernel, i: u64) -> VirtAddr {
        self.range.start + i * kernel.page_size()
    }
}

fn pages_are_its_own(kernel: &mut Kernel) -> Outcome {
    with_tenant(kernel, PAGES, |kernel, guest| {
        same("bytes of the tenant's addresses", guest.range.len(), PAGES * kernel.page_size())?;
        same("pages that hold what was written", kernel.mm.tenant_check(guest.id)?, PAGES)?;
        for i in 0..PAGES {
            let va = guest.page(kernel, i);
            let frame = frame_at(kernel, va)?;
            is_used_as(kernel, frame, PageKind::Tenant)?;
            same_at(
                "the order of a tenant's page",
                frame,
                kernel.mm.frames().pages().get(frame).order().into(),
                0,
            )?;
            same_at(
                "the address that a tenant's page knows",
                frame,
                kernel.mm.frames().pages().get(frame).private(),
                va.get(),
            )?;
            for j in 0..i {
                let other = frame_at(kernel, guest.page(kernel, j))?;
                check!(other != frame, "pages {i} and {j} of the tenant are both {frame}");
            }
        }
        Ok(())
    })
}

fn nothing_stays(kernel: &mut Kernel) -> Outcome {
    let before = kernel.mm.frames().counts();
    let id = kernel.mm.tenant_new(PAGES)?;
    let range =
        kernel.mm.tenants().iter().find(|tenant| tenant.id == id).map_or(VirtRange::default(), |t| t.range);
    let first = frame_at(kernel, range.start);
    kernel.mm.tenant_drop(id)?;
    let (first, mut va) = (first?, range.start);
    is_used_as(kernel, first, PageKind::Free)?;
    while va < range.end {
        let load = translate::load(va);
        let aborts = peek::load_aborts(va);
        check!(load.is_unmapped() && aborts, "{va}, where a tenant was, can be loaded; walked, it is {load}");
        va = va + kernel.page_size();
    }
    counts_are(&kernel.mm.frames().counts(), &before)?;
    is_refused(kernel.mm.tenant_check(id), Error::Tenant(TenantError::Absent(id)))
}

fn a_wrong_word_is_named(kernel: &mut Kernel) -> Outcome {
    with_tenant(kernel, PAGES, |kernel, guest| {
        let words = word(kernel.page_size() / 8);
        for (page, word) in [(0, 0), (PAGES / 2, words / 3), (PAGES - 1, words - 1)] {
            changed_word_is_named(kernel, guest, page, word)?;
        }
        same("pages that hold what was written", kernel.mm.tenant_check(guest.id)?, PAGES)
    })
}

/// Changes one word through the page's address in the linear map, lets the tenant check, and restores the word. So the
/// tenant reads the frame that the tables lead to, and no other that a TLB remembers.
pub(super) fn changed_word_is_named(kernel: &Kernel, guest: &Guest, page: u64, index: usize) -> Outcome {
    let at = guest.page(kernel, page) + index as u64 * 8;
    let frame = frame_at(kernel, at)?;
    let Some(shared) = peek::tenant_word(&kernel.mm, frame, index) else {
        return Err(fail(format_args!("{frame}, behind {at}, is not a tenant's")));
    };
    let expected = shared.load(Relaxed);
    let found = expected ^ 1 << (index % 64);
    shared.store(found, Relaxed);
    let checked = kernel.mm.tenant_check(guest.id);
    shared.store(expected, Relaxed);
    is_refused(checked, Error::Tenant(TenantError::Corrupt { tenant: guest.id, at, found, expected }))
}

fn a_held_page_stays(kernel: &mut Kernel) -> Outcome {
    with_tenant(kernel, PAGES, |kernel, guest| {
        let pfn = frame_at(kernel, guest.page(kernel, PAGES - 1))?;
        kernel.mm.pin(pfn)?;
        let before = kernel.mm.frames().counts();
        let refused = kernel.mm.tenant_drop(guest.id);
        kernel.mm.unpin(pfn)?;
        is_refused(refused, Error::Page(PageError::Pinned { pfn, refs: 2 }))?;
        counts_are(&kernel.mm.frames().counts(), &before)?;
        same("pages that hold what was written", kernel.mm.tenant_check(guest.id)?, PAGES)
    })
}

fn nonsense_is_refused(kernel: &mut Kernel) -> Outcome {
    let before = Snapshot::of(kernel);
    is_refused(kernel.mm.tenant_new(0), Error::Range(RangeError::Empty(PhysAddr::new(0))))?;
    let area = hotmap_mm::layout::TENANTS.len();
    for pages in [area / kernel.page_size() + 1, u64::MAX / kernel.page_size() + 1, u64::MAX] {
        ran_out(kernel.mm.tenant_new(pages), |out| matches!(out, Resource::TenantAddresses { .. }))?;
    }
    is_refused(kernel.mm.tenant_check(u32::MAX), Error::Tenant(TenantError::Absent(u32::MAX)))?;
    is_refused(kernel.mm.tenant_drop(u32::MAX), Error::Tenant(TenantError::Absent(u32::MAX)))?;
    before.is_still(kernel)
}
