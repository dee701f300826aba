//! What the device answers: NACK, BUSY, ERROR, at each request in turn; and what it requests meanwhile.

use std::cell::Cell;
use std::rc::Rc;

use hotmap_emulator::rig::MIB;
use hotmap_mm::debug::faults::Plan;
use hotmap_mm::granule::Granule;
use hotmap_mm::hotplug::home::MemmapHome;
use hotmap_resize::follow::MOST_TRIES;
use hotmap_resize::{Failure, Status};
use virtio_mem::{Answer, Request};

use crate::guest::{Guest, HOMES};

const UNIT: u64 = 2 * MIB;

/// The `n`-th request is answered so.
fn answer_nth(guest: &Guest, n: u32, answer: Answer) -> Rc<Cell<u32>> {
    let count = Rc::new(Cell::new(0));
    let seen = count.clone();
    guest.model.script(move |_, _, _| {
        seen.set(seen.get() + 1);
        (seen.get() == n).then_some(answer)
    });
    count
}

/// Up to two blocks and a half, down to one unit, up, and to nothing.
fn sizes(g: Granule) -> [u64; 4] {
    [2 * g.section_size + g.section_size / 2, UNIT, g.section_size, 0]
}

#[test]
fn each_request_refused_in_turn_leaves_both_sides_the_same() {
    for (g, home) in Granule::ALL.into_iter().flat_map(|g| HOMES.map(|home| (g, home))) {
        for answer in [Answer::Nack, Answer::Busy] {
            for n in 1.. {
                let mut guest = Guest::new(g, home, UNIT, 3 * g.section_size);
                let count = answer_nth(&guest, n, answer);
                for size in sizes(g) {
                    // Once is refused; a refusal that passes is tried again by itself.
                    if let Status::Waiting { .. } = guest.resize(size) {
                        guest.follow("again");
                    }
                    guest.assert_steady(&format!("at {size:#x}, request {n} answered {answer}"));
                }
                if count.get() < n {
                    break;
                }
            }
        }
    }
}

#[test]
fn a_device_that_is_busy_for_ever_is_tried_a_bounded_number_of_times() {
    let g = Granule::K16;
    let mut guest = Guest::new(g, MemmapHome::Demand, UNIT, 3 * g.section_size);
    guest.model.script(|_, _, _| Some(Answer::Busy));
    for tries in 1..MOST_TRIES {
        assert_eq!(guest.resize(g.section_size), Status::Waiting { tries });
    }
    assert_eq!(guest.resize(g.section_size), Status::Stuck);
    guest.model.no_script();
    guest.resize(g.section_size);
    guest.assert_steady("once the device is not busy any more");
}

#[test]
fn a_request_that_keeps_the_rules_and_is_an_error_ends_the_driving() {
    let g = Granule::K64;
    let mut guest = Guest::new(g, MemmapHome::SelfHosted, UNIT, 3 * g.section_size);
    guest.resize(UNIT);
    let first = guest.model.plugged()[0].end;
    answer_nth(&guest, 1, Answer::Error);
    guest.model.request(2 * UNIT);
    let status = guest.resizer.follow(&mut guest.rig.mm, &mut guest.model, &mut |_| false);
    let Status::Failed(failure @ Failure::Refused { request: Request::Plug, at, answer: Answer::Error }) =
        status
    else {
        panic!("{status:?}");
    };
    assert_eq!(at.get(), first);
    assert!(failure.to_string().contains("PLUG"), "{failure}");
    guest.model.take_asked();
    guest.check("nothing is lost");
    assert_eq!(guest.follow("again"), status, "and nothing more is asked");
    assert_eq!(guest.model.take_asked(), []);
}

#[test]
fn each_allocation_that_fails_in_turn_leaves_both_sides_the_same() {
    for (g, home) in Granule::ALL.into_iter().flat_map(|g| HOMES.map(|home| (g, home))) {
        for plan in [Plan::Nth as fn(u64) -> Plan, Plan::From] {
            for n in 1.. {
                let mut guest = Guest::new(g, home, UNIT, 3 * g.section_size);
                let mut fired = false;
                for size in sizes(g) {
                    guest.rig.mm.frames_mut().faults.arm(plan(n));
                    guest.resize(size);
                    fired |= guest.rig.mm.frames().faults.fired();
                    guest.rig.mm.frames_mut().faults.arm(Plan::Off);
                    guest.follow("without the fault");
                    guest.assert_steady(&format!("at {size:#x}, after allocation {n} failed"));
                }
                if !fired {
                    break;
                }
            }
        }
    }
}

#[test]
fn what_is_requested_meanwhile_counts() {
    for (g, home) in Granule::ALL.into_iter().flat_map(|g| HOMES.map(|home| (g, home))) {
        let block = g.section_size;
        for n in 1..6 {
            for (first, then) in [(2 * block, UNIT), (3 * UNIT, 2 * block + UNIT), (block + UNIT, 0)] {
                let mut guest = Guest::new(g, home, UNIT, 3 * block);
                let mut count = 0;
                guest.model.script(move |state, _, _| {
                    count += 1;
                    if count == n {
                        state.request(then);
                    }
                    None
                });
                guest.resize(first);
                guest.model.no_script();
                guest.follow("again");
                guest.assert_steady(&format!("{first:#x} requested, and {then:#x} at request {n}"));
            }
        }
    }
}

#[test]
fn a_plugged_size_that_does_not_agree_ends_the_driving() {
    let g = Granule::K4;
    let mut guest = Guest::new(g, MemmapHome::Ram, UNIT, 3 * g.section_size);
    guest.resize(UNIT);
    guest.model.state.borrow_mut().config.plugged_size = 3 * UNIT;
    let status = guest.resizer.follow(&mut guest.rig.mm, &mut guest.model, &mut |_| false);
    assert_eq!(status, Status::Failed(Failure::PluggedSize { says: 3 * UNIT, is: UNIT }));
}
