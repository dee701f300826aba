//! Where the memmap of memory can be: at the start of a whole range, in an altmap of the driver's, and boot memory's in itself.

use hotmap_mm::addr::PhysRange;
use hotmap_mm::error::{AltmapError, Error, Resource};
use hotmap_mm::frame::altmap::Altmap;
use hotmap_mm::frame::block::Source;
use hotmap_mm::frame::page::PageKind;
use hotmap_mm::frame::zone::ZoneKind;
use hotmap_mm::granule::GranuleKind;
use hotmap_mm::hotplug::home::MemmapHome;
use hotmap_mm::hotplug::range::HotRange;
use hotmap_mm::pfn::Pfn;

use super::check::{Outcome, frame_at, is_refused, is_used_as, ran_out, same, same_at, skip};
use super::hotplug::{a_life, add, hosts_itself, is_gone, table_pages};
use super::model::Model;
use super::snapshot::{Snapshot, counts_are};
use super::spare::{Spare, boot_block, with_spare};
use super::vmemmap::struct_page;
use super::{Test, test};

pub(super) const TESTS: &[Test] = &[
    test("a range's memmap is at its start, and costs no system RAM but table pages", at_the_start),
    test("what has its memmap in one altmap goes as one", no_part_goes),
    test("a driver's altmap may be too large, not too small or elsewhere", given),
    test("boot memory that hosts itself goes and comes back", boot_memory),
];

/// The pages that the DIMM's memmap fills.
fn needed(model: &dyn Model, spare: &Spare) -> u64 {
    spare.blocks(model) * model.numbers().memmap_pages
}

fn at_the_start(model: &mut dyn Model) -> Outcome {
    with_spare(model, |model, spare| {
        a_life(model, spare, MemmapHome::SelfRange { reserve: 0 })?;
        add(model, spare, MemmapHome::SelfRange { reserve: 0 })?;
        for i in 0..needed(model, spare) {
            let frame = frame_at(model, struct_page(model, spare.pages.start) + i * model.page_size())?;
            same_at("the frame behind memmap page", i, frame.get(), spare.pages.start.get() + i)?;
            is_used_as(model, frame, PageKind::MemmapSelf)?;
        }
        Ok(())
    })
}

fn no_part_goes(model: &mut dyn Model) -> Outcome {
    with_spare(model, |model, spare| {
        if spare.blocks(model) < 2 {
            return skip(&"the DIMM is one block");
        }
        add(model, spare, MemmapHome::SelfRange { reserve: 0 })?;
        let before = Snapshot::of(model);
        let PhysRange { start, end } = spare.range;
        let second = start + model.numbers().section;
        for part in [PhysRange { start, end: second }, PhysRange { start: second, end }] {
            is_refused(
                model.remove(part),
                Error::Altmap(AltmapError::HeldTogether { block: second, host: start }),
            )?;
        }
        before.is_still(model)?;
        model.remove(spare.range)?;
        is_gone(model, spare.pages.start)?;
        is_gone(model, Pfn::new(spare.pages.end.get() - 1))
    })
}

fn given(model: &mut dyn Model) -> Outcome {
    with_spare(model, |model, spare| {
        let (before, base) = (Snapshot::of(model), model.counts());
        let (range, start, needed) = (spare.validate(model)?, spare.pages.start, needed(model, spare));
        let altmap = |start, reserve, free| MemmapHome::Given(Altmap::new(start, reserve, free));
        let short = model.add(&range, altmap(start, 0, needed - 1));
        ran_out(short, |out| matches!(out, Resource::Altmap { .. }))?;
        let elsewhere = model.add(&range, altmap(start + 1, 0, needed));
        let bad =
            Error::Altmap(AltmapError::Misplaced { base: model.address(start + 1), range: spare.range });
        is_refused(elsewhere, bad)?;
        before.is_still(model)?;
        model.add(&range, altmap(start, 0, needed + 8))?;
        model.online_range(spare.pages, ZoneKind::Movable)?;
        let mut expected = base;
        expected.memmap_self += needed + 8;
        expected.present += spare.pages.len();
        expected.tables = table_pages(model)?;
        expected.free += spare.pages.len() - (needed + 8) - (expected.tables - base.tables);
        counts_are(&model.counts(), &expected)?;
        model.offline_range(spare.pages)?;
        model.remove(spare.range)?;
        before.is_still(model)?;
        padding_is_refused(model, &range, altmap(start, 1, needed + 512))
    })
}

/// One page kept back: at 4K the first block of memmap would lose 511 to alignment; base pages lose none.
fn padding_is_refused(model: &mut dyn Model, range: &HotRange, odd: MemmapHome) -> Outcome {
    let warnings = model.warnings();
    let added = model.add(range, odd);
    let warned = model.warnings().altmap - warnings.altmap;
    model.forget_warnings(warnings);
    if model.granule().kind != GranuleKind::K4 {
        return Ok(added?);
    }
    let base = model.address(range.pages().start);
    is_refused(added, Error::Altmap(AltmapError::Padding { base, pages: 511 }))?;
    same("warnings about it", warned, 1)
}

fn boot_memory(model: &mut dyn Model) -> Outcome {
    let start = boot_block(model)?;
    if model.block_of(start).is_none_or(|block| block.memmap_pages == 0) {
        return skip(&"boot memory does not host its memmap: boot with boot_memmap=self");
    }
    let (before, memory) = (Snapshot::of(model), model.addresses(model.section(start)));
    model.offline(start)?;
    if let Err(error) = model.remove(memory) {
        model.online(start, ZoneKind::Normal)?;
        return Err(error.into());
    }
    let outcome =
        [start, start + (model.section_pages() - 1)].into_iter().try_for_each(|pfn| is_gone(model, pfn));
    let range = model.hot_range(memory.start, memory.len(), Source::Boot)?;
    model.add(&range, MemmapHome::SelfHosted)?;
    let outcome = outcome.and_then(|()| hosts_itself(model, start));
    model.online(start, ZoneKind::Normal)?;
    outcome?;
    before.is_still(model)
}
