//! One DIMM's life.
use hotmap_mm::granule::{G4K, G16K, G64K, Granule};
use hotmap_mm::hotplug::steps::MemmapHome;
use hotmap_mm::zone::ZoneKind;
use hotmap_testkit::rig::{GIB, Rig, Shape};

fn life<G: Granule>(home: MemmapHome, zone: ZoneKind) {
    let mut rig = Rig::<G>::boot(&Shape::one("1 GiB", 0x4000_0000, GIB));
    let before = rig.mm.counts();
    let len = Rig::<G>::blocks(2);
    rig.plug(0x8000_0000, len, home);
    rig.assert_clean("added");
    rig.online(0x8000_0000, len, zone);
    rig.assert_clean("online");
    let id = rig.mm.tenant_new(100).unwrap();
    assert_eq!(rig.mm.tenant_check(id), Ok(100));
    rig.assert_clean("with a tenant");
    rig.unplug(0x8000_0000, len);
    assert_eq!(rig.mm.tenant_check(id), Ok(100));
    rig.mm.tenant_drop(id).unwrap();
    assert_eq!(rig.mm.counts(), before);
    rig.assert_clean("gone");
}

#[test]
fn lives() {
    for home in [MemmapHome::SelfHosted, MemmapHome::Ram] {
        for zone in ZoneKind::ALL {
            life::<G4K>(home, zone);
            life::<G16K>(home, zone);
            life::<G64K>(home, zone);
        }
    }
}
