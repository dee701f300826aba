//! A mapping that cannot be made leaves the tables as they were, byte for byte, whatever was in its way.
#![cfg(not(miri))]

use hotmap_mm::addr::{PhysAddr, VirtAddr, VirtRange};
use hotmap_mm::error::Error;
use hotmap_mm::granule::Granule;
use hotmap_mm::layout::TENANTS;
use hotmap_mm::paging::descriptor::Attributes;
use hotmap_mm::paging::table::MapRequest;
use hotmap_testkit::rig::{GIB, Rig, Shape};
use hotmap_testkit::snapshot::Snapshot;

/// RAM enough behind it for the largest block; nothing is accessed through these mappings.
const FRAME: PhysAddr = PhysAddr::new(0x4000_0000);

fn request(start: VirtAddr, len: u64, max_leaf: u64) -> MapRequest {
    let range = VirtRange { start, end: start + len };
    MapRequest { range, pa: FRAME, attributes: Attributes::RODATA, max_leaf, contiguous: false }
}

fn map<G: Granule>(rig: &mut Rig<G>, request: &MapRequest) -> Result<(), Error> {
    let (tables, machine) = (rig.mm.tables(), rig.mm.machine().clone());
    tables.map(&machine, &mut rig.mm, request)
}

/// A request runs into `obstacle` after some of its own pages, which have made tables.
fn runs_into<G: Granule>(obstacle: &MapRequest, request: &MapRequest, first_hit: VirtAddr) {
    let mut rig = Rig::<G>::boot(&Shape::one("1 GiB", 0x4000_0000, GIB));
    map(&mut rig, obstacle).expect("nothing is there");
    let before = Snapshot::exact(&rig);
    assert_eq!(map(&mut rig, request), Err(Error::AlreadyMapped(first_hit)));
    before.assert_same(&Snapshot::exact(&rig), "a mapping that ran into another");
}

fn a_page_in_the_way_is_kept_and_all_else_undone<G: Granule>() {
    let start = TENANTS.start + (G::BLOCK_SIZE - 2 * G::SIZE);
    let in_the_way = start + 5 * G::SIZE;
    runs_into::<G>(&request(in_the_way, G::SIZE, G::SIZE), &request(start, 9 * G::SIZE, G::SIZE), in_the_way);
}

fn a_block_in_which_the_request_ends_is_kept<G: Granule>() {
    let block = TENANTS.start + G::BLOCK_SIZE;
    let start = TENANTS.start + (G::BLOCK_SIZE - 2 * G::SIZE);
    runs_into::<G>(
        &request(block, G::BLOCK_SIZE, G::BLOCK_SIZE),
        &request(start, 4 * G::SIZE, G::SIZE),
        block,
    );
}

fn a_request_that_is_not_whole_pages_is_refused<G: Granule>() {
    let mut rig = Rig::<G>::boot(&Shape::one("1 GiB", 0x4000_0000, GIB));
    let before = Snapshot::exact(&rig);
    let start = TENANTS.start + 8;
    let result = map(&mut rig, &request(start, G::SIZE, G::SIZE));
    assert!(matches!(result, Err(Error::NotPages(_))), "{result:?}");
    before.assert_same(&Snapshot::exact(&rig), "a mapping of no whole pages");
}

hotmap_testkit::at_each_granule!(
    a_page_in_the_way_is_kept_and_all_else_undone,
    a_block_in_which_the_request_ends_is_kept,
    a_request_that_is_not_whole_pages_is_refused
);
