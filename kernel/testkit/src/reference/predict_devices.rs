//! What each operation on devices should answer.

use std::ops::Range;

use hotmap_mm::device::pagemap::DeviceType;
use hotmap_mm::frame::altmap::Altmap;
use hotmap_mm::frame::zone::ZoneKind;
use hotmap_mm::hotplug::home::MemmapHome;

use super::devices::{Device, SUBSECTION, SetAside};
use super::frames::Frames;
use super::need::{self, Mapping};
use super::predict::{Answer, OUT};
use super::seen::Seen;
use super::{Reference, layout};
use hotmap_emulator::machine::Emulated;

/// More tables than any single operation of the sequences makes.
const MANY_TABLES: u64 = 24;

impl Reference {
    /// Making a device of `ranges`, pairs of a start and a length: the answer, and the device.
    pub fn create(
        &self,
        machine: &Emulated,
        seen: &Seen,
        ranges: &[(u64, u64)],
        kind: DeviceType,
        memmap: MemmapHome,
    ) -> (Answer, Option<Device>) {
        let refused = |name| (Answer::Refused(name, None), None);
        let mut taken: Vec<Range<u64>> = Vec::new();
        for (i, (start, len)) in ranges.iter().enumerate() {
            if let Some(why) = self.wrong_range(*start, *len) {
                return refused(why);
            }
            let range = *start..start + len;
            if taken.iter().any(|t| t.start < range.end && range.start < t.end) {
                return refused("Exists");
            }
            if i == 4 {
                return refused("DeviceRanges");
            }
            taken.push(range);
        }
        let Some(first) = taken.first() else { return refused("DeviceRanges") };
        let aside = match memmap {
            MemmapHome::Ram => None,
            _ if kind == DeviceType::Private => return refused("AltmapOnPrivate"),
            _ if taken.len() > 1 => return refused("AltmapRanges"),
            MemmapHome::Demand => return refused("OnDemand"),
            // A device hosts its memmap at its own start.
            MemmapHome::SelfHosted => Some(SetAside { reserve: 0, free: self.hosted(first, 0).needed() }),
            MemmapHome::SelfRange { reserve } => {
                Some(SetAside { reserve, free: self.hosted(first, reserve).needed() })
            }
            MemmapHome::Given(altmap) => match self.given_aside(first, altmap) {
                Some(aside) => Some(aside),
                None => return refused("BadAltmap"),
            },
        };
        if aside.is_some_and(|a| a.reserve + a.free > (first.end - first.start) / self.spec.page) {
            return refused("BadAltmap");
        }
        let device = Device { ranges: taken, kind, aside, holds: Default::default(), dying: false };
        (self.room_to_create(machine, seen, &device), Some(device))
    }

    fn given_aside(&self, range: &Range<u64>, altmap: Altmap) -> Option<SetAside> {
        let starts = altmap.base_pfn().get() == range.start / self.spec.page;
        let fits = altmap.reserve().checked_add(altmap.free())? <= (range.end - range.start) / self.spec.page;
        (starts && fits).then_some(SetAside { reserve: altmap.reserve(), free: altmap.free() })
    }

    /// The rule that a range of a device breaks.
    fn wrong_range(&self, start: u64, len: u64) -> Option<&'static str> {
        let base = layout::base(self.spec, self.ram_start);
        let reach = base..(base + (1 << 47)).min(1 << 48);
        let Some(end) = start.checked_add(len) else { return Some("Wraps") };
        if len == 0 {
            Some("Empty")
        } else if !start.is_multiple_of(SUBSECTION) || !end.is_multiple_of(SUBSECTION) {
            Some("NotSubsectionAligned")
        } else if start < reach.start || end > reach.end {
            Some("BeyondLinearMap")
        } else if self.is_present(&(start..end)) || self.is_given(&(start..end)) {
            Some("Exists")
        } else {
            None
        }
    }

    fn room_to_create(&self, machine: &Emulated, seen: &Seen, device: &Device) -> Answer {
        let hosted = self.hosted_by(device);
        if device.aside.is_some_and(|aside| hosted.needed() > aside.free) {
            return OUT;
        }
        let tables = self.tables_to_create(machine, device);
        let memmap = self.ram_to_create(device);
        let parts = || device.ranges.iter().flat_map(|r| self.parts(r));
        let blocks = parts().filter(|part| self.is_block(part)).count() as u64;
        let cut = if device.aside.is_none() { blocks } else { 0 };
        self.room(seen, tables, memmap, cut)
    }

    /// The frames of system RAM that a device's memmap takes: pages that are not mapped yet and lie in no altmap.
    pub fn ram_to_create(&self, device: &Device) -> u64 {
        let parts = device.ranges.iter().flat_map(|r| self.parts(r));
        let wanted = Frames::of(parts.filter(|p| !self.is_early(p.start)).map(|p| self.touched(&p)));
        let mapped = self.memmap_mapped();
        let missing = wanted.runs().into_iter().map(|run| mapped.complement(run).len()).sum::<u64>();
        missing - self.hosted_by(device).frames.len() as u64
    }

    /// The tables that making a device will make, while its memmap is in the largest leaves.
    pub fn tables_to_create(&self, machine: &Emulated, device: &Device) -> u64 {
        let (spec, base) = (self.spec, layout::base(self.spec, self.ram_start));
        let linear = device.ranges.iter().filter(|_| device.is_reachable()).map(|r| {
            let len = r.end - r.start;
            Mapping { va: layout::LINEAR.start + (r.start - base), pa: r.start, len, max_leaf: len }
        });
        let memmap = device.ranges.iter().flat_map(|r| self.parts(r)).map(|part| {
            let pages = self.touched(&part);
            let max_leaf = if self.is_block(&part) { spec.levels[2].size() } else { spec.page };
            let len = (pages.end - pages.start) * spec.page;
            Mapping { va: self.memmap_va(pages.start), pa: 0, len, max_leaf }
        });
        let all: Vec<_> = linear.chain(memmap).collect();
        need::all_tables(spec, machine.memory(), machine.root(), &all).len() as u64
    }

    /// The end of a device: gone, or the first page that is held.
    pub fn destroy(&self, start: u64) -> (Answer, Option<(u64, u32)>) {
        match self.devices.get(&start) {
            None => (Answer::Refused("NoDevice", None), None),
            Some(device) => (Answer::Done, device.first_held(self.spec.page)),
        }
    }

    /// Holding a device's frame, or letting it go.
    pub fn hold(&self, frame: u64, more: bool) -> Answer {
        let Some(device) = self.device_at(frame * self.spec.page) else {
            return Answer::Refused("NotPresent", None);
        };
        let usable = device.start() / self.spec.page + device.aside.map_or(0, |a| a.reserve + a.free);
        let aside = (device.start() / self.spec.page..usable).contains(&frame);
        match more {
            _ if aside => Answer::Refused("PageState", None),
            true if device.dying => Answer::Refused("DeviceGoes", None),
            false if !device.holds.contains_key(&frame) => Answer::Refused("PageState", None),
            _ => Answer::Done,
        }
    }

    /// Giving a device's memory to the system: the answer, and the whole blocks inside.
    pub fn give(&self, seen: &Seen, start: u64, home: MemmapHome) -> (Answer, Range<u64>) {
        let refused = |name, page| (Answer::Refused(name, page), 0..0);
        let Some(device) = self.devices.get(&start) else { return refused("NoDevice", None) };
        if device.dying {
            return refused("DeviceGoes", None);
        }
        if let Some((frame, _)) = device.first_held(self.spec.page) {
            return refused("Pinned", Some(frame));
        }
        let [range] = device.ranges.as_slice() else { return refused("DeviceRanges", None) };
        if !device.is_reachable() {
            return refused("PrivateMemory", None);
        }
        let size = self.block_bytes();
        let memory = range.start.next_multiple_of(size)..range.end / size * size;
        if memory.is_empty() {
            return refused("NotBlockAligned", None);
        }
        let blocks = (memory.end - memory.start) / size;
        let memmap = match home {
            MemmapHome::Ram => blocks * (self.memmap_frames() + 1),
            MemmapHome::Demand => 3,
            _ => 0,
        };
        (self.plenty(seen, memmap), memory)
    }

    /// Taking a device's memory back.
    pub fn take_back(&self, seen: &Seen, start: u64) -> Answer {
        let Some(given) = self.given.get(&start) else { return Answer::Refused("NoDevice", None) };
        let zone = |block: u64| self.blocks.get(&block).map(|b| b.online.map(|o| o.0));
        let first = zone(given.memory.start);
        if self.starts(given.memory.clone()).any(|block| zone(block) != first) {
            return Answer::Refused("BlockState", None);
        }
        match self.offline_all(seen, given.memory.clone()) {
            Answer::Done => {
                let range = &given.device.ranges[0];
                let (all, own) = (self.touched(range), self.own(range));
                let hosted = if given.device.aside.is_some() { own.end - own.start } else { 0 };
                // At 4K, base pages under a table for each block in the worst case.
                let blocks = (range.end - range.start) / self.block_bytes();
                self.plenty(seen, all.end - all.start - hosted + blocks)
            }
            other => other,
        }
    }

    /// Done, if there is room for so many frames and all tables that there could be; how far less goes is not promised.
    fn plenty(&self, seen: &Seen, frames: u64) -> Answer {
        let lendable = self.lendable(seen, ZoneKind::Normal);
        let enough = self.free(ZoneKind::Normal, &self.used(seen)) >= frames + MANY_TABLES + lendable;
        if enough { Answer::Done } else { Answer::DoneOrOut }
    }

    /// Making a free run of `1 << order` frames in Normal: the answer, the frame where it is, and how many pages move.
    pub fn compact(&self, seen: &Seen, order: u32) -> (Answer, Option<(u64, u64)>) {
        let (used, size) = (self.used(seen), 1 << order);
        let blocks = self.zone(ZoneKind::Normal);
        if blocks.iter().any(|start| self.free_in(*start, &used).has_run(order)) {
            return (Answer::Done, None);
        }
        // Lent pages move as well, within their block.
        if blocks.iter().any(|start| self.on_demand().any(|on| on == *start)) {
            return (Answer::DoneOrOut, None);
        }
        let held: Vec<u64> = self.held.keys().filter_map(|va| seen.tenants.get(va)).copied().collect();
        let moving = Frames::of(seen.tenants.values().filter(|f| !held.contains(f)).map(|f| *f..f + 1));
        let mut best: Option<(u64, u64)> = None;
        for start in blocks {
            let free = self.free_in(start, &used);
            let usable =
                Frames::of(free.runs().into_iter().chain(moving.within(self.frames_of(start)).runs()));
            for run in usable.runs() {
                for at in (run.start.next_multiple_of(size)..run.end).step_by(1 << order) {
                    let cost = moving.within(at..at + size).len();
                    if at + size <= run.end && best.is_none_or(|(_, least)| cost < least) {
                        best = Some((at, cost));
                    }
                }
            }
        }
        let room = ZoneKind::ALL.into_iter().map(|zone| self.free(zone, &used)).sum::<u64>();
        match best {
            Some(_) if room >= size + self.lendable(seen, ZoneKind::Movable) => (Answer::Done, best),
            Some(_) if room >= size => (Answer::DoneOrOut, None),
            _ => (OUT, None),
        }
    }
}
