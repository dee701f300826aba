//! Where the memmap of memory can be: at the start of a whole range, in an altmap of the driver's, and boot memory's in
//! itself.

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
use super::expected::Expected;
use super::hotplug::{a_life, add, hosts_itself, is_gone};
use super::snapshot::{Snapshot, counts_are};
use super::spare::{Spare, boot_block, with_spare};
use super::subject::{Test, test};
use super::tables::table_pages;
use super::vmemmap::struct_page;
use hotmap_kernel::kernel::Kernel;

pub(super) const TESTS: &[Test] = &[
    test("a range's memmap lies at its start, and uses no system RAM except table pages", at_the_start),
    test("blocks whose memmap is in one altmap are removed together or not at all", no_part_goes),
    test("a driver's altmap may be larger than needed, but not smaller or elsewhere", given),
    test("boot memory that hosts itself goes and comes back", boot_memory),
];

/// The pages that the DIMM's memmap fills.
fn needed(kernel: &Kernel, spare: &Spare) -> u64 {
    spare.blocks(kernel) * kernel.numbers().memmap_pages
}

fn at_the_start(kernel: &mut Kernel) -> Outcome {
    with_spare(kernel, |kernel, spare| {
        a_life(kernel, spare, MemmapHome::SelfRange { reserve: 0 })?;
        add(kernel, spare, MemmapHome::SelfRange { reserve: 0 })?;
        for i in 0..needed(kernel, spare) {
            let frame = frame_at(kernel, struct_page(kernel, spare.pages.start) + i * kernel.page_size())?;
            same_at("the frame behind memmap page", i, frame.get(), spare.pages.start.get() + i)?;
            is_used_as(kernel, frame, PageKind::MemmapSelf)?;
        }
        Ok(())
    })
}

fn no_part_goes(kernel: &mut Kernel) -> Outcome {
    with_spare(kernel, |kernel, spare| {
        if spare.blocks(kernel) < 2 {
            return skip(&"the DIMM is one block");
        }
        add(kernel, spare, MemmapHome::SelfRange { reserve: 0 })?;
        let before = Snapshot::of(kernel);
        let PhysRange { start, end } = spare.range;
        let second = start + kernel.numbers().section;
        for part in [PhysRange { start, end: second }, PhysRange { start: second, end }] {
            is_refused(
                kernel.mm.remove_memory(part),
                Error::Altmap(AltmapError::HeldTogether { block: second, host: start }),
            )?;
        }
        before.is_still(kernel)?;
        kernel.mm.remove_memory(spare.range)?;
        is_gone(kernel, spare.pages.start)?;
        is_gone(kernel, Pfn::new(spare.pages.end.get() - 1))
    })
}

fn given(kernel: &mut Kernel) -> Outcome {
    with_spare(kernel, |kernel, spare| {
        let (before, base) = (Snapshot::of(kernel), kernel.mm.frames().counts());
        let (range, start, needed) = (spare.validate(kernel)?, spare.pages.start, needed(kernel, spare));
        let altmap = |start, reserve, free| MemmapHome::Given(Altmap::new(start, reserve, free));
        let short = kernel.mm.add_memory(&range, altmap(start, 0, needed - 1), |_, _| {});
        ran_out(short, |out| matches!(out, Resource::Altmap { .. }))?;
        let elsewhere = kernel.mm.add_memory(&range, altmap(start + 1, 0, needed), |_, _| {});
        let bad =
            Error::Altmap(AltmapError::Misplaced { base: kernel.address(start + 1), range: spare.range });
        is_refused(elsewhere, bad)?;
        before.is_still(kernel)?;
        kernel.mm.add_memory(&range, altmap(start, 0, needed + 8), |_, _| {})?;
        kernel.mm.online_pages(spare.pages, ZoneKind::Movable, |_, _| {})?;
        let mut expected = base;
        expected.memmap_self += needed + 8;
        expected.present += spare.pages.len();
        expected.tables = table_pages(kernel)?;
        expected.free += spare.pages.len() - (needed + 8) - (expected.tables - base.tables);
        counts_are(&kernel.mm.frames().counts(), &expected)?;
        kernel.mm.offline_pages(spare.pages)?;
        kernel.mm.remove_memory(spare.range)?;
        before.is_still(kernel)?;
        padding_is_refused(kernel, &range, altmap(start, 1, needed + 512))
    })
}

/// One page kept back: at 4K the first block of memmap would lose 511 to alignment; base pages lose none.
fn padding_is_refused(kernel: &mut Kernel, range: &HotRange, odd: MemmapHome) -> Outcome {
    let warnings = kernel.mm.frames().warnings;
    let added = kernel.mm.add_memory(range, odd, |_, _| {});
    let warned = kernel.mm.frames().warnings.altmap - warnings.altmap;
    kernel.mm.frames_mut().warnings = warnings;
    if kernel.granule().kind != GranuleKind::K4 {
        return Ok(added?);
    }
    let base = kernel.address(range.pages().start);
    is_refused(added, Error::Altmap(AltmapError::Padding { base, pages: 511 }))?;
    same("warnings about it", warned, 1)
}

fn boot_memory(kernel: &mut Kernel) -> Outcome {
    let start = boot_block(kernel)?;
    if kernel.block_of(start).is_none_or(|block| block.memmap_pages == 0) {
        return skip(&"boot memory does not host its memmap: boot with boot_memmap=self");
    }
    let (before, memory) = (Snapshot::of(kernel), kernel.addresses(kernel.section(start)));
    kernel.mm.offline_block(start)?;
    if let Err(error) = kernel.mm.remove_memory(memory) {
        kernel.mm.online_block(start, ZoneKind::Normal)?;
        return Err(error.into());
    }
    let outcome =
        [start, start + (kernel.section_pages() - 1)].into_iter().try_for_each(|pfn| is_gone(kernel, pfn));
    let range = HotRange::new(&kernel.mm, memory.start, memory.len(), Source::Boot)?;
    kernel.mm.add_memory(&range, MemmapHome::SelfHosted, |_, _| {})?;
    let outcome = outcome.and_then(|()| hosts_itself(kernel, start));
    kernel.mm.online_block(start, ZoneKind::Normal)?;
    outcome?;
    before.is_still(kernel)
}
