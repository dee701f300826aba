//! A guest with one device, and the check that both agree.

use std::ops::Range;

use hotmap_emulator::rig::{MIB, Rig, Shape};
use hotmap_mm::addr::PhysAddr;
use hotmap_mm::frame::page::PageKind;
use hotmap_mm::frame::zone::ZoneKind;
use hotmap_mm::granule::Granule;
use hotmap_mm::hotplug::home::MemmapHome;
use hotmap_mm::pfn::Pfn;
use hotmap_resize::{Policy, Resizer, Status};
use virtio_mem::Answer;

use hotmap_emulator::devices::virtio_mem::Model;

/// Where the region begins: at a multiple of 2 MiB, in the middle of a memory block.
pub(crate) const REGION: u64 = 0x8420_0000;
/// The homes that memory of a device can have.
pub(crate) const HOMES: [MemmapHome; 3] = [MemmapHome::Ram, MemmapHome::SelfHosted, MemmapHome::Demand];

/// A guest with a device.
pub(crate) struct Guest {
    pub(crate) rig: Rig,
    pub(crate) model: Model,
    pub(crate) resizer: Resizer,
    pub(crate) name: String,
}

impl Guest {
    /// A guest of 192 MiB, and a device with a region of `region_size` bytes.
    pub(crate) fn new(g: Granule, home: MemmapHome, block_size: u64, region_size: u64) -> Self {
        Self::with(
            g,
            Policy { home, zone: Some(ZoneKind::Movable) },
            block_size,
            REGION / block_size * block_size,
            region_size,
        )
    }

    pub(crate) fn with(g: Granule, policy: Policy, block_size: u64, addr: u64, region_size: u64) -> Self {
        let rig = Rig::boot(g, &Shape::one("192 MiB", 0x4000_0000, 192 * MIB));
        let block = g.section_size.max(block_size);
        let room = addr / block * block..(addr + region_size).next_multiple_of(block);
        let model = Model::new(&rig.machine, block_size, addr, region_size, room);
        let resizer = Resizer::new(0, model.config(), policy, g);
        let name = format!("{} {:?}, blocks of {block_size:#x}", g.kind, policy.home);
        Self { rig, model, resizer, name }
    }

    /// The device requests `size`, and the guest follows.
    pub(crate) fn resize(&mut self, size: u64) -> Status {
        self.model.request(size);
        self.follow(&format!("at {size:#x}"))
    }

    /// The guest follows, and both agree.
    pub(crate) fn follow(&mut self, when: &str) -> Status {
        let status = self.resizer.follow(&mut self.rig.mm, &mut self.model, &mut |_| false);
        self.check(when);
        status
    }

    /// The two sides agree, the memory is sound, and no request broke a rule of the specification.
    pub(crate) fn check(&self, when: &str) {
        let when = format!("{} {when}", self.name);
        self.rig.assert_clean(&when);
        let plugged = self.model.plugged();
        assert_eq!(self.resizer.plugged().as_slice(), plugged, "{when}: plugged");
        let sum: u64 = plugged.iter().map(|r| r.end - r.start).sum();
        assert_eq!(self.model.config().plugged_size, sum, "{when}: the model");
        assert_eq!(self.in_memory(), self.expected_in_memory(), "{when}: in the guest's memory");
        let wrong = self.model.state.borrow().asked.iter().find(|asked| asked.2 == Answer::Error).cloned();
        assert_eq!(wrong, None, "{when}: a request breaks a rule");
    }

    fn expected_in_memory(&self) -> Vec<u64> {
        let unit = self.resizer.unit();
        let idle = |at: u64| self.resizer.idle().bytes_in(&(at..at + unit)) != 0;
        let units = |r: &Range<u64>| (r.start..r.end).step_by(usize::try_from(unit).unwrap());
        self.model.plugged().iter().flat_map(units).filter(|at| !idle(*at)).collect()
    }

    /// The units that the guest's memory has, by their struct pages.
    fn in_memory(&self) -> Vec<u64> {
        let unit = self.resizer.unit();
        let region = self.model.config().region();
        let start = region.start.next_multiple_of(unit);
        let units = (start..region.end / unit * unit).step_by(usize::try_from(unit).unwrap());
        units.filter(|at| self.has_unit(*at, unit)).collect()
    }

    fn has_unit(&self, at: u64, unit: u64) -> bool {
        let (g, frames) = (self.rig.granule(), self.rig.mm.frames());
        let first = Pfn::containing(g, PhysAddr::new(at));
        // The ends and the middle: a unit has one use in this respect.
        let here = [0, unit / 2, unit - g.page_size].map(|offset| {
            let pfn = first + (offset >> g.page_shift);
            frames.use_of(pfn).is_ok_and(|(kind, _)| kind != PageKind::Unplugged)
        });
        assert!(here == [true; 3] || here == [false; 3], "{} {at:#x}: a unit in part: {here:?}", self.name);
        here[0]
    }

    /// The memory blocks that the guest has in the region, and around its ends.
    pub(crate) fn blocks(&self) -> Vec<u64> {
        let g = self.rig.granule();
        let region = self.model.config().region();
        let first = PhysAddr::new(region.start).align_down(g.section_size).get();
        let blocks = (first..region.end).step_by(usize::try_from(g.section_size).unwrap());
        let there =
            |at: &u64| self.rig.mm.frames().block_of(Pfn::containing(g, PhysAddr::new(*at))).is_some();
        blocks.filter(there).collect()
    }

    /// What is plugged is the region from its start to `end`.
    pub(crate) fn assert_plugged_up_to(&self, end: u64) {
        let plugged = self.model.plugged();
        let ends = plugged.iter().map(|r| (r.start, r.end)).collect::<Vec<_>>();
        assert_eq!(ends, [(self.model.config().addr, end)], "{}", self.name);
    }

    /// What the device says is as much as was requested, and the guest uses all of it.
    pub(crate) fn assert_steady(&self, when: &str) {
        let config = self.model.config();
        assert_eq!(self.resizer.status(), Status::Steady, "{} {when}: {:?}", self.name, self.resizer.stuck());
        assert_eq!(config.plugged_size, config.requested_size, "{} {when}", self.name);
        assert_eq!(self.resizer.in_use(), config.plugged_size, "{} {when}", self.name);
    }
}
