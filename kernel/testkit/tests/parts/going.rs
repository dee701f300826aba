//! What is in use in a part that goes.

use std::ops::Range;

use hotmap_emulator::arch::walker::Memory;
use hotmap_emulator::rig::Rig;
use hotmap_mm::error::{BlockError, Error, PageError};
use hotmap_mm::frame::Mobility;
use hotmap_mm::frame::page::PageKind;
use hotmap_mm::frame::zone::ZoneKind;
use hotmap_mm::granule::Granule;
use hotmap_mm::hotplug::home::MemmapHome;
use hotmap_mm::pfn::Pfn;
use hotmap_testkit::snapshot::{Detail, Snapshot};

use crate::machine::{AT, HOMES, Parts};

/// A full block: each page that goes moves to boot memory with its contents.
fn pages_in_use_migrate_out_of_the_part(g: Granule) {
    for home in HOMES {
        for units in [9..12, 2..3] {
            let mut parts = Parts::with(g, home, ZoneKind::Movable, 12);
            let pages = parts.block().free.pages();
            let tenant = parts.rig.mm.tenant_new(pages).expect("room");
            let inside = parts.block().tenant_pages;
            assert!(inside + g.subsection_pages >= pages, "{inside} of {pages}");
            let migrated = parts.unplug(units.clone());
            assert!(migrated != 0 && parts.block().tenant_pages == inside - migrated);
            assert_eq!(parts.rig.mm.tenant_check(tenant), Ok(pages));
            parts.plug(units);
            parts.rig.mm.tenant_drop(tenant).expect("not held");
            parts.check("empty");
            parts.go();
        }
    }
}

/// Nothing is free elsewhere: the pages move within the block, and none of them to where it has to leave again.
fn pages_in_use_move_within_the_block_if_no_other_has_room(g: Granule) {
    for home in HOMES {
        let mut parts = Parts::with(g, home, ZoneKind::Movable, 12);
        let free = parts.block().free.pages();
        let left = 4 * g.subsection_pages + g.subsection_pages / 2;
        let tenant = parts.rig.mm.tenant_new(free - left).expect("room");
        // All that is not movable is in use: boot memory.
        while parts.rig.mm.frames_mut().alloc(0, PageKind::Kernel, Mobility::Unmovable).is_ok() {}
        // From the top down, as a device asks for it: each unit is in use to a part.
        let mut migrated = 0;
        for unit in (8..12).rev() {
            let used = parts.block().tenant_pages;
            migrated += parts.unplug(unit..unit + 1);
            assert_eq!(parts.block().tenant_pages, used, "{home:?}");
        }
        assert!(migrated != 0);
        let free = parts.rig.mm.frames().counts().free;
        assert!(free <= g.subsection_pages, "{free}");
        // One more does not fit: it stays as it is, but for what has moved.
        let what = Snapshot::of(&parts.rig, Detail::WherePagesMayHaveMoved);
        let refused = parts.rig.mm.unplug_part(parts.pages(7..8), &mut |_| false);
        let last = parts.pages(7..8);
        assert!(
            matches!(refused, Err(Error::Page(PageError::Stays { pfn, .. })) if last.contains(pfn)),
            "{refused:?}"
        );
        parts.check("one that does not fit");
        what.assert_same(&Snapshot::of(&parts.rig, Detail::WherePagesMayHaveMoved), "one that does not fit");
        assert!(parts.rig.mm.tenant_check(tenant).is_ok());
        parts.rig.mm.tenant_drop(tenant).expect("not held");
        parts.check("empty");
    }
}

fn huge_pages_are_dissolved(g: Granule) {
    for home in HOMES {
        let mut parts = Parts::with(g, home, ZoneKind::Normal, 16);
        let orders: Vec<u32> = parts.rig.mm.hugetlb.pools().map(|pool| pool.order()).collect();
        let order = orders.into_iter().filter(|o| 1 << o <= 4 * g.subsection_pages).max().expect("a size");
        parts.rig.mm.hugetlb.hvo = false;
        let _ = parts.rig.mm.hugetlb_resize(order, 10_000);
        let before = parts.rig.mm.hugetlb.pool(order).expect("a size").total();
        parts.check("huge pages");
        parts.unplug(12..16);
        assert!(parts.rig.mm.hugetlb.pool(order).expect("a size").total() < before, "{home:?}");
        parts.rig.mm.hugetlb_resize(order, 0).expect("free");
        parts.check("none");
        parts.go();
    }
}

/// Asked between two batches.
fn it_stops_when_it_is_told_to(g: Granule) {
    let mut parts = Parts::with(g, MemmapHome::Demand, ZoneKind::Movable, 12);
    let pages = parts.block().free.pages();
    let tenant = parts.rig.mm.tenant_new(pages).expect("room");
    let refused = parts.rig.mm.unplug_part(parts.pages(4..12), &mut |migrated| migrated != 0);
    let Err(Error::Block(BlockError::Interrupted { migrated })) = refused else { panic!("{refused:?}") };
    assert!(migrated != 0);
    parts.check("stopped");
    assert!(parts.unplug(4..12) != 0);
    assert_eq!(parts.rig.mm.tenant_check(tenant), Ok(pages));
}

/// How many units two pages of memmap describe, at least two.
fn two_memmap_pages(g: Granule) -> u64 {
    (2 * g.page_size / 64 / g.subsection_pages).max(2)
}

/// A full block whose memmap is lent in its last part itself, since others have the pages that are set aside. Returns that
/// part, a run in use of the same size beside it, and the tenant in it.
fn crowded(g: Granule) -> (Parts, Range<u64>, Pfn, u32) {
    let n = two_memmap_pages(g);
    let mut parts = Parts::with(g, MemmapHome::Demand, ZoneKind::Movable, 4 * n);
    let part = 3 * n..4 * n;
    let [first, second] = [2 * n..3 * n, part.clone()].map(|units| parts.pages(units).start);
    let large = (n * g.subsection_pages).ilog2();
    let mut alloc = |order| parts.rig.mm.frames_mut().alloc(order, PageKind::Kernel, Mobility::Movable).ok();
    let runs: Vec<Pfn> = std::iter::from_fn(|| alloc(large)).collect();
    let singles: Vec<Pfn> = std::iter::from_fn(|| alloc(0)).collect();
    assert!(runs.contains(&first) && runs.contains(&second), "{runs:?}");
    // Its tables.
    let boot: Vec<Pfn> = singles.into_iter().filter(|pfn| pfn.address(g).get() < AT).take(8).collect();
    parts.free(boot);
    parts.free(vec![second]);
    let tenant = parts.rig.mm.tenant_new(n / 2 * g.subsection_pages).expect("room");
    parts.check("crowded");
    let pages = parts.pages(part.clone());
    let lent = (0..pages.len()).filter(|i| parts.rig.mm.frames().is_lent(pages.start + *i)).count();
    assert!(lent != 0, "{}: nothing is lent there", g.kind);
    (parts, part, first, tenant)
}

/// They move to another part of the block; without room there the part stays as it is.
fn lent_pages_move_within_their_block(g: Granule) {
    let (mut parts, part, beside, tenant) = crowded(g);
    let pages = parts.pages(part.clone());
    let before = Snapshot::of(&parts.rig, Detail::WherePagesMayHaveMoved);
    let refused = parts.rig.mm.unplug_part(pages, &mut |_| false);
    assert!(
        matches!(refused, Err(Error::Page(PageError::Stays { pfn, .. })) if pages.contains(pfn)),
        "{refused:?}"
    );
    parts.check("no room");
    before.assert_same(&Snapshot::of(&parts.rig, Detail::WherePagesMayHaveMoved), "no room");
    parts.free(vec![beside]);
    assert!(parts.unplug(part.clone()) != 0);
    assert!(parts.rig.mm.tenant_check(tenant).is_ok());
    parts.plug(part);
    parts.rig.mm.tenant_drop(tenant).expect("not held");
    parts.check("empty");
}

/// A mark that is lost or too much, online and offline.
fn the_audit_finds_marks_that_do_not_count(g: Granule) {
    for home in HOMES {
        for offline in [false, true] {
            let mut parts = Parts::with(g, home, ZoneKind::Movable, 4);
            if offline {
                parts.rig.mm.offline_block(Rig::pfn(g, AT)).expect("empty");
            }
            parts.rig.machine.tolerate();
            let (lost, kept) = (parts.pages(4..5).start, parts.pages(3..4).start);
            let memory = |pfn: Pfn| {
                let va = parts.rig.mm.space().layout().page_address(pfn).get();
                parts.rig.machine.walk(va).expect("mapped")
            };
            let said = |what: &str| {
                let mut said = Vec::new();
                parts.rig.mm.audit(&mut |finding| said.push(finding.to_string()));
                assert!(said.iter().any(|line| line.starts_with(what)), "{home:?}, {offline}: {said:?}");
            };
            let at = memory(lost);
            let head = parts.rig.machine.memory().read(at);
            // A page that is handed out.
            parts.rig.machine.memory().poke(at, head & !0xff | PageKind::Kernel as u64);
            said("I6: unplugged pages of a block");
            said("I6: pages that are memory in a block");
            parts.rig.machine.memory().poke(at, head);
            // A page that is not.
            let at = memory(kept + 20);
            let was = parts.rig.machine.memory().read(at);
            parts.rig.machine.memory().poke(at, PageKind::Unplugged as u64);
            if offline && home != MemmapHome::Demand {
                said("I6: unplugged pages of a block");
            }
            parts.rig.machine.memory().poke(at, was);
            parts.check("repaired");
        }
    }
}

hotmap_testkit::at_each_granule!(
    lent_pages_move_within_their_block,
    the_audit_finds_marks_that_do_not_count,
    pages_in_use_migrate_out_of_the_part,
    pages_in_use_move_within_the_block_if_no_other_has_room,
    huge_pages_are_dissolved,
    it_stops_when_it_is_told_to,
);
