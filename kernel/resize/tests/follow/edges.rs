//! What else happens to the memory of a device: vetoes, Ctrl-C, blocks changed by hand, a region at the end of the addresses.

use hotmap_emulator::rig::{MIB, Rig, Shape};
use hotmap_mm::addr::PhysAddr;
use hotmap_mm::error::{BlockError, Error, RangeError};
use hotmap_mm::frame::zone::ZoneKind;
use hotmap_mm::granule::Granule;
use hotmap_mm::hotplug::home::MemmapHome;
use hotmap_mm::hotplug::notify::{Direction, Event, Notifier, Veto};
use hotmap_mm::pfn::{Pfn, PfnRange};
use hotmap_resize::{Policy, Resizer, Status};
use virtio_mem::Config;

use crate::guest::{Guest, HOMES, REGION};
use crate::hostile::Agrees;

const UNIT: u64 = 2 * MIB;
/// The first byte of a memory block at every granule.
const FAR: u64 = 0x1_0000_0000;
const MOVABLE: Option<ZoneKind> = Some(ZoneKind::Movable);

fn block_pages(g: Granule, at: u64) -> PfnRange {
    PfnRange::new(Pfn::containing(g, PhysAddr::new(at)), g.section_pages)
}

#[test]
fn a_veto_keeps_its_block_and_no_other() {
    const NOTIFIER: Notifier = Notifier {
        name: "the test",
        hear: |event, range| match event {
            Event::Going(Direction::Online) if range.contains(PhysAddr::new(FAR + 0x6000_0000)) => Err(Veto),
            _ => Ok(()),
        },
    };
    for (g, home) in Granule::ALL.into_iter().flat_map(|g| HOMES.map(|home| (g, home))) {
        let block = g.section_size;
        let mut guest = Guest::with(g, Policy { home, zone: MOVABLE }, UNIT, FAR, 0x8000_0000);
        guest.rig.mm.notifiers.register(NOTIFIER).unwrap();
        guest.resize(0x8000_0000);
        let vetoed = FAR + 0x6000_0000;
        assert_eq!(
            guest.resizer.in_use(),
            0x8000_0000 - block,
            "{}: {:?}",
            guest.name,
            guest.resizer.status()
        );
        let stays = guest.resizer.stuck().as_slice();
        assert_eq!(stays.len(), 1, "{}: {stays:?}", guest.name);
        assert_eq!(stays[0].range, vetoed..vetoed + block, "{}", guest.name);
        assert!(matches!(stays[0].why, Error::Block(BlockError::Vetoed { .. })), "{stays:?}");
    }
}

#[test]
fn what_the_linear_map_reaches_is_used_where_the_region_goes_beyond() {
    for g in Granule::ALL {
        let block = g.section_size;
        let reach = Rig::boot(g, &Shape::one("192 MiB", 0x4000_0000, 192 * MIB)).mm.space().layout().reach();
        let addr = reach.end.get() / block * block - 2 * block;
        let policy = Policy { home: MemmapHome::Ram, zone: MOVABLE };
        let mut guest = Guest::with(g, policy, UNIT, addr, 4 * block);
        guest.resize(4 * block);
        assert_eq!(guest.resizer.in_use(), 2 * block, "{}: {:?}", guest.name, guest.resizer.stuck());
        let stays = guest.resizer.stuck().as_slice();
        assert!(matches!(stays[0].why, Error::Range(RangeError::BeyondLinearMap { .. })), "{stays:?}");
        guest.resize(0);
        guest.assert_steady("given back");
    }
}

#[test]
fn what_was_emptied_before_ctrl_c_is_given_back() {
    for (g, home) in Granule::ALL.into_iter().flat_map(|g| HOMES.map(|home| (g, home))) {
        let block = g.section_size;
        let mut guest = Guest::with(g, Policy { home, zone: MOVABLE }, UNIT, FAR, 2 * block);
        guest.resize(2 * block);
        guest.rig.mm.pin(Pfn::containing(g, PhysAddr::new(FAR + block + block / 2))).unwrap();
        let tenant = guest.rig.mm.tenant_new(block / 2 / g.page_size).unwrap();
        guest.model.request(0);
        let mut asked = 0;
        guest.resizer.follow(&mut guest.rig.mm, &mut guest.model, &mut |migrated| {
            asked += 1;
            migrated > 64
        });
        guest.check("after Ctrl-C");
        assert!(asked > 0, "{}", guest.name);
        assert_eq!(guest.resizer.idle().total(), 0, "{}: {:x?}", guest.name, guest.resizer.idle());
        guest.rig.mm.tenant_drop(tenant).unwrap();
    }
}

#[test]
fn blocks_changed_by_hand_go_as_well() {
    for (g, home) in Granule::ALL.into_iter().flat_map(|g| HOMES.map(|home| (g, home))) {
        let block = g.section_size;
        let first = (REGION / block + 1) * block;
        for zone in [None, Some(ZoneKind::Normal), MOVABLE] {
            for size in [first - REGION + block / 2, block, UNIT, 0] {
                let mut guest = Guest::new(g, home, UNIT, 4 * block);
                guest.resize(3 * block + block / 2);
                for at in [REGION / block * block, first, first + 2 * block] {
                    let pages = block_pages(g, at);
                    guest.rig.mm.offline_pages(pages).unwrap();
                    if let Some(zone) = zone {
                        guest.rig.mm.online_pages(pages, zone, |_, _| {}).unwrap();
                    }
                }
                let free = guest.rig.mm.frames().counts().free;
                guest.resize(size);
                guest.assert_steady(&format!("{zone:?} by hand, at {size:#x}, {free} were free"));
                guest.resize(4 * block);
                guest.assert_steady(&format!("{zone:?} by hand, up from {size:#x}"));
                guest.resize(0);
                guest.assert_steady("at the end");
            }
        }
    }
}

#[test]
fn huge_pages_leave_what_goes_unless_they_are_taken() {
    for (g, home) in Granule::ALL.into_iter().flat_map(|g| HOMES.map(|home| (g, home))) {
        let block = g.section_size;
        let mut guest = Guest::with(g, Policy { home, zone: MOVABLE }, UNIT, FAR, 3 * block);
        guest.resize(3 * block);
        let order = (UNIT / g.page_size).trailing_zeros();
        let Ok(made) = guest.rig.mm.hugetlb_resize(order, 12) else { continue };
        assert!(made.total > 0, "{}", guest.name);
        let head = guest.rig.mm.hugetlb_take(order).unwrap();
        for size in [2 * block + 7 * UNIT, block + UNIT, 5 * UNIT, 0] {
            guest.resize(size);
        }
        assert!(guest.resizer.in_use() <= 3 * UNIT, "{}: {:?}", guest.name, guest.resizer.stuck());
        guest.rig.mm.hugetlb_put(head).unwrap();
        guest.rig.mm.hugetlb_resize(order, 0).unwrap();
        guest.resize(0);
        guest.assert_steady("without huge pages");
    }
}

#[test]
fn a_poisoned_page_keeps_its_unit_until_its_block_goes() {
    for (g, home) in Granule::ALL.into_iter().flat_map(|g| HOMES.map(|home| (g, home))) {
        let block = g.section_size;
        let mut guest = Guest::with(g, Policy { home, zone: MOVABLE }, UNIT, FAR, 2 * block);
        guest.resize(block + 20 * UNIT);
        guest
            .rig
            .mm
            .poison(Pfn::containing(g, PhysAddr::new(FAR + block + 15 * UNIT + g.page_size)))
            .unwrap();
        guest.resize(block + 10 * UNIT);
        guest.assert_steady("with a poisoned page");
        let unit = FAR + block + 15 * UNIT;
        assert!(guest.model.plugged().contains(&(unit..unit + UNIT)), "{}", guest.name);
        guest.resize(block);
        guest.assert_steady("the poisoned page has gone with its block");
        guest.assert_plugged_up_to(FAR + block);
    }
}

#[test]
fn a_region_at_the_end_of_the_addresses_is_not_used() {
    for g in Granule::ALL {
        for (block_size, below, size) in [
            (1, 3, 2),
            (UNIT, 4 * UNIT, 3 * UNIT),
            (UNIT, 1024 * MIB, 1024 * MIB - UNIT),
            (1 << 40, 2 << 40, 1 << 40),
            (1 << 12, 1 << 42, (1 << 42) - (1 << 12)),
        ] {
            for plugged in [0, size] {
                let mut rig = Rig::boot(g, &Shape::one("192 MiB", 0x4000_0000, 192 * MIB));
                let config = Config {
                    block_size,
                    node: None,
                    addr: 0u64.wrapping_sub(below),
                    region_size: size,
                    usable_region_size: size,
                    plugged_size: plugged,
                    requested_size: size,
                };
                let mut device = Agrees { config, flip: 0 };
                let mut resizer = Resizer::new(0, config, Policy { home: MemmapHome::Ram, zone: MOVABLE }, g);
                resizer.take_over(&mut rig.mm, &mut device).unwrap();
                for _ in 0..3 {
                    let status = resizer.follow(&mut rig.mm, &mut device, &mut |_| false);
                    assert!(status != Status::Steady || resizer.target() == 0, "{} {config:x?}", g.kind);
                }
                assert_eq!(resizer.in_use(), 0, "{} {config:x?}", g.kind);
                rig.assert_clean("at the end of the addresses");
            }
        }
    }
}
