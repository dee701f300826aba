//! What the golden tests read: the log as plain numbers, and everything that an undo must restore.
#![allow(dead_code, reason = "each test uses a part")]

use std::collections::BTreeSet;

use hotmap_archmodel::host::Host;
use hotmap_archmodel::log::{Event, Frames, Source, Use};
use hotmap_archmodel::pool::Pool;
use hotmap_archmodel::{Architecture, Leaf};
use hotmap_mm::addr::PhysAddr;
use hotmap_mm::error::Resource;
use hotmap_mm::frame::altmap::Altmap;
use hotmap_mm::pfn::{Pfn, PfnRange};

/// The first page of every test's RAM.
pub(crate) const RAM: u64 = 0x1000;

pub(crate) fn pages(start: u64, len: u64) -> PfnRange {
    PfnRange::new(Pfn::new(start), len)
}

pub(crate) fn out_of_altmap(pages: u64) -> hotmap_archmodel::error::Error {
    hotmap_archmodel::error::Error::Out(Resource::Altmap { pages })
}
pub(crate) fn out_of_ram(order: u32) -> hotmap_archmodel::error::Error {
    hotmap_archmodel::error::Error::Out(Resource::Frames { order })
}

pub(crate) fn frames(what: Use, from: Source, first: u64, pages: u64) -> Frames {
    Frames { what, from, first: Pfn::new(first), pages }
}
pub(crate) fn table(first: u64, pages: u64) -> Frames {
    frames(Use::Table, Source::Ram, first, pages)
}
pub(crate) fn from_altmap(device: u64, first: u64, pages: u64) -> Frames {
    frames(Use::Memmap, Source::Altmap(Pfn::new(device)), first, pages)
}
pub(crate) fn from_ram(first: u64, pages: u64) -> Frames {
    frames(Use::Memmap, Source::Ram, first, pages)
}

pub(crate) fn taken(host: &Host) -> Vec<Frames> {
    let only = |event: &Event| if let Event::Taken(frames) = event { Some(*frames) } else { None };
    host.log().iter().filter_map(only).collect()
}
pub(crate) fn given(host: &Host) -> Vec<Frames> {
    let only = |event: &Event| if let Event::Given(frames) = event { Some(*frames) } else { None };
    host.log().iter().filter_map(only).collect()
}
/// Entries written: address and new value.
pub(crate) fn wrote(host: &Host) -> Vec<(u64, u64)> {
    let only = |event: &Event| match event {
        Event::Wrote { at, new, .. } => Some((at.get(), *new)),
        _ => None,
    };
    host.log().iter().filter_map(only).collect()
}

/// `alloc` and `align` of the altmap of the device at `start`.
pub(crate) fn account(host: &Host, start: u64) -> (u64, u64) {
    let altmap = host.altmap(Pfn::new(start)).expect("a device");
    (altmap.alloc(), altmap.align())
}

/// All that an operation may change.
#[derive(PartialEq, Debug)]
pub(crate) struct Snapshot {
    ram: Pool,
    altmaps: Vec<Altmap>,
    valid: BTreeSet<u64>,
    leaves: Vec<Leaf>,
    /// The contents of the RAM pages in use that are not memmap: tables and tracking pages.
    contents: Vec<u64>,
}

pub(crate) fn snapshot<A: Architecture>(arch: &A, host: &Host, ram: PfnRange, devices: &[u64]) -> Snapshot {
    let leaves = arch.leaves(host);
    let memmap: BTreeSet<u64> = leaves
        .iter()
        .flat_map(|leaf| (leaf.pa.get()..leaf.pa.get() + leaf.bytes).step_by(1 << A::GEOMETRY.page_shift))
        .collect();
    let in_use = (ram.start.get()..ram.end.get()).filter(|&pfn| {
        !host.ram().contains(Pfn::new(pfn)) && !memmap.contains(&(pfn << A::GEOMETRY.page_shift))
    });
    let words = in_use.flat_map(|pfn| {
        let (start, end) = (pfn << A::GEOMETRY.page_shift, (pfn + 1) << A::GEOMETRY.page_shift);
        (start..end).step_by(8)
    });
    Snapshot {
        ram: host.ram().clone(),
        altmaps: devices.iter().map(|&d| host.altmap(Pfn::new(d)).expect("a device")).collect(),
        valid: host.valid().clone(),
        contents: words.map(|at| host.read(PhysAddr::new(at))).collect(),
        leaves,
    }
}
