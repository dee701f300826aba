//! A device gives its memory to the system, and takes it back: the newest DIMM's memory plays the device.

use hotmap_mm::device::pagemap::DeviceType;
use hotmap_mm::error::{BlockError, BlockIs, BlockNeeds, DeviceError, Error, PageError, RangeError};
use hotmap_mm::frame::block::Source;
use hotmap_mm::frame::zone::ZoneKind;
use hotmap_mm::hotplug::home::MemmapHome;
use hotmap_mm::pfn::{Pfn, PfnRange};

use super::check::{Outcome, check, fail, frame_at, is_refused, same};
use super::device::{ON_DEVICE, SUBSECTION, bytes, with_device};
use super::entries::Bytes;
use super::expected::Expected;
use super::faults::fail_each;
use super::hotplug::with_blocks;
use super::snapshot::{Snapshot, counts_are};
use super::spare::{Spare, with_spare};
use super::subject::{Test, test};
use super::tables::table_pages;
use super::tenant::{Guest, with_tenant};
use hotmap_kernel::kernel::Kernel;

pub(super) const TESTS: &[Test] = &[
    test("a device's memory becomes system RAM and goes back, and pages in use migrate", there_and_back),
    test("the range stays the device's, and a pinned page blocks the change", it_stays_the_devices),
    test("a failure in either direction leaves nothing behind", every_allocation_fails),
];

/// The tenant's pages.
const PAGES: u64 = 9;

/// The device: all of the memory, but where that is several blocks not its first subsection.
fn device(kernel: &Kernel, spare: &Spare) -> Bytes {
    let skipped = if spare.blocks(kernel) > 1 { SUBSECTION } else { 0 };
    (spare.range.start + skipped, spare.range.len() - skipped)
}

/// The whole blocks inside of it.
fn memory(kernel: &Kernel, spare: &Spare) -> PfnRange {
    let first = if spare.blocks(kernel) > 1 { kernel.section_pages() } else { 0 };
    PfnRange { start: spare.pages.start + first, end: spare.pages.end }
}

fn with_dax(kernel: &mut Kernel, spare: &Spare, body: &dyn Fn(&mut Kernel, Pfn) -> Outcome) -> Outcome {
    let range = device(kernel, spare);
    with_device(kernel, &[range], DeviceType::FsDax, ON_DEVICE, body)
}

fn there_and_back(kernel: &mut Kernel) -> Outcome {
    with_spare(kernel, |kernel, spare| {
        let (base, memory) = (kernel.mm.frames().counts(), memory(kernel, spare));
        with_dax(kernel, spare, &|kernel, start| {
            let before = Snapshot::of(kernel);
            let given = kernel.mm.device_to_memory(start, MemmapHome::SelfHosted, ZoneKind::Movable)?;
            same("the first page that was given", given.start.get(), memory.start.get())?;
            same("the pages that were given", given.len(), memory.len())?;
            check!(
                kernel.mm.devices().iter().all(|device| device.start() != start),
                "it is a device as well"
            );
            let tables = table_pages(kernel)? - base.tables;
            let blocks = memory.len() / kernel.section_pages();
            let numbers = kernel.numbers();
            counts_are(
                &kernel.mm.frames().counts(),
                &with_blocks(&base, numbers, blocks, MemmapHome::SelfHosted, true, tables),
            )?;
            with_tenant(kernel, PAGES, tenant_moves_off)?;
            before.is_still(kernel)
        })
    })
}

/// The tenant has moved in where memory is newest: on the device.
fn tenant_moves_off(kernel: &mut Kernel, guest: &Guest) -> Outcome {
    let Some(device) = kernel.mm.devices().kmem().last().map(|kmem| kmem.device()) else {
        return Err(fail(format_args!("no device has given its memory")));
    };
    let block = kernel.block_of(frame_at(kernel, guest.page(kernel, 0))?);
    check!(
        block.is_some_and(|block| block.source == Source::Kmem && device.contains(block.start)),
        "the tenant is not on the device's memory"
    );
    same("pages that moved", kernel.mm.memory_to_device(device.start)?, PAGES)?;
    same("pages that hold what was written", kernel.mm.tenant_check(guest.id)?, PAGES)?;
    for i in 0..PAGES {
        let frame = frame_at(kernel, guest.page(kernel, i))?;
        check!(!device.contains(frame), "page {i} of the tenant is still on the device, at {frame}");
    }
    Ok(())
}

fn it_stays_the_devices(kernel: &mut Kernel) -> Outcome {
    with_spare(kernel, |kernel, spare| {
        let (range, last) = (device(kernel, spare), Pfn::new(spare.pages.end.get() - 1));
        with_dax(kernel, spare, &|kernel, start| {
            let address = kernel.address(start);
            kernel.mm.pin(last)?;
            let refused = kernel.mm.device_to_memory(start, MemmapHome::SelfHosted, ZoneKind::Movable);
            kernel.mm.unpin(last)?;
            is_refused(refused, Error::Page(PageError::Pinned { pfn: last, refs: 1 }))?;
            is_refused(kernel.mm.memory_to_device(start), Error::Device(DeviceError::Absent(address)))?;
            let memory = kernel.mm.device_to_memory(start, MemmapHome::SelfHosted, ZoneKind::Movable)?;
            let again =
                kernel.mm.device_range(&[(range.0, SUBSECTION)], DeviceType::Generic, MemmapHome::Ram);
            is_refused(
                again,
                Error::Range(RangeError::Exists { range: bytes(range.0, SUBSECTION), present: address }),
            )?;
            kernel.mm.offline_block(memory.start)?;
            if memory.len() > kernel.section_pages() {
                let block = kernel.address(memory.start + kernel.section_pages());
                let (is, needs) = (BlockIs::Online, BlockNeeds::SameState);
                is_refused(
                    kernel.mm.memory_to_device(start),
                    Error::Block(BlockError::State { block, is, needs }),
                )?;
                kernel.mm.offline_pages(memory)?;
            }
            same("pages that moved", kernel.mm.memory_to_device(start)?, 0)
        })
    })
}

fn every_allocation_fails(kernel: &mut Kernel) -> Outcome {
    with_spare(kernel, |kernel, spare| {
        with_dax(kernel, spare, &|kernel, start| {
            let give = |kernel: &mut Kernel| {
                kernel.mm.device_to_memory(start, MemmapHome::SelfHosted, ZoneKind::Movable).map(drop)
            };
            let take_back = |kernel: &mut Kernel| kernel.mm.memory_to_device(start).map(drop);
            fail_each(kernel, &give, &take_back)?;
            give(kernel)?;
            fail_each(kernel, &take_back, &give)?;
            Ok(take_back(kernel)?)
        })
    })
}
