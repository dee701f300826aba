//! Poisoned pages: out of use, and their block stays; what was in them has moved.

use hotmap_mm::error::{Error, PageError, PageNeeds};
use hotmap_mm::frame::page::PageKind;
use hotmap_mm::pfn::Pfn;

use super::check::{Outcome, check, frame_at, is_refused, is_used_as, same};
use super::model::Model;
use super::snapshot::{Snapshot, counts_are};
use super::spare::boot_block;
use super::tenant::with_tenant;
use super::{Test, test};

pub(super) const TESTS: &[Test] = &[
    test("a free page leaves the free lists, holds its block, and comes back", a_free_page),
    test("a tenant's page moves away first, with all that is in it", a_tenants_page),
    test("what cannot be emptied is refused by name", what_is_refused),
];

fn a_free_page(model: &mut dyn Model) -> Outcome {
    let block = boot_block(model)?;
    let (before, mut expected) = (Snapshot::of(model), model.counts());
    let pfn = block + (model.section_pages() / 2 + 3);
    let moved = model.poison(pfn)?;
    let outcome = is_out_of_use(model, block, pfn, {
        expected.free -= 1;
        expected.reserved += 1;
        expected
    });
    model.unpoison(pfn)?;
    outcome?;
    check!(moved.is_none(), "something moved out of a free page");
    is_used_as(model, pfn, PageKind::Free)?;
    is_refused(
        model.unpoison(pfn),
        Error::Page(PageError::State { pfn, is: PageKind::Free, needs: PageNeeds::Poisoned }),
    )?;
    before.is_still(model)
}

fn is_out_of_use(
    model: &mut dyn Model,
    block: Pfn,
    pfn: Pfn,
    expected: hotmap_mm::frame::counts::Counts,
) -> Outcome {
    is_used_as(model, pfn, PageKind::Poisoned)?;
    counts_are(&model.counts(), &expected)?;
    is_refused(model.poison(pfn), Error::Page(PageError::Poisoned(pfn)))?;
    is_refused(model.offline(block), Error::Page(PageError::Poisoned(pfn)))?;
    let findings = model.audit(&mut |_| {});
    check!(findings.is_clean(), "an audit meanwhile: {findings}");
    counts_are(&model.counts(), &expected)
}

fn a_tenants_page(model: &mut dyn Model) -> Outcome {
    with_tenant(model, 5, |model, guest| {
        let (va, allocated) = (guest.page(model, 2), model.counts().allocated);
        let pfn = frame_at(model, va)?;
        let moved = model.poison(pfn)?;
        let now = frame_at(model, va);
        let held = is_used_as(model, pfn, PageKind::Poisoned);
        model.unpoison(pfn)?;
        held?;
        let now = now?;
        check!(moved == Some(now) && now != pfn, "{va} was at {pfn} and is at {now}, not at {moved:?}");
        same("pages that hold what was written", model.tenant_check(guest.id)?, 5)?;
        same("allocated pages", model.counts().allocated, allocated)
    })
}

fn what_is_refused(model: &mut dyn Model) -> Outcome {
    let before = Snapshot::of(model);
    let (image, root) = (model.pfn(model.info().image.start), model.pfn(model.root()));
    is_refused(
        model.poison(image),
        Error::Page(PageError::Unmovable { pfn: image, kind: PageKind::Reserved }),
    )?;
    is_refused(model.poison(root), Error::Page(PageError::Unmovable { pfn: root, kind: PageKind::Table }))?;
    let section = model.sections()[0].start;
    let memmap = frame_at(model, model.page_address(section))?;
    let kind = model.use_of(memmap)?.0;
    is_refused(model.poison(memmap), Error::Page(PageError::Unmovable { pfn: memmap, kind }))?;
    let nowhere = Pfn::new(u64::MAX >> 20);
    is_refused(model.poison(nowhere), Error::Page(PageError::NotPresent(nowhere)))?;
    is_refused(model.unpoison(nowhere), Error::Page(PageError::NotPresent(nowhere)))?;
    before.is_still(model)
}
