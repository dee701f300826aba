//! Booting: every granule with every shape of RAM.
use hotmap_mm::granule::{G4K, G16K, G64K, Granule};
use hotmap_testkit::rig::{Rig, Shape};

fn boots<G: Granule>(shape: &Shape) {
    let rig = Rig::<G>::boot(shape);
    let counts = rig.mm.counts();
    println!("{} {}: {counts:?}", G::KIND, shape.name);
    assert!(counts.balance(), "{counts:?}");
    rig.assert_clean("after boot");
    println!("{}", rig.mm.audit(&mut |_| {}));
    let all = rig.machine.everything();
    assert_eq!(counts.tables, all.tables.len() as u64);
    assert_eq!(rig.machine.stale_entries(), 0);
}

#[test]
fn every_shape_boots_at_every_granule() {
    for shape in Shape::all() {
        boots::<G4K>(&shape);
        boots::<G16K>(&shape);
        boots::<G64K>(&shape);
    }
}
