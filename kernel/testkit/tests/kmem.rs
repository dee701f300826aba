//! Device memory given to the system, and back: all of it, or nothing.
#![cfg(not(miri))]

use hotmap_emulator::arch::walker::Memory;
use hotmap_emulator::rig::{MIB, Rig, Shape};
use hotmap_mm::addr::{PhysAddr, PhysRange};
use hotmap_mm::debug::faults::Plan;
use hotmap_mm::device::holds::Teardown;
use hotmap_mm::device::pagemap::DeviceType;
use hotmap_mm::error::{BlockError, DeviceError, Error, PageError, RangeError, Result};
use hotmap_mm::frame::block::Source;
use hotmap_mm::frame::zone::ZoneKind;
use hotmap_mm::granule::Granule;
use hotmap_mm::hotplug::home::MemmapHome;
use hotmap_mm::hotplug::notify::{Direction, Event, Notifier, Veto};
use hotmap_mm::hotplug::range::HotRange;
use hotmap_testkit::snapshot::{Detail, Snapshot};

const FAR: u64 = 8 << 40;
const SUBSECTION: u64 = 2 * MIB;

/// A machine with a device of two whole blocks and a subsection on either side.
fn boot(g: Granule) -> Rig {
    let mut rig = Rig::boot(g, &Shape::one("256 MiB", 0x4000_0000, 256 * MIB));
    rig.machine.plug(start(g), len(g));
    make(&mut rig, DeviceType::FsDax);
    rig
}

fn start(g: Granule) -> u64 {
    FAR + Rig::blocks(g, 1) - SUBSECTION
}
fn len(g: Granule) -> u64 {
    Rig::blocks(g, 2) + 2 * SUBSECTION
}

fn make(rig: &mut Rig, kind: DeviceType) {
    let g = rig.granule();
    let ranges = [(PhysAddr::new(start(g)), len(g))];
    let device = rig.mm.device_range(&ranges, kind, MemmapHome::SelfRange { reserve: 0 }).expect("free");
    rig.mm.memremap_pages(&device, |_, _| {}).expect("room");
}

fn give(rig: &mut Rig) -> Result<()> {
    let g = rig.granule();
    let memory = rig.mm.device_to_memory(Rig::pfn(g, start(g)), MemmapHome::SelfHosted, ZoneKind::Movable)?;
    assert_eq!(memory.addresses(g).start.get(), FAR + Rig::blocks(g, 1));
    assert_eq!(memory.addresses(g).len(), Rig::blocks(g, 2));
    Ok(())
}

fn take_back(rig: &mut Rig) -> Result<u64> {
    let g = rig.granule();
    rig.mm.memory_to_device(Rig::pfn(g, start(g)))
}

fn a_devices_memory_serves_the_system_and_goes_back(g: Granule) {
    let mut rig = boot(g);
    // Not to the frame: the tenant has frames where tables were.
    let (before, devices) = (rig.mm.frames().counts(), format!("{:?}", rig.mm.devices()));
    give(&mut rig).expect("room");
    rig.assert_clean("given");
    assert!(rig.mm.devices().is_empty());
    assert_eq!(rig.mm.frames().counts().present - before.present, Rig::blocks(g, 2) / g.page_size);
    let given: Vec<_> = rig.mm.frames().blocks().filter(|b| b.source == Source::Kmem).collect();
    assert_eq!(given.len(), 2);
    assert!(given.iter().all(|b| b.state.zone() == Some(ZoneKind::Movable) && b.memmap_pages > 0));
    let tenant = rig.mm.tenant_new(9).expect("room");
    assert_eq!(take_back(&mut rig), Ok(9), "what is in use moves away");
    assert_eq!(rig.mm.tenant_check(tenant), Ok(9));
    rig.mm.tenant_drop(tenant).expect("a tenant");
    rig.assert_clean("back");
    assert_eq!((rig.mm.frames().counts(), format!("{:?}", rig.mm.devices())), (before, devices));
}

fn what_is_held_or_dying_or_too_small_stays(g: Granule) {
    let mut rig = boot(g);
    let last = Rig::pfn(g, start(g) + len(g) - g.page_size);
    rig.mm.pin(last).expect("a device's page");
    assert!(matches!(give(&mut rig), Err(Error::Page(PageError::Pinned { pfn, refs: 1 })) if pfn == last));
    rig.mm.unpin(last).expect("held");
    assert!(matches!(take_back(&mut rig), Err(Error::Device(DeviceError::Absent(_)))));
    let at = FAR + Rig::blocks(g, 8);
    rig.machine.plug(at, SUBSECTION);
    let ranges = [(PhysAddr::new(at), SUBSECTION)];
    let small = rig.mm.device_range(&ranges, DeviceType::Generic, MemmapHome::Ram).expect("free");
    rig.mm.memremap_pages(&small, |_, _| {}).expect("room");
    let refused = rig.mm.device_to_memory(Rig::pfn(g, at), MemmapHome::SelfHosted, ZoneKind::Movable);
    assert!(matches!(refused, Err(Error::Range(RangeError::NotBlockAligned { .. }))), "{refused:?}");
}

/// Nothing is behind it that could be cleared or used: the machine has no memory there.
fn private_memory_is_not_for_the_system(g: Granule) {
    let (mut rig, at) = (boot(g), FAR + Rig::blocks(g, 16));
    let ranges = [(PhysAddr::new(at), Rig::blocks(g, 1))];
    let private = rig.mm.device_range(&ranges, DeviceType::Private, MemmapHome::Ram).expect("free");
    rig.mm.memremap_pages(&private, |_, _| {}).expect("room");
    let before = Snapshot::exact(&rig);
    for home in [MemmapHome::SelfHosted, MemmapHome::Ram] {
        let refused = rig.mm.device_to_memory(Rig::pfn(g, at), home, ZoneKind::Movable);
        assert!(matches!(refused, Err(Error::Device(DeviceError::Private(_)))), "{refused:?}");
    }
    before.assert_same(&Snapshot::exact(&rig), "refused");
}

fn nobody_else_gets_the_edges_meanwhile(g: Granule) {
    let mut rig = boot(g);
    give(&mut rig).expect("room");
    let edge = [(PhysAddr::new(start(g)), SUBSECTION)];
    let refused = rig.mm.device_range(&edge, DeviceType::Generic, MemmapHome::Ram).map(drop);
    assert!(matches!(refused, Err(Error::Range(RangeError::Exists { .. }))), "{refused:?}");
    let block = HotRange::new(&rig.mm, PhysAddr::new(FAR), Rig::blocks(g, 1), Source::Dimm(0)).map(drop);
    assert!(matches!(block, Err(Error::Range(RangeError::Exists { .. }))), "{block:?}");
}

/// Ranges that were validated before a device claimed the memory around them, and gave it to the system.
fn a_range_validated_before_the_device_came_is_refused(g: Granule) {
    let mut rig = Rig::boot(g, &Shape::one("256 MiB", 0x4000_0000, 256 * MIB));
    rig.machine.plug(start(g), len(g));
    let block = Rig::blocks(g, 1);
    // The first is the block that the device only begins in: nothing of it will be present.
    let hot = [(FAR, block), (FAR + block, block)]
        .map(|(at, len)| HotRange::new(&rig.mm, PhysAddr::new(at), len, Source::Dimm(0)).expect("free"));
    let edges = [start(g), start(g) + len(g) - SUBSECTION, FAR + block].map(|at| {
        let ranges = [(PhysAddr::new(at), SUBSECTION)];
        rig.mm.device_range(&ranges, DeviceType::Generic, MemmapHome::Ram).expect("free")
    });
    make(&mut rig, DeviceType::FsDax);
    give(&mut rig).expect("room");
    let before = Snapshot::exact(&rig);
    for stale in &hot {
        for home in [MemmapHome::Ram, MemmapHome::SelfHosted] {
            let refused = rig.mm.add_memory(stale, home, |_, _| {});
            assert!(
                matches!(refused, Err(Error::Range(RangeError::Exists { .. }))),
                "{stale:?}: {refused:?}"
            );
        }
    }
    for stale in &edges {
        let refused = rig.mm.memremap_pages(stale, |_, _| {});
        assert!(matches!(refused, Err(Error::Range(RangeError::Exists { .. }))), "{stale:?}: {refused:?}");
    }
    before.assert_same(&Snapshot::exact(&rig), "refused");
    assert_eq!(take_back(&mut rig), Ok(0), "nothing is in its way");
    rig.assert_clean("back");
}

fn blocks_in_different_states_do_not_go_back(g: Granule) {
    let mut rig = boot(g);
    give(&mut rig).expect("room");
    let second = Rig::pfn(g, FAR + Rig::blocks(g, 2));
    rig.mm.offline_block(second).expect("unused");
    let before = Snapshot::exact(&rig);
    assert!(matches!(take_back(&mut rig), Err(Error::Block(BlockError::State { .. }))));
    before.assert_same(&Snapshot::exact(&rig), "refused");
    rig.mm.offline_block(Rig::pfn(g, FAR + Rig::blocks(g, 1))).expect("unused");
    assert_eq!(take_back(&mut rig), Ok(0), "all are offline");
}

fn no(event: Event, _: PhysRange) -> core::result::Result<(), Veto> {
    if matches!(event, Event::Going(_)) { Err(Veto) } else { Ok(()) }
}

fn a_veto_either_way_leaves_everything_as_it_was(g: Granule) {
    let mut rig = boot(g);
    let keeper = Notifier { name: "keeper", hear: no };
    for way in [give, |rig: &mut Rig| take_back(rig).map(drop)] {
        let before = Snapshot::exact(&rig);
        rig.mm.notifiers.register(keeper).expect("room");
        let refused = way(&mut rig);
        assert!(matches!(refused, Err(Error::Block(BlockError::Vetoed { by: "keeper", .. }))), "{refused:?}");
        rig.assert_clean("vetoed");
        assert!(rig.mm.notifiers.unregister("keeper"));
        before.assert_same(&Snapshot::exact(&rig), "vetoed");
        way(&mut rig).expect("no notifier vetoes now");
    }
}

/// A veto and a failing allocation at once: the undo asks no notifier.
fn an_undo_is_not_vetoed(g: Granule) {
    let mut rig = boot(g);
    let keeper = Notifier {
        name: "keeper",
        hear: |event, _| if event == Event::Going(Direction::Online) { Err(Veto) } else { Ok(()) },
    };
    give(&mut rig).expect("room");
    let before = Snapshot::exact(&rig);
    rig.mm.notifiers.register(keeper).expect("room");
    rig.mm.frames_mut().faults.arm(Plan::Nth(1));
    assert!(matches!(take_back(&mut rig), Err(Error::Out(_))));
    rig.mm.frames_mut().faults.arm(Plan::Off);
    rig.mm.notifiers.unregister("keeper");
    rig.assert_clean("undone");
    before.assert_same(&Snapshot::exact(&rig), "undone");
    assert_eq!(take_back(&mut rig), Ok(0));
}

/// A veto comes before a byte of the device is written over.
fn a_vetoed_device_keeps_its_contents(g: Granule) {
    let mut rig = boot(g);
    let words = || (0..len(g)).step_by(1 << 16).map(|offset| start(g) + SUBSECTION + offset);
    let words: Vec<_> = words().filter(|at| *at < start(g) + len(g)).collect();
    let usable = rig.mm.devices()[0].usable_start().address(g).get();
    let memory = rig.machine.memory();
    words.iter().filter(|at| **at >= usable).for_each(|at| memory.poke(*at, *at ^ 0x5a5a));
    rig.mm.notifiers.register(Notifier { name: "keeper", hear: no }).expect("room");
    assert!(give(&mut rig).is_err());
    let memory = rig.machine.memory();
    for at in words.iter().filter(|at| **at >= usable) {
        assert_eq!(memory.read(*at), at ^ 0x5a5a, "{at:#x}");
    }
}

fn what_a_device_gave_only_goes_back_to_it(g: Granule) {
    let mut rig = boot(g);
    give(&mut rig).expect("room");
    let before = Snapshot::exact(&rig);
    let memory = hotmap_emulator::rig::range(FAR + Rig::blocks(g, 1), Rig::blocks(g, 2));
    assert!(matches!(rig.mm.unplug(memory), Err(Error::Block(BlockError::State { .. }))));
    assert!(matches!(rig.mm.remove_memory(memory), Err(Error::Block(BlockError::State { .. }))));
    before.assert_same(&Snapshot::exact(&rig), "refused");
}

fn memory_stays_on_its_devices_node(g: Granule) {
    let mut rig = boot(g);
    assert_eq!(rig.mm.memunmap_pages(Rig::pfn(g, start(g))), Ok(Teardown::Gone));
    let ranges = [(PhysAddr::new(start(g)), len(g))];
    let on_device = MemmapHome::SelfRange { reserve: 0 };
    let device = rig.mm.device_range(&ranges, DeviceType::Generic, on_device).expect("free").on_node(3);
    rig.mm.memremap_pages(&device, |_, _| {}).expect("room");
    let block = Rig::pfn(g, FAR + Rig::blocks(g, 1));
    assert_eq!(rig.mm.node_of(block), Some(3));
    give(&mut rig).expect("room");
    assert_eq!(rig.mm.node_of(block), Some(3));
    take_back(&mut rig).expect("nothing in use");
    assert_eq!(rig.mm.node_of(block), Some(3));
}

/// Fail each allocation, and all from each on; `back` takes a success back.
fn fail_each(
    rig: &mut Rig,
    what: &str,
    detail: Detail,
    act: impl Fn(&mut Rig) -> Result<()>,
    back: impl Fn(&mut Rig),
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
            rig.assert_clean(&when);
            match result {
                Ok(()) => back(rig),
                Err(Error::Out(_)) => failures += 1,
                Err(other) => panic!("{when}: {other}"),
            }
            before.assert_same(&Snapshot::of(rig, detail), &when);
            if !fired {
                break;
            }
        }
        assert!(failures > 2, "{what}: {failures} allocations were failed");
        act(rig).unwrap_or_else(|e| panic!("{what}, with the fault gone: {e}"));
        back(rig);
    }
}

fn every_allocation_fails_in_turn_both_ways(g: Granule) {
    let mut rig = boot(g);
    fail_each(&mut rig, "give", Detail::Exact, give, |rig| assert_eq!(take_back(rig), Ok(0)));
    give(&mut rig).expect("room");
    fail_each(
        &mut rig,
        "take back",
        Detail::Exact,
        |rig| take_back(rig).map(drop),
        |rig| give(rig).expect("room"),
    );
}

/// Online and offline, with each home: the undo marks what was poisoned before.
fn poisoned_pages_stay_so_when_taking_back_fails(g: Granule) {
    let homes = [
        (MemmapHome::SelfHosted, Detail::Exact),
        (MemmapHome::Demand, Detail::Exact),
        (MemmapHome::Ram, Detail::WhereFramesMayDiffer),
    ];
    for (home, detail) in homes {
        for online in [true, false] {
            let mut rig = boot(g);
            let bad = || {
                let middle = FAR + Rig::blocks(g, 1) + Rig::blocks(g, 1) / 2;
                [middle, middle + 3 * g.page_size, FAR + Rig::blocks(g, 3) - g.page_size]
            };
            let given = |rig: &mut Rig| {
                let start = Rig::pfn(g, start(g));
                let memory = rig.mm.device_to_memory(start, home, ZoneKind::Movable).expect("room");
                for at in bad() {
                    rig.mm.poison(Rig::pfn(g, at)).expect("it is free");
                }
                if !online {
                    rig.mm.offline_pages(memory).expect("all is free");
                }
            };
            given(&mut rig);
            let what = format!("take back, memmap {home:?}, online {online}");
            fail_each(&mut rig, &what, detail, |rig| take_back(rig).map(drop), given);
        }
    }
}

hotmap_testkit::at_each_granule!(
    poisoned_pages_stay_so_when_taking_back_fails,
    a_devices_memory_serves_the_system_and_goes_back,
    what_is_held_or_dying_or_too_small_stays,
    private_memory_is_not_for_the_system,
    nobody_else_gets_the_edges_meanwhile,
    a_range_validated_before_the_device_came_is_refused,
    blocks_in_different_states_do_not_go_back,
    an_undo_is_not_vetoed,
    a_vetoed_device_keeps_its_contents,
    what_a_device_gave_only_goes_back_to_it,
    memory_stays_on_its_devices_node,
    a_veto_either_way_leaves_everything_as_it_was,
    every_allocation_fails_in_turn_both_ways,
);
