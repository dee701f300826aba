//! A block comes with a part, and parts come and go.

use hotmap_emulator::rig::{MIB, Rig, Shape, range};
use hotmap_mm::addr::PhysAddr;
use hotmap_mm::error::{Error, PageError};
use hotmap_mm::frame::block::{BlockState, Source};
use hotmap_mm::frame::zone::ZoneKind;
use hotmap_mm::granule::Granule;
use hotmap_mm::hotplug::home::MemmapHome;
use hotmap_mm::hotplug::range::HotRange;
use hotmap_testkit::snapshot::{Detail, Snapshot};

use crate::machine::{AT, HOMES, Parts};

fn a_block_comes_with_a_part_and_goes(g: Granule) {
    for home in HOMES {
        for zone in ZoneKind::ALL {
            let before = Snapshot::of(&Parts::boot(g).rig, Detail::WhereFramesMayDiffer);
            let counts = Parts::boot(g).rig.mm.frames().counts();
            let mut parts = Parts::with(g, home, zone, 3);
            let now = parts.rig.mm.frames().counts();
            assert_eq!(now.present, counts.present + 3 * g.subsection_pages, "{home:?}");
            assert_eq!(parts.block().source.to_string(), "virtio-mem0");
            assert_eq!(parts.rig.mm.frames().zone(zone).present % g.subsection_pages, 0);
            let lent_less = parts.without_lent();
            let taken = parts.take_all();
            parts.check("full");
            parts.free(taken);
            assert_eq!(parts.without_lent(), lent_less, "{home:?}: all is free again");
            parts.check("all is free again");
            parts.go();
            before.assert_same(&Snapshot::of(&parts.rig, Detail::WhereFramesMayDiffer), "gone");
        }
    }
}

/// With its memmap in system RAM the plugged part can be anywhere in the block.
fn a_part_in_the_middle(g: Granule) {
    let mut parts = Parts::boot(g);
    parts.ram(5..9);
    parts.come(MemmapHome::Ram, ZoneKind::Movable, 5..9).expect("room");
    parts.check("in the middle");
    parts.plug(2..5);
    parts.plug(9..10);
    let taken = parts.take_all();
    parts.free(taken);
    parts.unplug(6..8);
    parts.plug(7..8);
    let tenant = parts.rig.mm.tenant_new(300).expect("room");
    assert_eq!(parts.rig.mm.tenant_check(tenant), Ok(300));
    parts.rig.mm.tenant_drop(tenant).expect("not held");
    parts.unplug(2..6);
    parts.unplug(7..10);
    assert_eq!(parts.block().present, 0, "a block without a plugged part stays until it is removed");
    parts.go();
}

fn plugging_part_after_part_ends_as_if_the_block_had_come_whole(g: Granule) {
    for home in HOMES {
        let mut whole = Parts::boot(g);
        whole.ram(0..whole.all());
        let hot = whole.hot();
        whole.rig.mm.plug(&hot, home, ZoneKind::Movable, |_, _| {}).expect("room");
        whole.check("whole");
        let mut parts = Parts::with(g, home, ZoneKind::Movable, 1);
        (1..parts.all()).for_each(|unit| parts.plug(unit..unit + 1));
        Snapshot::exact(&whole.rig).assert_same(&Snapshot::exact(&parts.rig), &format!("{home:?}"));
        assert_eq!(parts.rig.mm.frames().extents().len(), usize::from(home == MemmapHome::Demand));
        // And in one piece.
        let mut parts = Parts::with(g, home, ZoneKind::Movable, 3);
        parts.plug(3..parts.all());
        Snapshot::exact(&whole.rig).assert_same(&Snapshot::exact(&parts.rig), &format!("{home:?}"));
    }
}

/// From the top, unit after unit, down to the first, which keeps the memmap; and back in another order.
fn unplugging_part_after_part_lends_no_more_than_there_is(g: Granule) {
    for home in HOMES {
        let mut parts = Parts::with(g, home, ZoneKind::Movable, 1);
        parts.plug(1..parts.all());
        (1..parts.all()).rev().for_each(|unit| assert_eq!(parts.unplug(unit..unit + 1), 0));
        assert_eq!(parts.block().present, g.subsection_pages);
        let taken = parts.take_all();
        parts.check("full");
        parts.free(taken);
        (1..parts.all()).step_by(2).for_each(|unit| parts.plug(unit..unit + 1));
        (2..parts.all()).step_by(2).for_each(|unit| parts.plug(unit..unit + 1));
        parts.go();
    }
}

/// The marks stay while the block is offline; parts come and go meanwhile; poison and pages of all kinds beside them.
fn a_block_in_part_goes_offline_and_online(g: Granule) {
    for home in HOMES {
        let mut parts = Parts::boot(g);
        let (hot, block) = (parts.hot(), Rig::pfn(g, AT));
        parts.ram(0..4);
        let plugged = parts.pages(0..4);
        parts.rig.mm.add_block_part(&hot, plugged, home, |_, _| {}).expect("room");
        assert_eq!(parts.block().state, BlockState::Offline);
        parts.check("offline");
        parts.rig.mm.online_block(block, ZoneKind::Movable).expect("offline");
        parts.check("online");
        let (online, free) = (parts.without_lent(), parts.block().free.pages());
        let poisoned = parts.pages(2..3).start + 7;
        parts.rig.mm.poison(poisoned).expect("free");
        let tenant = parts.rig.mm.tenant_new(free / 2).expect("room");
        for zone in [ZoneKind::Normal, ZoneKind::Movable] {
            parts.rig.mm.offline_block(block).expect("all of it can move");
            parts.check("offline");
            let refused = parts.rig.mm.unplug_part(parts.pages(2..3), &mut |_| false);
            assert_eq!(refused, Err(Error::Page(PageError::Poisoned(poisoned))));
            parts.plug(4..7);
            parts.plug(parts.all() - 1..parts.all());
            assert_eq!(parts.unplug(3..5), 0);
            parts.plug(3..4);
            parts.unplug(parts.all() - 1..parts.all());
            parts.unplug(5..7);
            parts.rig.mm.online_block(block, zone).expect("offline");
            parts.check("online");
        }
        parts.rig.mm.unpoison(poisoned).expect("poisoned");
        assert_eq!(parts.rig.mm.tenant_check(tenant), Ok(free / 2));
        parts.rig.mm.tenant_drop(tenant).expect("not held");
        assert_eq!(parts.without_lent(), online, "{home:?}");
        parts.rig.mm.offline_block(block).expect("empty");
        parts.rig.mm.remove_memory(range(AT, g.section_size)).expect("offline");
        parts.no_ram(0..parts.all());
        parts.rig.assert_clean("gone");
    }
}

/// A range that was added at once goes block by block, if it was asked to.
fn a_range_in_blocks_goes_block_by_block(g: Granule) {
    // Whole entries of the level above: 1 GiB at 4K, or runs of contiguous blocks.
    let (start, blocks) = (64 << 30, 32);
    let len = Rig::blocks(g, blocks);
    for in_blocks in [false, true] {
        let mut rig = Rig::boot(g, &Shape::one("256 MiB", 0x4000_0000, 256 * MIB));
        rig.machine.plug(start, len);
        let hot = HotRange::new(&rig.mm, PhysAddr::new(start), len, Source::VirtioMem(0)).expect("free");
        let hot = if in_blocks { hot.in_blocks() } else { hot };
        rig.mm.plug(&hot, MemmapHome::Demand, ZoneKind::Movable, |_, _| {}).expect("room");
        let fifth = range(start + Rig::blocks(g, 5), Rig::blocks(g, 1));
        let gone = rig.mm.unplug(fifth);
        assert_eq!(gone.is_ok(), in_blocks, "{}: {gone:?}", g.kind);
        rig.assert_clean("without its fifth block");
        if in_blocks {
            for i in (0..blocks).filter(|i| *i != 5) {
                rig.mm.unplug(range(start + Rig::blocks(g, i), Rig::blocks(g, 1))).expect("alone");
            }
            rig.assert_clean("gone");
        }
    }
}

hotmap_testkit::at_each_granule!(
    a_block_comes_with_a_part_and_goes,
    a_part_in_the_middle,
    plugging_part_after_part_ends_as_if_the_block_had_come_whole,
    unplugging_part_after_part_lends_no_more_than_there_is,
    a_block_in_part_goes_offline_and_online,
    a_range_in_blocks_goes_block_by_block,
);
