//! What takes long and is not an offline, stopped at each moment at which it asks (evacuate.rs has the offline).
#![cfg(not(miri))]

use hotmap_emulator::rig::{GIB, Rig, Shape};
use hotmap_mm::error::Error;
use hotmap_mm::granule::Granule;
use hotmap_mm::hugetlb::pool::Resized;
use hotmap_testkit::snapshot::{Detail, Snapshot};

const PAGES: u64 = 9;

fn boot(g: Granule) -> Rig {
    Rig::boot(g, &Shape::one("RAM", 0x4000_0000, GIB))
}

fn a_tenant_that_is_stopped_leaves_nothing(g: Granule) {
    let mut rig = boot(g);
    let before = Snapshot::of(&rig, Detail::WhereFramesMayDiffer);
    for at in 0..PAGES {
        assert_eq!(rig.mm.tenant_new_unless(PAGES, &mut |done| done == at), Err(Error::Interrupted));
        rig.assert_clean("stopped");
        before.assert_same(&Snapshot::of(&rig, Detail::WhereFramesMayDiffer), "nothing is left of it");
    }
    let mut asked = Vec::new();
    let stop = &mut |done| {
        asked.push(done);
        false
    };
    assert_eq!(rig.mm.tenant_new_unless(PAGES, stop), Ok(1));
    assert_eq!(asked, (0..PAGES).collect::<Vec<_>>());
    for at in 0..PAGES {
        assert_eq!(rig.mm.tenant_check_unless(1, &mut |right| right == at), Err(Error::Interrupted));
    }
    assert_eq!(rig.mm.tenant_check_unless(1, &mut |right| right == PAGES), Ok(PAGES));
}

/// It keeps what it has reached, growing and shrinking, and its last page is not asked for.
fn a_pool_that_is_stopped_keeps_what_it_has_reached(g: Granule) {
    let (mut rig, order) = (boot(g), ((2_u64 << 20) / g.page_size).ilog2());
    let stopped = |total| Ok(Resized { total, stopped: Some(Error::Interrupted) });
    for at in 1..5 {
        assert_eq!(rig.mm.hugetlb_resize_unless(order, 5, &mut |total| total == at), stopped(at));
        rig.assert_clean("growing");
    }
    let done = |total| Ok(Resized { total, stopped: None });
    assert_eq!(rig.mm.hugetlb_resize_unless(order, 5, &mut |total| total == 5), done(5));
    assert_eq!(rig.mm.hugetlb_resize_unless(order, 0, &mut |total| total == 2), stopped(2));
    rig.assert_clean("shrinking");
    assert_eq!(rig.mm.hugetlb_resize_unless(order, 0, &mut |total| total == 0), done(0));
}

/// It finds nothing that a whole one does not, and says nothing of the counts that it could not compare.
fn an_audit_that_is_stopped_finds_nothing(g: Granule) {
    let mut rig = boot(g);
    rig.mm.tenant_new(PAGES).expect("room");
    let mut moments = 0;
    let whole = rig.mm.audit_unless(&mut |finding| panic!("{finding}"), &mut |_| {
        moments += 1;
        false
    });
    assert_eq!(whole, Some(rig.mm.audit(&mut |finding| panic!("{finding}"))));
    assert!(moments > 5, "{moments}");
    for at in 0..moments {
        let mut asked = 0;
        let stopped = rig.mm.audit_unless(&mut |finding| panic!("{finding}, stopped at {at}"), &mut |_| {
            asked += 1;
            asked > at
        });
        assert_eq!((stopped, asked), (None, at + 1), "it is not asked again");
    }
}

hotmap_testkit::at_each_granule!(
    a_tenant_that_is_stopped_leaves_nothing,
    a_pool_that_is_stopped_keeps_what_it_has_reached,
    an_audit_that_is_stopped_finds_nothing,
);
