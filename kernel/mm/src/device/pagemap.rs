//! A device's page map (Linux: `struct dev_pagemap`): which memory it is, of what type, and what holds its struct pages.

use core::fmt;

use crate::device::compound::{Compound, Dedup, TailScope};
use crate::frame::section::Backing;
use crate::granule::Granule;
use crate::list::Keyed;
use crate::pfn::{Pfn, PfnRange};

/// The most ranges that one device has.
pub const MAX_RANGES: usize = 4;

/// What kind of memory a device has (Linux: `enum memory_type`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DeviceType {
    /// Out of the CPU's reach: struct pages, but no linear map (`MEMORY_DEVICE_PRIVATE`).
    Private,
    /// Under a file system with direct access: persistent memory (`MEMORY_DEVICE_FS_DAX`).
    FsDax,
    /// Handed out as it is (`MEMORY_DEVICE_GENERIC`).
    Generic,
    /// A device's own memory that the CPU reaches coherently (`MEMORY_DEVICE_COHERENT`).
    Coherent,
}

impl DeviceType {
    /// Every type.
    pub const ALL: [Self; 4] = [Self::Private, Self::FsDax, Self::Generic, Self::Coherent];

    /// The word of `state` and of commands.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Private => "private",
            Self::FsDax => "fs-dax",
            Self::Generic => "generic",
            Self::Coherent => "coherent",
        }
    }
    /// The type that `name` names.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
    /// Whether the CPU reaches the memory, so that it is in the linear map.
    pub const fn is_reachable(self) -> bool {
        !matches!(self, Self::Private)
    }
}

impl fmt::Display for DeviceType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One to [`MAX_RANGES`] ranges of pages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ranges {
    all: [PfnRange; MAX_RANGES],
    count: usize,
}

impl Ranges {
    /// These ranges, if there are as many as there may be.
    pub fn new(ranges: &[PfnRange]) -> Option<Self> {
        let mut all = [PfnRange::default(); MAX_RANGES];
        all.get_mut(..ranges.len()).filter(|room| !room.is_empty())?.copy_from_slice(ranges);
        Some(Self { all, count: ranges.len() })
    }
    /// The first page of the first of them.
    pub const fn start(&self) -> Pfn {
        self.all[0].start
    }
    /// All of them, in the order in which they were given.
    pub fn as_slice(&self) -> &[PfnRange] {
        &self.all[..self.count]
    }
}

/// How far a device has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DeviceState {
    /// Its steps are being done or undone.
    Changing,
    /// Its pages can be held.
    Live,
    /// It is taken down with the last hold on its pages.
    Dying,
}

impl DeviceState {
    /// The word of `state`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Changing => "changing",
            Self::Live => "live",
            Self::Dying => "dying",
        }
    }
}

/// A device's page map.
#[derive(Clone, Debug)]
pub struct Pagemap {
    pub(super) ranges: Ranges,
    pub(super) kind: DeviceType,
    /// The pages at its start that its altmap and its driver set aside; `None` where its memmap is in system RAM.
    pub(super) aside: Option<u64>,
    pub(super) compound: Compound,
    pub(super) dedup: Dedup,
    pub(super) state: DeviceState,
    pub(super) holds: u64,
    pub(super) node: u32,
}

impl Pagemap {
    /// The first page of the first range: the device's name.
    pub const fn start(&self) -> Pfn {
        self.ranges.start()
    }
    /// Its ranges.
    pub fn ranges(&self) -> &[PfnRange] {
        self.ranges.as_slice()
    }
    /// Its pages.
    pub fn pages(&self) -> u64 {
        self.ranges().iter().map(PfnRange::len).sum()
    }
    /// Its type.
    pub const fn kind(&self) -> DeviceType {
        self.kind
    }
    /// How far it has come.
    pub const fn state(&self) -> DeviceState {
        self.state
    }
    /// What holds its memmap.
    pub const fn backing(&self) -> Backing {
        match self.aside {
            Some(_) => Backing::Altmap(self.start()),
            None => Backing::Ram,
        }
    }
    /// How its usable pages are grouped.
    pub const fn compound(&self) -> Compound {
        self.compound
    }
    /// Whether the struct pages of its compound pages share memory.
    pub const fn dedup(&self) -> Dedup {
        self.dedup
    }
    /// The pages of tails that its compound pages share.
    pub fn tail_pages(&self) -> u64 {
        match (self.dedup, self.compound.tails()) {
            (Dedup::No(_), _) => 0,
            (Dedup::Shared, TailScope::Device) => 1,
            (Dedup::Shared, TailScope::Page) => {
                self.usable().as_slice().iter().map(PfnRange::len).sum::<u64>() >> self.compound.order()
            }
        }
    }
    /// The first page of the compound page that `pfn`, a usable page, is in: the page itself where there is none.
    pub const fn head_of(&self, pfn: Pfn) -> Pfn {
        pfn.align_down(self.compound.order())
    }
    /// Its usable pages, range by range: whole compound pages.
    pub fn usable(&self) -> Ranges {
        let mut usable = self.ranges;
        // Only the first range has something set aside.
        usable.all[0].start = self.usable_start();
        usable
    }
    /// The heads of its usable compound pages; every usable page where they are single.
    pub fn heads(&self) -> impl Iterator<Item = Pfn> + use<> {
        let (usable, order) = (self.usable(), self.compound.order());
        (0..usable.count).flat_map(move |i| {
            let range = usable.all[i];
            (0..range.len() >> order).map(move |n| range.start + (n << order))
        })
    }
    /// Its NUMA node.
    pub const fn node(&self) -> u32 {
        self.node
    }
    /// The holds on its pages.
    pub const fn holds(&self) -> u64 {
        self.holds
    }
    /// The first page that is its user's, and the first of a compound page: what comes before is set aside.
    pub fn usable_start(&self) -> Pfn {
        (self.start() + self.aside.unwrap_or(0)).align_up(self.compound.order())
    }
    /// The pages that are set aside.
    pub fn set_aside(&self) -> PfnRange {
        PfnRange { start: self.start(), end: self.usable_start() }
    }
    /// Whether `pfn` is one of its pages.
    pub fn contains(&self, pfn: Pfn) -> bool {
        self.ranges().iter().any(|range| range.contains(pfn))
    }
    /// Its bytes, range by range.
    pub fn addresses(&self, g: Granule) -> impl Iterator<Item = crate::addr::PhysRange> + '_ {
        self.ranges().iter().map(move |range| range.addresses(g))
    }
}

impl Keyed for Pagemap {
    fn key(&self) -> u64 {
        self.start().get()
    }
}
