//! Every allocation fails in turn: the operation is undone to the last frame, and succeeds once the fault is gone.
#![cfg(not(miri))]

use hotmap_emulator::rig::{MIB, Rig, Shape, range};
use hotmap_mm::addr::PhysAddr;
use hotmap_mm::debug::faults::Plan;
use hotmap_mm::error::{Error, PageError, Resource, Result};
use hotmap_mm::frame::Mobility;
use hotmap_mm::frame::block::Source;
use hotmap_mm::frame::page::PageKind;
use hotmap_mm::frame::zone::ZoneKind;
use hotmap_mm::granule::Granule;
use hotmap_mm::hotplug::home::MemmapHome;
use hotmap_mm::hotplug::offline::Offlined;
use hotmap_mm::hotplug::range::HotRange;
use hotmap_testkit::snapshot::{Detail, Snapshot};

/// DIMMs beside boot RAM, and where every table is missing: a table's worth of addresses away, and at the very end of the
/// linear map, whose last table reaches over the end.
fn slots(rig: &Rig) -> [u64; 3] {
    let g = rig.granule();
    let reach = rig.mm.space().layout().reach();
    [0x8000_0000, 8 << 40, reach.end.get() - Rig::blocks(g, 2)]
}

/// Fail the n-th allocation of `act`, and all from the n-th on, for every n; `undo` takes a success back.
fn fail_each(
    rig: &mut Rig,
    detail: Detail,
    what: &str,
    mut act: impl FnMut(&mut Rig) -> Result<()>,
    mut undo: impl FnMut(&mut Rig),
) {
    let g = rig.granule();
    for plan in [Plan::Nth as fn(u64) -> Plan, Plan::From] {
        let mut failures = 0;
        for n in 1.. {
            let before = Snapshot::of(rig, detail);
            rig.mm.frames_mut().faults.arm(plan(n));
            let result = act(rig);
            let fired = rig.mm.frames().faults.fired();
            rig.mm.frames_mut().faults.arm(Plan::Off);
            let when = format!("{} {what}: {:?}, {result:?}", g.kind, plan(n));
            match result {
                Ok(()) => undo(rig),
                Err(Error::Out(_)) => failures += 1,
                Err(other) => panic!("{when}: {other}"),
            }
            rig.assert_clean(&when);
            before.assert_same(&Snapshot::of(rig, detail), &when);
            act(rig).unwrap_or_else(|e| panic!("{when}: with the fault gone: {e}"));
            rig.assert_clean(&when);
            undo(rig);
            before.assert_same(&Snapshot::of(rig, detail), &when);
            if !fired {
                break;
            }
        }
        assert!(failures > 0, "{what}: no allocation was failed");
    }
}

fn boot(g: Granule) -> Rig {
    Rig::boot(g, &Shape::one("256 MiB", 0x4000_0000, 256 * MIB))
}

fn adding(g: Granule) {
    for home in [MemmapHome::SelfHosted, MemmapHome::Ram] {
        let mut rig = boot(g);
        let len = Rig::blocks(g, 2);
        for start in slots(&rig) {
            rig.machine.plug(start, len);
            let what = format!("add {start:#x} {home:?}");
            fail_each(
                &mut rig,
                Detail::Exact,
                &what,
                |rig| rig.add(start, len, home),
                |rig| rig.mm.remove_memory(range(start, len)).expect("offline"),
            );
            rig.machine.unplug(start);
        }
    }
}

/// System RAM without a free run that is large enough for a block of vmemmap.
fn adding_when_memory_is_in_small_pieces(g: Granule) {
    let mut rig = Rig::boot(g, &Shape::tiny());
    let order = (MIB >> g.page_shift).trailing_zeros();
    let mut runs = Vec::new();
    while let Ok(pfn) = rig.mm.frames_mut().alloc(order, PageKind::Kernel, Mobility::Unmovable) {
        runs.push(pfn);
    }
    runs.sort();
    runs.iter().step_by(2).for_each(|pfn| rig.mm.frames_mut().free(*pfn));
    let largest =
        rig.mm.frames().blocks().next().expect("a block").free.largest().expect("half of it is free");
    assert_eq!(largest, order);
    let (start, len) = (0x8000_0000, Rig::blocks(g, 1));
    rig.machine.plug(start, len);
    fail_each(
        &mut rig,
        Detail::Exact,
        "add in small pieces",
        |rig| rig.add(start, len, MemmapHome::Ram),
        |rig| rig.mm.remove_memory(range(start, len)).expect("offline"),
    );
}

fn onlining(g: Granule) {
    for zone in ZoneKind::ALL {
        let mut rig = boot(g);
        rig.plug(0x8000_0000, Rig::blocks(g, 1), MemmapHome::SelfHosted);
        let block = Rig::pfn(g, 0x8000_0000);
        fail_each(
            &mut rig,
            Detail::Exact,
            "online",
            |rig| rig.mm.online_block(block, zone),
            |rig| assert_eq!(rig.mm.offline_block(block), Ok(Offlined::default())),
        );
    }
}

fn a_tenant_moving_in(g: Granule) {
    let mut rig = boot(g);
    rig.plug(0x8000_0000, Rig::blocks(g, 1), MemmapHome::SelfHosted);
    rig.online(0x8000_0000, Rig::blocks(g, 1), ZoneKind::Movable);
    // Numbers are not given out twice, and a snapshot shows the tenants that there are only.
    fail_each(
        &mut rig,
        Detail::Exact,
        "tenant",
        |rig| rig.mm.tenant_new(12).map(drop),
        |rig| {
            let id = rig.mm.tenants().last().expect("one").id;
            assert_eq!(rig.mm.tenant_check(id), Ok(12));
            rig.mm.tenant_drop(id).expect("its pages are not held");
        },
    );
}

/// Refused, because the pages that are left found no place.
fn stays(result: &Result<Offlined>) -> bool {
    let page = Resource::Frames { order: 0 };
    matches!(result, Err(Error::Page(PageError::Stays { out, .. })) if *out == page)
}

fn offlining_with_migration(g: Granule) {
    let mut rig = boot(g);
    let (start, len) = (0x8000_0000, Rig::blocks(g, 2));
    rig.plug(start, len, MemmapHome::SelfHosted);
    rig.online(start, len, ZoneKind::Movable);
    let id = rig.mm.tenant_new(7).expect("room");
    let newest = Rig::pfn(g, start + Rig::blocks(g, 1));
    let here = |rig: &Rig| rig.mm.frames().block_of(newest).expect("present").tenant_pages;
    assert_eq!(here(&rig), 7);
    let round = |rig: &mut Rig, plan| {
        let before = Snapshot::of(rig, Detail::WherePagesMayHaveMoved);
        rig.mm.frames_mut().faults.arm(plan);
        let result = rig.mm.offline_block(newest);
        let fired = rig.mm.frames().faults.fired();
        rig.mm.frames_mut().faults.arm(Plan::Off);
        rig.assert_clean("after an offlining that failed");
        assert_eq!(rig.mm.tenant_check(id), Ok(7));
        if fired {
            assert!(stays(&result), "{result:?}");
            before
                .assert_same(&Snapshot::of(rig, Detail::WherePagesMayHaveMoved), "after a failed offlining");
        }
        fired
    };
    // Each failure lets one page through.
    let mut stayed = vec![here(&rig)];
    while round(&mut rig, Plan::From(2)) {
        stayed.push(here(&rig));
    }
    assert_eq!(stayed, [7, 6, 5, 4, 3, 2, 1]);
    assert_eq!(here(&rig), 0);
    assert_eq!(rig.mm.frames().block_of(newest).expect("present").state.name(), "offline");
    rig.mm.online_block(newest, ZoneKind::Movable).expect("heap");
}

fn plugging(g: Granule) {
    for home in [MemmapHome::SelfHosted, MemmapHome::Ram] {
        let mut rig = boot(g);
        let (start, len) = (8 << 40, Rig::blocks(g, 3));
        rig.machine.plug(start, len);
        fail_each(
            &mut rig,
            Detail::Exact,
            "plug",
            |rig| {
                let hot = HotRange::new(&rig.mm, PhysAddr::new(start), len, Source::Dimm(1))?;
                rig.mm.plug(&hot, home, ZoneKind::Movable, |_, _| {})
            },
            |rig| assert_eq!(rig.mm.unplug(range(start, len)), Ok(Offlined::default())),
        );
    }
}

/// What goes, needs nothing: removal cannot fail for want of anything.
fn removing_allocates_nothing(g: Granule) {
    for home in [MemmapHome::SelfHosted, MemmapHome::Ram] {
        let mut rig = boot(g);
        let (start, len) = (8 << 40, Rig::blocks(g, 2));
        let before = Snapshot::exact(&rig);
        rig.plug(start, len, home);
        rig.mm.frames_mut().faults.arm(Plan::From(1));
        assert_eq!(rig.mm.remove_memory(range(start, len)), Ok(()));
        assert_eq!((rig.mm.frames().faults.sites(), rig.mm.frames().faults.fired()), (0, false));
        rig.mm.frames_mut().faults.arm(Plan::Off);
        before.assert_same(&Snapshot::exact(&rig), "removed");
    }
}

/// A DIMM of two blocks in which each page that moves is the last that can, in turn: it stays whole and online each time.
fn unplugging_with_migration(g: Granule) {
    let mut rig = boot(g);
    let (start, len) = (0x8000_0000, Rig::blocks(g, 2));
    rig.plug(start, len, MemmapHome::SelfHosted);
    rig.online(start, len, ZoneKind::Movable);
    let id = rig.mm.tenant_new(5).expect("room");
    let mut failures = 0;
    for n in 1.. {
        let before = Snapshot::of(&rig, Detail::WherePagesMayHaveMoved);
        rig.mm.frames_mut().faults.arm(Plan::From(n.min(2)));
        let result = rig.mm.unplug(range(start, len));
        let fired = rig.mm.frames().faults.fired();
        rig.mm.frames_mut().faults.arm(Plan::Off);
        rig.assert_clean("after an unplugging");
        assert_eq!(rig.mm.tenant_check(id), Ok(5));
        if !fired {
            assert!(result.is_ok(), "{result:?}");
            break;
        }
        assert!(stays(&result), "{result:?}");
        before.assert_same(&Snapshot::of(&rig, Detail::WherePagesMayHaveMoved), "an unplugging that failed");
        failures += 1;
    }
    assert!(failures >= 5, "{failures}");
    assert!(rig.mm.frames().block_of(Rig::pfn(g, start)).is_none());
}

hotmap_testkit::at_each_granule!(
    adding,
    adding_when_memory_is_in_small_pieces,
    onlining,
    a_tenant_moving_in,
    offlining_with_migration,
    plugging,
    removing_allocates_nothing,
    unplugging_with_migration,
);
