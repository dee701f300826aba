//! What an evacuation costs, counted where it can be counted exactly: how far a search for a free page looks.
#![cfg(not(miri))]

use hotmap_mm::frame::Mobility;
use hotmap_mm::frame::page::PageKind;
use hotmap_mm::frame::zone::ZoneKind;
use hotmap_mm::granule::Granule;
use hotmap_mm::hotplug::home::MemmapHome;
use hotmap_mm::pfn::{Pfn, PfnRange};
use hotmap_testkit::rig::{MIB, Rig, Shape, range};

const AT: u64 = 0x8000_0000;

/// Isolates `blocks` blocks of `zone` with 20 pages in use, lets each page be allocated outside and freed inside, and adds
/// up how many of the isolated blocks the searches look at, the first search not counted.
fn looked_at(g: Granule, zone: ZoneKind, blocks: u64) -> usize {
    let len = Rig::blocks(g, blocks);
    let mut rig = Rig::boot(g, &Shape::one("256 MiB", 0x4000_0000, 256 * MIB));
    rig.plug(AT, len, MemmapHome::SelfHosted);
    rig.online(AT, len, zone);
    let all = PfnRange::inside(g, range(AT, len));
    let page =
        |rig: &mut Rig| rig.mm.frames_mut().alloc(0, PageKind::Tenant, Mobility::Movable).expect("room");
    let inside: Vec<Pfn> = (0..20).map(|_| page(&mut rig)).collect();
    assert!(inside.iter().all(|pfn| all.contains(*pfn)));
    rig.mm.frames_mut().start_isolate(all).expect("online");
    let mut looked = 0;
    let mut outside = Vec::new();
    for pfn in inside {
        outside.push(page(&mut rig));
        rig.mm.frames_mut().free(pfn);
        let searched = rig.mm.frames().zone(zone).searched();
        looked += searched.iter().filter(|block| all.contains(**block)).count();
    }
    assert!(outside.iter().all(|pfn| !all.contains(*pfn)));
    // All that is isolated serves again at once.
    rig.mm.frames_mut().undo_isolate(all);
    assert!(all.contains(page(&mut rig)), "the newest block is the first again");
    looked
}

/// However many blocks are isolated: they are passed over once, and a page that is freed in one of them is no reason to look
/// there again.
fn a_search_does_not_look_at_isolated_blocks_again(g: Granule) {
    for zone in ZoneKind::ALL {
        for blocks in [1, 8] {
            assert_eq!(looked_at(g, zone, blocks), 0, "{blocks} blocks of zone {zone}");
        }
    }
}

hotmap_testkit::at_each_granule!(a_search_does_not_look_at_isolated_blocks_again,);
