//! A DIMM's life: added, online, used, offline, removed; with its memmap at either home; and what may not be removed.
#![cfg(not(miri))]

use hotmap_emulator::rig::{GIB, MIB, Rig, Shape, range};
use hotmap_mm::addr::PhysAddr;
use hotmap_mm::error::{BlockError, BlockIs, Error, PageError, RangeError, SpaceError};
use hotmap_mm::frame::block::{BlockState, Source};
use hotmap_mm::frame::zone::ZoneKind;
use hotmap_mm::granule::Granule;
use hotmap_mm::hotplug::offline::Offlined;
use hotmap_mm::hotplug::range::HotRange;
use hotmap_mm::hotplug::{home::MemmapHome, step::Step};
use hotmap_testkit::snapshot::Snapshot;

const HOMES: [MemmapHome; 2] = [MemmapHome::SelfHosted, MemmapHome::Ram];
const AT: u64 = 0x8000_0000;

fn boot(g: Granule) -> Rig {
    Rig::boot(g, &Shape::one("1 GiB", 0x4000_0000, GIB))
}

fn a_dimm_comes_is_used_and_goes_without_a_trace(g: Granule) {
    for home in HOMES {
        for zone in ZoneKind::ALL {
            let (mut rig, len) = (boot(g), Rig::blocks(g, 2));
            let start = Snapshot::exact(&rig);
            rig.plug(AT, len, home);
            rig.assert_clean("added");
            rig.online(AT, len, zone);
            rig.assert_clean("online");
            let id = rig.mm.tenant_new(100).expect("room");
            rig.assert_clean("in use");
            let block = Rig::pfn(g, AT + Rig::blocks(g, 1));
            let used = rig.mm.frames().block_of(block).expect("present").tenant_pages;
            assert_eq!(used, 100, "the newest block serves movable pages first, in whichever zone");
            assert_eq!(rig.mm.unplug(range(AT, len)), Ok(Offlined { migrated: 100 }));
            rig.machine.unplug(AT);
            rig.assert_clean("gone");
            assert_eq!(rig.mm.tenant_check(id), Ok(100), "what was moved is whole");
            rig.mm.tenant_drop(id).expect("its pages are not held");
            start.assert_same(&Snapshot::exact(&rig), "after a DIMM's life");
            assert_eq!(rig.mm.frames().warnings.total(), 0);
        }
    }
}

/// Where every upper table exists, self-hosted memory costs no page of system RAM at 4K; anywhere it costs tables only.
fn self_hosted_memory_costs_no_ram_but_for_tables(g: Granule) {
    let (mut rig, len) = (boot(g), Rig::blocks(g, 1));
    let before = rig.mm.frames().counts();
    let tables = rig.machine.everything().tables.len();
    rig.plug(AT, len, MemmapHome::SelfHosted);
    let after = rig.mm.frames().counts();
    let new = (rig.machine.everything().tables.len() - tables) as u64;
    assert_eq!(before.free - after.free, new);
    assert_eq!(after.memmap_ram, before.memmap_ram);
    let memmap = Rig::blocks(g, 1) / g.page_size * 64;
    assert_eq!(after.memmap_self * g.page_size, memmap, "64 bytes for each page");
    assert!(new <= 2, "{new} tables");
    if g.page_size == 4096 {
        assert_eq!(new, 1, "a level 2 table for a new GiB");
        rig.plug(AT + len, len, MemmapHome::SelfHosted);
        assert_eq!(rig.mm.frames().counts().free, after.free, "none for more of that GiB");
    }
}

fn the_steps_are_told_in_order(g: Granule) {
    let (mut rig, len) = (boot(g), Rig::blocks(g, 2));
    rig.machine.plug(AT, len);
    let hot = HotRange::new(&rig.mm, PhysAddr::new(AT), len, Source::Dimm(3)).expect("free");
    let mut told = Vec::new();
    let done = |mm: &hotmap_mm::mm::Mm<_>, step: Step| {
        // Between joining a zone and going online a block's pages are present and nothing else yet.
        assert!(step == Step::JoinZone || mm.frames().counts().balance(), "{}", step.name());
        told.push(step);
    };
    rig.mm.plug(&hot, MemmapHome::SelfHosted, ZoneKind::Movable, done).expect("room");
    assert_eq!(told, Step::ALL);
    assert!(rig.mm.frames().blocks().filter(|b| b.source == Source::Dimm(3)).count() == 2);
    rig.assert_clean("plugged");
}

fn what_has_not_gone_online_or_is_offline_already_can_be_unplugged(g: Granule) {
    for blocks in 1..=3 {
        let (mut rig, len) = (boot(g), Rig::blocks(g, blocks));
        let start = Snapshot::exact(&rig);
        for offline_first in [0, 1] {
            rig.plug(AT, len, MemmapHome::SelfHosted);
            rig.online(AT, Rig::blocks(g, offline_first), ZoneKind::Movable);
            assert_eq!(rig.mm.unplug(range(AT, len)), Ok(Offlined::default()));
            rig.machine.unplug(AT);
            start.assert_same(&Snapshot::exact(&rig), "unplugged");
        }
        rig.plug(AT, len, MemmapHome::SelfHosted);
        let block = Rig::pfn(g, AT);
        let refused = rig.mm.offline_block(block).expect_err("it is offline");
        assert_eq!(refused.to_string(), "the memory block at 0x80000000 is offline, not online");
    }
}

/// Several blocks under one leaf, or under one Contiguous bit, come and go together.
fn a_part_of_a_dimm_cannot_go_when_that_splits_a_leaf(g: Granule) {
    // 4K: 1 GiB blocks. 16K: 1 GiB, and 64K: 16 GiB, under one Contiguous bit.
    let len = if g.page_size == 65536 { 16 * GIB } else { GIB };
    let (mut rig, at) = (boot(g), 16 * GIB);
    rig.plug(at, len, MemmapHome::SelfHosted);
    let whole = Snapshot::exact(&rig);
    let (first, last) = (range(at, g.section_size), range(at + len - g.section_size, g.section_size));
    for part in [first, last] {
        assert!(
            matches!(rig.mm.remove_memory(part), Err(Error::Space(SpaceError::WouldSplit { size, .. })) if size == len)
        );
        whole.assert_same(&Snapshot::exact(&rig), "a part was refused");
        rig.online(at, len, ZoneKind::Movable);
        let online = Snapshot::exact(&rig);
        assert!(matches!(rig.mm.unplug(part), Err(Error::Space(SpaceError::WouldSplit { .. }))));
        online.assert_same(&Snapshot::exact(&rig), "a part was refused");
        rig.mm.offline_pages(hotmap_mm::pfn::PfnRange::inside(g, range(at, len))).expect("free");
    }
    rig.unplug(at, len);
    rig.assert_clean("gone as a whole");
}

/// With leaves of its own, a part may go.
fn a_part_of_a_dimm_can_go_when_nothing_splits(g: Granule) {
    let (mut rig, block) = (boot(g), g.section_size);
    rig.plug(AT, 2 * block, MemmapHome::SelfHosted);
    rig.mm.remove_memory(range(AT, block)).expect("it has leaves of its own");
    rig.assert_clean("half of it");
    rig.mm.remove_memory(range(AT + block, block)).expect("the other half");
    rig.machine.unplug(AT);
    rig.assert_clean("gone");
}

fn only_whole_present_offline_blocks_can_be_removed(g: Granule) {
    let (mut rig, block) = (boot(g), g.section_size);
    rig.plug(AT, block, MemmapHome::SelfHosted);
    let before = Snapshot::exact(&rig);
    for bad in [range(AT, block / 2), range(AT + MIB, block), range(AT, block + MIB)] {
        assert!(
            matches!(rig.mm.remove_memory(bad), Err(Error::Range(RangeError::NotBlockAligned { .. }))),
            "{bad}"
        );
        assert!(matches!(rig.mm.unplug(bad), Err(Error::Range(RangeError::NotBlockAligned { .. }))), "{bad}");
    }
    assert_eq!(rig.mm.remove_memory(range(AT, 0)), Err(Error::Range(RangeError::Empty(PhysAddr::new(AT)))));
    before.assert_same(&Snapshot::exact(&rig), "refused");
    assert!(matches!(rig.mm.remove_memory(range(AT, 2 * block)), Err(Error::Block(BlockError::Absent(_)))));
    assert!(
        matches!(rig.mm.remove_memory(range(0, block)), Err(Error::Block(BlockError::Absent(_)))),
        "below the linear map"
    );
    assert_eq!(rig.mm.frames().warnings.bad_remove, 2, "what is not there was to be removed");
    rig.online(AT, block, ZoneKind::Movable);
    assert!(matches!(
        rig.mm.remove_memory(range(AT, block)),
        Err(Error::Block(BlockError::State { is: BlockIs::Online, .. }))
    ));
    rig.assert_clean("still online");
}

/// Boot memory can go as well, memmap, linear map and all, when nothing unmovable is in it, and come back as a DIMM.
fn a_block_of_boot_memory_can_go_and_come_back(g: Granule) {
    let mut rig = boot(g);
    let (block, last) = (g.section_size, 0x8000_0000 - g.section_size);
    let before = rig.mm.frames().counts();
    assert_eq!(rig.mm.offline_block(Rig::pfn(g, last)), Ok(Offlined::default()));
    rig.assert_clean("boot memory offline");
    rig.mm.remove_memory(range(last, block)).expect("offline");
    rig.assert_clean("boot memory removed");
    let now = rig.mm.frames().counts();
    let memmap = block / g.page_size * 64 / g.page_size;
    assert_eq!(before.memmap_ram - now.memmap_ram, memmap, "its memmap is free again");
    assert_eq!(before.present - now.present, block / g.page_size);
    assert_eq!(rig.mm.frames().warnings.total(), 0);
    rig.add(last, block, MemmapHome::SelfHosted).expect("it is a DIMM now");
    rig.online(last, block, ZoneKind::Movable);
    rig.assert_clean("boot memory is back");
}

fn boot_memory_that_holds_the_kernel_stays(g: Granule) {
    let mut rig = boot(g);
    let before = Snapshot::exact(&rig);
    let refused = rig.mm.offline_block(Rig::pfn(g, 0x4000_0000));
    assert!(matches!(refused, Err(Error::Page(PageError::Unmovable { .. }))), "{refused:?}");
    before.assert_same(&Snapshot::exact(&rig), "refused");
    assert_eq!(rig.mm.frames().blocks().next().map(|b| b.state), Some(BlockState::Online(ZoneKind::Normal)));
}

hotmap_testkit::at_each_granule!(
    a_dimm_comes_is_used_and_goes_without_a_trace,
    self_hosted_memory_costs_no_ram_but_for_tables,
    the_steps_are_told_in_order,
    what_has_not_gone_online_or_is_offline_already_can_be_unplugged,
    a_part_of_a_dimm_cannot_go_when_that_splits_a_leaf,
    a_part_of_a_dimm_can_go_when_nothing_splits,
    only_whole_present_offline_blocks_can_be_removed,
    a_block_of_boot_memory_can_go_and_come_back,
    boot_memory_that_holds_the_kernel_stays,
);
