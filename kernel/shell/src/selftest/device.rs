//! Devices' memory, by 2 MiB subsections. What a test here makes has no memory behind it: private memory is out of the CPU's
//! reach, so that struct pages are all that there is of it, in system RAM. (Devices with real memory are
//! [`super::altmap`]'s.)

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
use hotmap_mm::hotplug::range::HotRange;
use hotmap_mm::pfn::{Pfn, PfnRange};

use super::check::{Outcome, check, fail, frame_at, is_refused, is_used_as, same, same_at, skip};
use super::entries::Bytes;
use super::expected::Expected;
use super::faults::fail_each;
use super::hotplug::is_gone;
use super::snapshot::{Snapshot, counts_are};
use super::subject::{Test, test};
use super::tables::table_pages;
use super::vmemmap::struct_page;
use hotmap_kernel::arch::{peek, translate};
use hotmap_kernel::kernel::Kernel;

pub(super) const TESTS: &[Test] = &[
    test("private memory has struct pages and no linear mapping", private_memory),
    test(
        "subsections are made and removed in any order, and do not change their neighbours' struct pages",
        in_any_order,
    ),
    test("an invalid device range is refused with the rule that it breaks", bad_devices_are_refused),
    test("a device's range is refused to other devices and to memory", what_is_taken_is_refused),
    test("teardown waits for the last pin, and names the page", teardown_waits),
    test("a failed creation leaves nothing behind", every_allocation_fails),
];

pub(super) const SUBSECTION: u64 = 2 << 20;
pub(super) const ON_DEVICE: MemmapHome = MemmapHome::SelfRange { reserve: 0 };

pub(super) fn bytes(start: PhysAddr, len: u64) -> PhysRange {
    PhysRange { start, end: start + len }
}

/// Validates and makes a device.
pub(super) fn create(
    kernel: &mut Kernel,
    ranges: &[Bytes],
    kind: DeviceType,
    memmap: MemmapHome,
) -> Result<()> {
    let device = kernel.mm.device_range(ranges, kind, memmap)?;
    kernel.mm.memremap_pages(&device, |_, _| {})
}

/// The device that starts at `start`.
pub(super) fn find(kernel: &Kernel, start: Pfn) -> Outcome<&Pagemap> {
    let found = kernel.mm.devices().iter().find(|device| device.start() == start);
    found.ok_or_else(|| Error::Device(DeviceError::Absent(kernel.address(start))).into())
}

/// Removes the device, of which no page is held.
pub(super) fn destroy(kernel: &mut Kernel, start: Pfn) -> Outcome {
    match kernel.mm.memunmap_pages(start)? {
        Teardown::Gone => Ok(()),
        Teardown::Waits { pfn, holds } => Err(fail(format_args!("{pfn} is held: {holds}"))),
    }
}

/// Runs `body` with a device, and removes the device even if `body` fails.
pub(super) fn with_device(
    kernel: &mut Kernel,
    ranges: &[Bytes],
    kind: DeviceType,
    memmap: MemmapHome,
    body: &dyn Fn(&mut Kernel, Pfn) -> Outcome,
) -> Outcome {
    create(kernel, ranges, kind, memmap)?;
    let start = ranges.first().map_or(Pfn::new(0), |range| kernel.pfn(range.0));
    let outcome = body(kernel, start);
    if kernel.mm.devices().iter().any(|device| device.start() == start) {
        destroy(kernel, start)?;
    }
    outcome
}

/// A block and three subsections, and one more subsection after a gap.
fn two_ranges(kernel: &Kernel) -> [Bytes; 2] {
    let (start, block) = (kernel.absent(), kernel.numbers().section);
    [(start, block + 3 * SUBSECTION), (start + (block + 8 * SUBSECTION), SUBSECTION)]
}

/// The pages of memmap of [`two_ranges`]: 512 and 24 and 8 at 4K; 32 and 2 and 1 at 16K, where two subsections share a page;
/// 8 and 1 at 64K, where 32 do.
fn memmap_of_two_ranges(kernel: &Kernel) -> u64 {
    [544, 35, 9][kernel.granule().kind as usize]
}

fn private_memory(kernel: &mut Kernel) -> Outcome {
    if kernel.mm.frames().zone(ZoneKind::Normal).free < 2 * memmap_of_two_ranges(kernel) {
        return skip(&"system RAM has no room for a device's memmap");
    }
    let (ranges, base, sections) =
        (two_ranges(kernel), kernel.mm.frames().counts(), kernel.mm.frames().sections().count());
    with_device(kernel, &ranges, DeviceType::Private, MemmapHome::Ram, &|kernel, start| {
        same("sections", kernel.mm.frames().sections().count() as u64, sections as u64 + 2)?;
        costs_its_memmap(kernel, &base)?;
        let device = find(kernel, start)?;
        same("pages of the device", device.pages(), ranges.iter().map(|r| pages(kernel, *r).len()).sum())?;
        same("its first usable page", device.usable_start().get(), start.get())?;
        ranges.iter().try_for_each(|range| is_private(kernel, pages(kernel, *range)))
    })?;
    counts_are(&kernel.mm.frames().counts(), &base)?;
    for range in ranges.map(|range| pages(kernel, range)) {
        is_gone(kernel, range.start)?;
        is_gone(kernel, Pfn::new(range.end.get() - 1))?;
    }
    Ok(())
}

fn pages(kernel: &Kernel, (start, len): Bytes) -> PfnRange {
    PfnRange::new(kernel.pfn(start), len / kernel.page_size())
}

fn costs_its_memmap(kernel: &Kernel, base: &Counts) -> Outcome {
    let (memmap, tables) = (memmap_of_two_ranges(kernel), table_pages(kernel)? - base.tables);
    let mut expected = *base;
    expected.memmap_ram += memmap;
    expected.tables += tables;
    expected.free -= memmap + tables;
    counts_are(&kernel.mm.frames().counts(), &expected)
}

fn is_private(kernel: &Kernel, range: PfnRange) -> Outcome {
    for pfn in [range.start, Pfn::new(range.end.get() - 1)] {
        is_used_as(kernel, pfn, PageKind::Device)?;
        check!(kernel.block_of(pfn).is_none(), "{pfn} of a device is in a memory block");
        is_used_as(kernel, frame_at(kernel, struct_page(kernel, pfn))?, PageKind::MemmapRam)?;
        let va = kernel.mm.space().layout().linear(kernel.address(pfn));
        let load = translate::load(va);
        check!(load.is_unmapped() && peek::load_aborts(va), "{va}, of private memory: {load}");
    }
    check!(!kernel.mm.frames().is_valid(range.end), "{}, after the device, is valid", range.end);
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

fn in_any_order(kernel: &mut Kernel) -> Outcome {
    let before = Snapshot::of(kernel);
    for i in 0..ORDERS.len() * ORDERS.len() {
        let (come, go) = (i / ORDERS.len(), i % ORDERS.len());
        let start = kernel.absent() + (kernel.numbers().section - 3 * SUBSECTION);
        let mut row = Row { start, live: 0, ram: kernel.mm.frames().counts().memmap_ram };
        let outcome = row.come_and_go(kernel, &ORDERS[come], &ORDERS[go]);
        for i in (0..6).filter(|i| row.has(*i)) {
            let first = row.first(kernel, i);
            destroy(kernel, first)?;
        }
        check!(outcome.is_ok(), "they came in order {come} of the list and were to go in order {go}");
        before.is_still(kernel)?;
    }
    Ok(())
}

impl Row {
    fn has(&self, i: u64) -> bool {
        self.live >> i & 1 != 0
    }
    fn first(&self, kernel: &Kernel, i: u64) -> Pfn {
        kernel.pfn(self.start + i * SUBSECTION)
    }
    fn last(&self, kernel: &Kernel, i: u64) -> Pfn {
        Pfn::new(self.first(kernel, i + 1).get() - 1)
    }

    fn come_and_go(&mut self, kernel: &mut Kernel, come: &[u64; 6], go: &[u64; 6]) -> Outcome {
        for &i in come {
            let one = [(self.start + i * SUBSECTION, SUBSECTION)];
            create(kernel, &one, DeviceType::Private, MemmapHome::Ram)?;
            self.live |= 1 << i;
            kernel.mm.frames().pages().get(self.last(kernel, i)).set_private(MARK + i);
            self.is_right(kernel)?;
        }
        for &i in go {
            let first = self.first(kernel, i);
            destroy(kernel, first)?;
            self.live &= !(1 << i);
            self.is_right(kernel)?;
        }
        Ok(())
    }

    /// A page of memmap is there if it describes a subsection that is there (I7), and their struct pages are as they were.
    fn is_right(&self, kernel: &Kernel) -> Outcome {
        let (step, mut at, mut needed) = (kernel.numbers().described, self.start.get(), 0);
        at = at / step * step;
        while at < self.start.get() + 6 * SUBSECTION {
            let described = bytes(PhysAddr::new(at), step);
            let is_needed = (0..6)
                .any(|i| self.has(i) && bytes(self.start + i * SUBSECTION, SUBSECTION).overlaps(&described));
            let load = translate::load(struct_page(kernel, kernel.pfn(described.start)));
            check!(load.address().is_some() == is_needed, "the memmap page of {described}: {load}");
            needed += u64::from(is_needed);
            at += step;
        }
        same("pages of memmap", kernel.mm.frames().counts().memmap_ram - self.ram, needed)?;
        for (i, pfn) in (0..6).filter(|i| self.has(*i)).map(|i| (i, self.last(kernel, i))) {
            same_at(
                "what was written into the struct page",
                pfn,
                kernel.mm.frames().pages().get(pfn).private(),
                MARK + i,
            )?;
        }
        Ok(())
    }
}

fn bad_devices_are_refused(kernel: &mut Kernel) -> Outcome {
    let (before, start, reach) = (Snapshot::of(kernel), kernel.absent(), kernel.reach());
    let refuses = |start: PhysAddr, len, error| {
        is_refused(kernel.mm.device_range(&[(start, len)], DeviceType::Private, MemmapHome::Ram), error)
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
    let image = PhysAddr::new(kernel.info.image.start.get() / SUBSECTION * SUBSECTION);
    refuses(
        image,
        SUBSECTION,
        Error::Range(RangeError::Exists { range: bytes(image, SUBSECTION), present: image }),
    )?;
    let apart: [Bytes; 5] = core::array::from_fn(|i| (start + 2 * i as u64 * SUBSECTION, SUBSECTION));
    for ranges in [&apart[..0], &apart] {
        let refused = kernel.mm.device_range(ranges, DeviceType::Private, MemmapHome::Ram);
        is_refused(refused, Error::Device(DeviceError::Ranges { ranges: ranges.len(), most: 4 }))?;
    }
    bad_altmaps_are_refused(kernel, &apart)?;
    is_refused(kernel.mm.memunmap_pages(kernel.pfn(start)), Error::Device(DeviceError::Absent(start)))?;
    before.is_still(kernel)
}

fn bad_altmaps_are_refused(kernel: &Kernel, apart: &[Bytes; 5]) -> Outcome {
    let range = bytes(apart[0].0, SUBSECTION);
    let refuses = |ranges: &[Bytes], kind, memmap, error| {
        is_refused(kernel.mm.device_range(ranges, kind, memmap), error)
    };
    refuses(&apart[..1], DeviceType::Private, ON_DEVICE, Error::Altmap(AltmapError::OnPrivate(range)))?;
    refuses(&apart[..2], DeviceType::Generic, ON_DEVICE, Error::Altmap(AltmapError::Ranges { ranges: 2 }))?;
    let (first, pages) = (kernel.pfn(range.start), SUBSECTION / kernel.page_size());
    let given = |base, reserve, free, error: AltmapError| {
        let altmap = MemmapHome::Given(Altmap::new(base, reserve, free));
        refuses(&apart[..1], DeviceType::Generic, altmap, error.into())
    };
    given(first + 1, 0, 1, AltmapError::Misplaced { base: kernel.address(first + 1), range })?;
    given(first, 1, pages, AltmapError::TooLarge { pages: pages + 1, range, of: pages })?;
    given(first, u64::MAX, 2, AltmapError::TooLarge { pages: u64::MAX, range, of: pages })
}

fn what_is_taken_is_refused(kernel: &mut Kernel) -> Outcome {
    let block = kernel.absent();
    let (start, taken) = (block + SUBSECTION, bytes(block + SUBSECTION, 2 * SUBSECTION));
    let ranges = [(taken.start, taken.len())];
    let stale = kernel.mm.device_range(&ranges, DeviceType::Private, MemmapHome::Ram)?;
    with_device(kernel, &ranges, DeviceType::Private, MemmapHome::Ram, &|kernel, _| {
        for at in [block, start, start + SUBSECTION] {
            let refused =
                kernel.mm.device_range(&[(at, 2 * SUBSECTION)], DeviceType::Generic, MemmapHome::Ram);
            is_refused(
                refused,
                Error::Range(RangeError::Exists { range: bytes(at, 2 * SUBSECTION), present: at }),
            )?;
        }
        is_refused(
            kernel.mm.memremap_pages(&stale, |_, _| {}),
            Error::Range(RangeError::Exists { range: taken, present: start }),
        )?;
        let len = kernel.numbers().section;
        let memory = HotRange::new(&kernel.mm, block, len, Source::Dimm(255));
        is_refused(memory, Error::Range(RangeError::Exists { range: bytes(block, len), present: block }))
    })
}

fn teardown_waits(kernel: &mut Kernel) -> Outcome {
    let ranges = [(kernel.absent(), 4 * SUBSECTION)];
    with_device(kernel, &ranges, DeviceType::Private, MemmapHome::Ram, &|kernel, start| {
        let held = start + (2 * SUBSECTION / kernel.page_size() + 3);
        let refused =
            Error::Page(PageError::State { pfn: held, is: PageKind::Device, needs: PageNeeds::Held });
        is_refused(kernel.mm.unpin(held), refused)?;
        kernel.mm.pin(held)?;
        kernel.mm.pin(held)?;
        let outcome = waits(kernel, start, held, 2);
        kernel.mm.unpin(held)?;
        let outcome = outcome.and_then(|()| waits(kernel, start, held, 1));
        kernel.mm.unpin(held)?;
        outcome?;
        is_gone(kernel, start)?;
        is_gone(kernel, held)?;
        is_refused(kernel.mm.unpin(held), Error::Page(PageError::NotPresent(held)))?;
        is_refused(kernel.mm.memunmap_pages(start), Error::Device(DeviceError::Absent(kernel.address(start))))
    })
}

/// The removal of the device waits for `held`; its pages take no new hold.
fn waits(kernel: &mut Kernel, start: Pfn, held: Pfn, holds: u32) -> Outcome {
    let Teardown::Waits { pfn, holds: found } = kernel.mm.memunmap_pages(start)? else {
        return Err(fail(format_args!("the device went although {held} is held")));
    };
    same("the page that teardown waits for", pfn.get(), held.get())?;
    same("the holds on it", found.into(), holds.into())?;
    check!(find(kernel, start)?.state() == DeviceState::Dying, "a device that shall go is not dying");
    is_used_as(kernel, held, PageKind::Device)?;
    same(
        "references to the page that is held",
        kernel.mm.frames().pages().get(held).refs().into(),
        holds.into(),
    )?;
    is_refused(kernel.mm.pin(start), Error::Device(DeviceError::Dying(kernel.address(start))))
}

fn every_allocation_fails(kernel: &mut Kernel) -> Outcome {
    let ranges = two_ranges(kernel);
    let start = kernel.pfn(ranges[0].0);
    let make = |kernel: &mut Kernel| create(kernel, &ranges, DeviceType::Private, MemmapHome::Ram);
    fail_each(kernel, &make, &|kernel| kernel.mm.memunmap_pages(start).map(drop))
}
