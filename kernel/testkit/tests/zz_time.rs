//! temp
use hotmap_mm::granule::G4K;
use hotmap_mm::hotplug::steps::MemmapHome;
use hotmap_mm::zone::ZoneKind;
use hotmap_testkit::rig::{Rig, Shape};
use std::time::Instant;
#[test]
fn t() {
    let t = Instant::now();
    let mut rig = Rig::<G4K>::boot(&Shape::tiny());
    eprintln!("boot {:?}", t.elapsed());
    let t = Instant::now();
    rig.machine.plug(0x8000_0000, Rig::<G4K>::blocks(1));
    eprintln!("machine plug {:?}", t.elapsed());
    let t = Instant::now();
    rig.add(0x8000_0000, Rig::<G4K>::blocks(1), MemmapHome::SelfHosted).expect("");
    eprintln!("plug {:?}", t.elapsed());
    let t = Instant::now();
    rig.online(0x8000_0000, Rig::<G4K>::blocks(1), ZoneKind::Movable);
    eprintln!("online {:?}", t.elapsed());
    let t = Instant::now();
    rig.mm.tenant_new(2).expect("");
    eprintln!("tenant {:?}", t.elapsed());
    let t = Instant::now();
    rig.assert_clean("x");
    eprintln!("audit {:?}", t.elapsed());
    let t = Instant::now();
    rig.machine.everything();
    eprintln!("everything {:?}", t.elapsed());
    let t = Instant::now();
    rig.unplug(0x8000_0000, Rig::<G4K>::blocks(1));
    eprintln!("unplug {:?}", t.elapsed());
}
