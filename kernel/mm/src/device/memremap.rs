//! A device's page map comes and goes (Linux: `memremap_pages`, `memunmap_pages`): memory's steps, by subsections.

use crate::device::compound::{Dedup, TailScope};
use crate::device::pagemap::{DeviceState, Pagemap};
use crate::device::range::DeviceRange;
use crate::error::{DeviceError, Error, RangeError, Resource, Result};
use crate::frame::altmap::Altmap;
use crate::frame::page::PageKind;
use crate::frame::pages::Pages;
use crate::frame::section::{Section, Subsections};
use crate::granule::Granule;
use crate::hotplug::present::{map_linear, reserve_altmaps, unmap_linear};
use crate::hotplug::step::Step;
use crate::hotplug::undo::Undo;
use crate::machine::{self, Machine};
use crate::mm::Mm;
use crate::pfn::{Pfn, PfnRange};
use crate::vmemmap::compound::populate_compound;
use crate::vmemmap::depopulate::depopulate;
use crate::vmemmap::leaves::leaves_around;
use crate::vmemmap::populate::populate_range;

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
        return Err(Error::Range(RangeError::Exists { range, present: part.start.address(g) }));
    }
    Ok(())
}

/// Do something to every range, or to none.
fn each<M: Machine>(
    mm: &mut Mm<M>,
    device: &DeviceRange,
    act: impl Fn(&mut Mm<M>, PfnRange) -> Result<()>,
    inverse: impl Fn(&mut Mm<M>, PfnRange),
) -> Result<()> {
    let ranges = device.ranges.as_slice();
    for (done, range) in ranges.iter().enumerate() {
        if let Err(error) = act(mm, *range) {
            ranges[..done].iter().rev().for_each(|range| inverse(mm, *range));
            return Err(error);
        }
    }
    Ok(())
}

/// Do something to every range, the last first.
fn each_back<M: Machine>(mm: &mut Mm<M>, device: &DeviceRange, act: impl Fn(&mut Mm<M>, PfnRange)) {
    device.ranges.as_slice().iter().rev().for_each(|range| act(mm, *range));
}

impl<M: Machine> Mm<M> {
    /// Describe a device's memory by struct pages. `progress` hears of each step that is complete.
    ///
    /// # Errors
    /// What a step ran out of, `Exists` for a range that was validated before the model changed; the machine is exactly as
    /// it was.
    pub fn memremap_pages(
        &mut self,
        device: &DeviceRange,
        mut progress: impl FnMut(&Self, Step),
    ) -> Result<()> {
        let mut undo = Undo::new(self, *device, &mut progress);
        undo.step(Step::ClaimSections, Self::claim_device, Self::drop_device)?;
        undo.step(Step::MapLinear, Self::map_device, Self::unmap_device)?;
        undo.step(Step::ChooseBacking, Self::choose_device_altmap, Self::drop_device_altmap)?;
        undo.step(Step::PopulateVmemmap, Self::populate_device, Self::depopulate_device)?;
        undo.step(Step::InitialisePages, Self::initialise_device, Self::forget_device)?;
        undo.step(Step::JoinZone, Self::make_live, Self::make_changing)?;
        undo.commit();
        self.note_remote_memmap(device.start());
        Ok(())
    }

    /// The inverse of [`Self::memremap_pages`], for a device of which no page is held: its steps backwards.
    pub(super) fn undo_memremap(&mut self, start: Pfn) {
        let Some(device) = self.range_of(start) else { return };
        self.make_changing(&device);
        self.forget_device(&device);
        self.depopulate_device(&device);
        self.drop_device_altmap(&device);
        self.unmap_device(&device);
        self.drop_device(&device);
    }

    /// The same, but the struct pages go part by part: `parts` are subsections of the device, in any order, together all of
    /// it; whole sections where the compound pages' tables are shared. `gone` hears of each (and of a device that is no whole
    /// one any more: only its memmap is there to look at). For tests: a device goes as a whole otherwise.
    ///
    /// # Errors
    /// `NoDevice`; `WouldSplit` when a part ends inside a leaf, or what a shared table serves. Nothing has changed then.
    pub fn undo_memremap_parts(
        &mut self,
        start: Pfn,
        parts: &[PfnRange],
        mut gone: impl FnMut(&Self, &PfnRange),
    ) -> Result<()> {
        let device =
            self.range_of(start).ok_or(Error::Device(DeviceError::Absent(start.address(self.granule()))))?;
        for part in parts {
            let leaves = leaves_around(&mut self.frames, *part)?;
            self.space.refuse_split(leaves)?;
        }
        self.make_changing(&device);
        for part in parts {
            self.forget_device_pages(*part);
            depopulate(&mut self.space, &mut self.frames, *part);
            gone(self, part);
        }
        self.drop_device_altmap(&device);
        self.unmap_device(&device);
        self.drop_device(&device);
        Ok(())
    }

    /// What the device at `start` was made of.
    pub(super) fn range_of(&self, start: Pfn) -> Option<DeviceRange> {
        let Pagemap { ranges, kind, compound, dedup, node, .. } = *self.devices.get(start.get())?;
        let altmap = self.frames.altmaps.get(start).map(Altmap::unused);
        Some(DeviceRange { ranges, kind, altmap, compound, dedup, node })
    }

    /// The device that `pfn` is a page of.
    pub fn device_of(&self, pfn: Pfn) -> Option<&Pagemap> {
        self.devices().iter().find(|device| device.contains(pfn))
    }

    // Step 1.

    fn claim_device(&mut self, device: &DeviceRange) -> Result<()> {
        let g = self.granule();
        let mut missing = 0;
        for range in device.ranges.as_slice() {
            if let Some(other) = self.kmem_at(*range) {
                return Err(Error::Range(RangeError::Exists {
                    range: range.addresses(g),
                    present: other.address(g),
                }));
            }
            let sections = self.frames.sections_of(*range);
            sections.iter().try_for_each(|section| refuse_present(g, section, *range, device))?;
            missing += starts(g, *range).len() - sections.len();
        }
        self.frames.may_fail(Resource::Heap { bytes: size_of::<Pagemap>() })?;
        self.devices.reserve(1)?;
        let room = self
            .frames
            .may_fail(Resource::Heap { bytes: missing * size_of::<Section>() })
            .and_then(|()| self.frames.sections.reserve(missing));
        if let Err(error) = room {
            self.devices.shrink();
            return Err(error);
        }
        for range in device.ranges.as_slice() {
            self.frames.sections.insert_missing(starts(g, *range).map(Section::claimed));
        }
        self.devices.insert(device.pagemap());
        Ok(())
    }

    fn drop_device(&mut self, device: &DeviceRange) {
        let g = self.granule();
        self.devices.remove(device.start().get());
        self.devices.shrink();
        if !self.frames.hooks.keeps_sections() {
            for range in device.ranges.as_slice() {
                self.frames.sections.remove_where(keys(g, *range), |section| section.present.is_empty());
            }
        }
        self.frames.sections.shrink();
    }

    // Step 2. Private memory is out of the CPU's reach.

    fn map_device(&mut self, device: &DeviceRange) -> Result<()> {
        if !device.kind.is_reachable() {
            return Ok(());
        }
        let unmap = |mm: &mut Self, range| unmap_linear(&mut mm.space, &mut mm.frames, range);
        each(self, device, |mm, range| map_linear(&mut mm.space, &mut mm.frames, range), unmap)
    }

    fn unmap_device(&mut self, device: &DeviceRange) {
        if device.kind.is_reachable() {
            each_back(self, device, |mm, range| unmap_linear(&mut mm.space, &mut mm.frames, range));
        }
    }

    // Step 3.

    fn choose_device_altmap(&mut self, device: &DeviceRange) -> Result<()> {
        if let Some(altmap) = device.altmap {
            reserve_altmaps(&mut self.frames, 1)?;
            self.frames.altmaps.insert(altmap);
        }
        Ok(())
    }

    fn drop_device_altmap(&mut self, device: &DeviceRange) {
        let in_use = self.frames.altmaps.remove_in(PfnRange::new(device.start(), 1));
        debug_assert!(in_use == 0 || self.frames.hooks.any(), "{in_use} pages of an altmap are in use");
    }

    // Step 4.

    fn populate_device(&mut self, device: &DeviceRange) -> Result<()> {
        let pagemap = device.pagemap();
        if device.dedup == Dedup::Shared {
            return self.populate_shared(&pagemap);
        }
        let populate = |mm: &mut Self, range| {
            populate_range(&mut mm.space, &mut mm.frames, range, |_, _| pagemap.backing())
        };
        each(self, device, populate, |mm, range| depopulate(&mut mm.space, &mut mm.frames, range))
    }

    /// Step 4 for a device whose compound pages share: all of it, or nothing. What is set aside is described page by page.
    fn populate_shared(&mut self, device: &Pagemap) -> Result<()> {
        let (source, order, mut tail) = (device.backing(), device.compound().order(), None);
        populate_range(&mut self.space, &mut self.frames, device.set_aside(), |_, _| source)?;
        let populated = device.each_head(&mut |head| {
            if device.compound().tails() == TailScope::Page {
                tail = None;
            }
            let pages = PfnRange::new(head, 1 << order);
            populate_compound(&mut self.space, &mut self.frames, pages, source, &mut tail)
        });
        match populated {
            Ok(()) => self.space.publish(),
            // What is not mapped is passed over.
            Err(_) => {
                for range in device.ranges().iter().rev() {
                    depopulate(&mut self.space, &mut self.frames, *range);
                }
            }
        }
        populated
    }

    fn depopulate_device(&mut self, device: &DeviceRange) {
        each_back(self, device, |mm, range| depopulate(&mut mm.space, &mut mm.frames, range));
    }

    // Step 5.

    /// Struct pages: clear, and a head for each run; from here on they are valid.
    fn initialise_device(&mut self, device: &DeviceRange) -> Result<()> {
        let g = self.granule();
        let pagemap = device.pagemap();
        for range in pagemap.ranges() {
            for section in self.frames.sections.range_mut(keys(g, *range)) {
                section.add_device(g, *range);
            }
        }
        self.clear_memmap(pagemap.set_aside());
        self.mark_device(pagemap.set_aside(), PageKind::DeviceMemmap);
        let order = pagemap.compound().order();
        if pagemap.dedup() == Dedup::Shared {
            self.each_head_of(&pagemap, &mut |pages, head| pages.set_compound(head, PageKind::Device, order));
            return Ok(());
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
        Ok(())
    }

    fn each_head_of(&self, device: &Pagemap, act: &mut dyn FnMut(&Pages<'_, M>, Pfn)) {
        let pages = self.frames.pages();
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
            if self.frames.section_of(part.start).is_some_and(|section| section.early) {
                self.split_hole(part);
            } else {
                machine::zero_mapped(self.space.machine(), self.space.layout().memmap(part));
            }
        }
    }

    fn mark_device(&mut self, range: PfnRange, kind: PageKind) {
        let g = self.granule();
        let pages = self.frames.pages();
        for (pfn, order) in range.chunks(g.section_order) {
            pages.own(pfn).set_head(kind, order);
        }
    }

    fn forget_device(&mut self, device: &DeviceRange) {
        each_back(self, device, Self::forget_device_pages);
    }

    fn forget_device_pages(&mut self, range: PfnRange) {
        let g = self.granule();
        let (mut early, stale) = (false, self.frames.hooks.keeps_sections());
        for section in self.frames.sections.range_mut(keys(g, range)) {
            section.remove_device(g, range, stale);
            early |= section.early;
        }
        for part in range.sections(g).filter(|_| early) {
            if self.frames.section_of(part.start).is_some_and(|section| section.early) {
                self.join_hole(part);
            }
        }
    }

    // Step 6. From here on its pages can be held.

    fn make_live(&mut self, device: &DeviceRange) -> Result<()> {
        self.set_state(device.start(), DeviceState::Live);
        Ok(())
    }

    fn make_changing(&mut self, device: &DeviceRange) {
        self.set_state(device.start(), DeviceState::Changing);
    }

    fn set_state(&mut self, start: Pfn, state: DeviceState) {
        if let Some(pagemap) = self.devices.get_mut(start.get()) {
            pagemap.state = state;
        }
    }

    // A device in a hole of boot memory: the hole's pages have struct pages since boot, which are used again.

    /// Forget the hole around `part`, and make holes of what is left of it on both sides.
    fn split_hole(&mut self, part: PfnRange) {
        let hole = self.hole_around(part);
        self.clear_heads(hole);
        self.mark_hole(PfnRange { start: hole.start, end: part.start });
        self.mark_hole(PfnRange { start: part.end, end: hole.end });
    }

    /// Make one hole again of `part` and the holes on both sides.
    fn join_hole(&mut self, part: PfnRange) {
        let hole = self.hole_around(part);
        self.clear_heads(hole);
        self.mark_hole(hole);
    }

    fn mark_hole(&self, range: PfnRange) {
        let g = self.granule();
        for (pfn, order) in range.chunks(g.section_order) {
            self.frames.pages().mark(pfn, order, PageKind::Hole);
        }
    }

    fn clear_heads(&self, range: PfnRange) {
        let mut at = range.start;
        while at < range.end {
            let page = self.frames.pages().own(at);
            at = at + (1 << page.order());
            page.clear_head();
        }
    }

    /// `part`, pages of one section, with the hole pages before and after it: run by run, each known by its head.
    fn hole_around(&self, part: PfnRange) -> PfnRange {
        let g = self.granule();
        let section = part.start.align_down(g.section_order);
        let hole = |pfn: Pfn| match self.frames.pages().use_of(pfn) {
            (PageKind::Hole, head) => Some(PfnRange::new(head, 1 << self.frames.pages().get(head).order())),
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
