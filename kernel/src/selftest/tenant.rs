//! Tenants: their pages are theirs alone, they notice every word that changes, and nothing of them stays.

use core::sync::atomic::Ordering::Relaxed;

use hotmap_mm::addr::{PhysAddr, VirtAddr, VirtRange};
use hotmap_mm::error::{Error, Resource};
use hotmap_mm::granule::Granule;
use hotmap_mm::page::PageKind;
use hotmap_mm::pfn::Pfn;

use super::check::{Outcome, check, fail, is_refused, is_used_as, same, same_at};
use super::{Test, test};
use crate::arch::{peek, translate};
use crate::kernel::Kernel;

pub(super) const fn tests<G: Granule>() -> &'static [Test<G>] {
    const {
        &[
            test("a tenant's pages are frames of its own, which know their address", pages_are_its_own),
            test("nothing of a tenant that left is mapped or in use", nothing_stays),
            test("a word that changed is found, and named", a_wrong_word_is_named),
            test("a tenant of which a page is held does not leave", a_held_page_stays),
            test("no pages, too many pages, and tenants that are not there are refused", nonsense_is_refused),
        ]
    }
}

/// More than a word of a table's entries, fewer than the smallest machine has.
const PAGES: u64 = 9;

/// A tenant that lives for the time of a test.
pub(super) struct Guest {
    pub(super) id: u32,
    pub(super) range: VirtRange,
}

/// Run `body` with a tenant of `pages` pages, which leaves whatever `body` says.
pub(super) fn with_tenant<G: Granule>(
    kernel: &mut Kernel<G>,
    pages: u64,
    body: fn(&mut Kernel<G>, &Guest) -> Outcome,
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
    pub(super) fn page<G: Granule>(&self, i: u64) -> VirtAddr {
        self.range.start + i * G::SIZE
    }
}

/// The frame that the CPU finds at `va`.
pub(super) fn frame_at<G: Granule>(va: VirtAddr) -> Outcome<Pfn> {
    let load = translate::load(va);
    let pa: Option<PhysAddr> = load.address();
    pa.map(Pfn::containing::<G>).ok_or_else(|| fail(format_args!("{va}: {load:?}")))
}

fn pages_are_its_own<G: Granule>(kernel: &mut Kernel<G>) -> Outcome {
    with_tenant(kernel, PAGES, |kernel, guest| {
        same("bytes of the tenant's addresses", guest.range.len(), PAGES * G::SIZE)?;
        same("pages that hold what was written", kernel.mm.tenant_check(guest.id)?, PAGES)?;
        for i in 0..PAGES {
            let va = guest.page::<G>(i);
            let frame = frame_at::<G>(va)?;
            let (kind, head) = kernel.mm.use_of(frame)?;
            is_used_as(frame, kind, PageKind::Tenant)?;
            same_at("the head of a tenant's page", frame, head.get(), frame.get())?;
            same_at("the address that a tenant's page knows", frame, kernel.mm.pages().get(frame).private(), va.get())?;
            for j in 0..i {
                let other = frame_at::<G>(guest.page::<G>(j))?;
                check!(other != frame, "pages {i} and {j} of the tenant are both {frame}");
            }
        }
        Ok(())
    })
}

fn nothing_stays<G: Granule>(kernel: &mut Kernel<G>) -> Outcome {
    let before = kernel.mm.counts();
    let id = kernel.mm.tenant_new(PAGES)?;
    let range = kernel.mm.tenants().iter().find(|tenant| tenant.id == id).map_or(VirtRange::default(), |t| t.range);
    let first = frame_at::<G>(range.start);
    kernel.mm.tenant_drop(id)?;
    let (first, mut va) = (first?, range.start);
    is_used_as(first, kernel.mm.use_of(first)?.0, PageKind::Free)?;
    while va < range.end {
        let load = translate::load(va);
        check!(load.is_unmapped(), "{va}, where a tenant was: {load:?}");
        va = va + G::SIZE;
    }
    super::snapshot::counts_are(&kernel.mm.counts(), &before)?;
    is_refused(kernel.mm.tenant_check(id), Error::NoTenant(id))
}

fn a_wrong_word_is_named<G: Granule>(kernel: &mut Kernel<G>) -> Outcome {
    with_tenant(kernel, PAGES, |kernel, guest| {
        let words = (G::SIZE / 8) as usize;
        for (page, word) in [(0, 0), (PAGES / 2, words / 3), (PAGES - 1, words - 1)] {
            changed_word_is_named(kernel, guest, page, word)?;
        }
        same("pages that hold what was written", kernel.mm.tenant_check(guest.id)?, PAGES)
    })
}

/// Change one word by the page's other address, in the linear map, look what the tenant says, and put it back.
fn changed_word_is_named<G: Granule>(kernel: &Kernel<G>, guest: &Guest, page: u64, index: usize) -> Outcome {
    let at = guest.page::<G>(page) + index as u64 * 8;
    let frame = frame_at::<G>(at)?;
    let Some(word) = peek::tenant_word(&kernel.mm, frame, index) else {
        return Err(fail(format_args!("{frame}, behind {at}, is not a tenant's")));
    };
    let expected = word.load(Relaxed);
    let found = expected ^ 1 << (index % 64);
    word.store(found, Relaxed);
    let checked = kernel.mm.tenant_check(guest.id);
    word.store(expected, Relaxed);
    is_refused(checked, Error::Corrupt { tenant: guest.id, at, found, expected })
}

fn a_held_page_stays<G: Granule>(kernel: &mut Kernel<G>) -> Outcome {
    with_tenant(kernel, PAGES, |kernel, guest| {
        let pfn = frame_at::<G>(guest.page::<G>(PAGES - 1))?;
        kernel.mm.pin(pfn)?;
        let before = kernel.mm.counts();
        let refused = kernel.mm.tenant_drop(guest.id);
        kernel.mm.unpin(pfn)?;
        is_refused(refused, Error::Pinned { pfn, refs: 2 })?;
        super::snapshot::counts_are(&kernel.mm.counts(), &before)?;
        same("pages that hold what was written", kernel.mm.tenant_check(guest.id)?, PAGES)
    })
}

fn nonsense_is_refused<G: Granule>(kernel: &mut Kernel<G>) -> Outcome {
    let before = super::snapshot::Snapshot::of(kernel);
    is_refused(kernel.mm.tenant_new(0), Error::Empty(PhysAddr::new(0)))?;
    let area = hotmap_mm::layout::TENANTS.len();
    for pages in [area / G::SIZE + 1, u64::MAX / G::SIZE + 1, u64::MAX] {
        let refused = kernel.mm.tenant_new(pages);
        let right = matches!(refused, Err(Error::Out(Resource::TenantAddresses { .. })));
        check!(right, "a tenant of {pages} pages: {refused:?}");
    }
    is_refused(kernel.mm.tenant_check(u32::MAX), Error::NoTenant(u32::MAX))?;
    is_refused(kernel.mm.tenant_drop(u32::MAX), Error::NoTenant(u32::MAX))?;
    before.is_still(kernel)
}
