//! A poisoned page is out of use: on no free list, counted as reserved; what was in it has moved away. It stays poisoned
//! while its block is offline and online again, and is forgotten with its memory.
#![cfg(not(miri))]

use hotmap_emulator::rig::{MIB, Rig, Shape};
use hotmap_mm::addr::VirtAddr;
use hotmap_mm::debug::faults::Plan;
use hotmap_mm::error::{Error, PageError, PageNeeds, Resource};
use hotmap_mm::frame::Mobility;
use hotmap_mm::frame::page::PageKind;
use hotmap_mm::frame::zone::ZoneKind;
use hotmap_mm::granule::Granule;
use hotmap_mm::hotplug::home::MemmapHome;
use hotmap_mm::pfn::Pfn;
use hotmap_testkit::snapshot::{Detail, Snapshot};

const AT: u64 = 0x8000_0000;

fn boot(g: Granule) -> Rig {
    let mut rig = Rig::boot(g, &Shape::one("256 MiB", 0x4000_0000, 256 * MIB));
    rig.plug(AT, Rig::blocks(g, 2), MemmapHome::SelfHosted);
    rig.online(AT, Rig::blocks(g, 2), ZoneKind::Movable);
    rig
}

/// The last page of the second block, which is free.
fn last(g: Granule) -> Pfn {
    Pfn::new(Rig::pfn(g, AT + Rig::blocks(g, 2)).get() - 1)
}

/// The frame behind page `i` of the first tenant, by the machine's own walk.
fn frame(rig: &Rig, i: u64) -> Pfn {
    let g = rig.granule();
    let va = rig.mm.tenants()[0].range.start.get() + i * g.page_size;
    Rig::pfn(g, rig.machine.walk(va).expect("mapped"))
}

fn a_free_page_leaves_the_free_lists_and_comes_back(g: Granule) {
    let mut rig = boot(g);
    let (before, counts, pfn) = (Snapshot::exact(&rig), rig.mm.frames().counts(), last(g));
    assert_eq!(rig.mm.poison(pfn), Ok(None));
    rig.assert_clean("poisoned");
    let now = rig.mm.frames().counts();
    assert_eq!((now.free, now.reserved), (counts.free - 1, counts.reserved + 1));
    assert_eq!((now.present, now.allocated), (counts.present, counts.allocated));
    assert_eq!(rig.mm.frames().use_of(pfn), Ok((PageKind::Poisoned, pfn)));
    assert_eq!(rig.mm.poison(pfn), Err(Error::Page(PageError::Poisoned(pfn))), "it is already");
    let wrong = Err(Error::Page(PageError::State { pfn, is: PageKind::Poisoned, needs: PageNeeds::Pinned }));
    assert_eq!(rig.mm.unpin(pfn), wrong);
    assert!(matches!(rig.mm.pin(pfn), Err(Error::Page(PageError::State { is: PageKind::Poisoned, .. }))));
    let warnings = rig.mm.frames().warnings;
    rig.mm.frames_mut().free(pfn);
    assert_eq!(rig.mm.frames().warnings.bad_free, warnings.bad_free + 1, "freeing does not give it back");
    rig.mm.frames_mut().warnings = warnings;
    assert_eq!(rig.mm.unpoison(pfn), Ok(()));
    before.assert_same(&Snapshot::exact(&rig), "unpoisoned");
}

/// However much is asked for, the page is not handed out.
fn it_is_never_allocated(g: Granule) {
    let mut rig = boot(g);
    let (pfn, free) = (last(g), rig.mm.frames().counts().free);
    rig.mm.poison(pfn).expect("free");
    let mut taken = Vec::new();
    while let Ok(got) = rig.mm.frames_mut().alloc(0, PageKind::Pinned, Mobility::Movable) {
        assert_ne!(got, pfn);
        taken.push(got);
    }
    assert_eq!(taken.len() as u64, free - 1);
    assert_eq!(rig.mm.frames().use_of(pfn), Ok((PageKind::Poisoned, pfn)));
}

/// Offline, online and offline again: it is never free, and counted while its block is online.
fn it_stays_poisoned_while_its_block_goes_and_comes(g: Granule) {
    let mut rig = boot(g);
    let id = rig.mm.tenant_new(5).expect("room");
    let (pfn, good) = (last(g), rig.mm.frames().counts());
    rig.mm.poison(pfn).expect("free");
    let (poisoned, block) = (rig.mm.frames().counts(), Rig::pfn(g, AT + Rig::blocks(g, 1)));
    for zone in [ZoneKind::Normal, ZoneKind::Movable] {
        let migrated = rig.mm.offline_block(block).expect("nothing in it has to stay").migrated;
        assert!(migrated == 5 || zone == ZoneKind::Movable);
        rig.assert_clean("offline");
        assert_eq!(rig.mm.frames().use_of(pfn), Ok((PageKind::Poisoned, pfn)), "offline");
        assert_eq!(rig.mm.poison(pfn), Err(Error::Page(PageError::Poisoned(pfn))));
        assert_eq!(rig.mm.frames().counts().reserved, good.reserved, "its block is not counted");
        rig.mm.online_block(block, zone).expect("offline");
        rig.assert_clean("online");
        assert_eq!(rig.mm.frames().use_of(pfn), Ok((PageKind::Poisoned, pfn)), "online");
        assert_eq!(rig.mm.frames().counts(), poisoned);
    }
    assert_eq!(rig.mm.tenant_check(id), Ok(5));
    rig.mm.tenant_drop(id).expect("not held");
    let mut taken = Vec::new();
    while let Ok(got) = rig.mm.frames_mut().alloc(0, PageKind::Pinned, Mobility::Movable) {
        assert_ne!(got, pfn);
        taken.push(got);
    }
    taken.into_iter().for_each(|page| rig.mm.frames_mut().free(page));
    // Given back while its block is offline: free when that is online again.
    rig.mm.offline_block(block).expect("empty");
    assert_eq!(rig.mm.unpoison(pfn), Ok(()));
    rig.assert_clean("good again, offline");
    assert!(matches!(rig.mm.unpoison(pfn), Err(Error::Page(PageError::State { is: PageKind::Tail, .. }))));
    rig.mm.online_block(block, ZoneKind::Movable).expect("offline");
    assert_eq!(rig.mm.frames().use_of(pfn).map(|u| u.0), Ok(PageKind::Free));
    rig.assert_clean("good again");
}

/// The DIMM that one most wants to pull. What is plugged there next is good.
fn it_goes_with_its_memory(g: Granule) {
    for home in [MemmapHome::SelfHosted, MemmapHome::Ram, MemmapHome::SelfRange { reserve: 0 }] {
        let mut rig = Rig::boot(g, &Shape::one("256 MiB", 0x4000_0000, 256 * MIB));
        let (len, start) = (Rig::blocks(g, 2), Snapshot::exact(&rig));
        rig.plug(AT, len, home);
        rig.online(AT, len, ZoneKind::Movable);
        // But for the frames of its tables and memmap, which may be others.
        let all = |rig: &Rig| {
            let free: Vec<_> = rig.mm.frames().blocks().map(|b| (b.free.pages(), b.poisoned)).collect();
            (Snapshot::of(rig, Detail::WhereFramesMayDiffer), free)
        };
        let fresh = all(&rig);
        rig.mm.poison(last(g)).expect("free");
        rig.mm.poison(Pfn::new(last(g).get() - 77)).expect("free");
        rig.unplug(AT, len);
        rig.assert_clean("gone");
        start.assert_same(&Snapshot::exact(&rig), "gone");
        rig.plug(AT, len, home);
        rig.online(AT, len, ZoneKind::Movable);
        let again = all(&rig);
        fresh.0.assert_same(&again.0, "there again");
        assert_eq!(fresh.1, again.1);
        rig.assert_clean("there again");
    }
}

fn a_tenants_page_moves_away_first(g: Granule) {
    let mut rig = boot(g);
    let id = rig.mm.tenant_new(5).expect("room");
    let pfn = frame(&rig, 2);
    let counts = rig.mm.frames().counts();
    let now = rig.mm.poison(pfn).expect("it can move").expect("it has moved");
    rig.assert_clean("a tenant's page poisoned");
    assert_eq!(frame(&rig, 2), now);
    assert_ne!(now, pfn);
    assert_eq!(rig.mm.tenant_check(id), Ok(5), "nothing was lost");
    assert_eq!(rig.mm.frames().counts().allocated, counts.allocated);
    rig.mm.tenant_drop(id).expect("not held");
    assert_eq!(rig.mm.frames().use_of(pfn), Ok((PageKind::Poisoned, pfn)), "it stays out of use");
    rig.assert_clean("the tenant gone");
}

fn what_cannot_be_emptied_is_refused_by_name(g: Granule) {
    let mut rig = Rig::boot(g, &Shape::many("a hole", &[(0x4000_0000, 40 * MIB), (0x4300_0000, 16 * MIB)]));
    rig.plug(AT, 2 * Rig::blocks(g, 1), MemmapHome::SelfHosted);
    rig.online(AT, Rig::blocks(g, 1), ZoneKind::Movable);
    rig.mm.tenant_new(3).expect("room");
    let tenant = frame(&rig, 1);
    rig.mm.pin(tenant).expect("a tenant's");
    let pinned = Pfn::new(tenant.get() + 100);
    rig.mm.pin(pinned).expect("free");
    let table = Rig::pfn(g, rig.machine.root());
    let image = Rig::pfn(g, 0x4020_0000);
    let memmap = rig.machine.walk(rig.mm.space().layout().page_address(image).get()).expect("mapped");
    let offline = Rig::pfn(g, AT + Rig::blocks(g, 1));
    let usable = Pfn::new(offline.get() + g.section_pages - 1);
    let kernel = rig.mm.frames_mut().alloc(2, PageKind::Kernel, Mobility::Unmovable).expect("room");
    let hole = Rig::pfn(g, 0x4290_0000);
    let needs = PageNeeds::FreeOrTenant;
    let refusals = [
        (tenant, Error::Page(PageError::Pinned { pfn: tenant, refs: 2 })),
        (pinned, Error::Page(PageError::Pinned { pfn: pinned, refs: 1 })),
        (table, Error::Page(PageError::Unmovable { pfn: table, kind: PageKind::Table })),
        (image, Error::Page(PageError::Unmovable { pfn: image, kind: PageKind::Reserved })),
        (
            Rig::pfn(g, memmap),
            Error::Page(PageError::Unmovable { pfn: Rig::pfn(g, memmap), kind: PageKind::MemmapRam }),
        ),
        (
            Rig::pfn(g, AT),
            Error::Page(PageError::Unmovable { pfn: Rig::pfn(g, AT), kind: PageKind::MemmapSelf }),
        ),
        (offline, Error::Page(PageError::Unmovable { pfn: offline, kind: PageKind::MemmapSelf })),
        (usable, Error::Page(PageError::State { pfn: usable, is: PageKind::Tail, needs })),
        (
            Pfn::new(kernel.get() + 3),
            Error::Page(PageError::Unmovable { pfn: Pfn::new(kernel.get() + 3), kind: PageKind::Kernel }),
        ),
        (hole, Error::Page(PageError::State { pfn: hole, is: PageKind::Hole, needs })),
        (Rig::pfn(g, 1 << 40), Error::Page(PageError::NotPresent(Rig::pfn(g, 1 << 40)))),
    ];
    let before = Snapshot::exact(&rig);
    for (pfn, error) in refusals {
        assert_eq!(rig.mm.poison(pfn), Err(error), "{error}");
        assert!(rig.mm.unpoison(pfn).is_err());
        before.assert_same(&Snapshot::exact(&rig), "refused");
    }
}

fn without_room_to_move_to_nothing_changes(g: Granule) {
    let mut rig = boot(g);
    let id = rig.mm.tenant_new(3).expect("room");
    let (before, pfn) = (Snapshot::exact(&rig), frame(&rig, 0));
    rig.mm.frames_mut().faults.arm(Plan::Nth(1));
    assert_eq!(rig.mm.poison(pfn), Err(Error::Out(Resource::Frames { order: 0 })));
    rig.mm.frames_mut().faults.arm(Plan::Off);
    before.assert_same(&Snapshot::exact(&rig), "refused");
    rig.mm.poison(pfn).expect("room");
    assert_eq!(rig.mm.tenant_check(id), Ok(3));
    rig.assert_clean("poisoned");
}

fn tenants_move_past_it(g: Granule) {
    let mut rig = boot(g);
    let id = rig.mm.tenant_new(9).expect("room");
    // Where the first pages would move to.
    let first = Rig::pfn(g, AT);
    let target =
        (0..).map(|i| first + i).find(|p| rig.mm.frames().use_of(*p).is_ok_and(|(k, _)| k == PageKind::Free));
    rig.mm.poison(target.expect("some page is free")).expect("free");
    let block = Rig::pfn(g, AT + Rig::blocks(g, 1));
    assert_eq!(rig.mm.offline_block(block).expect("room").migrated, 9);
    assert_eq!(rig.mm.tenant_check(id), Ok(9));
    rig.assert_clean("moved");
    let va = rig.mm.tenants()[0].range.start;
    assert!(rig.mm.space().translate(VirtAddr::new(va.get())).is_some());
}

hotmap_testkit::at_each_granule!(
    a_free_page_leaves_the_free_lists_and_comes_back,
    it_is_never_allocated,
    it_stays_poisoned_while_its_block_goes_and_comes,
    it_goes_with_its_memory,
    a_tenants_page_moves_away_first,
    what_cannot_be_emptied_is_refused_by_name,
    without_room_to_move_to_nothing_changes,
    tenants_move_past_it,
);
