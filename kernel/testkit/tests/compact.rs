//! Compaction makes a free run out of free memory in pieces, moves as little as it can, loses nothing, and undoes itself; a
//! memmap block in system RAM is made with it, and of base pages when it cannot be.
#![cfg(not(miri))]

use hotmap_emulator::rig::{MIB, Rig, Shape, range};
use hotmap_mm::debug::faults::Plan;
use hotmap_mm::error::{Error, Resource};
use hotmap_mm::frame::Mobility;
use hotmap_mm::frame::page::PageKind;
use hotmap_mm::frame::zone::ZoneKind;
use hotmap_mm::granule::Granule;
use hotmap_mm::hotplug::home::MemmapHome;
use hotmap_mm::pfn::{Pfn, PfnRange};
use hotmap_testkit::snapshot::{Detail, Snapshot};

const AT: u64 = 0x8000_0000;
/// Pages of each run that are a tenant's.
const IN_THE_WAY: u64 = 2;

/// A 2 MiB run's order.
fn order(g: Granule) -> u32 {
    ((2 * MIB) >> g.page_shift).trailing_zeros()
}

/// Boot memory in which every 2 MiB run that could be free has tenants' pages: what is free, is free in smaller pieces.
/// Returns the tenants, one of `IN_THE_WAY` pages in each run, and the runs.
fn in_pieces(g: Granule) -> (Rig, Vec<u32>, Vec<Pfn>) {
    let mut rig = Rig::boot(g, &Shape::one("64 MiB", 0x4000_0000, 64 * MIB));
    // A first tenant has the tables made, so that the others cost pages only.
    let first = rig.mm.tenant_new(1).expect("room");
    let (mut runs, mut rest) = (Vec::new(), Vec::new());
    while let Ok(pfn) = rig.mm.frames_mut().alloc(order(g), PageKind::Kernel, Mobility::Unmovable) {
        runs.push(pfn);
    }
    while let Ok(pfn) = rig.mm.frames_mut().alloc(0, PageKind::Kernel, Mobility::Unmovable) {
        rest.push(pfn);
    }
    let mut tenants = Vec::new();
    for run in &runs {
        // Nothing else is free: the tenant's pages are the first of this run. Then the rest of it is hidden again.
        rig.mm.frames_mut().free(*run);
        tenants.push(rig.mm.tenant_new(IN_THE_WAY).expect("room, and tables are there"));
        while let Ok(pfn) = rig.mm.frames_mut().alloc(0, PageKind::Kernel, Mobility::Unmovable) {
            rest.push(pfn);
        }
    }
    rest.into_iter().for_each(|pfn| rig.mm.frames_mut().free(pfn));
    rig.mm.tenant_drop(first).expect("not held");
    assert!(largest(&rig) < Some(order(g)), "{:?}", largest(&rig));
    assert!(runs.len() > 10);
    rig.assert_clean("in pieces");
    (rig, tenants, runs)
}

fn largest(rig: &Rig) -> Option<u32> {
    rig.mm.frames().blocks().filter_map(|b| b.free.largest()).max()
}

fn unharmed(rig: &Rig, tenants: &[u32]) {
    for id in tenants {
        assert_eq!(rig.mm.tenant_check(*id), Ok(IN_THE_WAY));
    }
}

fn none<T>(order: u32) -> Result<T, Error> {
    Err(Error::Out(Resource::Frames { order }))
}

/// The tenant's frame `i`, by the machine's own walk.
fn frame(rig: &Rig, tenant: u32, i: u64) -> Pfn {
    let g = rig.granule();
    let found = rig.mm.tenants().iter().find(|t| t.id == tenant).expect("there");
    Rig::pfn(g, rig.machine.walk(found.range.start.get() + i * g.page_size).expect("mapped"))
}

fn a_run_is_made_and_nothing_is_lost(g: Granule) {
    let (mut rig, tenants, runs) = in_pieces(g);
    let before = rig.mm.frames().counts();
    assert_eq!(rig.mm.frames_mut().alloc(order(g), PageKind::Kernel, Mobility::Unmovable), none(order(g)));
    let made = rig.mm.compact(order(g)).expect("it can be done");
    rig.assert_clean("compacted");
    assert_eq!(made.moved, IN_THE_WAY);
    assert!(runs.contains(&made.run));
    assert_eq!(rig.mm.frames().counts(), before, "as many pages of each use");
    unharmed(&rig, &tenants);
    for tenant in &tenants {
        for i in 0..IN_THE_WAY {
            let run = PfnRange::new(made.run, 1 << order(g));
            assert!(!run.contains(frame(&rig, *tenant, i)), "tenant {tenant} is still in the run");
        }
    }
    assert_eq!(rig.mm.frames_mut().alloc(order(g), PageKind::Kernel, Mobility::Unmovable), Ok(made.run));
    rig.assert_clean("the run is used");
}

fn what_is_there_is_not_made(g: Granule) {
    let mut rig = Rig::boot(g, &Shape::one("64 MiB", 0x4000_0000, 64 * MIB));
    let before = Snapshot::exact(&rig);
    let found = rig.mm.compact(order(g)).expect("most of it is free");
    assert_eq!(found.moved, 0);
    assert_eq!(rig.mm.frames().use_of(found.run).expect("present").0, PageKind::Free);
    before.assert_same(&Snapshot::exact(&rig), "nothing to do");
    for impossible in [g.section_order + 1, 40, 64, u32::MAX] {
        assert_eq!(rig.mm.compact(impossible), none(impossible));
    }
    before.assert_same(&Snapshot::exact(&rig), "nothing can be done");
}

/// With a page gone, one run costs less than all others, wherever it is.
fn the_cheapest_run_is_taken(g: Granule) {
    for which in [0, 3, 7] {
        let (mut rig, tenants, runs) = in_pieces(g);
        let cheap = frame(&rig, tenants[which], 0);
        assert!(rig.mm.poison(cheap).expect("it can move").is_some());
        rig.mm.unpoison(cheap).expect("poisoned");
        let home = |rig: &Rig| frame(rig, tenants[which], 1).align_down(order(g));
        let run = home(&rig);
        assert!(runs.contains(&run));
        let made = rig.mm.compact(order(g)).expect("it can be done");
        // The page that moved may have gone into another run that then costs more; this one costs one.
        assert_eq!((made.run, made.moved), (run, 1));
        unharmed(&rig, &tenants);
    }
}

/// A run with a held, poisoned or unmovable page is not touched; with every run so, nothing is.
fn what_cannot_move_is_gone_around(g: Granule) {
    let (mut rig, tenants, runs) = in_pieces(g);
    let (keep, others) = tenants.split_last().expect("many");
    for (i, tenant) in others.iter().enumerate() {
        let pfn = frame(&rig, *tenant, 0);
        let beside = pfn.align_down(order(g)) + ((1 << order(g)) - 1);
        match i % 3 {
            0 => rig.mm.pin(pfn).expect("a tenant's"),
            1 => rig.mm.pin(beside).expect("free"),
            _ => drop(rig.mm.poison(beside).expect("free")),
        }
    }
    let run = frame(&rig, *keep, 0).align_down(order(g));
    let before = Snapshot::of(&rig, Detail::Exact);
    rig.mm.pin(frame(&rig, *keep, 0)).expect("a tenant's");
    assert_eq!(rig.mm.compact(order(g)), none(order(g)));
    rig.mm.unpin(frame(&rig, *keep, 0)).expect("held");
    before.assert_same(&Snapshot::of(&rig, Detail::Exact), "nothing could be done");
    let made = rig.mm.compact(order(g)).expect("one can be made");
    assert_eq!((made.run, made.moved), (run, IN_THE_WAY));
    assert!(runs.contains(&made.run));
    rig.assert_clean("compacted");
}

/// Without room outside of the run, nothing moves at all.
fn without_room_nothing_moves(g: Granule) {
    let (mut rig, tenants, runs) = in_pieces(g);
    // All that is free outside of one run is taken.
    let run = PfnRange::new(runs[0], 1 << order(g));
    let mut taken = Vec::new();
    while let Ok(pfn) = rig.mm.frames_mut().alloc(0, PageKind::Pinned, Mobility::Movable) {
        taken.push(pfn);
    }
    taken.into_iter().filter(|pfn| run.contains(*pfn)).for_each(|pfn| rig.mm.frames_mut().free(pfn));
    let before = Snapshot::exact(&rig);
    assert_eq!(rig.mm.compact(order(g)), none(order(g)));
    before.assert_same(&Snapshot::exact(&rig), "no room");
    unharmed(&rig, &tenants);
}

fn each_page_that_finds_no_place_undoes_it(g: Granule) {
    let (mut rig, tenants, runs) = in_pieces(g);
    // The first page fails: exactly as before. The second: one page is elsewhere, and what was held is free.
    for (plan, detail) in [
        (Plan::Nth(1), Detail::Exact),
        (Plan::From(1), Detail::Exact),
        (Plan::Nth(2), Detail::WherePagesMayHaveMoved),
    ] {
        let before = Snapshot::of(&rig, detail);
        rig.mm.frames_mut().faults.arm(plan);
        assert_eq!(rig.mm.compact(order(g)), none(0));
        assert!(rig.mm.frames().faults.fired());
        rig.mm.frames_mut().faults.arm(Plan::Off);
        rig.assert_clean("a page found no place");
        before.assert_same(&Snapshot::of(&rig, detail), "a page found no place");
        unharmed(&rig, &tenants);
    }
    let made = rig.mm.compact(order(g)).expect("with the fault gone");
    assert_eq!(made.moved, 1, "the run that was begun is the cheapest now");
    assert!(runs.contains(&made.run));
    unharmed(&rig, &tenants);
}

/// The leaves that the block's memmap is mapped by, and what the specification's walker says is behind them.
fn memmap_leaf(rig: &Rig) -> u64 {
    let g = rig.granule();
    let va = rig.mm.space().layout().page_address(Rig::pfn(g, AT)).get();
    let all = rig.machine.everything();
    all.leaves.iter().find(|l| l.va == va).expect("mapped").size
}

fn a_memmap_block_is_made_out_of_pieces(g: Granule) {
    let (mut rig, tenants, _) = in_pieces(g);
    let start = Snapshot::of(&rig, Detail::WherePagesMayHaveMoved);
    let len = Rig::blocks(g, 1);
    rig.plug(AT, len, MemmapHome::Ram);
    rig.assert_clean("added");
    // Only at 4K is a section's memmap a block.
    let block = g.page_size == 0x1000;
    assert_eq!(memmap_leaf(&rig), if block { 2 * MIB } else { g.page_size });
    unharmed(&rig, &tenants);
    rig.online(AT, len, ZoneKind::Movable);
    rig.unplug(AT, len);
    rig.assert_clean("gone");
    start.assert_same(&Snapshot::of(&rig, Detail::WherePagesMayHaveMoved), "gone");
    unharmed(&rig, &tenants);
}

fn pinned_pages_leave_base_pages_only(g: Granule) {
    let (mut rig, tenants, _) = in_pieces(g);
    for tenant in &tenants {
        let pfn = frame(&rig, *tenant, 1);
        rig.mm.pin(pfn).expect("a tenant's");
    }
    let start = Snapshot::exact(&rig);
    let len = Rig::blocks(g, 1);
    rig.plug(AT, len, MemmapHome::Ram);
    rig.assert_clean("added");
    assert_eq!(memmap_leaf(&rig), g.page_size);
    unharmed(&rig, &tenants);
    rig.mm.remove_memory(range(AT, len)).expect("offline");
    start.assert_same(&Snapshot::exact(&rig), "gone: nothing had moved");
}

/// A block that was made to fail is not made: the injected fault is seen as it was before there was compaction.
fn an_injected_failure_is_no_reason_to_compact(g: Granule) {
    let (mut rig, tenants, _) = in_pieces(g);
    let len = Rig::blocks(g, 1);
    let homes = |rig: &Rig| -> Vec<Pfn> {
        tenants.iter().flat_map(|t| (0..IN_THE_WAY).map(|i| frame(rig, *t, i))).collect()
    };
    let before = homes(&rig);
    rig.machine.plug(AT, len);
    for n in 1.. {
        rig.mm.frames_mut().faults.arm(Plan::Nth(n));
        let result = rig.add(AT, len, MemmapHome::Ram);
        let fired = rig.mm.frames().faults.fired();
        rig.mm.frames_mut().faults.arm(Plan::Off);
        rig.assert_clean("a fault");
        unharmed(&rig, &tenants);
        if result.is_ok() {
            // The first failure that can be done without is the block's own; elsewhere there is no block.
            assert_eq!(fired, g.page_size == 0x1000, "allocation {n}");
            assert_eq!(memmap_leaf(&rig), g.page_size);
            assert_eq!(homes(&rig), before, "nothing has moved");
            break;
        }
    }
}

/// Every allocation of an adding that compacts, in turn, by itself and with all later ones: undone, and well with it gone.
fn an_adding_that_compacts_is_undone(g: Granule) {
    let len = Rig::blocks(g, 1);
    for plan in [Plan::Nth as fn(u64) -> Plan, Plan::From] {
        for n in 1.. {
            let (mut rig, tenants, _) = in_pieces(g);
            rig.machine.plug(AT, len);
            let detail = Detail::WherePagesMayHaveMoved;
            let before = Snapshot::of(&rig, detail);
            rig.mm.frames_mut().faults.arm(plan(n));
            let result = rig.add(AT, len, MemmapHome::Ram);
            let fired = rig.mm.frames().faults.fired();
            rig.mm.frames_mut().faults.arm(Plan::Off);
            rig.assert_clean("a fault");
            unharmed(&rig, &tenants);
            if result.is_ok() {
                rig.mm.remove_memory(range(AT, len)).expect("offline");
            }
            before.assert_same(&Snapshot::of(&rig, detail), &format!("{:?}, {result:?}", plan(n)));
            rig.add(AT, len, MemmapHome::Ram).expect("with the fault gone");
            rig.assert_clean("with the fault gone");
            unharmed(&rig, &tenants);
            if !fired {
                break;
            }
        }
    }
}

hotmap_testkit::at_each_granule!(
    a_run_is_made_and_nothing_is_lost,
    what_is_there_is_not_made,
    the_cheapest_run_is_taken,
    what_cannot_move_is_gone_around,
    without_room_nothing_moves,
    each_page_that_finds_no_place_undoes_it,
    a_memmap_block_is_made_out_of_pieces,
    pinned_pages_leave_base_pages_only,
    an_injected_failure_is_no_reason_to_compact,
    an_adding_that_compacts_is_undone,
);
