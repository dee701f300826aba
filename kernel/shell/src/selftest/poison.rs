//! Poisoned pages: out of use, also while their block is offline and when it is back; what was in them has moved.

use hotmap_mm::error::{Error, PageError, PageNeeds};
use hotmap_mm::frame::page::PageKind;
use hotmap_mm::frame::zone::ZoneKind;
use hotmap_mm::pfn::Pfn;

use super::check::{Outcome, check, frame_at, is_refused, is_used_as, same};
use super::expected::Expected;
use super::snapshot::{Snapshot, counts_are};
use super::spare::boot_block;
use super::subject::{Test, test};
use super::tenant::with_tenant;
use hotmap_kernel::kernel::Kernel;

pub(super) const TESTS: &[Test] = &[
    test(
        "a free page leaves the free lists, stays poisoned while its block is offline, and can be returned",
        a_free_page,
    ),
    test("a tenant's page migrates with its contents before its frame is poisoned", a_tenants_page),
    test("a page that cannot migrate is refused with its kind", what_is_refused),
];

/// What a free block on demand lends when one page of its upper half is taken: a page for its first memmap page, for each in
/// which a run begins down to the pages that it lends, which are in the lower half, and for each down to the page that is
/// taken; and at 4K one for the table. By hand.
const LENT: [u64; 3] = [11 + 8, 6 + 4, 4 + 2];

fn a_free_page(kernel: &mut Kernel) -> Outcome {
    let block = boot_block(kernel)?;
    let on_demand = kernel.block_of(block).is_some_and(|block| block.demand.is_some());
    let lent = if on_demand { LENT[kernel.granule().kind as usize] } else { 0 };
    let (before, mut expected) = (Snapshot::of(kernel), kernel.mm.frames().counts());
    let pfn = block + (kernel.section_pages() / 2 + 3);
    let moved = kernel.mm.poison(pfn)?;
    let outcome = is_out_of_use(kernel, block, pfn, {
        expected.free -= 1 + lent;
        expected.reserved += 1;
        expected.memmap_self += lent;
        expected
    });
    kernel.mm.unpoison(pfn)?;
    outcome?;
    check!(moved.is_none(), "something moved out of a free page");
    is_used_as(kernel, pfn, PageKind::Free)?;
    is_refused(
        kernel.mm.unpoison(pfn),
        Error::Page(PageError::State { pfn, is: PageKind::Free, needs: PageNeeds::Poisoned }),
    )?;
    before.is_still(kernel)
}

fn is_out_of_use(
    kernel: &mut Kernel,
    block: Pfn,
    pfn: Pfn,
    expected: hotmap_mm::frame::counts::Counts,
) -> Outcome {
    is_used_as(kernel, pfn, PageKind::Poisoned)?;
    counts_are(&kernel.mm.frames().counts(), &expected)?;
    is_refused(kernel.mm.poison(pfn), Error::Page(PageError::Poisoned(pfn)))?;
    kernel.mm.offline_block(block)?;
    let offline = is_used_as(kernel, pfn, PageKind::Poisoned);
    let findings = kernel.mm.audit(&mut |_| {});
    kernel.mm.online_block(block, ZoneKind::Normal)?;
    offline?;
    check!(findings.is_clean(), "an audit while the block is offline: {findings}");
    is_used_as(kernel, pfn, PageKind::Poisoned)?;
    let findings = kernel.mm.audit(&mut |_| {});
    check!(findings.is_clean(), "an audit meanwhile: {findings}");
    counts_are(&kernel.mm.frames().counts(), &expected)
}

fn a_tenants_page(kernel: &mut Kernel) -> Outcome {
    with_tenant(kernel, 5, |kernel, guest| {
        let (va, allocated) = (guest.page(kernel, 2), kernel.mm.frames().counts().allocated);
        let pfn = frame_at(kernel, va)?;
        let moved = kernel.mm.poison(pfn)?;
        let now = frame_at(kernel, va);
        let held = is_used_as(kernel, pfn, PageKind::Poisoned);
        kernel.mm.unpoison(pfn)?;
        held?;
        let now = now?;
        check!(moved == Some(now) && now != pfn, "{va} was at {pfn} and is at {now}, not at {moved:?}");
        same("pages that hold what was written", kernel.mm.tenant_check(guest.id)?, 5)?;
        same("allocated pages", kernel.mm.frames().counts().allocated, allocated)
    })
}

fn what_is_refused(kernel: &mut Kernel) -> Outcome {
    let before = Snapshot::of(kernel);
    let (image, root) = (kernel.pfn(kernel.info.image.start), kernel.pfn(kernel.mm.space().root()));
    is_refused(
        kernel.mm.poison(image),
        Error::Page(PageError::Unmovable { pfn: image, kind: PageKind::Reserved }),
    )?;
    is_refused(
        kernel.mm.poison(root),
        Error::Page(PageError::Unmovable { pfn: root, kind: PageKind::Table }),
    )?;
    let section = kernel.mm.frames().sections().next().map_or(Pfn::new(0), |section| section.start);
    let memmap = frame_at(kernel, kernel.mm.space().layout().page_address(section))?;
    let kind = kernel.mm.frames().use_of(memmap)?.0;
    is_refused(kernel.mm.poison(memmap), Error::Page(PageError::Unmovable { pfn: memmap, kind }))?;
    let nowhere = Pfn::new(u64::MAX >> 20);
    is_refused(kernel.mm.poison(nowhere), Error::Page(PageError::NotPresent(nowhere)))?;
    is_refused(kernel.mm.unpoison(nowhere), Error::Page(PageError::NotPresent(nowhere)))?;
    before.is_still(kernel)
}
