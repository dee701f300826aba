//! Random sizes under tenants, with pins, answers and changes at random: the two sides agree after each, and at the end the
//! guest is as it was at the start.

use hotmap_emulator::rig::MIB;
use hotmap_mm::addr::PhysAddr;
use hotmap_mm::granule::Granule;
use hotmap_mm::hotplug::home::MemmapHome;
use hotmap_mm::pfn::Pfn;
use hotmap_resize::Status;
use proptest::prelude::*;
use virtio_mem::Answer;

use crate::guest::{Guest, HOMES};

const UNIT: u64 = 2 * MIB;

/// A generator of numbers that is the same each time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// `count` resizes with up to three tenants.
fn resize_under_tenants(g: Granule, home: MemmapHome, count: u64, seed: u64) {
    let units = 3 * g.section_size / UNIT;
    let mut guest = Guest::new(g, home, UNIT, units * UNIT);
    let before = guest.rig.mm.frames().counts();
    let mut numbers = Numbers(seed);
    let mut tenants: Vec<(u32, u64)> = Vec::new();
    for step in 0..count {
        let size = match numbers.below(4) {
            0 => numbers.below(units + 1) * UNIT,
            1 => numbers.below(4) * g.section_size / 4 / UNIT * UNIT,
            2 => numbers.below(12) * UNIT,
            _ => guest.model.config().requested_size,
        };
        guest.resize(size.min(units * UNIT));
        match numbers.below(3) {
            0 if tenants.len() < 3 => {
                let pages = 1 + numbers.below(8 * UNIT / g.page_size);
                if let Ok(tenant) = guest.rig.mm.tenant_new(pages) {
                    tenants.push((tenant, pages));
                }
            }
            1 if !tenants.is_empty() => {
                let at = usize::try_from(numbers.below(tenants.len() as u64)).unwrap();
                let (tenant, pages) = tenants.swap_remove(at);
                assert_eq!(guest.rig.mm.tenant_check(tenant), Ok(pages), "{} step {step}", guest.name);
                guest.rig.mm.tenant_drop(tenant).unwrap();
            }
            _ => {}
        }
    }
    for (tenant, pages) in tenants {
        assert_eq!(guest.rig.mm.tenant_check(tenant), Ok(pages), "{}", guest.name);
        guest.rig.mm.tenant_drop(tenant).unwrap();
    }
    guest.resize(0);
    guest.assert_steady("at the end");
    assert_eq!(guest.rig.mm.frames().counts(), before, "{}: as at the start", guest.name);
}

#[test]
fn random_sizes_under_tenants_end_at_the_counts_of_the_start() {
    for g in Granule::ALL {
        for (i, home) in HOMES.into_iter().enumerate() {
            resize_under_tenants(g, home, 120, 0x9e37_79b9 + i as u64);
        }
    }
}

#[derive(Clone, Debug)]
enum Act {
    Size(u64),
    Pin(u64),
    Unpin,
    Answer(u32, bool),
    Tenant(u64),
    Drop,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (0u64..192).prop_map(Act::Size),
        2 => (0u64..1 << 20).prop_map(Act::Pin),
        2 => Just(Act::Unpin),
        1 => (1u32..5, any::<bool>()).prop_map(|(n, busy)| Act::Answer(n, busy)),
        1 => (1u64..400).prop_map(Act::Tenant),
        1 => Just(Act::Drop),
    ]
}

fn run(g: Granule, home: MemmapHome, acts: &[Act]) {
    let mut guest = Guest::new(g, home, UNIT, 192 * UNIT);
    let (mut pins, mut tenants): (Vec<Pfn>, Vec<u32>) = Default::default();
    for act in acts {
        match act {
            Act::Size(units) => {
                guest.resize(units * UNIT);
                // With nothing in the way the last word is followed.
                if pins.is_empty() && tenants.is_empty() && guest.resizer.status() != Status::Steady {
                    guest.model.no_script();
                    guest.follow("again");
                    guest.assert_steady(&format!("{act:?}"));
                }
            }
            Act::Pin(at) => {
                let plugged = guest.model.plugged();
                let total: u64 = plugged.iter().map(|r| r.end - r.start).sum();
                let Some(mut offset) = (at * g.page_size).checked_rem(total) else { continue };
                let range = plugged.iter().find(|r| {
                    let len = r.end - r.start;
                    let here = offset < len;
                    if !here {
                        offset -= len;
                    }
                    here
                });
                let pfn = Pfn::containing(g, PhysAddr::new(range.unwrap().start + offset));
                if guest.rig.mm.pin(pfn).is_ok() {
                    pins.push(pfn);
                }
            }
            Act::Unpin => pins.pop().into_iter().for_each(|pfn| guest.rig.mm.unpin(pfn).unwrap()),
            Act::Answer(n, busy) => {
                let (mut count, n, answer) = (0, *n, if *busy { Answer::Busy } else { Answer::Nack });
                guest.model.script(move |_, _, _| {
                    count += 1;
                    (count == n).then_some(answer)
                });
            }
            Act::Tenant(pages) => tenants.extend(guest.rig.mm.tenant_new(*pages).ok()),
            Act::Drop => {
                if let Some(tenant) = tenants.pop()
                    && guest.rig.mm.tenant_drop(tenant).is_err()
                {
                    tenants.push(tenant);
                }
            }
        }
        guest.check(&format!("{act:?}"));
    }
    guest.model.no_script();
    pins.drain(..).rev().for_each(|pfn| guest.rig.mm.unpin(pfn).unwrap());
    tenants.drain(..).for_each(|tenant| guest.rig.mm.tenant_drop(tenant).unwrap());
    guest.resize(0);
    guest.assert_steady("at the end");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn any_sequence_leaves_both_sides_the_same(
        g in prop::sample::select(Granule::ALL.to_vec()),
        home in prop::sample::select(HOMES.to_vec()),
        acts in prop::collection::vec(act(), 1..24),
    ) {
        run(g, home, &acts);
    }
}
