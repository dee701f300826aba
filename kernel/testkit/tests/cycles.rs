//! A hundred lives of DIMMs leave nothing behind.
#![cfg(not(miri))]

use hotmap_emulator::rig::{MIB, Rig, Shape};
use hotmap_mm::frame::zone::ZoneKind;
use hotmap_mm::granule::Granule;
use hotmap_mm::hotplug::home::MemmapHome;
use hotmap_testkit::snapshot::Snapshot;

/// Several DIMMs with their memmap at both homes, in use, unplugged in both orders; migration every time.
fn a_hundred_cycles_end_where_they_began(g: Granule) {
    let mut rig = Rig::boot(g, &Shape::one("640 MiB", 0x4000_0000, 640 * MIB));
    let len = Rig::blocks(g, 2);
    // A tenant stays for all of it, and moves out of each DIMM.
    let guest = rig.mm.tenant_new(5).expect("room");
    let counts = rig.mm.frames().counts();
    for cycle in 0..100 {
        let dimms = [0x8000_0000, if cycle % 2 == 0 { 0x8000_0000 + len } else { 8 << 40 }];
        for (i, at) in dimms.into_iter().enumerate() {
            let home = if (cycle + i) % 3 == 0 { MemmapHome::Ram } else { MemmapHome::SelfHosted };
            rig.plug(at, len, home);
            rig.online(at, len, ZoneKind::ALL[(cycle + i) / 2 % 2]);
        }
        let visitor = rig.mm.tenant_new(23).expect("room");
        for i in 0..2 {
            rig.unplug(dimms[(i + cycle) % 2], len);
        }
        assert_eq!((rig.mm.tenant_check(visitor), rig.mm.tenant_check(guest)), (Ok(23), Ok(5)));
        rig.mm.tenant_drop(visitor).expect("its pages are not held");
        if cycle % 10 == 9 {
            rig.assert_clean("after a cycle");
        }
        assert_eq!(rig.mm.frames().counts(), counts, "cycle {cycle}");
    }
    rig.mm.tenant_drop(guest).expect("its pages are not held");
    let again = rig.mm.tenant_new(5).expect("room");
    assert_ne!(again, guest);
    rig.assert_clean("at the end");
    rig.mm.tenant_drop(again).expect("its pages are not held");
    let fresh = Rig::boot(g, &Shape::one("640 MiB", 0x4000_0000, 640 * MIB));
    Snapshot::exact(&fresh).assert_same(&Snapshot::exact(&rig), "after a hundred cycles");
}

hotmap_testkit::at_each_granule!(a_hundred_cycles_end_where_they_began);
