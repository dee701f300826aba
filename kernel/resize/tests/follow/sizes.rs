//! How much is plugged, where, and in which steps.

use hotmap_emulator::rig::MIB;
use hotmap_mm::frame::zone::ZoneKind;
use hotmap_mm::granule::Granule;
use hotmap_mm::hotplug::home::MemmapHome;
use hotmap_resize::{Policy, Status};
use hotmap_testkit::snapshot::Snapshot;
use virtio_mem::{Answer, Request};

use crate::guest::{Guest, HOMES, REGION};

const UNIT: u64 = 2 * MIB;
/// The first byte of a memory block at every granule.
const FAR: u64 = 0x1_0000_0000;

#[test]
fn the_lowest_units_are_plugged_and_the_highest_unplugged() {
    for (g, home) in Granule::ALL.into_iter().flat_map(|g| HOMES.map(|home| (g, home))) {
        let block = g.section_size;
        let mut guest = Guest::new(g, home, UNIT, 3 * block);
        let before = Snapshot::exact(&guest.rig);
        let sizes = [
            UNIT,
            3 * UNIT,
            block,
            block + UNIT,
            2 * block - UNIT,
            3 * block,
            2 * block,
            2 * block - 5 * UNIT,
            4 * UNIT,
            UNIT,
        ];
        for size in sizes {
            guest.resize(size);
            guest.assert_steady(&format!("at {size:#x}"));
            guest.assert_plugged_up_to(REGION + size);
        }
        guest.resize(0);
        guest.assert_steady("at nothing");
        before.assert_same(&Snapshot::exact(&guest.rig), &format!("{}: after all has gone", guest.name));
    }
}

#[test]
fn a_block_comes_with_its_first_unit_and_goes_with_its_last() {
    for (g, home) in Granule::ALL.into_iter().flat_map(|g| HOMES.map(|home| (g, home))) {
        let block = g.section_size;
        let mut guest = Guest::new(g, home, UNIT, 2 * block);
        let first = REGION / block * block;
        let rest = first + block - REGION;
        for (size, blocks) in [
            (UNIT, vec![first]),
            (rest, vec![first]),
            (rest + UNIT, vec![first, first + block]),
            (rest, vec![first]),
            (0, vec![]),
        ] {
            guest.resize(size);
            guest.assert_steady(&format!("at {size:#x}"));
            assert_eq!(guest.blocks(), blocks, "{} at {size:#x}", guest.name);
        }
    }
}

#[test]
fn the_step_is_the_device_block_or_two_mib() {
    for g in Granule::ALL {
        for block_size in [MIB, 2 * MIB, 4 * MIB, 128 * MIB, 512 * MIB, 1024 * MIB] {
            let region = 2048 * MIB;
            let mut guest = Guest::new(g, MemmapHome::Ram, block_size, region);
            let unit = block_size.max(UNIT);
            for size in [unit, 2 * unit.min(1024 * MIB), unit, 0] {
                guest.resize(size);
                guest.assert_steady(&format!("at {size:#x}"));
            }
            if block_size < UNIT {
                assert_eq!(guest.resize(3 * MIB), Status::Steady, "what is less than a unit is left out");
                assert_eq!(guest.model.config().plugged_size, 2 * MIB);
            }
        }
    }
}

#[test]
fn whole_blocks_take_one_request_up_and_one_down() {
    for g in Granule::ALL {
        let (block, policy) =
            (g.section_size, Policy { home: MemmapHome::SelfHosted, zone: Some(ZoneKind::Movable) });
        let (first, mut guest) = (FAR, Guest::with(g, policy, UNIT, FAR, 8 * block));
        guest.resize(5 * block);
        assert_eq!(guest.model.take_asked(), [(Request::Plug, first..first + 5 * block, Answer::Ack)]);
        guest.resize(2 * block);
        assert_eq!(
            guest.model.take_asked(),
            [(Request::Unplug, first + 2 * block..first + 5 * block, Answer::Ack)]
        );
        guest.resize(0);
        assert_eq!(guest.model.take_asked(), [(Request::UnplugAll, first..first + 8 * block, Answer::Ack)]);
    }
}

#[test]
fn memory_that_is_to_stay_offline_comes_and_goes_as_well() {
    for (g, home) in Granule::ALL.into_iter().flat_map(|g| HOMES.map(|home| (g, home))) {
        let block = g.section_size;
        let mut guest = Guest::with(g, Policy { home, zone: None }, UNIT, REGION, 4 * block);
        let before = Snapshot::exact(&guest.rig);
        let free = guest.rig.mm.frames().counts().free;
        for size in [UNIT, 2 * block, 3 * block + UNIT, block, 0] {
            guest.resize(size);
            guest.assert_steady(&format!("offline at {size:#x}"));
            assert!(guest.rig.mm.frames().counts().free <= free, "{}: nothing is online", guest.name);
        }
        before.assert_same(&Snapshot::exact(&guest.rig), &format!("{}: after all has gone", guest.name));
    }
}
