//! Operations on devices, in lockstep; and compaction.

use hotmap_mm::addr::PhysAddr;
use hotmap_mm::device::holds::Teardown;
use hotmap_mm::device::pagemap::DeviceType;
use hotmap_mm::error::{DeviceError, Error};
use hotmap_mm::frame::zone::ZoneKind;
use hotmap_mm::hotplug::home::MemmapHome;
use hotmap_mm::hotplug::notify::Direction;

use super::World;
use crate::reference::devices::{Device, Given};
use crate::reference::predict::Answer;
use crate::snapshot::Detail;
use hotmap_emulator::rig::Rig;

impl World {
    /// Makes a device.
    pub fn create(&mut self, ranges: &[(u64, u64)], kind: DeviceType, memmap: MemmapHome) {
        let what = format!("device {ranges:x?} {kind} {memmap:?}");
        let (answer, device) = self.reference.create(&self.rig.machine, &self.seen, ranges, kind, memmap);
        if let Some(device) = &device {
            self.plug_device(device);
        }
        let blocks = device.as_ref().is_some_and(|d| {
            d.ranges.iter().flat_map(|r| self.reference.parts(r)).any(|part| self.reference.is_block(&part))
        });
        let in_ram = memmap == MemmapHome::Ram && blocks;
        let tables = device.as_ref().map(|d| self.reference.tables_to_create(&self.rig.machine, d));
        // Making a block for the memmap out of pieces moves tenants' pages.
        let detail = if in_ram { Detail::WherePagesMayHaveMoved } else { Detail::Exact };
        let result = self.act(detail, &what, |rig| {
            let pairs: Vec<_> = ranges.iter().map(|(start, len)| (PhysAddr::new(*start), *len)).collect();
            let device = rig.mm.device_range(&pairs, kind, memmap)?;
            rig.mm.memremap_pages(&device, |_, _| {})
        });
        self.answered("create", answer, &result, &what);
        let early = device.as_ref().is_some_and(|d| self.reference.is_early(d.start()));
        match (device, &result) {
            (Some(device), Ok(())) => drop(self.reference.devices.insert(device.start(), device)),
            (Some(device), Err(_)) => self.unplug_device(&device),
            (None, _) => {}
        }
        let before = self.reference.tables(&self.seen).len();
        self.settle(&what);
        if result.is_ok() {
            let name = if early { "in a hole" } else { kind.name() };
            *self.answers.entry(("create", name)).or_default() += 1;
            if !in_ram {
                assert_eq!(
                    Some(self.reference.tables(&self.seen).len() - before),
                    tables,
                    "{what}: new tables"
                );
            }
        }
    }

    /// The machine has the memory behind a device. What the CPU does not reach is not there at all for the model.
    fn plug_device(&self, device: &Device) {
        for range in device.ranges.iter().filter(|_| device.is_reachable()) {
            self.rig.machine.plug(range.start, range.end - range.start);
        }
    }
    fn unplug_device(&self, device: &Device) {
        for range in device.ranges.iter().filter(|_| device.is_reachable()) {
            self.rig.machine.unplug(range.start);
        }
    }

    /// A device shall go.
    pub fn destroy(&mut self, start: u64) {
        let g = self.granule();
        let what = format!("destroy {start:#x}");
        let (answer, held) = self.reference.destroy(start);
        let result = self.act(Detail::Exact, &what, |rig| rig.mm.memunmap_pages(Rig::pfn(g, start)));
        self.answered("destroy", answer, &result, &what);
        if let Ok(teardown) = result {
            let names = match teardown {
                Teardown::Gone => None,
                Teardown::Waits { pfn, holds } => Some((pfn.get(), holds)),
            };
            assert_eq!(names, held, "{what}: what it waits for");
            *self.answers.entry(("destroy", if held.is_some() { "waits" } else { "gone" })).or_default() += 1;
            if let Some(device) = self.reference.devices.get_mut(&start) {
                device.dying = true;
            }
            self.bury(start);
        }
        self.settle(&what);
    }

    /// A dying device of which no page is held is gone.
    fn bury(&mut self, start: u64) {
        if self.reference.devices.get(&start).is_some_and(|d| d.dying && d.holds.is_empty()) {
            let device = self.reference.devices.remove(&start).expect("it was there");
            self.unplug_device(&device);
        }
    }

    /// A frame of a device was held once more, or once less.
    pub(super) fn held(&mut self, frame: u64, more: bool) {
        let g = self.granule();
        let at = frame * g.page_size;
        let Some(device) = self.reference.devices.values_mut().find(|d| d.contains(at)) else { return };
        match (device.holds.get_mut(&frame), more) {
            (Some(holds), true) => *holds += 1,
            (Some(holds), false) if *holds > 1 => *holds -= 1,
            (None, true) => drop(device.holds.insert(frame, 1)),
            (_, false) => drop(device.holds.remove(&frame)),
        }
        let start = device.start();
        if device.dying && device.holds.is_empty() {
            *self.answers.entry(("unpin", "the last")).or_default() += 1;
        }
        self.bury(start);
    }

    /// A device's memory is given to the system.
    pub fn give(&mut self, start: u64, home: MemmapHome, zone: ZoneKind) {
        let g = self.granule();
        let what = format!("give {start:#x} {home:?} {zone}");
        let (answer, memory) = self.reference.give(&self.seen, start, home);
        let answer = self.online_veto(answer);
        let result = self.act(Detail::WhereFramesMayDiffer, &what, |rig| {
            rig.mm.device_to_memory(Rig::pfn(g, start), home, zone)
        });
        self.answered("give", answer, &result, &what);
        if let Ok(pages) = result {
            let bytes = pages.addresses(g);
            assert_eq!(bytes.start.get()..bytes.end.get(), memory, "{what}: the whole blocks inside");
            let device = self.reference.devices.remove(&start).expect("it was there");
            self.reference.given.insert(start, Given { device, memory: memory.clone(), home });
            self.reference.blocks_came(memory.clone(), home);
            self.reference.starts(memory).for_each(|block| self.reference.onlined(block, zone));
        }
        self.settle(&what);
    }

    /// The memory is the device's again.
    pub fn take_back(&mut self, start: u64) {
        let g = self.granule();
        let what = format!("take back {start:#x}");
        let memory = self.reference.given.get(&start).map(|given| given.memory.clone());
        let mut answer = self.whichever_is_left(self.reference.take_back(&self.seen, start));
        if let (Some(memory), Some(Direction::Offline)) = (&memory, self.veto) {
            answer = self.reference.vetoed_offline(memory.clone(), answer);
        }
        self.again.clone_from(&memory);
        let result =
            self.act(Detail::WhereFramesMayDiffer, &what, |rig| rig.mm.memory_to_device(Rig::pfn(g, start)));
        self.answered("take back", answer, &result, &what);
        if result.is_ok() {
            let given = self.reference.given.remove(&start).expect("it was there");
            self.reference.blocks_went(given.memory);
            self.reference.devices.insert(start, given.device);
        }
        self.settle(&what);
        self.again = None;
    }

    /// Blocks that were taken down and made again by an undo are the youngest of their zone.
    pub(super) fn came_again(&mut self) {
        let g = self.granule();
        let Some(memory) = self.again.clone() else { return };
        let zone = self.reference.blocks.get(&memory.start).and_then(|block| block.online);
        let Some((zone, _)) = zone else { return };
        let blocks: Vec<u64> = self.reference.starts(memory).collect();
        let last: Vec<_> = blocks.iter().map(|start| Rig::pfn(g, *start)).collect();
        if self.rig.mm.frames().blocks_in(zone).collect::<Vec<_>>().ends_with(&last) {
            blocks.into_iter().for_each(|block| self.reference.onlined(block, zone));
        }
    }

    /// A free run is made in Normal.
    pub fn compact(&mut self, order: u32) {
        let what = format!("compact to order {order}");
        let (answer, best) = self.reference.compact(&self.seen, order);
        let detail = Detail::WherePagesMayHaveMoved;
        let faulty = self.fault.is_some();
        let result = self.act(detail, &what, |rig| rig.mm.compact(order));
        self.answered("compact", answer, &result, &what);
        if let (Ok(compacted), false) = (result, faulty) {
            assert_eq!(compacted.moved, best.map_or(0, |b| b.1), "{what}: the fewest pages move");
            if let Some((run, moved)) = best {
                assert_eq!(compacted.run.get(), run, "{what}: the first of those");
                *self.answers.entry(("compact", "moved")).or_default() += u64::from(moved != 0);
            }
        }
        self.settle(&what);
        if result.is_ok() {
            let used = self.reference.used(&self.seen);
            let normal = self.reference.zone(ZoneKind::Normal);
            let run = normal.into_iter().any(|s| self.reference.free_in(s, &used).has_run(order));
            assert!(run, "{what}: there is one now");
        }
    }

    /// What an operation that ends by going online answers, with the veto that there may be.
    pub(super) fn online_veto(&mut self, answer: Answer) -> Answer {
        match (self.veto, answer) {
            (Some(Direction::Online), Answer::Done) => Answer::Refused("Vetoed", None),
            (Some(Direction::Online), Answer::DoneOrOut) => {
                self.veto = None;
                answer
            }
            _ => answer,
        }
    }

    /// Nothing starts there.
    pub fn no_device(&mut self, at: u64) {
        let g = self.granule();
        let pfn = Rig::pfn(g, at);
        let none = Error::Device(DeviceError::Absent(PhysAddr::new(at)));
        assert_eq!(self.rig.mm.memunmap_pages(pfn), Err(none));
        assert_eq!(self.rig.mm.memory_to_device(pfn), Err(none));
        let given = self.rig.mm.device_to_memory(pfn, MemmapHome::Ram, ZoneKind::Movable);
        assert_eq!(given, Err(none));
    }
}
