//! Devices as intervals of addresses.

use std::collections::BTreeMap;
use std::ops::Range;

use hotmap_mm::device::pagemap::DeviceType;
use hotmap_mm::hotplug::home::MemmapHome;

/// A subsection: what comes and goes of a device.
pub const SUBSECTION: u64 = 2 << 20;

/// What is set aside of a device for its memmap, in frames from its start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SetAside {
    /// The driver's.
    pub reserve: u64,
    /// The memmap's.
    pub free: u64,
}

/// A device.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Device {
    /// Its bytes, in the order in which they were given.
    pub ranges: Vec<Range<u64>>,
    /// Its type.
    pub kind: DeviceType,
    /// What holds its memmap, if not system RAM.
    pub aside: Option<SetAside>,
    /// Frames that are held, and how often.
    pub holds: BTreeMap<u64, u32>,
    /// Whether it goes with the last hold.
    pub dying: bool,
}

impl Device {
    /// The byte that it is named by.
    pub fn start(&self) -> u64 {
        self.ranges[0].start
    }
    /// Whether it has the byte at `at`.
    pub fn contains(&self, at: u64) -> bool {
        self.ranges.iter().any(|r| r.contains(&at))
    }
    /// Whether it has a byte of `range`.
    pub fn overlaps(&self, range: &Range<u64>) -> bool {
        self.ranges.iter().any(|r| r.start < range.end && range.start < r.end)
    }
    /// Whether the CPU reaches it.
    pub fn is_reachable(&self) -> bool {
        self.kind != DeviceType::Private
    }
    /// The first frame that is held, range by range, and how often.
    pub fn first_held(&self, page: u64) -> Option<(u64, u32)> {
        let held = |r: &Range<u64>| {
            self.holds.range(r.start / page..r.end / page).next().map(|(frame, holds)| (*frame, *holds))
        };
        self.ranges.iter().find_map(held)
    }
}

/// A device whose memory the system has.
#[derive(Clone, Debug)]
pub struct Given {
    /// What it was and will be.
    pub device: Device,
    /// The bytes that the system has.
    pub memory: Range<u64>,
    /// Where the memmap of these is.
    pub home: MemmapHome,
}

/// Where the pages of memmap of a device with an altmap are.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Hosted {
    /// The frame of each page of memmap.
    pub frames: BTreeMap<u64, u64>,
    /// Frames that were lost to alignment.
    pub padding: u64,
}

impl Hosted {
    /// The frames that it takes.
    pub fn needed(&self) -> u64 {
        self.frames.len() as u64 + self.padding
    }
}
