//! The ranges of vmemmap, by address.

use std::collections::BTreeMap;
use std::ops::Range;

use hotmap_client::state::Memmap;

use super::range::{Backing, MemmapRange};
use crate::address::Address;
use crate::descriptor::{Entry, Leaf};
use crate::layout;
use crate::machine::Machine;
use crate::spec::UPPER_HALF;
use crate::struct_pages::BYTES;
use crate::translation::Tables;

/// The most ranges that are built: no sound machine has as many.
const MOST: usize = 1 << 20;

struct Reading<'r, 'm> {
    machine: &'r Machine<'m>,
    tables: &'r Tables<'m>,
    vmemmap: Range<u64>,
    ranges: Vec<MemmapRange>,
    /// Tables that have been read: the first address of each, and its ranges' pages.
    known: BTreeMap<(u64, usize), (u64, u64)>,
    /// Whether a shared frame holds ordered tails, by its address.
    tails: BTreeMap<u64, bool>,
    complete: bool,
}

/// All ranges, and whether each table could be read.
pub(super) fn read(machine: &Machine<'_>, tables: &Tables<'_>) -> (Vec<MemmapRange>, bool) {
    let mut reading = Reading {
        machine,
        tables,
        vmemmap: layout::vmemmap(machine.state.vmemmap.start),
        ranges: Vec::new(),
        known: BTreeMap::new(),
        tails: BTreeMap::new(),
        complete: true,
    };
    reading.table(tables.root, tables.spec.first, UPPER_HALF);
    (reading.ranges, reading.complete)
}

impl Reading<'_, '_> {
    fn table(&mut self, pa: u64, level: usize, va: u64) {
        let shape = self.tables.spec.level(level);
        let Some(entries) = self.tables.table(pa, level) else {
            self.complete = false;
            return;
        };
        for (index, raw) in (0..).zip(entries.iter()) {
            let first = va + (index << shape.low);
            let last = first + (shape.size() - 1);
            if last < self.vmemmap.start || self.vmemmap.end <= first {
                continue;
            }
            if self.ranges.len() >= MOST {
                self.complete = false;
                return;
            }
            match Entry::decode(self.tables.spec, level, *raw) {
                Entry::Table { pa, .. } => self.below(pa, level + 1, first),
                Entry::Leaf(leaf) => self.leaf(&leaf, level, first),
                Entry::Invalid | Entry::Reserved(_) => {}
            }
        }
    }

    /// The table `pa` of `level`. One that was read already is not read again: it maps the same.
    fn below(&mut self, pa: u64, level: usize, va: u64) {
        if let Some((same_as, pages)) = self.known.get(&(pa, level)).copied() {
            return self.again(same_as, pages, level, va);
        }
        let mapped = |ranges: &[MemmapRange]| ranges.iter().map(|range| range.pages).sum::<u64>();
        let (from, before) = (self.ranges.len(), self.ranges.last().map_or(0, |range| range.pages));
        self.table(pa, level, va);
        // The first of them may have joined the range before.
        let pages = mapped(&self.ranges[from.saturating_sub(1)..]) - before;
        self.known.insert((pa, level), (va, pages));
    }

    fn again(&mut self, same_as: u64, pages: u64, level: usize, va: u64) {
        if pages == 0 {
            return;
        }
        let each = {
            let shape = self.tables.spec.level(level);
            shape.size() << shape.bits
        };
        if let Some(last) = self.ranges.last_mut()
            && last.same_as == Some(Address(same_as))
            && last.va.0 + last.pages / pages * each == va
        {
            last.pages += pages;
            return;
        }
        let range = self.range(va, pages, Backing::Mixed);
        self.ranges.push(MemmapRange {
            frames: 0,
            level,
            same_as: Some(Address(same_as)),
            each: Some(each),
            ..range
        });
    }

    /// A range without frames.
    fn range(&self, va: u64, pages: u64, backing: Backing) -> MemmapRange {
        let state = self.machine.state;
        let struct_of = state.vmemmap.first_pfn + va.saturating_sub(state.vmemmap.start) / BYTES as u64;
        MemmapRange {
            va: Address(va),
            pages,
            struct_of,
            describes: Address(struct_of.saturating_mul(self.tables.spec.page())),
            frames: pages,
            frame: None,
            stride: 0,
            level: 0,
            readonly: false,
            shared: false,
            backing,
            same_as: None,
            each: None,
            folded: false,
        }
    }

    fn leaf(&mut self, leaf: &Leaf, level: usize, va: u64) {
        let spec = self.tables.spec;
        let pages = spec.pages(spec.level(level).size());
        let backing = self.backing(leaf, va);
        let range = MemmapRange {
            frame: Some(Address(leaf.pa)),
            stride: spec.page(),
            level,
            readonly: leaf.read_only,
            shared: leaf.shared,
            ..self.range(va, pages, backing)
        };
        if !self.ranges.last_mut().is_some_and(|last| extend(last, &range, spec.page())) {
            self.ranges.push(range);
        }
    }

    /// What the frame of a leaf is: by its address, and of a shared frame by what it holds.
    fn backing(&mut self, leaf: &Leaf, va: u64) -> Backing {
        let machine = self.machine;
        let offset = va.saturating_sub(machine.state.vmemmap.start) / BYTES as u64;
        let described = (machine.state.vmemmap.first_pfn + offset).saturating_mul(self.tables.spec.page());
        if leaf.shared {
            return if self.holds_ordered_tails(leaf.pa) { Backing::SharedTail } else { Backing::Image };
        }
        if let Some(device) = machine.device_at(described) {
            let aside = (device.start..device.usable_start).contains(&leaf.pa);
            return if aside { Backing::Altmap } else { Backing::Ram };
        }
        let frame = machine.block_at(leaf.pa);
        match (machine.memmap_at(described), frame) {
            (Some(Memmap::SelfHosted), Some(frame)) if leaf.pa < frame.usable_start => Backing::SelfHosted,
            (Some(Memmap::Demand), Some(frame))
                if frame.start <= described && described < frame.start + frame.size =>
            {
                Backing::Lent
            }
            _ => Backing::Ram,
        }
    }

    /// Whether the struct pages in a frame say an order: the second, since the first may be a head.
    fn holds_ordered_tails(&mut self, frame: u64) -> bool {
        let memory = self.tables.memory();
        *self.tails.entry(frame).or_insert_with(|| {
            let mut two = [0; 2];
            memory.read(frame + BYTES as u64, &mut two).is_ok() && two[0] == 0 && two[1] != 0
        })
    }
}

/// Makes `next` a part of `last`, if the two are alike and side by side.
fn extend(last: &mut MemmapRange, next: &MemmapRange, page: u64) -> bool {
    let alike =
        |range: &MemmapRange| (range.level, range.readonly, range.shared, range.backing, range.same_as);
    let (Some(first), Some(frame)) = (last.frame, next.frame) else { return false };
    if alike(last) != alike(next) || last.va.0 + last.pages * page != next.va.0 {
        return false;
    }
    if frame.0 == first.0 && (last.stride == 0 || last.pages == next.pages) {
        last.stride = 0;
    } else if last.stride != page || first.0 + last.pages * page != frame.0 {
        return false;
    }
    last.pages += next.pages;
    last.frames = if last.stride == 0 { next.frames } else { last.pages };
    true
}

/// Folds what describes a section into one range, unless it is one already, or the section is that of `near`.
pub(super) fn fold(machine: &Machine<'_>, ranges: Vec<MemmapRange>, near: Option<u64>) -> Vec<MemmapRange> {
    let block = machine.state.granule().map_or(1, hotmap_client::geometry::Granule::block);
    let section = |range: &MemmapRange| range.describes.0 / block;
    let kept = near.map(|pfn| pfn.saturating_mul(machine.spec.page()) / block);
    let same = |a: &MemmapRange, b: &MemmapRange| section(a) == section(b);
    let mut folded = Vec::new();
    for part in ranges.chunk_by(same) {
        if part.len() < 4 || kept == Some(section(&part[0])) {
            folded.extend_from_slice(part);
            continue;
        }
        folded.push(MemmapRange {
            pages: part.iter().map(|range| range.pages).sum(),
            frames: part.iter().map(|range| range.frames).sum(),
            frame: None,
            stride: 0,
            readonly: part.iter().all(|range| range.readonly),
            shared: part.iter().any(|range| range.shared),
            backing: Backing::Mixed,
            folded: true,
            ..part[0].clone()
        });
    }
    folded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(va: u64, frame: u64) -> MemmapRange {
        MemmapRange {
            va: Address(va),
            pages: 1,
            struct_of: 0,
            describes: Address(0),
            frames: 1,
            frame: Some(Address(frame)),
            stride: 0x1000,
            level: 3,
            readonly: false,
            shared: false,
            backing: Backing::Ram,
            same_as: None,
            each: None,
            folded: false,
        }
    }

    /// Pages 0, 1, 2, ... of vmemmap, which lead to these frames: the first page and the pages of each range.
    fn ranges(frames: &[u64]) -> Vec<(u64, u64)> {
        let mut ranges: Vec<MemmapRange> = Vec::new();
        for (number, frame) in (0..).zip(frames) {
            let next = page(number * 0x1000, frame * 0x1000);
            if !ranges.last_mut().is_some_and(|last| extend(last, &next, 0x1000)) {
                ranges.push(next);
            }
        }
        ranges.iter().map(|range| (range.va.0 / 0x1000, range.pages)).collect()
    }

    #[test]
    fn a_range_is_of_frames_side_by_side_or_of_one_frame() {
        assert_eq!(ranges(&[5, 6, 7]), [(0, 3)]);
        assert_eq!(ranges(&[5, 5, 5]), [(0, 3)]);
        assert_eq!(ranges(&[5, 5, 7, 8]), [(0, 2), (2, 2)]);
        assert_eq!(ranges(&[5, 6, 5, 6]), [(0, 2), (2, 2)]);
        assert_eq!(ranges(&[7, 6]), [(0, 1), (1, 1)]);
        let (mut last, far) = (page(0, 0x5000), page(0x2000, 0x7000));
        assert!(!extend(&mut last, &far, 0x1000), "a gap in vmemmap");
    }
}
