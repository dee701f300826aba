//! The model's whole life in little memory, for Miri: it checks every pointer that a frame becomes.

use hotmap_mm::error::Error;
use hotmap_mm::faults::Plan;
use hotmap_mm::granule::Granule;
use hotmap_mm::hotplug::steps::MemmapHome;
use hotmap_mm::zone::ZoneKind;
use hotmap_testkit::rig::{Rig, Shape};

const AT: u64 = 0x8000_0000;

fn miri_a_dimms_life<G: Granule>() {
    let mut rig = Rig::<G>::boot(&Shape::tiny());
    let (before, len) = (rig.mm.counts(), Rig::<G>::blocks(1));
    rig.plug(AT, len, MemmapHome::SelfHosted);
    rig.online(AT, len, ZoneKind::Movable);
    let id = rig.mm.tenant_new(2).expect("room");
    let newest = rig.mm.block_of(Rig::<G>::pfn(AT)).expect("present");
    assert_eq!(newest.tenant_pages, 2);
    rig.assert_clean("in use");
    rig.unplug(AT, len);
    assert_eq!(rig.mm.tenant_check(id), Ok(2));
    rig.mm.tenant_drop(id).expect("not held");
    rig.assert_clean("gone");
    assert_eq!(rig.mm.counts(), before);
}

fn miri_a_failure_half_way<G: Granule>() {
    let mut rig = Rig::<G>::boot(&Shape::tiny());
    let (before, len) = (rig.mm.counts(), Rig::<G>::blocks(1));
    rig.machine.plug(AT, len);
    let mut refused = 0;
    loop {
        rig.mm.faults.arm(Plan::Nth(refused + 1));
        match rig.add(AT, len, MemmapHome::SelfHosted) {
            Err(Error::Out(_)) => refused += 1,
            other => break assert_eq!(other, Ok(())),
        }
        assert_eq!(rig.mm.counts(), before, "allocation {refused} failed");
    }
    assert!(refused > 2, "the heap for two lists, and an altmap at least");
    rig.unplug(AT, len);
    rig.assert_clean("gone");
    assert_eq!(rig.mm.counts(), before);
}

hotmap_testkit::at_each_granule!(miri_a_dimms_life, miri_a_failure_half_way);
