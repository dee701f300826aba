//! Two devices whose regions meet in the middle of a memory block, which they share.

use hotmap_emulator::rig::{MIB, Rig, Shape};
use hotmap_mm::addr::PhysAddr;
use hotmap_mm::frame::zone::ZoneKind;
use hotmap_mm::granule::Granule;
use hotmap_mm::hotplug::home::MemmapHome;
use hotmap_mm::pfn::Pfn;
use hotmap_resize::{Policy, Resizer, Status};
use hotmap_testkit::snapshot::Snapshot;

use crate::guest::HOMES;
use hotmap_emulator::devices::virtio_mem::Model;

const UNIT: u64 = 2 * MIB;
/// The first byte of a memory block at every granule.
const FIRST: u64 = 0x1_0000_0000;

struct Pair {
    rig: Rig,
    devices: [(Model, Resizer); 2],
    name: String,
}

impl Pair {
    /// The first device has a block and a half, the second as much behind it.
    fn new(g: Granule, home: MemmapHome) -> Self {
        let rig = Rig::boot(g, &Shape::one("192 MiB", 0x4000_0000, 192 * MIB));
        let size = g.section_size + g.section_size / 2;
        let rooms = [FIRST..FIRST + 2 * size, 0..0];
        let policy = Policy { home, zone: Some(ZoneKind::Movable) };
        let devices = [0, 1].map(|i| {
            let addr = FIRST + u64::from(i) * size;
            let model = Model::new(&rig.machine, UNIT, addr, size, rooms[i as usize].clone());
            let resizer = Resizer::new(i, model.config(), policy, g);
            (model, resizer)
        });
        Self { rig, devices, name: format!("{} {home:?}", g.kind) }
    }

    fn resize(&mut self, which: usize, size: u64) -> Status {
        let (model, resizer) = &mut self.devices[which];
        model.request(size);
        let status = resizer.follow(&mut self.rig.mm, model, &mut |_| false);
        self.rig.assert_clean(&format!("{}: device {which} at {size:#x}", self.name));
        let counts = self.rig.mm.frames().zone(ZoneKind::Movable).present << self.rig.granule().page_shift;
        let plugged: u64 = self.devices.iter().map(|(model, _)| model.config().plugged_size).sum();
        assert_eq!(counts, plugged, "{}: device {which} at {size:#x}", self.name);
        status
    }
}

#[test]
fn a_shared_block_comes_with_the_first_unit_of_either_and_goes_with_the_last_of_both() {
    for g in Granule::ALL {
        let (block, half) = (g.section_size, g.section_size / 2);
        let mut pair = Pair::new(g, MemmapHome::Ram);
        let before = Snapshot::exact(&pair.rig);
        let shared = Pfn::containing(g, PhysAddr::new(FIRST + block));
        for (steps, there) in [
            ([(1, UNIT), (0, block + UNIT), (1, 0), (0, block)], [true, true, true, false]),
            ([(0, block + half), (1, half), (0, 0), (1, 0)], [true, true, true, false]),
            ([(1, half + UNIT), (0, UNIT), (1, UNIT), (1, 0)], [true, true, true, false]),
        ] {
            for ((which, size), there) in steps.into_iter().zip(there) {
                assert_eq!(pair.resize(which, size), Status::Steady, "{}: {which} at {size:#x}", pair.name);
                assert_eq!(
                    pair.rig.mm.frames().block_of(shared).is_some(),
                    there,
                    "{}: {which} at {size:#x}",
                    pair.name
                );
            }
        }
        pair.resize(0, 0);
        before.assert_same(&Snapshot::exact(&pair.rig), &pair.name);
    }
}

#[test]
fn neighbours_come_and_go_with_each_home_of_the_memmap() {
    for (g, home) in Granule::ALL.into_iter().flat_map(|g| HOMES.map(|home| (g, home))) {
        let (block, half) = (g.section_size, g.section_size / 2);
        let mut pair = Pair::new(g, home);
        let before = Snapshot::exact(&pair.rig);
        for (which, size) in [
            (0, block + half),
            (1, block + half),
            (1, half + UNIT),
            (0, block + UNIT),
            (1, UNIT),
            (0, block),
            (1, 0),
        ] {
            pair.resize(which, size);
        }
        // The memmap of the shared block may have held a unit of the first device.
        for which in [0, 1, 0] {
            pair.resize(which, 0);
        }
        before.assert_same(&Snapshot::exact(&pair.rig), &pair.name);
    }
}
