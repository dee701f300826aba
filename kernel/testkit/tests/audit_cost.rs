//! What an audit costs, in accesses to table entries and struct pages: so much for each block, whatever is present beside it.
#![cfg(not(miri))]

use hotmap_emulator::rig::{MIB, Rig, Shape};
use hotmap_mm::frame::zone::ZoneKind;
use hotmap_mm::granule::Granule;
use hotmap_mm::hotplug::home::MemmapHome;

const AT: u64 = 8 << 40;
/// How many blocks are added at a time.
const BLOCKS: u64 = 4;

/// The accesses of one audit. Entries that are read in bulk, empty ones and leaves that continue each other, are one.
fn audit(rig: &Rig) -> i64 {
    let before = rig.machine.accesses();
    rig.assert_clean("while it is measured");
    (rig.machine.accesses() - before).cast_signed()
}

/// The accesses that each block of a DIMM adds to an audit: of the first [`BLOCKS`], of as many more, and of twice as many.
fn per_block(g: Granule, home: MemmapHome) -> [i64; 3] {
    let mut rig = Rig::boot(g, &Shape::one("256 MiB", 0x4000_0000, 256 * MIB));
    let mut at = AT;
    [1, 1, 2].map(|times| {
        let (before, blocks) = (audit(&rig), times * BLOCKS);
        rig.plug(at, Rig::blocks(g, blocks), home);
        rig.online(at, Rig::blocks(g, blocks), ZoneKind::Movable);
        at += Rig::blocks(g, blocks);
        (audit(&rig) - before) / blocks.cast_signed()
    })
}

/// The leaves that map a block's memmap: one of 2 MiB at 4K, pages elsewhere.
fn memmap_leaves(g: Granule) -> i64 {
    let pages = g.section_size / g.page_size * 64 / g.page_size;
    if g.page_size == 4096 { 1 } else { pages.cast_signed() }
}

fn a_block_costs_the_same_however_many_there_are(g: Granule) {
    for home in [MemmapHome::SelfHosted, MemmapHome::SelfRange { reserve: 0 }, MemmapHome::Ram] {
        let [_, once, twice] = per_block(g, home);
        // A frame of a run twice as long rounds down to one page more; memmap in boot RAM splits runs there.
        let most = once + memmap_leaves(g) + 4;
        assert!(twice <= most, "{home:?}: {once} accesses for a block, then {twice}; {most} at most");
    }
}

/// A leaf of memmap is read by two walks more, and the head of its frame is one of the few pages that the frame rounds down
/// to: no walk from the root for each struct page that is looked at. A free run is read in the order of addresses and in
/// that of its list, each time with a walk from the root.
fn a_leaf_costs_no_walks_from_the_root(g: Granule) {
    let (walk, orders) = (4, i64::from(g.section_order));
    let most = memmap_leaves(g) * 12 + orders * 2 * (walk + 1) + 32;
    let [_, is, _] = per_block(g, MemmapHome::SelfHosted);
    assert!(is <= most, "{is} accesses for a block; {most} at most");
}

/// A block that maps nothing but the image costs no look at what the image maps, nor at pages that are not there, and none at
/// each of its entries.
fn the_image_is_not_walked_for_each_block(g: Granule) {
    let most = 0;
    let [_, is, _] = per_block(g, MemmapHome::Demand);
    assert!(is <= most, "{is} accesses for a block; {most} at most");
}

hotmap_testkit::at_each_granule!(
    a_block_costs_the_same_however_many_there_are,
    a_leaf_costs_no_walks_from_the_root,
    the_image_is_not_walked_for_each_block
);
