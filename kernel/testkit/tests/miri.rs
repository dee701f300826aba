//! The model's whole life in little memory, for Miri: it checks every pointer that a frame becomes. Miri takes some ten
//! thousand times as long as the machine, so it audits at 4K only, where tables have the fewest entries.

use hotmap_emulator::rig::{Rig, Shape};
use hotmap_mm::debug::faults::Plan;
use hotmap_mm::error::Error;
use hotmap_mm::frame::zone::ZoneKind;
use hotmap_mm::granule::Granule;
use hotmap_mm::hotplug::home::MemmapHome;

const AT: u64 = 0x8000_0000;

fn miri_a_dimms_life(g: Granule) {
    let mut rig = Rig::boot(g, &Shape::tiny());
    let (before, len) = (rig.mm.frames().counts(), Rig::blocks(g, 1));
    rig.plug(AT, len, MemmapHome::SelfHosted);
    rig.online(AT, len, ZoneKind::Movable);
    let pages = if cfg!(miri) { 1 } else { 2 };
    let id = rig.mm.tenant_new(pages).expect("room");
    let newest = rig.mm.frames().block_of(Rig::pfn(g, AT)).expect("present");
    assert_eq!(newest.tenant_pages, pages);
    rig.unplug(AT, len);
    assert_eq!(rig.mm.tenant_check(id), Ok(pages));
    rig.mm.tenant_drop(id).expect("not held");
    audit(&rig, "gone");
    assert_eq!(rig.mm.frames().counts(), before);
}

fn miri_a_failure_half_way(g: Granule) {
    let mut rig = Rig::boot(g, &Shape::tiny());
    let (before, len) = (rig.mm.frames().counts(), Rig::blocks(g, 1));
    rig.machine.plug(AT, len);
    let mut refused = 0;
    loop {
        rig.mm.frames_mut().faults.arm(Plan::Nth(refused + 1));
        match rig.add(AT, len, MemmapHome::SelfHosted) {
            Err(Error::Out(_)) => refused += 1,
            other => break assert_eq!(other, Ok(())),
        }
        assert_eq!(rig.mm.frames().counts(), before, "allocation {refused} failed");
    }
    assert!(refused > 2, "the heap for two lists, and an altmap at least");
    rig.unplug(AT, len);
    audit(&rig, "gone");
    assert_eq!(rig.mm.frames().counts(), before);
}

fn audit(rig: &Rig, when: &str) {
    let g = rig.granule();
    if !cfg!(miri) || g.page_size == 4096 {
        rig.assert_clean(when);
    }
}

hotmap_testkit::at_each_granule!(miri_a_dimms_life, miri_a_failure_half_way);
