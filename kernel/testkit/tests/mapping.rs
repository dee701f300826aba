//! A mapping that cannot be made leaves the tables as they were, byte for byte, whatever was in its way.
#![cfg(not(miri))]

use hotmap_emulator::rig::{GIB, Rig, Shape};
use hotmap_mm::addr::{PhysAddr, VirtAddr, VirtRange};
use hotmap_mm::entry::descriptor::Attributes;
use hotmap_mm::error::{Error, SpaceError};
use hotmap_mm::granule::Granule;
use hotmap_mm::layout::TENANTS;
use hotmap_mm::space::request::MapRequest;
use hotmap_testkit::snapshot::Snapshot;

/// RAM enough behind it for the largest block; nothing is accessed through these mappings.
const FRAME: PhysAddr = PhysAddr::new(0x4000_0000);

fn request(start: VirtAddr, len: u64, max_leaf: u64) -> MapRequest {
    let range = VirtRange { start, end: start + len };
    MapRequest { range, pa: FRAME, attributes: Attributes::RODATA, max_leaf, contiguous: false }
}

fn map(rig: &mut Rig, request: &MapRequest) -> Result<(), Error> {
    let (space, frames) = rig.mm.parts_mut();
    space.map(frames, request)
}

/// A request runs into `obstacle` after some of its own pages, which have made tables.
fn runs_into(g: Granule, obstacle: &MapRequest, request: &MapRequest, first_hit: VirtAddr) {
    let mut rig = Rig::boot(g, &Shape::one("1 GiB", 0x4000_0000, GIB));
    map(&mut rig, obstacle).expect("nothing is there");
    let before = Snapshot::exact(&rig);
    assert_eq!(map(&mut rig, request), Err(Error::Space(SpaceError::AlreadyMapped(first_hit))));
    before.assert_same(&Snapshot::exact(&rig), "a mapping that ran into another");
}

fn a_page_in_the_way_is_kept_and_all_else_undone(g: Granule) {
    let start = TENANTS.start + (g.pmd_size - 2 * g.page_size);
    let in_the_way = start + 5 * g.page_size;
    runs_into(
        g,
        &request(in_the_way, g.page_size, g.page_size),
        &request(start, 9 * g.page_size, g.page_size),
        in_the_way,
    );
}

fn a_block_in_which_the_request_ends_is_kept(g: Granule) {
    let block = TENANTS.start + g.pmd_size;
    let start = TENANTS.start + (g.pmd_size - 2 * g.page_size);
    runs_into(
        g,
        &request(block, g.pmd_size, g.pmd_size),
        &request(start, 4 * g.page_size, g.page_size),
        block,
    );
}

fn a_request_that_is_not_whole_pages_is_refused(g: Granule) {
    let mut rig = Rig::boot(g, &Shape::one("1 GiB", 0x4000_0000, GIB));
    let before = Snapshot::exact(&rig);
    let start = TENANTS.start + 8;
    let result = map(&mut rig, &request(start, g.page_size, g.page_size));
    assert!(matches!(result, Err(Error::Space(SpaceError::NotPages(_)))), "{result:?}");
    before.assert_same(&Snapshot::exact(&rig), "a mapping of no whole pages");
}

hotmap_testkit::at_each_granule!(
    a_page_in_the_way_is_kept_and_all_else_undone,
    a_block_in_which_the_request_ends_is_kept,
    a_request_that_is_not_whole_pages_is_refused
);
