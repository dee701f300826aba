//! Devices' memory, by 2 MiB subsections. What a test here makes has no memory behind it: private memory is out of the CPU's
//! reach, so that struct pages are all that there is of it, in system RAM. (Devices with real memory are [`super::altmap`]'s.)

use hotmap_mm::addr::{PhysAddr, PhysRange};
use hotmap_mm::device::holds::Teardown;
use hotmap_mm::device::pagemap::{DeviceState, DeviceType, Pagemap};
use hotmap_mm::error::{AltmapError, DeviceError, Error, PageError, PageNeeds, RangeError, Result};
use hotmap_mm::frame::altmap::Altmap;
use hotmap_mm::frame::block::Source;
use hotmap_mm::frame::counts::Counts;
use hotmap_mm::frame::page::PageKind;
use hotmap_mm::frame::zone::ZoneKind;
use hotmap_mm::hotplug::home::MemmapHome;
use hotmap_mm::pfn::{Pfn, PfnRange};

use super::check::{Outcome, check, fail, frame_at, is_refused, is_used_as, same, same_at, skip};
use super::faults::fail_each;
use super::hotplug::{is_gone, table_pages};
use super::model::{Bytes, Model};
use super::snapshot::{Snapshot, counts_are};
use super::vmemmap::struct_page;
use super::{Test, test};
use hotmap_kernel::arch::{peek, translate};

pub(super) const TESTS: &[Test] = &[
    test("private memory has struct pages, and no place in the linear map", private_memory),
    test(
        "subsections come and go in any order, and leave their neighbours' struct pages alone",
        in_any_order,
    ),
    test("what no device can be made of is refused, by the rule", bad_devices_are_refused),
    test("neither a device nor memory gets what a device has", what_is_taken_is_refused),
    test("teardown waits for the last hold, and names the page", teardown_waits),
    test("a device that cannot be made leaves nothing", every_allocation_fails),
];

pub(super) const SUBSECTION: u64 = 2 << 20;
pub(super) const ON_DEVICE: MemmapHome = MemmapHome::SelfRange { reserve: 0 };

pub(super) fn bytes(start: PhysAddr, len: u64) -> PhysRange {
    PhysRange { start, end: start + len }
}

/// Validate and make.
pub(super) fn create(
    model: &mut dyn Model,
    ranges: &[Bytes],
    kind: DeviceType,
    memmap: MemmapHome,
) -> Result<()> {
    let device = model.device(ranges, kind, memmap)?;
    model.device_create(&device)
}

/// The device that starts at `start`.
pub(super) fn find(model: &dyn Model, start: Pfn) -> Outcome<&Pagemap> {
    let found = model.devices().iter().find(|device| device.start() == start);
    found.ok_or_else(|| Error::Device(DeviceError::Absent(model.address(start))).into())
}

/// Removes the device, of which no page is held.
pub(super) fn destroy(model: &mut dyn Model, start: Pfn) -> Outcome {
    match model.device_destroy(start)? {
        Teardown::Gone => Ok(()),
        Teardown::Waits { pfn, holds } => Err(fail(format_args!("{pfn} is held: {holds}"))),
    }
}

/// Run `body` with a device, which is gone afterwards whatever `body` says.
pub(super) fn with_device(
    model: &mut dyn Model,
    ranges: &[Bytes],
    kind: DeviceType,
    memmap: MemmapHome,
    body: &dyn Fn(&mut dyn Model, Pfn) -> Outcome,
) -> Outcome {
    create(model, ranges, kind, memmap)?;
    let start = ranges.first().map_or(Pfn::new(0), |range| model.pfn(range.0));
    let outcome = body(model, start);
    if model.devices().iter().any(|device| device.start() == start) {
        destroy(model, start)?;
    }
    outcome
}

/// A block and three subsections, and one more subsection after a gap.
fn two_ranges(model: &dyn Model) -> [Bytes; 2] {
    let (start, block) = (model.absent(), model.numbers().section);
    [(start, block + 3 * SUBSECTION), (start + (block + 8 * SUBSECTION), SUBSECTION)]
}

/// The pages of memmap of [`two_ranges`]: 512 and 24 and 8 at 4K; 32 and 2 and 1 at 16K, where two subsections share a page;
/// 8 and 1 at 64K, where 32 do.
fn memmap_of_two_ranges(model: &dyn Model) -> u64 {
    [544, 35, 9][model.granule().kind as usize]
}

fn private_memory(model: &mut dyn Model) -> Outcome {
    if model.zone(ZoneKind::Normal).free < 2 * memmap_of_two_ranges(model) {
        return skip(&"system RAM has no room for a device's memmap");
    }
    let (ranges, base, sections) = (two_ranges(model), model.counts(), model.sections().len());
    with_device(model, &ranges, DeviceType::Private, MemmapHome::Ram, &|model, start| {
        same("sections", model.sections().len() as u64, sections as u64 + 2)?;
        costs_its_memmap(model, &base)?;
        let device = find(model, start)?;
        same("pages of the device", device.pages(), ranges.iter().map(|r| pages(model, *r).len()).sum())?;
        same("its first usable page", device.usable_start().get(), start.get())?;
        ranges.iter().try_for_each(|range| is_private(model, pages(model, *range)))
    })?;
    counts_are(&model.counts(), &base)?;
    for range in ranges.map(|range| pages(model, range)) {
        is_gone(model, range.start)?;
        is_gone(model, Pfn::new(range.end.get() - 1))?;
    }
    Ok(())
}

fn pages(model: &dyn Model, (start, len): Bytes) -> PfnRange {
    PfnRange::new(model.pfn(start), len / model.page_size())
}

fn costs_its_memmap(model: &dyn Model, base: &Counts) -> Outcome {
    let (memmap, tables) = (memmap_of_two_ranges(model), table_pages(model)? - base.tables);
    let mut expected = *base;
    expected.memmap_ram += memmap;
    expected.tables += tables;
    expected.free -= memmap + tables;
    counts_are(&model.counts(), &expected)
}

fn is_private(model: &dyn Model, range: PfnRange) -> Outcome {
    for pfn in [range.start, Pfn::new(range.end.get() - 1)] {
        is_used_as(model, pfn, PageKind::Device)?;
        check!(model.block_of(pfn).is_none(), "{pfn} of a device is in a memory block");
        is_used_as(model, frame_at(model, struct_page(model, pfn))?, PageKind::MemmapRam)?;
        let va = model.linear(model.address(pfn));
        let load = translate::load(va);
        check!(load.is_unmapped() && peek::load_aborts(va), "{va}, of private memory: {load}");
    }
    check!(!model.is_valid(range.end), "{}, after the device, is valid", range.end);
    Ok(())
}

/// Subsections in a row, three on either side of the border between two sections.
struct Row {
    start: PhysAddr,
    /// Which of them are there: one bit each.
    live: u32,
    /// The pages of memmap in system RAM without them.
    ram: u64,
}

/// The first, the last, the middle, and every second one first.
const ORDERS: [[u64; 6]; 4] =
    [[0, 1, 2, 3, 4, 5], [5, 4, 3, 2, 1, 0], [2, 3, 1, 4, 0, 5], [0, 2, 4, 1, 3, 5]];
/// What is written into the last struct page of a subsection, plus its number.
const MARK: u64 = 0xfeed_0000;

fn in_any_order(model: &mut dyn Model) -> Outcome {
    let before = Snapshot::of(model);
    for i in 0..ORDERS.len() * ORDERS.len() {
        let (come, go) = (i / ORDERS.len(), i % ORDERS.len());
        let start = model.absent() + (model.numbers().section - 3 * SUBSECTION);
        let mut row = Row { start, live: 0, ram: model.counts().memmap_ram };
        let outcome = row.come_and_go(model, &ORDERS[come], &ORDERS[go]);
        for i in (0..6).filter(|i| row.has(*i)) {
            let first = row.first(model, i);
            destroy(model, first)?;
        }
        check!(outcome.is_ok(), "they came in order {come} of the list and were to go in order {go}");
        before.is_still(model)?;
    }
    Ok(())
}

impl Row {
    fn has(&self, i: u64) -> bool {
        self.live >> i & 1 != 0
    }
    fn first(&self, model: &dyn Model, i: u64) -> Pfn {
        model.pfn(self.start + i * SUBSECTION)
    }
    fn last(&self, model: &dyn Model, i: u64) -> Pfn {
        Pfn::new(self.first(model, i + 1).get() - 1)
    }

    fn come_and_go(&mut self, model: &mut dyn Model, come: &[u64; 6], go: &[u64; 6]) -> Outcome {
        for &i in come {
            let one = [(self.start + i * SUBSECTION, SUBSECTION)];
            create(model, &one, DeviceType::Private, MemmapHome::Ram)?;
            self.live |= 1 << i;
            model.page(self.last(model, i)).set_private(MARK + i);
            self.is_right(model)?;
        }
        for &i in go {
            let first = self.first(model, i);
            destroy(model, first)?;
            self.live &= !(1 << i);
            self.is_right(model)?;
        }
        Ok(())
    }

    /// A page of memmap is there if it describes a subsection that is there (I7), and their struct pages are as they were.
    fn is_right(&self, model: &dyn Model) -> Outcome {
        let (step, mut at, mut needed) = (model.numbers().described, self.start.get(), 0);
        at = at / step * step;
        while at < self.start.get() + 6 * SUBSECTION {
            let described = bytes(PhysAddr::new(at), step);
            let is_needed = (0..6)
                .any(|i| self.has(i) && bytes(self.start + i * SUBSECTION, SUBSECTION).overlaps(&described));
            let load = translate::load(struct_page(model, model.pfn(described.start)));
            check!(load.address().is_some() == is_needed, "the memmap page of {described}: {load}");
            needed += u64::from(is_needed);
            at += step;
        }
        same("pages of memmap", model.counts().memmap_ram - self.ram, needed)?;
        for (i, pfn) in (0..6).filter(|i| self.has(*i)).map(|i| (i, self.last(model, i))) {
            same_at("what was written into the struct page", pfn, model.page(pfn).private(), MARK + i)?;
        }
        Ok(())
    }
}

fn bad_devices_are_refused(model: &mut dyn Model) -> Outcome {
    let (before, start, reach) = (Snapshot::of(model), model.absent(), model.reach());
    let refuses = |start: PhysAddr, len, error| {
        is_refused(model.device(&[(start, len)], DeviceType::Private, MemmapHome::Ram), error)
    };
    refuses(start, 0, Error::Range(RangeError::Empty(start)))?;
    let top = PhysAddr::new(u64::MAX - SUBSECTION + 1);
    refuses(top, 2 * SUBSECTION, Error::Range(RangeError::Wraps { start: top, len: 2 * SUBSECTION }))?;
    for (at, len) in [(start + SUBSECTION / 2, SUBSECTION), (start, 3 * SUBSECTION / 2), (start, 1)] {
        refuses(at, len, Error::Range(RangeError::NotSubsectionAligned(bytes(at, len))))?;
    }
    let end = PhysAddr::new(reach.end.get() - SUBSECTION);
    let range = bytes(end, 2 * SUBSECTION);
    refuses(end, 2 * SUBSECTION, Error::Range(RangeError::BeyondLinearMap { range, reach }))?;
    let image = PhysAddr::new(model.info().image.start.get() / SUBSECTION * SUBSECTION);
    refuses(
        image,
        SUBSECTION,
        Error::Range(RangeError::Exists { range: bytes(image, SUBSECTION), present: image }),
    )?;
    let apart: [Bytes; 5] = core::array::from_fn(|i| (start + 2 * i as u64 * SUBSECTION, SUBSECTION));
    for ranges in [&apart[..0], &apart] {
        let refused = model.device(ranges, DeviceType::Private, MemmapHome::Ram);
        is_refused(refused, Error::Device(DeviceError::Ranges { ranges: ranges.len(), most: 4 }))?;
    }
    bad_altmaps_are_refused(model, &apart)?;
    is_refused(model.device_destroy(model.pfn(start)), Error::Device(DeviceError::Absent(start)))?;
    before.is_still(model)
}

fn bad_altmaps_are_refused(model: &dyn Model, apart: &[Bytes; 5]) -> Outcome {
    let range = bytes(apart[0].0, SUBSECTION);
    let refuses =
        |ranges: &[Bytes], kind, memmap, error| is_refused(model.device(ranges, kind, memmap), error);
    refuses(&apart[..1], DeviceType::Private, ON_DEVICE, Error::Altmap(AltmapError::OnPrivate(range)))?;
    refuses(&apart[..2], DeviceType::Generic, ON_DEVICE, Error::Altmap(AltmapError::Ranges { ranges: 2 }))?;
    let (first, pages) = (model.pfn(range.start), SUBSECTION / model.page_size());
    for (base, reserve, free) in [(first + 1, 0, 1), (first, 1, pages), (first, u64::MAX, 2)] {
        let altmap = MemmapHome::Given(Altmap::new(base, reserve, free));
        let error = Error::Altmap(AltmapError::Misplaced { base: model.address(base), range });
        refuses(&apart[..1], DeviceType::Generic, altmap, error)?;
    }
    Ok(())
}

fn what_is_taken_is_refused(model: &mut dyn Model) -> Outcome {
    let block = model.absent();
    let (start, taken) = (block + SUBSECTION, bytes(block + SUBSECTION, 2 * SUBSECTION));
    let ranges = [(taken.start, taken.len())];
    let stale = model.device(&ranges, DeviceType::Private, MemmapHome::Ram)?;
    with_device(model, &ranges, DeviceType::Private, MemmapHome::Ram, &|model, _| {
        for at in [block, start, start + SUBSECTION] {
            let refused = model.device(&[(at, 2 * SUBSECTION)], DeviceType::Generic, MemmapHome::Ram);
            is_refused(
                refused,
                Error::Range(RangeError::Exists { range: bytes(at, 2 * SUBSECTION), present: at }),
            )?;
        }
        is_refused(
            model.device_create(&stale),
            Error::Range(RangeError::Exists { range: taken, present: start }),
        )?;
        let len = model.numbers().section;
        let memory = model.hot_range(block, len, Source::Dimm(255));
        is_refused(memory, Error::Range(RangeError::Exists { range: bytes(block, len), present: block }))
    })
}

fn teardown_waits(model: &mut dyn Model) -> Outcome {
    let ranges = [(model.absent(), 4 * SUBSECTION)];
    with_device(model, &ranges, DeviceType::Private, MemmapHome::Ram, &|model, start| {
        let held = start + (2 * SUBSECTION / model.page_size() + 3);
        let refused =
            Error::Page(PageError::State { pfn: held, is: PageKind::Device, needs: PageNeeds::Held });
        is_refused(model.unpin(held), refused)?;
        model.pin(held)?;
        model.pin(held)?;
        let outcome = waits(model, start, held, 2);
        model.unpin(held)?;
        let outcome = outcome.and_then(|()| waits(model, start, held, 1));
        model.unpin(held)?;
        outcome?;
        is_gone(model, start)?;
        is_gone(model, held)?;
        is_refused(model.unpin(held), Error::Page(PageError::NotPresent(held)))?;
        is_refused(model.device_destroy(start), Error::Device(DeviceError::Absent(model.address(start))))
    })
}

/// The removal of the device waits for `held`; its pages take no new hold.
fn waits(model: &mut dyn Model, start: Pfn, held: Pfn, holds: u32) -> Outcome {
    let Teardown::Waits { pfn, holds: found } = model.device_destroy(start)? else {
        return Err(fail(format_args!("the device went although {held} is held")));
    };
    same("the page that teardown waits for", pfn.get(), held.get())?;
    same("the holds on it", found.into(), holds.into())?;
    check!(find(model, start)?.state() == DeviceState::Dying, "a device that shall go is not dying");
    is_used_as(model, held, PageKind::Device)?;
    same("references to the page that is held", model.page(held).refs().into(), holds.into())?;
    is_refused(model.pin(start), Error::Device(DeviceError::Dying(model.address(start))))
}

fn every_allocation_fails(model: &mut dyn Model) -> Outcome {
    let ranges = two_ranges(model);
    let start = model.pfn(ranges[0].0);
    let make = |model: &mut dyn Model| create(model, &ranges, DeviceType::Private, MemmapHome::Ram);
    fail_each(model, &make, &|model| model.device_destroy(start).map(drop))
}
