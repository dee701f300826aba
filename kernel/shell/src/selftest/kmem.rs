//! A device gives its memory to the system, and takes it back: the newest DIMM's memory plays the device.

use hotmap_mm::device::pagemap::DeviceType;
use hotmap_mm::error::{BlockError, BlockIs, BlockNeeds, DeviceError, Error, PageError, RangeError};
use hotmap_mm::frame::block::Source;
use hotmap_mm::hotplug::home::MemmapHome;
use hotmap_mm::pfn::{Pfn, PfnRange};

use super::check::{Outcome, check, fail, frame_at, is_refused, same};
use super::device::{ON_DEVICE, SUBSECTION, bytes, with_device};
use super::faults::fail_each;
use super::hotplug::{table_pages, with_blocks};
use super::model::{Bytes, Model};
use super::snapshot::{Snapshot, counts_are};
use super::spare::{Spare, with_spare};
use super::tenant::{Guest, with_tenant};
use super::{Test, test};

pub(super) const TESTS: &[Test] = &[
    test("a device's memory serves the system and goes back, and what is on it moves", there_and_back),
    test("it is the device's meanwhile, and stays with it while a page is held", it_stays_the_devices),
    test("neither way leaves anything when it fails", every_allocation_fails),
];

/// The tenant's pages.
const PAGES: u64 = 9;

/// The device: all of the memory, but where that is several blocks not its first subsection.
fn device(model: &dyn Model, spare: &Spare) -> Bytes {
    let skipped = if spare.blocks(model) > 1 { SUBSECTION } else { 0 };
    (spare.range.start + skipped, spare.range.len() - skipped)
}

/// The whole blocks inside of it.
fn memory(model: &dyn Model, spare: &Spare) -> PfnRange {
    let first = if spare.blocks(model) > 1 { model.section_pages() } else { 0 };
    PfnRange { start: spare.pages.start + first, end: spare.pages.end }
}

fn with_dax(model: &mut dyn Model, spare: &Spare, body: &dyn Fn(&mut dyn Model, Pfn) -> Outcome) -> Outcome {
    let range = device(model, spare);
    with_device(model, &[range], DeviceType::FsDax, ON_DEVICE, body)
}

fn there_and_back(model: &mut dyn Model) -> Outcome {
    with_spare(model, |model, spare| {
        let (base, memory) = (model.counts(), memory(model, spare));
        with_dax(model, spare, &|model, start| {
            let before = Snapshot::of(model);
            let given = model.device_to_memory(start)?;
            same("the first page that was given", given.start.get(), memory.start.get())?;
            same("the pages that were given", given.len(), memory.len())?;
            check!(model.devices().iter().all(|device| device.start() != start), "it is a device as well");
            let tables = table_pages(model)? - base.tables;
            let blocks = memory.len() / model.section_pages();
            let numbers = model.numbers();
            counts_are(
                &model.counts(),
                &with_blocks(&base, numbers, blocks, MemmapHome::SelfHosted, true, tables),
            )?;
            with_tenant(model, PAGES, tenant_moves_off)?;
            before.is_still(model)
        })
    })
}

/// The tenant has moved in where memory is newest: on the device.
fn tenant_moves_off(model: &mut dyn Model, guest: &Guest) -> Outcome {
    let Some(device) = model.kmem().last().map(|kmem| kmem.device()) else {
        return Err(fail(format_args!("no device has given its memory")));
    };
    let block = model.block_of(frame_at(model, guest.page(model, 0))?);
    check!(
        block.is_some_and(|block| block.source == Source::Kmem && device.contains(block.start)),
        "the tenant is not on the device's memory"
    );
    same("pages that moved", model.memory_to_device(device.start)?, PAGES)?;
    same("pages that hold what was written", model.tenant_check(guest.id)?, PAGES)?;
    for i in 0..PAGES {
        let frame = frame_at(model, guest.page(model, i))?;
        check!(!device.contains(frame), "page {i} of the tenant is still on the device, at {frame}");
    }
    Ok(())
}

fn it_stays_the_devices(model: &mut dyn Model) -> Outcome {
    with_spare(model, |model, spare| {
        let (range, last) = (device(model, spare), Pfn::new(spare.pages.end.get() - 1));
        with_dax(model, spare, &|model, start| {
            let address = model.address(start);
            model.pin(last)?;
            let refused = model.device_to_memory(start);
            model.unpin(last)?;
            is_refused(refused, Error::Page(PageError::Pinned { pfn: last, refs: 1 }))?;
            is_refused(model.memory_to_device(start), Error::Device(DeviceError::Absent(address)))?;
            let memory = model.device_to_memory(start)?;
            let again = model.device(&[(range.0, SUBSECTION)], DeviceType::Generic, MemmapHome::Ram);
            is_refused(
                again,
                Error::Range(RangeError::Exists { range: bytes(range.0, SUBSECTION), present: address }),
            )?;
            model.offline(memory.start)?;
            if memory.len() > model.section_pages() {
                let block = model.address(memory.start + model.section_pages());
                let (is, needs) = (BlockIs::Online, BlockNeeds::SameState);
                is_refused(
                    model.memory_to_device(start),
                    Error::Block(BlockError::State { block, is, needs }),
                )?;
                model.offline_range(memory)?;
            }
            same("pages that moved", model.memory_to_device(start)?, 0)
        })
    })
}

fn every_allocation_fails(model: &mut dyn Model) -> Outcome {
    with_spare(model, |model, spare| {
        with_dax(model, spare, &|model, start| {
            let give = |model: &mut dyn Model| model.device_to_memory(start).map(drop);
            let take_back = |model: &mut dyn Model| model.memory_to_device(start).map(drop);
            fail_each(model, &give, &take_back)?;
            give(model)?;
            fail_each(model, &take_back, &give)?;
            Ok(take_back(model)?)
        })
    })
}
