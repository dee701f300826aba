//! Regions on the emulated machine: what the tree says, what becomes of it, and that a refusal changes nothing.
extern crate std;

use std::string::{String, ToString};
use std::vec;

use hotmap_devicetree::{MemoryRegion, PmemRegion, Reservation};
use hotmap_emulator::rig::{GIB, MIB, Rig, Shape, range};
use hotmap_mm::debug::faults::Plan;
use hotmap_mm::frame::block::BlockState;
use hotmap_mm::frame::zone::ZoneKind;
use hotmap_mm::hotplug::home::MemmapHome;
use hotmap_testkit::snapshot::Snapshot;

use hotmap_mm::error::PageError;
use hotmap_mm::granule::Granule;

use super::*;

const AUTO: Policy = Policy { home: MemmapHome::SelfHosted, online: true };
const MANUAL: Policy = Policy { home: MemmapHome::Ram, online: false };
/// 1 GiB of boot RAM from 0x4000_0000 on; then these.
const HOT: u64 = 0x8000_0000;
const ODD: u64 = 0xc020_0000;
const PMEM: u64 = 0x1_0000_0000;
const KEPT: u64 = 0x1_4000_0000;

fn tree() -> std::boxed::Box<MachineDescription> {
    let mut tree = std::boxed::Box::new(MachineDescription::new());
    let region = |start, size| hotmap_devicetree::Region { start, size };
    let mut memory = |start, size, hotpluggable, numa_node| {
        let entry = MemoryRegion { region: region(start, size), hotpluggable, numa_node };
        tree.memory.push(entry).expect("fits");
    };
    memory(0x4000_0000, GIB, false, None);
    memory(HOT, GIB, true, Some(1));
    memory(ODD, 512 * MIB, true, None);
    memory(KEPT, GIB, true, None);
    let pmem = PmemRegion { region: region(PMEM, GIB), volatile: true, numa_node: Some(2) };
    tree.pmem.push(pmem).expect("fits");
    let kept =
        Reservation { region: region(KEPT + 0x1000, 0x1000), no_map: false, name: heapless::String::new() };
    tree.reserved.push(kept).expect("fits");
    tree
}

/// A machine with that tree, and the regions' memory in it.
fn boot(g: Granule) -> (Rig, Regions) {
    let rig = Rig::boot(g, &Shape::one("1 GiB", 0x4000_0000, GIB));
    for start in [HOT, PMEM, KEPT] {
        rig.machine.plug(start, GIB);
    }
    rig.machine.plug(ODD, 512 * MIB);
    let mut regions = Regions::new();
    regions.read(&tree(), range(0x4800_0000, MIB)).expect("the heap has room");
    (rig, regions)
}

fn words(regions: &Regions) -> [&'static str; 4] {
    let mut words = regions.all().iter().map(Region::state_name);
    [(); 4].map(|()| words.next().expect("four regions"))
}

fn address(at: u64) -> PhysAddr {
    PhysAddr::new(at)
}

#[test]
fn the_tree_says_what_waits_and_what_would_be_lost() {
    let mut regions = Regions::new();
    regions.read(&tree(), range(0x4800_0000, MIB)).expect("the heap has room");
    let lines: vec::Vec<String> = regions.all().iter().map(ToString::to_string).collect();
    let expected = [
        "0x80000000..0xc0000000  1 GiB  hotpluggable, node 1",
        "0xc0200000..0xe0200000  512 MiB  hotpluggable",
        "0x140000000..0x180000000  1 GiB  hotpluggable",
        "0x100000000..0x140000000  1 GiB  pmem (volatile), node 2",
    ];
    assert_eq!(lines, expected);
    assert_eq!(words(&regions), ["waiting", "waiting", "refused", "waiting"]);
    for (dtb, initrd, what) in [
        (HOT + GIB - 1, None, "the device tree at 0xbfffffff..0xc0000000"),
        (0x4800_0000, Some(HOT), "the initrd at 0x80000000..0x80000001"),
    ] {
        let mut tree = tree();
        tree.initrd = initrd.map(|start| hotmap_devicetree::Region { start, size: 1 });
        let mut regions = Regions::new();
        regions.read(&tree, range(dtb, 1)).expect("the heap has room");
        let RegionUse::Refused(holding) = &regions.all()[0].usage else { panic!("{what} is not seen") };
        assert_eq!(holding.to_string(), what);
        assert_eq!(regions.all()[1].state_name(), "waiting", "what only touches is not in it");
    }
}

/// A list with room that nothing uses would be heap that is lost.
fn assert_no_room(regions: &Regions, when: &str) {
    for region in regions.all() {
        if let RegionUse::Memory(parts) = &region.usage {
            assert_eq!(parts.capacity(), parts.len(), "{when}: {region}");
        }
    }
}

fn a_region_comes_is_used_and_goes_without_a_trace(g: Granule) {
    for policy in [AUTO, MANUAL] {
        let (mut rig, mut regions) = boot(g);
        let before = Snapshot::exact(&rig);
        regions.add(&mut rig.mm, address(HOT), None, policy).expect("it is welcome");
        assert_eq!(words(&regions), ["memory", "waiting", "refused", "waiting"]);
        let state = if policy.online { BlockState::Online(ZoneKind::Movable) } else { BlockState::Offline };
        let added = rig.mm.frames().blocks().filter(|block| block.source == Source::DeviceTree);
        let added: vec::Vec<_> = added.map(|block| (block.start.address(g).get(), block.state)).collect();
        let size = if g.page_size == 65536 { 512 * MIB } else { 128 * MIB };
        let expected: vec::Vec<_> = (0..GIB / size).map(|i| (HOT + i * size, state)).collect();
        assert_eq!(added, expected);
        assert_eq!(
            plug::state_of(&rig.mm, range(HOT, GIB)),
            if policy.online { "online" } else { "offline" }
        );
        let tenant = policy.online.then(|| rig.mm.tenant_new(100).expect("there is room"));
        rig.assert_clean("with the region");
        regions.remove(&mut rig.mm, address(HOT)).expect("nothing holds it");
        if let Some(tenant) = tenant {
            assert_eq!(rig.mm.tenant_check(tenant), Ok(100), "its pages have moved");
            rig.mm.tenant_drop(tenant).expect("it is there");
        }
        rig.assert_clean("without it");
        before.assert_same(&Snapshot::exact(&rig), "after the region's life");
        assert_eq!(words(&regions), ["waiting", "waiting", "refused", "waiting"]);
        assert_no_room(&regions, "at the end");
    }
}

fn parts_come_and_go_by_themselves(g: Granule) {
    let (mut rig, mut regions) = boot(g);
    let before = Snapshot::exact(&rig);
    let half = 512 * MIB;
    regions.add(&mut rig.mm, address(HOT + half), Some(half), AUTO).expect("whole blocks");
    assert_eq!(words(&regions)[0], "partial");
    regions.add(&mut rig.mm, address(HOT), Some(half), MANUAL).expect("whole blocks");
    assert_eq!(words(&regions)[0], "memory");
    assert_eq!(regions.all()[0].parts(), [range(HOT, half), range(HOT + half, half)]);
    assert_eq!(plug::state_of(&rig.mm, range(HOT, GIB)), "mixed");
    let inside = regions.remove(&mut rig.mm, address(HOT + half / 2));
    assert_eq!(
        inside,
        Err(Refusal::NotAdded(address(HOT + half / 2))),
        "only what was added, as it was added"
    );
    regions.remove(&mut rig.mm, address(HOT)).expect("nothing holds it");
    assert_eq!(regions.all()[0].parts(), [range(HOT + half, half)]);
    regions.remove(&mut rig.mm, address(HOT + half)).expect("nothing holds it");
    before.assert_same(&Snapshot::exact(&rig), "after both parts");
    assert_no_room(&regions, "at the end");
}

/// The odd region begins inside of a block: its whole blocks may come, it as a whole may not.
fn whole_blocks_of_an_odd_region_may_come(g: Granule) {
    let (mut rig, mut regions) = boot(g);
    let size = if g.page_size == 65536 { 512 * MIB } else { 128 * MIB };
    let refused = regions.add(&mut rig.mm, address(ODD), None, AUTO);
    assert!(
        matches!(refused, Err(Refusal::Model(Error::Range(RangeError::NotBlockAligned { .. })))),
        "{refused:?}"
    );
    let first = address(ODD).checked_align_up(size).expect("low");
    let part = regions.add(&mut rig.mm, first, Some(size), AUTO);
    if g.page_size == 65536 {
        // There is none.
        assert!(matches!(part, Err(Refusal::NoRegion(_) | Refusal::Outside { .. })), "{part:?}");
    } else {
        assert_eq!(part, Ok(()));
        assert_eq!(words(&regions)[1], "partial");
        regions.remove(&mut rig.mm, first).expect("nothing holds it");
    }
    rig.assert_clean("after the odd region");
}

fn a_refusal_names_the_rule_and_changes_nothing(g: Granule) {
    let (mut rig, mut regions) = boot(g);
    let block = if g.page_size == 65536 { 512 * MIB } else { 128 * MIB };
    regions.add(&mut rig.mm, address(HOT), Some(block), AUTO).expect("a whole block");
    let (before, list) = (Snapshot::exact(&rig), regions.list.clone());
    let cases = [
        (0x4000_0000, None, "0x40000000 is in no region that the device tree sets aside (layout lists them)"),
        (
            HOT + block,
            None,
            " is not the start of the region 0x80000000..0xc0000000: a part of it wants a size",
        ),
        (HOT + GIB - block, Some(2 * block), "0000 is not inside of the region 0x80000000..0xc0000000"),
        (PMEM, None, "the region 0x100000000..0x140000000 is persistent memory, not hotpluggable"),
        (
            KEPT,
            None,
            "the region 0x140000000..0x180000000 stays out of use: it holds reserved memory at 0x140001000..0x140002000",
        ),
        (HOT, None, "0x80000000..0xc0000000 overlaps memory that is present at 0x80000000"),
        (HOT, Some(block), " overlaps memory that is present at 0x80000000"),
        (HOT + block, Some(block / 2), "000 is not aligned to the "),
        (HOT + block - MIB, Some(block), "000 is not aligned to the "),
        (HOT + block, Some(0), " is empty"),
        (HOT + block, Some(u64::MAX), " + 0xffffffffffffffff wraps around the address space"),
    ];
    for (start, len, rule) in cases {
        let refused = regions.add(&mut rig.mm, address(start), len, AUTO);
        let said = refused.expect_err(rule).to_string();
        assert!(said.contains(rule), "{said} instead of {rule}");
        assert_eq!(regions.list, list, "{rule}");
        assert_no_room(&regions, rule);
        before.assert_same(&Snapshot::exact(&rig), rule);
    }
    for start in [HOT + block, PMEM, KEPT, 0x4000_0000] {
        let refused = regions.remove(&mut rig.mm, address(start));
        assert_eq!(refused, Err(Refusal::NotAdded(address(start))));
        assert_eq!(regions.list, list);
    }
    rig.mm.pin(Rig::pfn(g, HOT + block - MIB)).expect("it is free");
    let held = regions.remove(&mut rig.mm, address(HOT));
    assert!(matches!(held, Err(Refusal::Model(Error::Page(PageError::Pinned { .. })))), "{held:?}");
    assert_eq!(regions.list, list, "what is held stays, and stays listed");
    rig.assert_clean("after all refusals");
}

fn every_allocation_that_fails_is_undone(g: Granule) {
    let (mut rig, mut regions) = boot(g);
    let (before, list) = (Snapshot::exact(&rig), regions.list.clone());
    for n in 1.. {
        rig.mm.frames_mut().faults.arm(Plan::Nth(n));
        let result = regions.add(&mut rig.mm, address(HOT), None, AUTO);
        rig.mm.frames_mut().faults.arm(Plan::Off);
        if result.is_ok() {
            assert!(n > 1, "no allocation was failed");
            break;
        }
        assert!(matches!(result, Err(Refusal::Model(Error::Out(_)))), "{result:?}");
        before.assert_same(&Snapshot::exact(&rig), "undone");
        assert_eq!(regions.list, list);
        assert_no_room(&regions, "undone");
    }
    rig.assert_clean("added in the end");
}

/// `hotadd=auto`: what can come comes, whatever is refused beside it.
fn all_that_waits_is_added_and_no_more(g: Granule) {
    let (mut rig, mut regions) = boot(g);
    // Let the refused one stand before the good ones.
    regions.list.swap(0, 1);
    regions.add_all(&mut rig.mm, AUTO);
    assert_eq!(words(&regions), ["waiting", "memory", "refused", "waiting"]);
    assert_eq!(regions.all()[1].parts(), [range(HOT, GIB)]);
    rig.assert_clean("at boot");
}

hotmap_testkit::at_each_granule!(
    a_region_comes_is_used_and_goes_without_a_trace,
    parts_come_and_go_by_themselves,
    whole_blocks_of_an_odd_region_may_come,
    a_refusal_names_the_rule_and_changes_nothing,
    every_allocation_that_fails_is_undone,
    all_that_waits_is_added_and_no_more,
);
