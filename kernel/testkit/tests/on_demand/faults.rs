//! Every allocation fails in turn, and each operation undoes itself; and freeing, which allocates nothing, succeeds under a
//! plan in which every allocation fails.

use hotmap_emulator::rig::{MIB, Rig, Shape, range};
use hotmap_mm::debug::faults::Plan;
use hotmap_mm::error::{Error, Result};
use hotmap_mm::frame::Mobility;
use hotmap_mm::frame::page::PageKind;
use hotmap_mm::frame::zone::ZoneKind;
use hotmap_mm::granule::Granule;
use hotmap_mm::hotplug::home::MemmapHome;
use hotmap_mm::pfn::{Pfn, PfnRange};
use hotmap_testkit::snapshot::Snapshot;

use crate::life::{DIMM, Life};

fn boot(g: Granule) -> Life {
    Life::new(g, &Shape::one("64 MiB", 0x4000_0000, 64 * MIB))
}

/// A machine with `blocks` blocks on demand, online in `zone`.
fn with_blocks(g: Granule, blocks: u64, zone: ZoneKind) -> Life {
    let mut life = boot(g);
    life.rig.plug(DIMM, Rig::blocks(g, blocks), MemmapHome::Demand);
    life.rig.online(DIMM, Rig::blocks(g, blocks), zone);
    life
}

/// Fails the n-th allocation of `act`, and all from the n-th on, for every n: the machine is as it was, to the frame. Returns
/// how many failed; `undo` takes the success at the end back.
fn fail_each(
    life: &mut Life,
    what: &str,
    act: impl Fn(&mut Rig) -> Result<()>,
    undo: impl Fn(&mut Rig),
) -> u64 {
    let mut failed = 0;
    for plan in [Plan::Nth as fn(u64) -> Plan, Plan::From] {
        for n in 1.. {
            let before = Snapshot::exact(&life.rig);
            life.rig.mm.frames_mut().faults.arm(plan(n));
            let result = act(&mut life.rig);
            let fired = life.rig.mm.frames().faults.fired();
            life.rig.mm.frames_mut().faults.arm(Plan::Off);
            let when = format!("{what}, {:?}: {result:?}", plan(n));
            match result {
                Ok(()) => undo(&mut life.rig),
                Err(Error::Out(_)) => failed += 1,
                Err(other) => panic!("{when}: {other}"),
            }
            life.check(&when);
            before.assert_same(&Snapshot::exact(&life.rig), &when);
            if !fired {
                break;
            }
        }
    }
    failed
}

/// The image's two frames, at 4K its table, the tables of both maps, and the heap.
fn adding(g: Granule) {
    for start in [DIMM, 8 << 40] {
        let (mut life, len) = (boot(g), Rig::blocks(g, 2));
        life.rig.machine.plug(start, len);
        let failed = fail_each(
            &mut life,
            "add",
            |rig| rig.add(start, len, MemmapHome::Demand),
            |rig| rig.mm.remove_memory(range(start, len)).expect("offline"),
        );
        let image = if g.page_size == 0x1000 { 3 } else { 2 };
        // The record of an extent; far away also a table of each map.
        let tables = if start == DIMM { 0 } else { 2 };
        assert!(failed >= 2 * (image + 1 + tables), "{}: {failed} at {start:#x}", g.kind);
        let none = life.rig.mm.frames().demand();
        assert_eq!((none.blocks(), none.image()), (0, None), "{}", g.kind);
    }
}

fn going_online(g: Granule) {
    for zone in ZoneKind::ALL {
        let mut life = boot(g);
        life.rig.plug(DIMM, Rig::blocks(g, 1), MemmapHome::Demand);
        let block = Rig::pfn(g, DIMM);
        let failed = fail_each(
            &mut life,
            "online",
            |rig| rig.mm.online_block(block, zone),
            |rig| assert_eq!(rig.mm.offline_block(block).map(|o| o.migrated), Ok(0)),
        );
        assert!(failed > 0);
    }
}

/// Runs of every order, from the image and from what is left of it: what fails is the allocation itself, and the record of
/// the block that leaves its extent. Without that, other memory serves the run if it can.
fn a_run_taken(g: Granule) {
    for order in 0..g.section_order {
        let mut life = with_blocks(g, 1, ZoneKind::Movable);
        let image = Snapshot::exact(&life.rig);
        let take = |rig: &mut Rig| {
            let run = rig.mm.frames_mut().alloc(order, PageKind::Kernel, Mobility::Movable)?;
            rig.mm.frames_mut().free(run);
            Ok(())
        };
        let others = life.rig.mm.frames().blocks().filter(|block| block.demand.is_none());
        let elsewhere = others.filter_map(|block| block.free.largest()).max() >= Some(order);
        let expected = if elsewhere { 2 } else { 4 };
        assert_eq!(fail_each(&mut life, "a run", take, |_| {}), expected, "order {order}");
        image.assert_same(&Snapshot::exact(&life.rig), "an idle block is the image again");
    }
}

/// A lent page is poisoned: where it moves to is an allocation. So is a tenant's.
fn poisoning(g: Granule) {
    let mut life = with_blocks(g, 1, ZoneKind::Movable);
    assert!(life.alloc(0, Mobility::Movable));
    life.check("one page");
    let runs = life.blocks[&DIMM].clone();
    let lent: Vec<u64> = runs.iter().filter(|r| r.1.0 == PageKind::MemmapSelf).map(|r| *r.0).collect();
    assert!(lent.len() > 3, "{lent:x?}");
    for frame in lent {
        life.check("before a page is poisoned");
        let before = Snapshot::exact(&life.rig);
        life.rig.mm.frames_mut().faults.arm(Plan::From(1));
        let result = life.rig.mm.poison(Pfn::new(frame));
        life.rig.mm.frames_mut().faults.arm(Plan::Off);
        assert!(matches!(result, Err(Error::Out(_))), "{frame:#x}: {result:?}");
        before.assert_same(&Snapshot::exact(&life.rig), "a page that could not move");
        assert_eq!(life.rig.mm.poison(Pfn::new(frame)), Ok(None));
        life.poisoned.insert(frame);
        life.check("a lent page moved and is poisoned");
    }
    life.empty();
}

/// The memmap of the parts of a huge page: one allocation for each page of it.
fn demoting(g: Granule) {
    let mut life = with_blocks(g, 1, ZoneKind::Normal);
    let orders: Vec<u32> = life.rig.mm.hugetlb.pools().map(|pool| pool.order()).collect();
    let orders: Vec<u32> = orders.into_iter().filter(|order| *order < g.section_order).collect();
    // At 64K only one size is smaller than a block.
    let [.., to, from] = orders[..] else { return };
    // Boot memory comes first: no run of the larger size is left of it.
    while let Ok(run) = life.rig.mm.frames_mut().alloc(from, PageKind::Kernel, Mobility::Unmovable) {
        life.runs.insert(run.get(), from);
        if run.get() * g.page_size >= DIMM {
            life.free(run.get());
            break;
        }
    }
    assert_eq!(life.rig.mm.hugetlb_resize(from, 1).map(|r| r.total), Ok(1));
    let pool = life.rig.mm.hugetlb.pool(from).expect("a size");
    let head = pool.heads(life.rig.mm.frames(), hotmap_mm::hugetlb::pool::Use::Free).next().expect("one");
    assert!(head.get() * g.page_size >= DIMM, "{head}");
    life.check("a huge page on demand");
    let described = (g.page_size / 64).trailing_zeros();
    let parts = (1u64 << (from - to.max(described))) - 1;
    for n in 1..=parts {
        let before = Snapshot::exact(&life.rig);
        life.rig.mm.frames_mut().faults.arm(Plan::Nth(n));
        let result = life.rig.mm.hugetlb_demote(head, to);
        life.rig.mm.frames_mut().faults.arm(Plan::Off);
        assert!(matches!(result, Err(Error::Out(_))), "{n} of {parts}: {result:?}");
        life.check(&format!("allocation {n} of {parts} failed"));
        before.assert_same(&Snapshot::exact(&life.rig), "a huge page that stays whole");
    }
    assert_eq!(life.rig.mm.hugetlb_demote(head, to), Ok(()));
    life.check("demoted");
    life.empty();
}

/// All of a block is used in small pieces, by everything that can use it; all of it goes while each allocation fails.
fn freeing_succeeds_while_every_allocation_fails(g: Granule) {
    for zone in ZoneKind::ALL {
        let mut life = with_blocks(g, 2, zone);
        let start = life.rig.mm.frames().counts();
        let tenant = life.rig.mm.tenant_new(700).expect("room");
        let first = DIMM / g.page_size;
        let free = |life: &Life, frame: u64| {
            life.rig.mm.frames().use_of(Pfn::new(frame)).is_ok_and(|is| is.0 == PageKind::Free)
        };
        for frame in (first..first + 2 * g.section_pages).step_by(97) {
            if free(&life, frame) {
                life.rig.mm.pin(Pfn::new(frame)).expect("free");
                life.pins.insert(frame);
            }
        }
        while life.alloc(0, Mobility::Movable) {}
        life.check("full");
        life.rig.mm.frames_mut().faults.arm(Plan::From(1));
        life.rig.mm.tenant_drop(tenant).expect("not held");
        life.empty();
        let all = range(DIMM, Rig::blocks(g, 2));
        assert_eq!(life.rig.mm.frames().counts(), start, "{}: all is free", g.kind);
        // All of it: to take a part of an extent offline needs a record for the other part.
        let pages = PfnRange::new(Rig::pfn(g, DIMM), 2 * g.section_pages);
        assert_eq!(life.rig.mm.offline_pages(pages).map(|o| o.migrated), Ok(0));
        life.check("offline");
        assert_eq!(life.rig.mm.unplug(all).map(|o| o.migrated), Ok(0));
        assert!(!life.rig.mm.frames().faults.fired(), "{}: nothing asked for anything", g.kind);
        life.rig.mm.frames_mut().faults.arm(Plan::Off);
        life.rig.machine.unplug(DIMM);
        life.check("gone");
    }
}

hotmap_testkit::at_each_granule!(
    adding,
    going_online,
    a_run_taken,
    poisoning,
    demoting,
    freeing_succeeds_while_every_allocation_fails,
);
