//! What can be asked of a machine with devices: by subsections, far away, beside memory, and in the holes of boot memory.

use hotmap_mm::device::pagemap::DeviceType;
use hotmap_mm::frame::altmap::Altmap;
use hotmap_mm::frame::zone::ZoneKind;
use hotmap_mm::hotplug::home::MemmapHome;
use proptest::prelude::*;

use super::pick::{pick, pick_index, zone};
use crate::reference::Home;
use crate::reference::devices::SUBSECTION;
use crate::reference::frames::Frames;
use crate::world::World;
use hotmap_emulator::rig::Rig;

/// How long a device is, or how far from its area's start it begins.
#[derive(Clone, Copy, Debug)]
pub struct Length {
    /// In memory blocks.
    pub blocks: u64,
    /// And in subsections.
    pub subsections: u64,
}

/// Where the memmap of a device goes, before it is known where the device is.
#[derive(Clone, Copy, Debug)]
pub enum DeviceHome {
    /// Into system RAM.
    Ram,
    /// Onto the device, behind so many pages of its driver's.
    Own(u64),
    /// Into a driver's altmap of so many pages.
    Given(u64, u64),
    /// Into one that is somewhere else.
    Elsewhere,
}

/// An operation on devices.
#[derive(Clone, Copy, Debug)]
pub enum DeviceOp {
    /// Make one.
    Create {
        /// The area.
        place: usize,
        /// Where in it.
        offset: Length,
        /// How long.
        len: Length,
        /// If there is a second range, how far behind the first.
        second: Option<u64>,
        /// The type.
        kind: usize,
        /// Where its memmap goes.
        home: DeviceHome,
    },
    /// Make what cannot be.
    CreateWrong(usize, u8),
    /// One shall go.
    Destroy(usize),
    /// Hold some page of one.
    Hold(usize, u64),
    /// Let a page go that is held, or some other.
    Release(usize, u64),
    /// Give one's memory to the system.
    Give(usize, MemmapHome, ZoneKind),
    /// Take it back.
    TakeBack(usize),
    /// Poison a page of one.
    Poison(usize, u64),
}

/// A random operation.
pub fn op() -> impl Strategy<Value = DeviceOp> {
    let length = |blocks, subsections| Length { blocks, subsections };
    let len = prop_oneof![
        6 => (1..5u64).prop_map(move |n| length(0, n)),
        2 => (30..36u64).prop_map(move |n| length(0, n)),
        4 => (1..3u64, 0..2u64).prop_map(move |(b, n)| length(b, n)),
    ];
    let offset = prop_oneof![
        6 => (0..8u64).prop_map(move |n| length(0, n)),
        3 => (0..3u64).prop_map(move |b| length(b, 0)),
        1 => (60..64u64).prop_map(move |n| length(0, n)),
    ];
    let own = prop_oneof![3 => Just(0u64), 1 => 0..20u64, 1 => Just(513u64)];
    let home = prop_oneof![
        4 => Just(DeviceHome::Ram),
        5 => own.prop_map(DeviceHome::Own),
        2 => (0..4u64, 0..2100u64).prop_map(|(reserve, free)| DeviceHome::Given(reserve, free)),
        1 => Just(DeviceHome::Elsewhere),
    ];
    let memory = prop_oneof![
        Just(MemmapHome::SelfHosted),
        Just(MemmapHome::Ram),
        Just(MemmapHome::Demand),
        Just(MemmapHome::SelfRange { reserve: 0 })
    ];
    let second = prop_oneof![4 => Just(None), 1 => (0..40u64).prop_map(Some)];
    let pick = pick_index;
    prop_oneof![
        10 => (0..8usize, offset, len, second, pick(), home).prop_map(
            |(place, offset, len, second, kind, home)| DeviceOp::Create { place, offset, len, second, kind, home }
        ),
        3 => (pick(), any::<u8>()).prop_map(|(i, wrong)| DeviceOp::CreateWrong(i, wrong)),
        5 => pick().prop_map(DeviceOp::Destroy),
        6 => (pick(), any::<u64>()).prop_map(|(i, frame)| DeviceOp::Hold(i, frame)),
        4 => (pick(), any::<u64>()).prop_map(|(i, frame)| DeviceOp::Release(i, frame)),
        6 => (pick(), memory, zone()).prop_map(|(i, home, zone)| DeviceOp::Give(i, home, zone)),
        4 => pick().prop_map(DeviceOp::TakeBack),
        1 => (pick(), any::<u64>()).prop_map(|(i, frame)| DeviceOp::Poison(i, frame)),
    ]
}

/// Where devices are when nothing else is near.
const FAR: u64 = 4 << 40;

impl World {
    fn bytes(&self, length: Length) -> u64 {
        length.blocks * self.reference.block_bytes() + length.subsections * SUBSECTION
    }

    /// Far away; behind where DIMMs are, with tables in common; where DIMMs are; and the holes of boot memory.
    fn area(&self, place: usize, offset: Length) -> u64 {
        let (size, offset) = (self.reference.block_bytes(), self.bytes(offset));
        match place {
            0..=3 => FAR + offset,
            4 => 0x8000_0000 + 3 * size + offset,
            5 => 0x8000_0000 + offset,
            _ => {
                let holes = self.holes();
                let at = |hole: &std::ops::Range<u64>| hole.start + offset % (hole.end - hole.start);
                let hole = pick(holes.iter(), place + usize::try_from(offset / SUBSECTION).unwrap_or(0));
                hole.map_or(FAR + 8 * size + offset, at)
            }
        }
    }

    /// The whole subsections of boot blocks in which there is no RAM.
    fn holes(&self) -> Vec<std::ops::Range<u64>> {
        let (page, size) = (self.reference.spec.page, self.reference.block_bytes());
        let boot = self.reference.blocks.iter().filter(|b| b.1.home == Home::Boot);
        let holes = boot.flat_map(|(start, block)| {
            let ram = block.memory.runs().into_iter();
            let bytes = ram.map(|r| {
                r.start * page / SUBSECTION * SUBSECTION..(r.end * page).next_multiple_of(SUBSECTION)
            });
            Frames::of(bytes).complement(*start..start + size).runs()
        });
        holes.collect()
    }

    fn device_home(&self, home: DeviceHome, start: u64) -> MemmapHome {
        let g = self.granule();
        let base = Rig::pfn(g, start);
        match home {
            DeviceHome::Ram => MemmapHome::Ram,
            DeviceHome::Own(reserve) => MemmapHome::SelfRange { reserve },
            DeviceHome::Given(reserve, free) => MemmapHome::Given(Altmap::new(base, reserve, free)),
            DeviceHome::Elsewhere => MemmapHome::Given(Altmap::new(base + 1, 0, 8)),
        }
    }

    /// Some frame of a device: three times out of four at one of its ends or where its usable part begins.
    fn frame_of(&self, start: u64, which: u64) -> u64 {
        let g = self.granule();
        let device = &self.reference.devices[&start];
        let range = &device.ranges[(which / 8) as usize % device.ranges.len()];
        let (first, end) = (range.start / g.page_size, range.end / g.page_size);
        let usable = first + device.aside.map_or(0, |a| a.reserve + a.free);
        match which % 4 {
            0 => first,
            1 => end - 1,
            2 => usable.min(end - 1),
            _ => first + which / 64 % (end - first),
        }
    }

    /// Does an operation on devices.
    pub(super) fn device_step(&mut self, op: DeviceOp) {
        let devices: Vec<u64> = self.reference.devices.keys().copied().collect();
        let device = |i: usize| pick(devices.iter().copied(), i);
        match op {
            DeviceOp::Create { place, offset, len, second, kind, home } => {
                let (start, len) = (self.area(place, offset), self.bytes(len));
                let mut ranges = vec![(start, len)];
                ranges.extend(second.map(|gap| (start + len + gap * SUBSECTION, SUBSECTION)));
                self.create(&ranges, DeviceType::ALL[kind % 4], self.device_home(home, start));
            }
            DeviceOp::CreateWrong(i, wrong) => self.create_wrong(i, wrong),
            DeviceOp::Destroy(i) => match device(i) {
                Some(start) => self.destroy(start),
                None if self.reference.given.contains_key(&FAR) => {}
                None => self.no_device(FAR),
            },
            DeviceOp::Hold(i, frame) => {
                device(i).into_iter().for_each(|start| self.pin(self.frame_of(start, frame)));
            }
            DeviceOp::Release(i, frame) => {
                let held: Vec<u64> =
                    self.reference.devices.values().flat_map(|d| d.holds.keys().copied()).collect();
                let other = device(i).map(|start| self.frame_of(start, frame));
                let frame = pick(held.into_iter(), i / 4).filter(|_| !i.is_multiple_of(4)).or(other);
                frame.into_iter().for_each(|frame| self.unpin(frame));
            }
            DeviceOp::Give(i, home, zone) => self.give_some(i, home, zone),
            DeviceOp::TakeBack(i) => {
                let given: Vec<u64> = self.reference.given.keys().copied().collect();
                pick(given.into_iter(), i).into_iter().for_each(|start| self.take_back(start));
            }
            DeviceOp::Poison(i, frame) => {
                device(i).into_iter().for_each(|start| self.poison(self.frame_of(start, frame)));
            }
        }
    }

    /// Three times out of four a device that has a whole block.
    fn give_some(&mut self, i: usize, home: MemmapHome, zone: ZoneKind) {
        let size = self.reference.block_bytes();
        let whole = |start: &&u64| {
            let ranges = &self.reference.devices[*start].ranges;
            i % 4 == 3 || ranges.iter().any(|r| r.end - r.start >= size)
        };
        let starts: Vec<u64> = self.reference.devices.keys().filter(whole).copied().collect();
        pick(starts.into_iter(), i / 4).into_iter().for_each(|start| self.give(start, home, zone));
    }

    fn create_wrong(&mut self, i: usize, wrong: u8) {
        let (size, far) = (self.reference.block_bytes(), FAR + 16 * self.reference.block_bytes());
        let kind = DeviceType::ALL[i % 4];
        let apart = |n: u64| (0..n).map(|k| (far + k * 2 * SUBSECTION, SUBSECTION)).collect::<Vec<_>>();
        let ranges = match wrong % 9 {
            0 => vec![(far + (1 << 20), SUBSECTION)],
            1 => vec![(far, 3 << 20)],
            2 => vec![(far, 0)],
            3 => vec![(u64::MAX - SUBSECTION + 1, SUBSECTION)],
            4 => vec![(1 << 48, SUBSECTION)],
            5 => vec![(0x4000_0000, SUBSECTION)],
            6 => vec![(far, 2 * SUBSECTION), (far + SUBSECTION, SUBSECTION)],
            7 => apart(5),
            _ => vec![(0x4000_0000, 64 * size)],
        };
        self.create(&ranges, kind, MemmapHome::Ram);
        assert!(!self.reference.devices.contains_key(&far), "{wrong}");
    }
}
