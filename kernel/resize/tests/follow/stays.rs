//! What cannot move stays, and as much as can be goes.

use hotmap_emulator::rig::{MIB, range};
use hotmap_mm::addr::PhysAddr;
use hotmap_mm::error::{Error, PageError, RangeError};
use hotmap_mm::frame::block::Source;
use hotmap_mm::granule::Granule;
use hotmap_mm::hotplug::home::MemmapHome;
use hotmap_mm::hotplug::range::HotRange;
use hotmap_mm::pfn::Pfn;
use hotmap_resize::Status;

use crate::guest::{Guest, HOMES, REGION};

const UNIT: u64 = 2 * MIB;

fn pfn(g: Granule, at: u64) -> Pfn {
    Pfn::containing(g, PhysAddr::new(at))
}

#[test]
fn a_held_page_keeps_its_unit_until_it_is_released() {
    for (g, home) in Granule::ALL.into_iter().flat_map(|g| HOMES.map(|home| (g, home))) {
        let block = g.section_size;
        let mut guest = Guest::new(g, home, UNIT, 4 * block);
        let size = 3 * block;
        guest.resize(size);
        // In the second whole block, away from its first pages, which may hold memmap.
        let start = REGION / block * block + 2 * block;
        let held = start + block / 2 + UNIT + 3 * g.page_size;
        guest.rig.mm.pin(pfn(g, held)).unwrap();
        let status = guest.resize(0);
        assert_eq!(status, Status::Stuck, "{}", guest.name);
        let unit = held / UNIT * UNIT;
        let plugged = guest.model.plugged();
        assert!(plugged.contains(&(unit..unit + UNIT)), "{}: {plugged:x?}", guest.name);
        // A block that hosts its memmap keeps the unit of that.
        let most = if home == MemmapHome::Ram { UNIT } else { 2 * UNIT };
        assert!(guest.resizer.in_use() <= most, "{}: {plugged:x?}", guest.name);
        let stays = guest.resizer.stuck().as_slice();
        let why = stays.iter().find(|stay| stay.range == (unit..unit + UNIT)).map(|stay| stay.why);
        assert!(matches!(why, Some(Error::Page(PageError::Pinned { .. }))), "{}: {stays:?}", guest.name);
        guest.rig.mm.unpin(pfn(g, held)).unwrap();
        guest.follow("after the page was released");
        guest.assert_steady("after the page was released");
    }
}

#[test]
fn a_held_page_in_a_block_that_goes_in_part_is_passed_over() {
    for (g, home) in Granule::ALL.into_iter().flat_map(|g| HOMES.map(|home| (g, home))) {
        let block = g.section_size;
        let mut guest = Guest::new(g, home, UNIT, 2 * block);
        let first = (REGION / block + 1) * block;
        guest.resize(first - REGION + block / 2);
        let top = first + block / 2;
        guest.rig.mm.pin(pfn(g, top - g.page_size)).unwrap();
        guest.resize(first - REGION + block / 2 - 3 * UNIT);
        guest.assert_steady("with the highest unit in use");
        assert_eq!(guest.model.plugged(), [REGION..top - 4 * UNIT, top - UNIT..top], "{}", guest.name);
        // What was passed over is what the next growth plugs first.
        guest.resize(first - REGION + block / 2 + UNIT);
        guest.assert_plugged_up_to(top + UNIT);
    }
}

#[test]
fn what_stays_is_news_once_and_another_unit_is_news_again() {
    let g = Granule::K4;
    let mut guest = Guest::new(g, MemmapHome::Ram, UNIT, 2 * g.section_size);
    guest.resize(g.section_size);
    let (low, high) = (REGION + 5 * UNIT, REGION + 9 * UNIT);
    guest.rig.mm.pin(pfn(g, low)).unwrap();
    guest.resize(0);
    assert!(guest.resizer.stuck_changed());
    guest.follow("again");
    assert!(!guest.resizer.stuck_changed(), "the same unit for the same reason");
    guest.resize(10 * UNIT);
    guest.rig.mm.pin(pfn(g, high)).unwrap();
    guest.rig.mm.unpin(pfn(g, low)).unwrap();
    guest.resize(0);
    let stays = guest.resizer.stuck().as_slice();
    assert!(stays.len() == 1 && guest.resizer.stuck_changed(), "as many, and another one: {stays:?}");
}

#[test]
fn pages_in_use_move_out_of_what_goes() {
    for (g, home) in Granule::ALL.into_iter().flat_map(|g| HOMES.map(|home| (g, home))) {
        let mut guest = Guest::new(g, home, UNIT, 2 * g.section_size);
        guest.resize(g.section_size + 24 * UNIT);
        let pages = 20 * UNIT / g.page_size;
        let tenant = guest.rig.mm.tenant_new(pages).unwrap();
        for size in [g.section_size, 20 * UNIT, 0] {
            guest.resize(size);
            guest.assert_steady(&format!("at {size:#x} under a tenant"));
            assert_eq!(guest.rig.mm.tenant_check(tenant), Ok(pages), "{}", guest.name);
        }
        guest.rig.mm.tenant_drop(tenant).unwrap();
        guest.check("without tenants");
    }
}

#[test]
fn a_block_that_other_memory_has_is_passed_over() {
    for g in Granule::ALL {
        let block = g.section_size;
        let mut guest = Guest::new(g, MemmapHome::Ram, UNIT, 3 * block);
        let other = (REGION / block + 1) * block;
        let hot = HotRange::new(&guest.rig.mm, PhysAddr::new(other), block, Source::DeviceTree).unwrap();
        guest.rig.mm.add_memory(&hot, MemmapHome::Ram, |_, _| {}).unwrap();
        guest.model.request(block);
        assert_eq!(guest.resizer.follow(&mut guest.rig.mm, &mut guest.model, &mut |_| false), Status::Steady);
        let plugged = guest.model.plugged();
        assert!(plugged.iter().all(|r| r.end <= other || r.start >= other + block), "{plugged:x?}");
        let stays = guest.resizer.stuck().as_slice();
        assert!(matches!(stays[0].why, Error::Range(RangeError::Exists { .. })), "{stays:?}");
        guest.rig.mm.remove_memory(range(other, block)).unwrap();
        guest.resize(2 * block);
        guest.assert_steady("once the other memory is gone");
    }
}

#[test]
fn memory_short_for_memmap_is_waited_for() {
    let g = Granule::K4;
    let mut guest = Guest::new(g, MemmapHome::Ram, UNIT, 2048 * MIB);
    // What the tenant and its tables leave is less than the 512 pages that the memmap of one block takes.
    let free = guest.rig.mm.frames().counts().free;
    let tenant = guest.rig.mm.tenant_new(free - 300).unwrap();
    assert_eq!(guest.resize(2048 * MIB), Status::Waiting { tries: 1 });
    assert_eq!(guest.resizer.in_use(), 0);
    guest.rig.mm.tenant_drop(tenant).unwrap();
    guest.follow("with memory free");
    guest.assert_steady("with memory free");
}
