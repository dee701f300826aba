//! DIMMs on the emulated machine.

use hotmap_emulator::rig::{GIB, Rig, Shape, range};
use hotmap_mm::granule::Granule;
use hotmap_mm::hotplug::home::MemmapHome;
use hotmap_testkit::snapshot::Snapshot;

use super::*;
use crate::drivers::ged::Flags;

const AUTO: Policy = Policy { home: MemmapHome::SelfHosted, online: true };
const START: u64 = 0x8000_0000;

/// As after a self-test that could not add the memory again because the heap was full.
fn a_dimm_whose_memory_was_removed_can_be_ejected(g: Granule) {
    let mut rig = Rig::boot(g, &Shape::one("1 GiB", 0x4000_0000, GIB));
    let mut dimms = Dimms::new();
    dimms.reserve(8).expect("the heap has room");
    let before = Snapshot::exact(&rig);
    rig.machine.plug(START, GIB);
    let slot = Slot { number: 3, address: START, size: GIB, node: 0, flags: Flags::default() };
    dimms.insert(&mut rig.mm, &slot, AUTO).expect("the memory can be added");
    rig.mm.unplug(range(START, GIB)).expect("nothing uses it");
    dimms.remove(&mut rig.mm, 3).expect("nothing holds it");
    assert!(dimms.all().is_empty(), "listed after it left: {:?}", dimms.all());
    rig.machine.unplug(START);
    before.assert_same(&Snapshot::exact(&rig), "after the DIMM");
}

hotmap_testkit::at_each_granule!(a_dimm_whose_memory_was_removed_can_be_ejected);
