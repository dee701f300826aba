//! A device that has memory plugged when it is found.

use hotmap_emulator::rig::MIB;
use hotmap_mm::debug::faults::Plan;
use hotmap_mm::granule::Granule;
use hotmap_mm::hotplug::home::MemmapHome;
use hotmap_resize::Status;
use virtio_mem::{Answer, Device};

use crate::guest::{Guest, HOMES, REGION};

const UNIT: u64 = 2 * MIB;

/// A guest whose device has these units plugged, of whose memory it knows nothing.
fn found(g: Granule, home: MemmapHome, units: &[(u64, u64)]) -> Guest {
    let mut guest = Guest::new(g, home, UNIT, 3 * g.section_size);
    guest.model.request(3 * g.section_size);
    for (first, count) in units {
        let start = REGION + first * UNIT;
        assert_eq!(guest.model.plug(start..start + count * UNIT), Ok(Answer::Ack));
    }
    let config = guest.model.config();
    let policy = hotmap_resize::Policy { home, zone: Some(hotmap_mm::frame::zone::ZoneKind::Movable) };
    guest.resizer = hotmap_resize::Resizer::new(0, config, policy, g);
    guest
}

#[test]
fn what_is_plugged_is_found_and_used() {
    for (g, home) in Granule::ALL.into_iter().flat_map(|g| HOMES.map(|home| (g, home))) {
        let whole = g.section_size / UNIT;
        for units in [vec![(0, 1)], vec![(1, 3), (7, 1), (whole, whole + 2)], vec![(3 * whole - 1, 1)]] {
            let mut guest = found(g, home, &units);
            let plugged = guest.model.plugged();
            guest.model.request(guest.model.config().plugged_size);
            let size = guest.model.config().plugged_size;
            guest.resizer.take_over(&mut guest.rig.mm, &mut guest.model).unwrap();
            guest.check("found");
            assert_eq!(guest.follow("taken over"), Status::Steady);
            guest.assert_steady("taken over");
            assert_eq!(guest.model.plugged(), plugged, "nothing was plugged or unplugged for that");
            assert_eq!(guest.resizer.in_use(), size);
            guest.resize(0);
            guest.assert_steady("given back");
        }
    }
}

#[test]
fn what_is_plugged_beyond_the_request_is_given_back() {
    for (g, home) in Granule::ALL.into_iter().flat_map(|g| HOMES.map(|home| (g, home))) {
        let mut guest = found(g, home, &[(0, 5), (9, 4)]);
        guest.model.request(3 * UNIT);
        guest.resizer.take_over(&mut guest.rig.mm, &mut guest.model).unwrap();
        guest.follow("taken over");
        guest.assert_steady("taken over");
        guest.assert_plugged_up_to(REGION + 3 * UNIT);
    }
}

#[test]
fn a_list_for_which_there_is_no_room_is_made_the_next_time() {
    let g = Granule::K16;
    for n in 1.. {
        let mut guest = Guest::new(g, MemmapHome::Ram, UNIT, 3 * g.section_size);
        guest.resize(10 * UNIT);
        let before = (guest.resizer.plugged().clone(), guest.resizer.idle().clone());
        guest.resizer.leave(&mut guest.rig.mm, &mut |_| false).unwrap();
        guest.rig.mm.frames_mut().faults.arm(Plan::Nth(n));
        let taken = guest.resizer.take_over(&mut guest.rig.mm, &mut guest.model);
        let fired = guest.rig.mm.frames().faults.fired();
        guest.rig.mm.frames_mut().faults.arm(Plan::Off);
        assert_eq!(taken.is_err(), fired, "allocation {n}: {taken:?}");
        guest.follow("after it was taken over, or not");
        guest.assert_steady("after it was taken over, or not");
        assert_eq!((guest.resizer.plugged().clone(), guest.resizer.idle().clone()), before);
        if !fired {
            break;
        }
    }
}

#[test]
fn device_blocks_smaller_than_a_unit_are_given_back_where_they_make_no_unit() {
    let g = Granule::K64;
    let mut guest = Guest::new(g, MemmapHome::Ram, MIB, 3 * g.section_size);
    guest.model.request(16 * MIB);
    for (first, count) in [(1, 4), (7, 1), (10, 3)] {
        let start = REGION + first * MIB;
        assert_eq!(guest.model.plug(start..start + count * MIB), Ok(Answer::Ack));
    }
    guest.resizer = hotmap_resize::Resizer::new(
        0,
        guest.model.config(),
        hotmap_resize::Policy { home: MemmapHome::Ram, zone: None },
        g,
    );
    guest.resizer.take_over(&mut guest.rig.mm, &mut guest.model).unwrap();
    let units = [REGION + 2 * MIB..REGION + 4 * MIB, REGION + 10 * MIB..REGION + 12 * MIB];
    assert_eq!(guest.model.plugged(), units);
    guest.follow("taken over");
    guest.assert_steady("taken over");
}
