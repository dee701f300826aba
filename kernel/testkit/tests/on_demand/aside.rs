//! The pages that a block on demand sets aside for its memmap: they serve allocations last, and while others have them, pages
//! elsewhere are lent, which come back.

use hotmap_emulator::rig::{Rig, Shape};
use hotmap_mm::debug::faults::Plan;
use hotmap_mm::frame::Mobility;
use hotmap_mm::frame::page::PageKind;
use hotmap_mm::frame::zone::ZoneKind;
use hotmap_mm::granule::Granule;
use hotmap_mm::hotplug::home::MemmapHome;
use hotmap_mm::pfn::Pfn;

use crate::life::{DIMM, Life};

fn boot(g: Granule, zone: ZoneKind) -> Life {
    let mut life = Life::new(g, &Shape::tiny());
    life.rig.plug(DIMM, Rig::blocks(g, 1), MemmapHome::Demand);
    life.rig.online(DIMM, Rig::blocks(g, 1), zone);
    life
}

fn is_aside(life: &Life, frame: u64) -> bool {
    let first = DIMM / life.g.page_size;
    (first..first + life.set_aside()).contains(&frame)
}

/// What is lent behind the pages that are set aside.
fn lent_outside(life: &Life) -> Vec<u64> {
    let lent = life.blocks[&DIMM].iter().filter(|run| run.1.0 == PageKind::MemmapSelf);
    lent.map(|run| *run.0).filter(|frame| !is_aside(life, *frame)).collect()
}

/// Pages that are set aside and serve allocations.
fn used_aside(life: &Life) -> Vec<u64> {
    let runs = life.blocks[&DIMM].iter();
    let used = runs.filter(|run| !matches!(run.1.0, PageKind::MemmapSelf | PageKind::Free));
    used.map(|run| *run.0).filter(|frame| is_aside(life, *frame)).collect()
}

/// Single pages, as long as there are others than those that are set aside.
fn fill_others(life: &mut Life) {
    let boot = |life: &Life| Rig::pfn(life.g, life.rig.shape.ram[0].0);
    for block in [Rig::pfn(life.g, DIMM), boot(life)] {
        while life.rig.mm.frames().block_of(block).is_some_and(|b| b.free.largest().is_some()) {
            assert!(life.alloc(0, Mobility::Movable));
        }
    }
}

/// Large runs, single pages in all that is left, a tenant's page among the last, and then single pages where the large runs
/// were: their memmap is lent elsewhere, since others have the pages that are set aside.
fn crowded(g: Granule, zone: ZoneKind) -> Life {
    let mut life = boot(g, zone);
    let large = g.section_order - 2;
    while life.alloc(large, Mobility::Movable) {}
    let runs: Vec<u64> = life.runs.keys().copied().filter(|frame| *frame >= DIMM / g.page_size).collect();
    assert_eq!(runs.len(), 3, "{}: quarters of a block, but for its first", g.kind);
    fill_others(&mut life);
    if zone == ZoneKind::Normal {
        life.tenants.push(life.rig.mm.tenant_new(1).expect("a page, and tables"));
    }
    while life.alloc(0, Mobility::Movable) {}
    life.check("full");
    assert_eq!((lent_outside(&life), used_aside(&life).is_empty()), (vec![], false), "{}", g.kind);
    runs.into_iter().for_each(|run| life.free(run));
    while life.alloc(0, Mobility::Movable) {}
    life.check("crowded");
    assert!(!lent_outside(&life).is_empty(), "{}", g.kind);
    life
}

fn they_serve_what_no_other_page_serves(g: Granule) {
    let mut life = boot(g, ZoneKind::Movable);
    life.alloc(g.section_order - 1, Mobility::Movable);
    fill_others(&mut life);
    life.check("all but what is set aside");
    assert_eq!(used_aside(&life), [], "{}", g.kind);
    assert!(life.alloc(0, Mobility::Movable), "{}", g.kind);
    while life.alloc(0, Mobility::Movable) {}
    assert_eq!(life.rig.mm.frames().counts().free, 0, "{}", g.kind);
    life.empty();
}

/// No more pages are lent elsewhere than there are pages that are set aside and serve allocations, but for the table at 4K.
fn at_most_as_many_are_lent_elsewhere(g: Granule) {
    for zone in ZoneKind::ALL {
        let mut life = crowded(g, zone);
        let (outside, used) = (lent_outside(&life).len(), used_aside(&life).len());
        assert!(outside <= used + usize::from(g.page_size == 0x1000), "{}: {outside}, {used}", g.kind);
        life.empty();
    }
}

/// A page that is set aside and becomes free is lent instead of one elsewhere, also while every allocation fails.
fn what_is_freed_is_lent_instead(g: Granule) {
    let mut life = crowded(g, ZoneKind::Movable);
    let (mut outside, used) = (lent_outside(&life).len(), used_aside(&life));
    life.rig.mm.frames_mut().faults.arm(Plan::From(1));
    // A look at all of the memmap takes a while.
    for (i, frame) in used.into_iter().enumerate() {
        life.free(frame);
        if i % 16 == 0 {
            life.check("a page that is set aside is free");
            let left = lent_outside(&life).len();
            assert!(left < outside || outside <= 1, "{}: {outside}, {left}", g.kind);
            outside = left;
        }
    }
    life.check("all that is set aside is free");
    let outside = lent_outside(&life).len();
    life.rig.mm.frames_mut().faults.arm(Plan::Off);
    // With each memmap page populated the table at 4K is one page more than are set aside.
    assert_eq!(outside, usize::from(g.page_size == 0x1000), "{}", g.kind);
    life.empty();
}

/// A tenant's page that is set aside is poisoned, though a lent page could move there.
fn a_tenants_page_that_is_set_aside_is_poisoned(g: Granule) {
    let mut life = crowded(g, ZoneKind::Normal);
    let tenants = life.blocks[&DIMM].iter().filter(|run| run.1.0 == PageKind::Tenant);
    let page = tenants.map(|run| *run.0).find(|frame| is_aside(&life, *frame)).expect("where else was none");
    // Where it moves to.
    let other = *life.runs.keys().next_back().expect("a page that is not set aside");
    assert!(!is_aside(&life, other));
    life.free(other);
    assert!(life.rig.mm.poison(Pfn::new(page)).is_ok(), "{}", g.kind);
    life.poisoned.insert(page);
    life.check("poisoned");
    life.empty();
}

/// A lent page that has no other page of its block to move to is no reason for compaction to fail: another run can be made.
fn compaction_passes_over_lent_pages_without_a_place(g: Granule) {
    let mut life = crowded(g, ZoneKind::Normal);
    let dimm = DIMM / g.page_size;
    // In boot memory: two pages of a tenant's, and two free ones beside them.
    let quads = life.runs.keys().copied().filter(|f| *f < dimm && f % 4 == 0);
    let quad = quads.into_iter().find(|f| (1..4).all(|i| life.runs.contains_key(&(f + i)))).expect("one");
    [quad, quad + 1].into_iter().for_each(|frame| life.free(frame));
    life.tenants.push(life.rig.mm.tenant_new(2).expect("these two"));
    [quad + 2, quad + 3].into_iter().for_each(|frame| life.free(frame));
    // On demand: a lent page and three free ones.
    let lent = lent_outside(&life);
    let beside = |frame: u64| (0..4).map(move |i| (frame & !3) + i).filter(move |f| *f != frame);
    let lent =
        lent.into_iter().find(|frame| beside(*frame).all(|f| life.runs.contains_key(&f))).expect("one");
    beside(lent).for_each(|frame| life.free(frame));
    // A place for the tenant's pages.
    let singles: Vec<u64> = life.runs.keys().copied().filter(|f| *f < dimm && f % 8 == 5).take(2).collect();
    singles.into_iter().for_each(|frame| life.free(frame));
    life.check("two runs that can be made");
    let made = life.rig.mm.compact(2).map(|made| (made.run.get(), made.moved));
    assert_eq!(made, Ok((quad, 2)), "{}", g.kind);
    life.check("compacted");
    life.empty();
}

/// One page that is set aside is free, and a run is split whose memmap needs more: what is lent of that run for it moves to
/// the page.
fn too_few_that_are_set_aside_are_lent_all_the_same(g: Granule) {
    let mut life = boot(g, ZoneKind::Movable);
    let half = DIMM / g.page_size + g.section_pages / 2;
    while life.alloc(g.section_order - 1, Mobility::Movable) {}
    assert!(life.runs.contains_key(&half));
    while life.alloc(0, Mobility::Movable) {}
    let one = used_aside_after_check(&mut life);
    life.free(one);
    life.free(half);
    life.check("a page that is set aside, and half of the block");
    assert!(life.alloc(0, Mobility::Movable));
    life.check("a page of that half");
    assert!(!lent_outside(&life).is_empty(), "{}: one page is not enough", g.kind);
    life.empty();
}

/// A page that is set aside and in use.
fn used_aside_after_check(life: &mut Life) -> u64 {
    life.check("full");
    *used_aside(life).first().expect("all of them are used")
}

hotmap_testkit::at_each_granule!(
    too_few_that_are_set_aside_are_lent_all_the_same,
    compaction_passes_over_lent_pages_without_a_place,
    they_serve_what_no_other_page_serves,
    at_most_as_many_are_lent_elsewhere,
    what_is_freed_is_lent_instead,
    a_tenants_page_that_is_set_aside_is_poisoned,
);
