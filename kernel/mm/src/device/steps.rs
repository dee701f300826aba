//! The steps of `memremap_pages`, each beside its inverse. A device has up to four ranges: a step that fails at one of them
//! undoes those before.

use crate::device::compound::{Dedup, TailScope};
use crate::device::devices::Devices;
use crate::device::holes::{join_hole, split_hole};
use crate::device::pagemap::Pagemap;
use crate::device::range::DeviceRange;
use crate::error::{RangeError, Resource, Result};
use crate::frame::Frames;
use crate::frame::page::PageKind;
use crate::frame::section::{Section, Subsections};
use crate::granule::Granule;
use crate::hotplug::present::{map_linear, reserve_altmaps, unmap_linear};
use crate::machine::{self, Machine};
use crate::pfn::PfnRange;
use crate::space::table::KernelSpace;
use crate::vmemmap::compound::populate_compound;
use crate::vmemmap::depopulate::depopulate;
use crate::vmemmap::populate::populate_range;

/// Does something to every range, or to none.
fn each<M: Machine>(
    space: &mut KernelSpace<M>,
    frames: &mut Frames<M>,
    device: &DeviceRange,
    act: impl Fn(&mut KernelSpace<M>, &mut Frames<M>, PfnRange) -> Result<()>,
    inverse: fn(&mut KernelSpace<M>, &mut Frames<M>, PfnRange),
) -> Result<()> {
    let ranges = device.ranges.as_slice();
    for (done, range) in ranges.iter().enumerate() {
        if let Err(error) = act(space, frames, *range) {
            ranges[..done].iter().rev().for_each(|range| inverse(space, frames, *range));
            return Err(error);
        }
    }
    Ok(())
}

// Step 1. `DeviceRange` was validated before; what has changed since is refused here.

pub(super) fn claim_device<M: Machine>(
    frames: &mut Frames<M>,
    devices: &mut Devices,
    device: &DeviceRange,
) -> Result<()> {
    let (g, mut missing) = (frames.granule(), 0);
    for range in device.ranges.as_slice() {
        devices.refuse_claimed(g, *range)?;
        refuse_present(frames, *range)?;
        missing += range.section_starts(g).len() - frames.sections_of(*range).len();
    }
    frames.may_fail(Resource::Heap { bytes: size_of::<Pagemap>() })?;
    devices.pagemaps.reserve(1)?;
    let room = frames
        .may_fail(Resource::Heap { bytes: missing * size_of::<Section>() })
        .and_then(|()| frames.sections.reserve(missing));
    if let Err(error) = room {
        devices.pagemaps.shrink();
        return Err(error);
    }
    for range in device.ranges.as_slice() {
        frames.sections.insert_missing(range.section_starts(g).map(Section::claimed));
    }
    devices.pagemaps.insert(device.pagemap());
    Ok(())
}

/// Refuses `range` if something of it is present.
///
/// # Errors
/// `RangeError::Exists`.
pub(super) fn refuse_present<M: Machine>(frames: &Frames<M>, range: PfnRange) -> Result<()> {
    let g = frames.granule();
    if let Some(extent) = frames.extents().iter().find(|extent| extent.pages.overlaps(&range)) {
        let present = extent.pages.start.max(range.start).address(g);
        return Err(RangeError::Exists { range: range.addresses(g), present }.into());
    }
    for section in frames.sections_of(range) {
        let part = section.part_of(g, range);
        if section.present.overlaps(Subsections::touched(g, section.start, part)) {
            let (range, present) = (range.addresses(g), part.start.address(g));
            return Err(RangeError::Exists { range, present }.into());
        }
    }
    Ok(())
}

pub(crate) fn drop_device<M: Machine>(frames: &mut Frames<M>, devices: &mut Devices, device: &DeviceRange) {
    let g = frames.granule();
    devices.pagemaps.remove(device.start().get());
    devices.pagemaps.shrink();
    if !frames.hooks.keeps_sections() {
        for range in device.ranges.as_slice() {
            frames.sections.remove_where(keys(g, *range), |section| section.present.is_empty());
        }
    }
    frames.sections.shrink();
}

/// The keys of the sections that `range` lies in.
fn keys(g: Granule, range: PfnRange) -> core::ops::Range<u64> {
    range.start.align_down(g.section_order).get()..range.end.get()
}

// Step 2. Private memory is out of the CPU's reach.

pub(super) fn map_device<M: Machine>(
    space: &mut KernelSpace<M>,
    frames: &mut Frames<M>,
    device: &DeviceRange,
) -> Result<()> {
    if device.kind.is_reachable() { each(space, frames, device, map_linear, unmap_linear) } else { Ok(()) }
}

pub(crate) fn unmap_device<M: Machine>(
    space: &mut KernelSpace<M>,
    frames: &mut Frames<M>,
    device: &DeviceRange,
) {
    if device.kind.is_reachable() {
        device.ranges.as_slice().iter().rev().for_each(|range| unmap_linear(space, frames, *range));
    }
}

// Step 3.

pub(super) fn choose_device_altmap<M: Machine>(frames: &mut Frames<M>, device: &DeviceRange) -> Result<()> {
    if let Some(altmap) = device.altmap {
        reserve_altmaps(frames, 1)?;
        frames.altmaps.insert(altmap);
    }
    Ok(())
}

pub(crate) fn drop_device_altmap<M: Machine>(frames: &mut Frames<M>, device: &DeviceRange) {
    let in_use = frames.altmaps.remove_in(PfnRange::new(device.start(), 1));
    debug_assert!(in_use == 0 || frames.hooks.any(), "{in_use} pages of an altmap are in use");
}

// Step 4.

pub(super) fn populate_device<M: Machine>(
    space: &mut KernelSpace<M>,
    frames: &mut Frames<M>,
    device: &DeviceRange,
) -> Result<()> {
    let source = device.pagemap().backing();
    match device.dedup {
        Dedup::No(_) => {
            let populate = |space: &mut KernelSpace<M>, frames: &mut Frames<M>, range| {
                populate_range(space, frames, range, |_, _| source)
            };
            each(space, frames, device, populate, depopulate)
        }
        Dedup::Shared => {
            let populated = populate_shared(space, frames, &device.pagemap());
            match populated {
                Ok(()) => space.publish(),
                // What is not mapped is passed over.
                Err(_) => depopulate_device(space, frames, device),
            }
            populated
        }
    }
}

/// Step 4 for a device whose compound pages share. What is set aside is described page by page. Publishing, and on failure
/// depopulating, is the caller's.
fn populate_shared<M: Machine>(
    space: &mut KernelSpace<M>,
    frames: &mut Frames<M>,
    device: &Pagemap,
) -> Result<()> {
    let (source, order, mut tail) = (device.backing(), device.compound().order(), None);
    populate_range(space, frames, device.set_aside(), |_, _| source)?;
    device.heads().try_for_each(|head| {
        if device.compound().tails() == TailScope::Page {
            tail = None;
        }
        populate_compound(space, frames, PfnRange::new(head, 1 << order), source, &mut tail)
    })
}

pub(super) fn depopulate_device<M: Machine>(
    space: &mut KernelSpace<M>,
    frames: &mut Frames<M>,
    device: &DeviceRange,
) {
    device.ranges.as_slice().iter().rev().for_each(|range| depopulate(space, frames, *range));
}

// Step 5.

/// Struct pages: clear, and a head for each run; from here on they are valid.
pub(super) fn initialise_device<M: Machine>(frames: &mut Frames<M>, device: &DeviceRange) {
    let g = frames.granule();
    let device = device.pagemap();
    for range in device.ranges() {
        for section in frames.sections.range_mut(keys(g, *range)) {
            section.add_device(g, *range);
        }
    }
    clear_memmap(frames, device.set_aside());
    mark_single(frames, device.set_aside(), PageKind::DeviceMemmap);
    let (pages, order) = (frames.pages(), device.compound().order());
    if device.dedup() == Dedup::Shared {
        return device.heads().for_each(|head| pages.set_compound(head, PageKind::Device, order));
    }
    for range in device.usable().as_slice() {
        clear_memmap(frames, *range);
        if order == 0 {
            mark_single(frames, *range, PageKind::Device);
        }
    }
    if order > 0 {
        device.heads().for_each(|head| pages.own(head).set_head(PageKind::Device, order));
    }
}

/// The struct pages of `range` say nothing.
fn clear_memmap<M: Machine>(frames: &Frames<M>, range: PfnRange) {
    for part in range.sections(frames.granule()) {
        if frames.section_of(part.start).is_some_and(|section| section.early) {
            split_hole(&frames.pages(), part);
        } else {
            machine::zero_mapped(frames.machine(), frames.layout().memmap(part));
        }
    }
}

/// Pages that are in no compound page, in the largest runs that alignment allows.
fn mark_single<M: Machine>(frames: &Frames<M>, range: PfnRange, kind: PageKind) {
    for (pfn, order) in range.chunks(frames.granule().section_order) {
        frames.pages().own(pfn).set_head(kind, order);
    }
}

pub(super) fn forget_device<M: Machine>(frames: &mut Frames<M>, device: &DeviceRange) {
    device.ranges.as_slice().iter().rev().for_each(|range| forget_device_pages(frames, *range));
}

/// The inverse of step 5 for a part of a device.
pub(crate) fn forget_device_pages<M: Machine>(frames: &mut Frames<M>, range: PfnRange) {
    let g = frames.granule();
    let (mut early, stale) = (false, frames.hooks.keeps_sections());
    for section in frames.sections.range_mut(keys(g, range)) {
        section.remove_device(g, range, stale);
        early |= section.early;
    }
    for part in range.sections(g).filter(|_| early) {
        if frames.section_of(part.start).is_some_and(|section| section.early) {
            join_hole(&frames.pages(), part);
        }
    }
}
