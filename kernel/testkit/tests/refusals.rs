//! What may not be added is refused with the rule and the value, and changes nothing.
#![cfg(not(miri))]

use hotmap_emulator::rig::{MIB, Rig, Shape};
use hotmap_mm::addr::PhysAddr;
use hotmap_mm::error::{Error, RangeError};
use hotmap_mm::frame::block::Source;
use hotmap_mm::granule::Granule;
use hotmap_mm::hotplug::home::MemmapHome;
use hotmap_mm::hotplug::range::HotRange;
use hotmap_testkit::snapshot::Snapshot;

/// RAM that begins above the linear map's base at every granule.
fn boot(g: Granule) -> Rig {
    Rig::boot(g, &Shape::one("512 MiB", 0x4_4000_0000, 512 * MIB))
}

fn refused(rig: &Rig, start: u64, len: u64) -> String {
    let before = Snapshot::exact(rig);
    let result = HotRange::new(&rig.mm, PhysAddr::new(start), len, Source::Dimm(0));
    before.assert_same(&Snapshot::exact(rig), "a refusal");
    result.expect_err("it may not be added").to_string()
}

#[test]
fn every_rule_is_named_with_the_value_that_breaks_it() {
    let rig = boot(Granule::K4);
    let refused = |start, len| refused(&rig, start, len);
    assert_eq!(refused(0x8_0000_0000, 0), "the range at 0x800000000 is empty");
    assert_eq!(
        refused(0xffff_ffff_f800_0000, 0x1000_0000),
        "0xfffffffff8000000 + 0x10000000 wraps around the address space"
    );
    assert_eq!(
        refused(0x8_0020_0000, 128 * MIB),
        "0x800200000..0x808200000 is not aligned to the 128 MiB memory block"
    );
    assert_eq!(
        refused(0x8_0000_0000, 130 * MIB),
        "0x800000000..0x808200000 is not aligned to the 128 MiB memory block"
    );
    assert_eq!(
        refused(0x4000_0000, 128 * MIB),
        "0x40000000..0x48000000 is out of the linear map's reach, 0x440000000..0x800440000000"
    );
    assert_eq!(
        refused(0x8004_4000_0000 - 128 * MIB, 256 * MIB),
        "0x800438000000..0x800448000000 is out of the linear map's reach, 0x440000000..0x800440000000"
    );
    assert_eq!(
        refused(0x4_5800_0000, 256 * MIB),
        "0x458000000..0x468000000 overlaps memory that is present at 0x458000000"
    );
}

#[test]
fn the_block_that_a_range_must_be_aligned_to_is_the_granules() {
    let cases = [
        (refused(&boot(Granule::K16), 0x8_0400_0000, 128 * MIB), "128 MiB"),
        (refused(&boot(Granule::K64), 0x8_0800_0000, 512 * MIB), "512 MiB"),
    ];
    for (said, block) in cases {
        assert!(said.ends_with(&format!("is not aligned to the {block} memory block")), "{said}");
    }
}

/// The whole of a range, and nothing of its neighbours, is checked against what is present.
fn an_overlap_is_found_wherever_it_is(g: Granule) {
    let mut rig = boot(g);
    let (at, block) = (0x10_0000_0000, g.section_size);
    rig.plug(at + 2 * block, block, MemmapHome::SelfHosted);
    let new = |start, blocks| HotRange::new(&rig.mm, PhysAddr::new(start), blocks * block, Source::Dimm(1));
    for (start, blocks) in [(at, 3), (at + block, 3), (at + 2 * block, 1), (at + 2 * block, 2)] {
        let present = PhysAddr::new(at + 2 * block);
        assert!(
            matches!(new(start, blocks), Err(Error::Range(RangeError::Exists { present: p, .. })) if p == present)
        );
    }
    assert!(new(at, 2).is_ok() && new(at + 3 * block, 1).is_ok());
    // A boot block counts as a whole, also where it has holes.
    assert!(matches!(new(0x4_4000_0000, 1), Err(Error::Range(RangeError::Exists { .. }))));
}

/// The first and the last block that the linear map reaches.
fn the_ends_of_the_linear_map_can_be_used(g: Granule) {
    let mut rig = Rig::boot(g, &Shape::one("not from the start", 0x4_6000_0000, 512 * MIB));
    let reach = rig.mm.space().layout().reach();
    let start = Snapshot::exact(&rig);
    for at in [reach.start.get(), reach.end.get() - g.section_size] {
        rig.plug(at, g.section_size, MemmapHome::SelfHosted);
        rig.online(at, g.section_size, hotmap_mm::frame::zone::ZoneKind::Movable);
        rig.assert_clean("at an end");
        rig.unplug(at, g.section_size);
        start.assert_same(&Snapshot::exact(&rig), "at an end");
    }
}

hotmap_testkit::at_each_granule!(an_overlap_is_found_wherever_it_is, the_ends_of_the_linear_map_can_be_used);
