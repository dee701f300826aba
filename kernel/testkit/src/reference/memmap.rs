//! The arithmetic of memmap, of devices and of blocks, from the specification's numbers alone.
//!
//! A page of memmap has a number, counted from physical address 0: page n holds the struct pages of the bytes
//! `n * span..(n + 1) * span`, where `span` is a granule page for every 64 bytes of a granule page (256 KiB, 4 MiB, 64 MiB).

use std::collections::BTreeMap;
use std::ops::Range;

use super::devices::{Device, Hosted, SUBSECTION};
use super::frames::Frames;
use super::seen::Seen;
use super::{Home, Reference};
use hotmap_emulator::layout;

impl Reference {
    /// The bytes that one page of memmap describes.
    pub fn span(&self) -> u64 {
        self.spec.page / layout::STRUCT_PAGE * self.spec.page
    }
    /// The pages of memmap that describe something of `range`.
    pub fn touched(&self, range: &Range<u64>) -> Range<u64> {
        range.start / self.span()..range.end.div_ceil(self.span())
    }
    /// The pages of memmap that describe nothing but `range`.
    pub fn own(&self, range: &Range<u64>) -> Range<u64> {
        let (first, end) = (range.start.div_ceil(self.span()), range.end / self.span());
        first..end.max(first)
    }
    /// Where the page of memmap with this number is mapped.
    pub fn memmap_va(&self, n: u64) -> u64 {
        let first = layout::base(self.spec, self.ram_start) / self.span();
        layout::vmemmap(self.spec).start + (n - first) * self.spec.page
    }
    /// The frame that the walker sees under the struct page of the byte at `at`.
    pub fn memmap_frame(&self, seen: &Seen, at: u64) -> Option<u64> {
        let va = self.memmap_va(at / self.span());
        let leaf = seen.all.leaves.iter().find(|l| (l.va..l.va + l.size).contains(&va))?;
        Some((leaf.leaf.pa + (va - leaf.va)) / self.spec.page)
    }
    /// `range`, section by section.
    pub fn parts(&self, range: &Range<u64>) -> Vec<Range<u64>> {
        let (size, range) = (self.block_bytes(), range.clone());
        let sections = range.start / size..range.end.div_ceil(size);
        sections.map(|i| (i * size).max(range.start)..((i + 1) * size).min(range.end)).collect()
    }
    /// Whether the section around `at` is boot's, which has all of its memmap.
    pub fn is_early(&self, at: u64) -> bool {
        let section = at / self.block_bytes() * self.block_bytes();
        self.blocks.get(&section).is_some_and(|block| block.home == Home::Boot)
    }
    /// Whether a part of a device fills a block with its memmap (4K).
    pub fn is_block(&self, part: &Range<u64>) -> bool {
        self.spec.page == 0x1000 && part.end - part.start == self.block_bytes()
    }

    /// Where the memmap of `range` is when an altmap after `reserve` frames holds what describes nothing else: page after
    /// page, a block at a multiple of a block. Parts of boot's sections have their memmap already.
    pub fn hosted(&self, range: &Range<u64>, reserve: u64) -> Hosted {
        let (mut hosted, mut next) = (Hosted::default(), range.start / self.spec.page + reserve);
        for part in self.parts(range) {
            if self.is_early(part.start) {
                continue;
            }
            let natural = if self.is_block(&part) { 512 } else { 1 };
            hosted.padding += next.next_multiple_of(natural) - next;
            next = next.next_multiple_of(natural);
            for n in self.own(&part) {
                hosted.frames.insert(n, next);
                next += 1;
            }
        }
        hosted
    }

    /// Where a device's own memmap is, if it has an altmap.
    pub fn hosted_by(&self, device: &Device) -> Hosted {
        device.aside.map(|aside| self.hosted(&device.ranges[0], aside.reserve)).unwrap_or_default()
    }

    /// The pages of memmap that have to be mapped: those that describe something present, and all of a boot section's.
    pub fn memmap_mapped(&self) -> Frames {
        let blocks = self.blocks.keys().map(|start| self.touched(&(*start..start + self.block_bytes())));
        let devices = self.devices.values().flat_map(|d| d.ranges.iter().map(|r| self.touched(r)));
        Frames::of(blocks.chain(devices))
    }

    /// The frame of every page of memmap that is not in system RAM.
    pub fn memmap_homes(&self) -> BTreeMap<u64, u64> {
        let mut homes = BTreeMap::new();
        for (start, block) in &self.blocks {
            if let Some(first) = block.memmap {
                let pages = self.touched(&(*start..start + self.block_bytes()));
                homes.extend(pages.zip(first..));
            }
        }
        self.devices.values().for_each(|device| homes.extend(self.hosted_by(device).frames));
        homes
    }

    /// How many pages of memmap blocks on demand have, with frames of their own or without.
    pub fn memmap_on_demand(&self) -> u64 {
        self.on_demand().count() as u64 * self.memmap_frames()
    }

    /// The sections of which something is present.
    pub fn sections(&self) -> Vec<u64> {
        let ranges = self.devices.values().flat_map(|d| &d.ranges);
        let of_devices = ranges.flat_map(|r| self.parts(r)).map(|part| part.start);
        let starts = of_devices.map(|at| at / self.block_bytes() * self.block_bytes());
        let mut all: Vec<_> = self.blocks.keys().copied().chain(starts).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Whether something in `range`, whole subsections, is present: RAM takes the subsections that it touches.
    pub fn is_present(&self, range: &Range<u64>) -> bool {
        let page = self.spec.page;
        let overlap = |start: u64, end: u64| start < range.end && range.start < end;
        let ram = self.blocks.values().flat_map(|b| b.spanned().runs()).any(|run| {
            let (start, end) = (run.start * page, run.end * page);
            overlap(start / SUBSECTION * SUBSECTION, end.next_multiple_of(SUBSECTION))
        });
        ram || self.devices.values().any(|d| d.overlaps(range))
    }
    /// Whether `range` is a device's whose memory the system has.
    pub fn is_given(&self, range: &Range<u64>) -> bool {
        self.given.values().any(|g| g.device.overlaps(range))
    }
    /// The device that has the byte at `at`.
    pub fn device_at(&self, at: u64) -> Option<&Device> {
        self.devices.values().find(|d| d.contains(at))
    }
}
