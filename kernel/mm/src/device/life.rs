//! A device's page map comes and goes (Linux: `memremap_pages`, `memunmap_pages`): memory's steps, by subsections.

use crate::bugs::Bug;
use crate::device::compound::Dedup;
use crate::device::pagemap::{DeviceState, Pagemap};
use crate::device::range::DeviceRange;
use crate::error::{Error, Resource, Result};
use crate::granule::Granule;
use crate::hotplug::steps::{Step, Way};
use crate::machine::{self, Machine};
use crate::model::Mm;
use crate::page::PageKind;
use crate::pages::Pages;
use crate::pfn::{Pfn, PfnRange};
use crate::section::{Section, Subsections};

/// The steps of a device: its pages never go to the buddy allocator.
const STEPS: &[Step] = Step::ALL.split_at(Step::GoOnline as usize).0;

/// The way of a device.
struct Device(DeviceRange);

impl<M: Machine> Way<M> for Device {
    fn apply(&self, mm: &mut Mm<M>, step: Step) -> Result<()> {
        let Self(device) = self;
        let ranges = device.ranges.as_slice();
        match step {
            Step::ClaimSections => mm.claim_device(device),
            Step::MapLinear if !device.kind.is_reachable() => Ok(()),
            Step::MapLinear => each(mm, ranges, Mm::map_linear, Mm::unmap_linear),
            Step::ChooseBacking => {
                mm.set_device(device.start(), |pagemap| pagemap.altmap = device.altmap);
                Ok(())
            }
            Step::PopulateVmemmap if device.dedup == Dedup::Shared => mm.populate_shared(&device.pagemap()),
            Step::PopulateVmemmap => each(mm, ranges, Mm::populate_range, Mm::depopulate),
            Step::InitialisePages => {
                mm.initialise_device(device);
                Ok(())
            }
            Step::JoinZone => {
                mm.set_device(device.start(), |pagemap| pagemap.state = DeviceState::Live);
                Ok(())
            }
            // Not one of a device's steps.
            Step::GoOnline => Ok(()),
        }
    }

    fn revert(&self, mm: &mut Mm<M>, step: Step) {
        let Self(device) = self;
        let backwards = device.ranges.as_slice().iter().rev().copied();
        match step {
            Step::ClaimSections => mm.drop_device(device),
            Step::MapLinear if !device.kind.is_reachable() => {}
            Step::MapLinear => backwards.for_each(|range| mm.unmap_linear(range)),
            Step::ChooseBacking => {
                let broken = mm.bug.is_some();
                mm.set_device(device.start(), |pagemap| {
                    let out = pagemap.altmap.map_or(0, |altmap| altmap.alloc());
                    debug_assert!(out == 0 || broken, "{out} pages of an altmap that goes are still out");
                    pagemap.altmap = None;
                });
            }
            Step::PopulateVmemmap => backwards.for_each(|range| mm.depopulate(range)),
            Step::InitialisePages => backwards.for_each(|range| mm.forget_device(range)),
            Step::JoinZone => {
                mm.set_device(device.start(), |pagemap| pagemap.state = DeviceState::Changing);
            }
            Step::GoOnline => {}
        }
    }
}

/// The keys of the sections that `range` lies in.
fn keys(g: Granule, range: PfnRange) -> core::ops::Range<u64> {
    range.start.align_down(g.section_order).get()..range.end.get()
}

/// The first pages of these sections.
fn starts(g: Granule, range: PfnRange) -> impl ExactSizeIterator<Item = Pfn> {
    let first = range.start.align_down(g.section_order);
    #[expect(clippy::cast_possible_truncation, reason = "a model has less than 2^22 sections")]
    let count = (range.end - first).div_ceil(g.section_pages) as usize;
    (0..count).map(move |i| first + i as u64 * g.section_pages)
}

/// A range that was validated before the model changed.
fn refuse_present(g: Granule, section: &Section, range: PfnRange, device: &DeviceRange) -> Result<()> {
    let part = section.part_of(g, range);
    if section.present.overlaps(Subsections::touched(g, section.start, part)) {
        let range = device.first_addresses(g);
        return Err(Error::Exists { range, present: part.start.address(g) });
    }
    Ok(())
}

/// Do something to every range, or to none.
fn each<M: Machine>(
    mm: &mut Mm<M>,
    ranges: &[PfnRange],
    apply: fn(&mut Mm<M>, PfnRange) -> Result<()>,
    revert: fn(&mut Mm<M>, PfnRange),
) -> Result<()> {
    for (done, range) in ranges.iter().enumerate() {
        if let Err(error) = apply(mm, *range) {
            ranges[..done].iter().rev().for_each(|range| revert(mm, *range));
            return Err(error);
        }
    }
    Ok(())
}

impl<M: Machine> Mm<M> {
    /// Describe a device's memory by struct pages. `done` hears of each step that is complete.
    ///
    /// # Errors
    /// What a step ran out of, `Exists` for a range that was validated before the model changed; the machine is exactly as
    /// it was.
    pub fn device_create(&mut self, device: &DeviceRange, done: impl FnMut(&Self, Step)) -> Result<()> {
        self.run(STEPS, &Device(*device), done)?;
        self.note_remote_memmap(device.start());
        Ok(())
    }

    /// All steps backwards, for a device of which nobody holds a page.
    pub(super) fn device_undo(&mut self, start: Pfn) {
        if let Some(way) = self.way_of(start) {
            STEPS.iter().rev().for_each(|step| way.revert(self, *step));
        }
    }

    /// The same, but the struct pages go part by part: `parts` are subsections of the device, in any order, together all of
    /// it; whole sections where the compound pages' tables are shared. `gone` hears of each (and of a device that is no whole
    /// one any more: only its memmap is there to look at). For tests: a device goes as a whole otherwise.
    ///
    /// # Errors
    /// `NoDevice`; `WouldSplit` when a part ends inside a leaf, or what a shared table serves. Nothing has changed then.
    pub fn device_undo_parts(
        &mut self,
        start: Pfn,
        parts: &[PfnRange],
        mut gone: impl FnMut(&Self, &PfnRange),
    ) -> Result<()> {
        let g = self.granule();
        let way = self.way_of(start).ok_or(Error::NoDevice(start.address(g)))?;
        for part in parts {
            let leaves = self.leaves_around(*part)?;
            self.tables.refuse_split(&self.machine, leaves)?;
        }
        way.revert(self, Step::JoinZone);
        for part in parts {
            self.forget_device(*part);
            self.depopulate(*part);
            gone(self, part);
        }
        [Step::ChooseBacking, Step::MapLinear, Step::ClaimSections].iter().for_each(|s| way.revert(self, *s));
        Ok(())
    }

    /// The way that a device came.
    fn way_of(&self, start: Pfn) -> Option<Device> {
        let Pagemap { ranges, kind, altmap, compound, dedup, node, .. } = *self.devices.get(start.get())?;
        Some(Device(DeviceRange { ranges, kind, altmap, compound, dedup, node }))
    }

    /// The device that `pfn` is a page of.
    pub fn device_of(&self, pfn: Pfn) -> Option<&Pagemap> {
        self.devices().iter().find(|device| device.contains(pfn))
    }

    fn set_device(&mut self, start: Pfn, set: impl FnOnce(&mut Pagemap)) {
        if let Some(pagemap) = self.devices.get_mut(start.get()) {
            set(pagemap);
        }
    }

    // Step 1.

    fn claim_device(&mut self, device: &DeviceRange) -> Result<()> {
        let g = self.granule();
        let mut missing = 0;
        for range in device.ranges.as_slice() {
            let sections = self.sections_of(*range);
            sections.iter().try_for_each(|section| refuse_present(g, section, *range, device))?;
            missing += starts(g, *range).len() - sections.len();
        }
        self.may_fail(Resource::Heap { bytes: size_of::<Pagemap>() })?;
        self.devices.reserve(1)?;
        let room = self
            .may_fail(Resource::Heap { bytes: missing * size_of::<Section>() })
            .and_then(|()| self.sections.reserve(missing));
        if let Err(error) = room {
            self.devices.shrink();
            return Err(error);
        }
        for range in device.ranges.as_slice() {
            self.sections.insert_missing(starts(g, *range).map(Section::claimed));
        }
        self.devices.insert(Pagemap { altmap: None, ..device.pagemap() });
        Ok(())
    }

    fn drop_device(&mut self, device: &DeviceRange) {
        let g = self.granule();
        self.devices.remove(device.start().get());
        self.devices.shrink();
        if !self.has_bug(Bug::StaleSection) {
            for range in device.ranges.as_slice() {
                self.sections.remove_where(keys(g, *range), |section| section.present.is_empty());
            }
        }
        self.sections.shrink();
    }

    // Step 5.

    /// Struct pages: clear, and a head for each run; from here on they are valid.
    fn initialise_device(&mut self, device: &DeviceRange) {
        let g = self.granule();
        let pagemap = device.pagemap();
        for range in pagemap.ranges() {
            for section in self.sections.range_mut(keys(g, *range)) {
                section.add_device(g, *range);
            }
        }
        self.clear_memmap(pagemap.set_aside());
        self.mark_device(pagemap.set_aside(), PageKind::DeviceMemmap);
        let order = pagemap.compound().order();
        if pagemap.dedup() == Dedup::Shared {
            self.each_head_of(&pagemap, &mut |pages, head| pages.set_compound(head, PageKind::Device, order));
            return;
        }
        for range in pagemap.usable().as_slice() {
            self.clear_memmap(*range);
            if order == 0 {
                self.mark_device(*range, PageKind::Device);
            }
        }
        if order > 0 {
            self.each_head_of(&pagemap, &mut |pages, head| pages.own(head).set_head(PageKind::Device, order));
        }
    }

    fn each_head_of(&self, device: &Pagemap, act: &mut dyn FnMut(&Pages<'_, M>, Pfn)) {
        let pages = self.pages();
        let done = device.each_head(&mut |head| {
            act(&pages, head);
            Ok(())
        });
        debug_assert!(done.is_ok(), "nothing here fails");
    }

    /// The struct pages of `range` say nothing.
    fn clear_memmap(&mut self, range: PfnRange) {
        let g = self.granule();
        for part in range.sections(g) {
            if self.section_of(part.start).is_some_and(|section| section.early) {
                self.cut_hole(part);
            } else {
                machine::zero_mapped(&self.machine, self.layout.memmap(part));
            }
        }
    }

    fn mark_device(&mut self, range: PfnRange, kind: PageKind) {
        let g = self.granule();
        let pages = self.pages();
        for (pfn, order) in range.chunks(g.section_order) {
            pages.own(pfn).set_head(kind, order);
        }
    }

    fn forget_device(&mut self, range: PfnRange) {
        let g = self.granule();
        let (mut early, stale) = (false, self.has_bug(Bug::StaleSection));
        for section in self.sections.range_mut(keys(g, range)) {
            section.remove_device(g, range, stale);
            early |= section.early;
        }
        for part in range.sections(g).filter(|_| early) {
            if self.section_of(part.start).is_some_and(|section| section.early) {
                self.mend_hole(part);
            }
        }
    }

    // A device in a hole of boot memory: the hole's pages have struct pages since boot, which are used again.

    /// Forget the hole around `part`, and make holes of what is left of it on both sides.
    fn cut_hole(&mut self, part: PfnRange) {
        let hole = self.hole_around(part);
        self.clear_heads(hole);
        self.mark_hole(PfnRange { start: hole.start, end: part.start });
        self.mark_hole(PfnRange { start: part.end, end: hole.end });
    }

    /// Make one hole again of `part` and the holes on both sides.
    fn mend_hole(&mut self, part: PfnRange) {
        let hole = self.hole_around(part);
        self.clear_heads(hole);
        self.mark_hole(hole);
    }

    fn mark_hole(&self, range: PfnRange) {
        let g = self.granule();
        for (pfn, order) in range.chunks(g.section_order) {
            self.pages().mark(pfn, order, PageKind::Hole);
        }
    }

    fn clear_heads(&self, range: PfnRange) {
        let mut at = range.start;
        while at < range.end {
            let page = self.pages().own(at);
            at = at + (1 << page.order());
            page.clear_head();
        }
    }

    /// `part`, pages of one section, with the hole pages before and after it: run by run, each known by its head.
    fn hole_around(&self, part: PfnRange) -> PfnRange {
        let g = self.granule();
        let section = part.start.align_down(g.section_order);
        let hole = |pfn: Pfn| match self.pages().use_of(pfn) {
            (PageKind::Hole, head) => Some(PfnRange::new(head, 1 << self.pages().get(head).order())),
            _ => None,
        };
        let (mut start, mut end) = (part.start, part.end);
        while start > section
            && let Some(run) = hole(Pfn::new(start.get() - 1))
        {
            start = run.start;
        }
        while end < section + g.section_pages
            && let Some(run) = hole(end)
        {
            end = run.end;
        }
        PfnRange { start, end }
    }
}
