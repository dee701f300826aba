//! Devices' memory: by 2 MiB subsections, in any order, beside each other and beside boot memory; its memmap at either home;
//! and what may not be made of it. The oracles: numbers worked out by hand, the specification's walker, snapshots.
#![cfg(not(miri))]

use hotmap_emulator::rig::{GIB, MIB, Rig, Shape};
use hotmap_mm::addr::PhysAddr;
use hotmap_mm::debug::faults::Plan;
use hotmap_mm::device::holds::Teardown;
use hotmap_mm::device::pagemap::{DeviceState, DeviceType};
use hotmap_mm::error::{AltmapError, DeviceError, Error, PageError, RangeError, Resource, Result};
use hotmap_mm::frame::altmap::Altmap;
use hotmap_mm::frame::block::Source;
use hotmap_mm::frame::page::PageKind;
use hotmap_mm::granule::Granule;
use hotmap_mm::hotplug::range::HotRange;
use hotmap_mm::hotplug::{home::MemmapHome, step::Step};
use hotmap_mm::pfn::Pfn;
use hotmap_testkit::snapshot::Snapshot;

/// Where no table is shared with boot memory.
const FAR: u64 = 8 << 40;
const ON_DEVICE: MemmapHome = MemmapHome::SelfRange { reserve: 0 };
const SUBSECTION: u64 = 2 * MIB;

fn boot(g: Granule) -> Rig {
    Rig::boot(g, &Shape::one("256 MiB", 0x4000_0000, 256 * MIB))
}

fn create(rig: &mut Rig, start: u64, len: u64, kind: DeviceType, memmap: MemmapHome) -> Result<()> {
    let device = rig.mm.device_range(&[(PhysAddr::new(start), len)], kind, memmap)?;
    rig.mm.memremap_pages(&device, |_, _| {})
}

fn destroy(rig: &mut Rig, start: u64) {
    let g = rig.granule();
    assert_eq!(rig.mm.memunmap_pages(Rig::pfn(g, start)), Ok(Teardown::Gone), "{start:#x}");
}

/// Where the specification's walker finds the struct page of the page at `pa`.
fn struct_page(rig: &Rig, pa: u64) -> Option<u64> {
    let g = rig.granule();
    rig.machine.walk(rig.mm.space().layout().page_address(Rig::pfn(g, pa)).get())
}

fn a_device_comes_and_goes_without_a_trace(g: Granule) {
    for kind in DeviceType::ALL {
        for memmap in [MemmapHome::Ram, ON_DEVICE] {
            if memmap == ON_DEVICE && kind == DeviceType::Private {
                continue;
            }
            let (mut rig, len) = (boot(g), Rig::blocks(g, 2) + 3 * SUBSECTION);
            rig.machine.plug(FAR, len);
            let before = Snapshot::exact(&rig);
            let counts = rig.mm.frames().counts();
            create(&mut rig, FAR, len, kind, memmap).expect("room");
            rig.assert_clean("made");
            let now = rig.mm.frames().counts();
            assert_eq!(now.present, counts.present, "a device brings no system RAM");
            assert_eq!(now.memmap_self, counts.memmap_self);
            let in_linear_map = rig.machine.walk(rig.mm.space().layout().linear(PhysAddr::new(FAR)).get());
            assert_eq!(in_linear_map, kind.is_reachable().then_some(FAR), "{kind}");
            let struct_page = struct_page(&rig, FAR).expect("mapped");
            assert_eq!(memmap == ON_DEVICE, (FAR..FAR + len).contains(&struct_page), "{kind} {memmap:?}");
            destroy(&mut rig, FAR);
            rig.assert_clean("gone");
            before.assert_same(&Snapshot::exact(&rig), "after a device's life");
            assert_eq!(rig.mm.frames().warnings.total(), 0);
        }
    }
}

/// 64 bytes for each page, in whole pages; what is only partly the device's own is not its altmap's.
fn an_altmap_is_charged_for_what_describes_the_device_alone(g: Granule) {
    // Bytes of the device, and pages of its altmap at 4K, 16K, 64K, worked out by hand.
    let cases =
        [(2 * MIB, [8, 0, 0]), (4 * MIB, [16, 1, 0]), (64 * MIB, [256, 16, 1]), (GIB, [4096, 256, 16])];
    for (len, pages) in cases {
        let mut rig = boot(g);
        rig.machine.plug(FAR, len);
        let ram = rig.mm.frames().counts().memmap_ram;
        create(&mut rig, FAR, len, DeviceType::FsDax, ON_DEVICE).expect("room");
        let altmap = *rig.mm.frames().altmap(rig.mm.devices()[0].start()).expect("one");
        let expected = pages[g.kind as usize];
        assert_eq!((altmap.alloc(), altmap.align(), altmap.free()), (expected, 0, expected), "{len:#x}");
        let edge = u64::from(!(len / g.page_size * 64).is_multiple_of(g.page_size));
        assert_eq!(
            rig.mm.frames().counts().memmap_ram - ram,
            edge,
            "{len:#x}: a page that describes others too"
        );
        assert_eq!(rig.mm.devices()[0].usable_start(), Rig::pfn(g, FAR) + expected);
        rig.assert_clean("made");
    }
}

/// A device that begins in the middle of a section: base pages first, then blocks, which lose pages to alignment (4K).
fn padding_is_accounted(g: Granule) {
    let (mut rig, start) = (boot(g), FAR + Rig::blocks(g, 1) - SUBSECTION);
    let len = SUBSECTION + Rig::blocks(g, 1);
    rig.machine.plug(start, len);
    create(&mut rig, start, len, DeviceType::Generic, ON_DEVICE).expect("room");
    let altmap = *rig.mm.frames().altmap(rig.mm.devices()[0].start()).expect("one");
    // 4K: 8 pages for the subsection, then a block of 512 at the next multiple of 512: the range starts at one.
    // 16K: half a page is shared, 32 pages for a section; 64K: a thirty-second is, 8 pages.
    let expected = [(8 + 512, 504), (32, 0), (8, 0)][g.kind as usize];
    assert_eq!((altmap.alloc(), altmap.align()), expected);
    rig.assert_clean("made");
}

fn one_page_short_is_out_of_memory_and_everything_is_undone(g: Granule) {
    for len in [Rig::blocks(g, 1), Rig::blocks(g, 1) + 32 * SUBSECTION] {
        let mut rig = boot(g);
        rig.machine.plug(FAR, len);
        let before = Snapshot::exact(&rig);
        let needed =
            Altmap::for_device(g, hotmap_mm::pfn::PfnRange::new(Rig::pfn(g, FAR), len / g.page_size), 0);
        let short = Altmap::new(needed.base_pfn(), 0, needed.free() - 1);
        let result = create(&mut rig, FAR, len, DeviceType::Generic, MemmapHome::Given(short));
        assert!(matches!(result, Err(Error::Out(Resource::Altmap { .. }))), "{result:?}");
        before.assert_same(&Snapshot::exact(&rig), "no fallback to system RAM");
        rig.assert_clean("refused");
    }
}

fn an_altmap_must_start_and_fit_its_range(g: Granule) {
    let (mut rig, len) = (boot(g), Rig::blocks(g, 1));
    rig.machine.plug(FAR, len);
    let (base, pages, before) = (Rig::pfn(g, FAR), len / g.page_size, Snapshot::exact(&rig));
    let elsewhere = MemmapHome::Given(Altmap::new(base + 1, 0, 1024.min(pages - 1)));
    let refused = create(&mut rig, FAR, len, DeviceType::Generic, elsewhere);
    assert!(matches!(refused, Err(Error::Altmap(AltmapError::Misplaced { .. }))), "{refused:?}");
    for (reserve, free) in [(1, pages), (0, pages + 1), (u64::MAX, 2)] {
        let bad = MemmapHome::Given(Altmap::new(base, reserve, free));
        let refused = create(&mut rig, FAR, len, DeviceType::Generic, bad);
        assert!(matches!(refused, Err(Error::Altmap(AltmapError::TooLarge { .. }))), "{bad:?}: {refused:?}");
    }
    for reserve in [pages, pages + 1, u64::MAX] {
        let memmap = MemmapHome::SelfRange { reserve };
        let refused = create(&mut rig, FAR, len, DeviceType::Generic, memmap);
        assert!(
            matches!(refused, Err(Error::Altmap(AltmapError::TooLarge { .. }))),
            "{reserve:#x} kept back: {refused:?}"
        );
    }
    let private = create(&mut rig, FAR, len, DeviceType::Private, ON_DEVICE);
    assert!(matches!(private, Err(Error::Altmap(AltmapError::OnPrivate(_)))), "{private:?}");
    let two = [(PhysAddr::new(FAR), SUBSECTION), (PhysAddr::new(FAR + 2 * SUBSECTION), SUBSECTION)];
    let refused = rig.mm.device_range(&two, DeviceType::Generic, ON_DEVICE).map(drop);
    assert_eq!(refused, Err(Error::Altmap(AltmapError::Ranges { ranges: 2 })));
    before.assert_same(&Snapshot::exact(&rig), "nothing was mapped");
}

/// I7: the struct pages of a neighbour are neither unmapped nor touched, whatever goes, and each page of memmap goes with the
/// last subsection that it describes.
fn subsections_come_and_go_in_any_order(g: Granule) {
    const COUNT: u64 = 6;
    // Orders that take away the first, the last, the middle, and every second one first.
    let orders: [[u64; 6]; 5] =
        [[0, 1, 2, 3, 4, 5], [5, 4, 3, 2, 1, 0], [2, 3, 1, 4, 0, 5], [0, 2, 4, 1, 3, 5], [5, 0, 3, 1, 4, 2]];
    for memmap in [MemmapHome::Ram, ON_DEVICE] {
        for come in orders {
            for go in orders {
                let mut rig = boot(g);
                let at = |i: u64| FAR + i * SUBSECTION;
                rig.machine.plug(FAR, COUNT * SUBSECTION);
                let before = Snapshot::exact(&rig);
                for i in come {
                    create(&mut rig, at(i), SUBSECTION, DeviceType::Generic, memmap).expect("room");
                    mark(&rig, at(i), i);
                }
                for (gone, i) in go.into_iter().enumerate() {
                    destroy(&mut rig, at(i));
                    rig.assert_clean("one of several is gone");
                    go[gone + 1..].iter().for_each(|left| assert_marked(&rig, at(*left), *left));
                }
                before.assert_same(&Snapshot::exact(&rig), "all are gone");
                assert_eq!(rig.mm.frames().warnings.total(), 0);
            }
        }
    }
}

/// Write into the last struct page of a subsection what nothing else would.
fn mark(rig: &Rig, start: u64, what: u64) {
    let g = rig.granule();
    let last = Rig::pfn(g, start + SUBSECTION) + 0;
    rig.mm.frames().pages().get(Pfn::new(last.get() - 1)).set_private(0xfeed_0000 + what);
}

fn assert_marked(rig: &Rig, start: u64, what: u64) {
    let g = rig.granule();
    let last = Rig::pfn(g, start + SUBSECTION);
    assert_eq!(rig.mm.frames().pages().get(Pfn::new(last.get() - 1)).private(), 0xfeed_0000 + what);
    assert!(struct_page(rig, start).is_some());
}

/// A neighbour's altmap does not hold the memmap of another range: its memory may be removed first.
fn no_struct_page_lies_in_a_neighbours_altmap(g: Granule) {
    let mut rig = boot(g);
    rig.machine.plug(FAR, 64 * MIB);
    for i in 0..32 {
        create(&mut rig, FAR + i * SUBSECTION, SUBSECTION, DeviceType::Generic, ON_DEVICE).expect("room");
    }
    for i in 0..32 {
        let own = FAR + i * SUBSECTION..FAR + (i + 1) * SUBSECTION;
        for page in [own.start, own.end - g.page_size] {
            let frame = struct_page(&rig, page).expect("mapped");
            assert!(frame < FAR || own.contains(&frame), "the struct page of {page:#x} is at {frame:#x}");
        }
    }
    for i in 0..32 {
        destroy(&mut rig, FAR + i * SUBSECTION);
        rig.assert_clean("one less");
    }
}

/// A hole in a boot section: its memmap is there since boot.
fn a_device_in_a_hole_of_boot_memory_allocates_no_memmap(g: Granule) {
    // Two ranges of RAM in one section, with 24 MiB between them.
    let ram = [(0x4000_0000, 40 * MIB), (0x4400_0000 - 0x40_0000, 16 * MIB)];
    let mut rig = Rig::boot(g, &Shape::many("a hole", &ram));
    let (start, len) = (0x4300_0000, 4 * MIB);
    rig.machine.plug(start, len);
    let (before, counts) = (Snapshot::exact(&rig), rig.mm.frames().counts());
    create(&mut rig, start, len, DeviceType::Generic, MemmapHome::Ram).expect("room");
    rig.assert_clean("made");
    assert_eq!(rig.mm.frames().counts().memmap_ram, counts.memmap_ram);
    let (device, hole) = (Rig::pfn(g, start), Rig::pfn(g, start + len));
    assert_eq!(rig.mm.frames().use_of(device).map(|u| u.0), Ok(PageKind::Device));
    assert_eq!(rig.mm.frames().use_of(hole).map(|u| u.0), Ok(PageKind::Hole));
    assert_eq!(rig.mm.frames().use_of(Rig::pfn(g, 0x4000_0000)).map(|u| u.0), Ok(PageKind::Table));
    let again = create(&mut rig, start + SUBSECTION, SUBSECTION, DeviceType::Generic, MemmapHome::Ram);
    assert!(matches!(again, Err(Error::Range(RangeError::Exists { .. }))), "{again:?}");
    let over_ram = create(&mut rig, 0x4000_0000, SUBSECTION, DeviceType::Generic, MemmapHome::Ram);
    assert!(matches!(over_ram, Err(Error::Range(RangeError::Exists { .. }))), "{over_ram:?}");
    destroy(&mut rig, start);
    rig.assert_clean("gone");
    before.assert_same(&Snapshot::exact(&rig), "the hole is as it was");
}

/// A device from the hole at the end of a boot section to the end of the next section: only the second needs memmap.
fn an_altmap_beside_boot_memory_is_as_large_as_what_is_used(g: Granule) {
    let block = Rig::blocks(g, 1);
    let mut rig = Rig::boot(g, &Shape::one("half a block more", 0x4000_0000, block + block / 2));
    let (start, section) = (0x4000_0000 + block + block / 2, 0x4000_0000 + 2 * block);
    let len = section + block - start;
    rig.machine.plug(start, len);
    let before = Snapshot::exact(&rig);
    for reserve in [0, 512] {
        create(&mut rig, start, len, DeviceType::Generic, MemmapHome::SelfRange { reserve }).expect("room");
        rig.assert_clean("made");
        let altmap = *rig.mm.frames().altmap(rig.mm.devices()[0].start()).expect("one");
        // 64 bytes for each page of one block, and no page lost to alignment.
        let needed = block / g.page_size * 64 / g.page_size;
        assert_eq!((altmap.free(), altmap.alloc(), altmap.align()), (needed, needed, 0), "{reserve}");
        let usable = rig.mm.devices()[0].usable_start();
        assert_eq!(usable, Rig::pfn(g, start) + reserve + needed);
        destroy(&mut rig, start);
        before.assert_same(&Snapshot::exact(&rig), "gone");
    }
    // All of it in the boot section: nothing is set aside.
    create(&mut rig, start, SUBSECTION, DeviceType::Generic, ON_DEVICE).expect("room");
    rig.assert_clean("in a boot section");
    assert_eq!(rig.mm.devices()[0].usable_start(), Rig::pfn(g, start));
}

fn a_device_of_several_ranges_is_one(g: Granule) {
    let mut rig = boot(g);
    let ranges = [FAR + 8 * SUBSECTION, FAR, FAR + Rig::blocks(g, 1)].map(|s| (PhysAddr::new(s), SUBSECTION));
    ranges.iter().for_each(|(start, len)| rig.machine.plug(start.get(), *len));
    let before = Snapshot::exact(&rig);
    let device = rig.mm.device_range(&ranges, DeviceType::Coherent, MemmapHome::Ram).expect("free");
    let mut told = Vec::new();
    rig.mm.memremap_pages(&device, |_, step| told.push(step)).expect("room");
    assert_eq!(told, Step::ALL[..6], "all but going online");
    rig.assert_clean("made");
    assert_eq!(rig.mm.devices()[0].pages(), 3 * SUBSECTION / g.page_size);
    for (start, _) in ranges {
        assert_eq!(rig.mm.frames().use_of(Pfn::containing(g, start)).map(|u| u.0), Ok(PageKind::Device));
    }
    // A stale promise: the model has changed since.
    assert!(matches!(
        rig.mm.memremap_pages(&device, |_, _| {}),
        Err(Error::Range(RangeError::Exists { .. }))
    ));
    destroy(&mut rig, FAR + 8 * SUBSECTION);
    before.assert_same(&Snapshot::exact(&rig), "all three are gone");
}

fn what_no_device_can_be_made_of_is_refused(g: Granule) {
    let rig = boot(g);
    let try_one = |start: u64, len: u64| {
        let ranges = [(PhysAddr::new(start), len)];
        rig.mm.device_range(&ranges, DeviceType::Generic, MemmapHome::Ram).map(drop)
    };
    assert!(matches!(try_one(FAR, 0), Err(Error::Range(RangeError::Empty(_)))));
    assert!(matches!(try_one(u64::MAX - MIB + 1, SUBSECTION), Err(Error::Range(RangeError::Wraps { .. }))));
    assert!(matches!(try_one(FAR + MIB, SUBSECTION), Err(Error::Range(RangeError::NotSubsectionAligned(_)))));
    assert!(matches!(try_one(FAR, 3 * MIB), Err(Error::Range(RangeError::NotSubsectionAligned(_)))));
    // The linear map starts with RAM, aligned down to the largest compound page: at 64K that is 0.
    let below = try_one(0, SUBSECTION);
    assert_eq!(
        matches!(below, Err(Error::Range(RangeError::BeyondLinearMap { .. }))),
        g.page_size < 65536,
        "{below:?}"
    );
    assert!(matches!(try_one(1 << 48, SUBSECTION), Err(Error::Range(RangeError::BeyondLinearMap { .. }))));
    assert!(matches!(try_one(0x4000_0000, GIB), Err(Error::Range(RangeError::Exists { .. }))));
    let same = [(PhysAddr::new(FAR), 2 * SUBSECTION), (PhysAddr::new(FAR + SUBSECTION), SUBSECTION)];
    let many = [(PhysAddr::new(FAR), SUBSECTION); 9];
    let check = |ranges: &[(PhysAddr, u64)]| {
        rig.mm.device_range(ranges, DeviceType::Generic, MemmapHome::Ram).map(drop)
    };
    assert!(matches!(check(&same), Err(Error::Range(RangeError::Exists { .. }))));
    assert!(matches!(check(&many), Err(Error::Range(RangeError::Exists { .. }))));
    assert_eq!(check(&[]), Err(Error::Device(DeviceError::Ranges { ranges: 0, most: 4 })));
    let apart: Vec<_> = (0..5).map(|i| (PhysAddr::new(FAR + i * 2 * SUBSECTION), SUBSECTION)).collect();
    assert_eq!(check(&apart), Err(Error::Device(DeviceError::Ranges { ranges: 5, most: 4 })));
}

fn memory_and_devices_keep_out_of_each_others_way(g: Granule) {
    let (mut rig, block) = (boot(g), Rig::blocks(g, 1));
    rig.machine.plug(FAR, 2 * block);
    create(&mut rig, FAR + SUBSECTION, SUBSECTION, DeviceType::Generic, MemmapHome::Ram).expect("room");
    let over = HotRange::new(&rig.mm, PhysAddr::new(FAR), block, Source::Dimm(0)).map(drop);
    assert!(matches!(over, Err(Error::Range(RangeError::Exists { .. }))), "{over:?}");
    rig.add(FAR + block, block, MemmapHome::SelfHosted).expect("the next block is free");
    let over =
        create(&mut rig, FAR + block - SUBSECTION, 2 * SUBSECTION, DeviceType::Generic, MemmapHome::Ram);
    assert!(matches!(over, Err(Error::Range(RangeError::Exists { .. }))), "{over:?}");
    rig.assert_clean("refused");
    assert_eq!(rig.mm.frames().blocks().filter(|b| b.start >= Rig::pfn(g, FAR)).count(), 1);
}

fn teardown_waits_for_the_last_hold_and_names_its_page(g: Granule) {
    let mut rig = boot(g);
    rig.machine.plug(FAR, 64 * MIB);
    let before = Snapshot::exact(&rig);
    create(&mut rig, FAR, 64 * MIB, DeviceType::FsDax, ON_DEVICE).expect("room");
    let start = Rig::pfn(g, FAR);
    let held = Rig::pfn(g, FAR + 40 * MIB) + 3;
    for _ in 0..2 {
        rig.mm.pin(held).expect("a device's page can be held");
    }
    rig.assert_clean("held");
    assert_eq!(rig.mm.memunmap_pages(start), Ok(Teardown::Waits { pfn: held, holds: 2 }));
    assert_eq!(rig.mm.devices()[0].state(), DeviceState::Dying);
    assert_eq!(
        rig.mm.pin(held),
        Err(Error::Device(DeviceError::Dying(PhysAddr::new(FAR)))),
        "nothing new holds it"
    );
    rig.mm.unpin(held).expect("held twice");
    assert_eq!(rig.mm.memunmap_pages(start), Ok(Teardown::Waits { pfn: held, holds: 1 }));
    rig.assert_clean("dying");
    rig.mm.unpin(held).expect("held once");
    before.assert_same(&Snapshot::exact(&rig), "it went with the last hold");
    assert_eq!(rig.mm.memunmap_pages(start), Err(Error::Device(DeviceError::Absent(PhysAddr::new(FAR)))));
    assert_eq!(rig.mm.unpin(held), Err(Error::Page(PageError::NotPresent(held))));
}

fn what_is_set_aside_cannot_be_held(g: Granule) {
    let mut rig = boot(g);
    rig.machine.plug(FAR, GIB);
    create(&mut rig, FAR, GIB, DeviceType::FsDax, MemmapHome::SelfRange { reserve: 2 }).expect("room");
    let device = &rig.mm.devices()[0];
    assert_eq!(
        device.usable_start(),
        Rig::pfn(g, FAR) + rig.mm.frames().altmap(device.start()).expect("one").offset()
    );
    let (first, last) = (Rig::pfn(g, FAR), Pfn::new(device.usable_start().get() - 1));
    for pfn in [first, last] {
        assert!(matches!(
            rig.mm.pin(pfn),
            Err(Error::Page(PageError::State { is: PageKind::DeviceMemmap, .. }))
        ));
    }
    rig.mm.pin(last + 1).expect("the first page that is usable");
    assert!(matches!(rig.mm.unpin(last + 2), Err(Error::Page(PageError::State { .. }))), "not held");
    rig.mm.unpin(last + 1).expect("held");
}

fn every_allocation_fails_in_turn(g: Granule) {
    let block = Rig::blocks(g, 1);
    let ranges = [(PhysAddr::new(FAR), block + SUBSECTION), (PhysAddr::new(FAR + 4 * block), 3 * SUBSECTION)];
    for (memmap, count) in [(MemmapHome::Ram, 2), (ON_DEVICE, 1)] {
        for plan in [Plan::Nth as fn(u64) -> Plan, Plan::From] {
            let (mut rig, mut failures) = (boot(g), 0);
            ranges.iter().for_each(|(start, len)| rig.machine.plug(start.get(), *len));
            let before = Snapshot::exact(&rig);
            for n in 1.. {
                let device = rig.mm.device_range(&ranges[..count], DeviceType::Generic, memmap);
                rig.mm.frames_mut().faults.arm(plan(n));
                let result = rig.mm.memremap_pages(&device.expect("free"), |_, _| {});
                let fired = rig.mm.frames().faults.fired();
                rig.mm.frames_mut().faults.arm(Plan::Off);
                let when = format!("{memmap:?} {:?}: {result:?}", plan(n));
                rig.assert_clean(&when);
                match result {
                    Ok(()) => destroy(&mut rig, FAR),
                    Err(Error::Out(_)) => failures += 1,
                    Err(other) => panic!("{when}: {other}"),
                }
                before.assert_same(&Snapshot::exact(&rig), &when);
                let device = rig.mm.device_range(&ranges[..count], DeviceType::Generic, memmap);
                rig.mm.memremap_pages(&device.expect("free"), |_, _| {}).expect("the fault is gone");
                destroy(&mut rig, FAR);
                before.assert_same(&Snapshot::exact(&rig), &when);
                if !fired {
                    break;
                }
            }
            assert!(failures > 3, "{memmap:?}: {failures} allocations were failed");
        }
    }
}

hotmap_testkit::at_each_granule!(
    a_device_comes_and_goes_without_a_trace,
    an_altmap_is_charged_for_what_describes_the_device_alone,
    padding_is_accounted,
    one_page_short_is_out_of_memory_and_everything_is_undone,
    an_altmap_must_start_and_fit_its_range,
    subsections_come_and_go_in_any_order,
    no_struct_page_lies_in_a_neighbours_altmap,
    a_device_in_a_hole_of_boot_memory_allocates_no_memmap,
    an_altmap_beside_boot_memory_is_as_large_as_what_is_used,
    a_device_of_several_ranges_is_one,
    what_no_device_can_be_made_of_is_refused,
    memory_and_devices_keep_out_of_each_others_way,
    teardown_waits_for_the_last_hold_and_names_its_page,
    what_is_set_aside_cannot_be_held,
    every_allocation_fails_in_turn,
);
