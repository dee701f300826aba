//! The one place where the ranges of a device are validated, before its page map is made.

use crate::addr::{PhysAddr, PhysRange};
use crate::device::compound::{Compound, Dedup, NoDedup};
use crate::device::pagemap::{DeviceType, MAX_RANGES, Ranges};
use crate::device::range::DeviceRange;
use crate::device::steps::refuse_present;
use crate::error::{AltmapError, DeviceError, RangeError, Result};
use crate::frame::altmap::Altmap;
use crate::granule::{Granule, PAGE_BYTES, SUBSECTION_SHIFT};
use crate::hotplug::home::MemmapHome;
use crate::hotplug::range::{refuse_beyond, whole};
use crate::machine::Machine;
use crate::mm::Mm;
use crate::pfn::PfnRange;

impl<M: Machine> Mm<M> {
    /// Validate `ranges`, pairs of a start and a length in bytes.
    ///
    /// # Errors
    /// `DeviceError::Ranges`; `RangeError::Empty`, `RangeError::Wraps`, `RangeError::NotSubsectionAligned`,
    /// `RangeError::BeyondLinearMap` or `RangeError::Exists`; `AltmapError::OnPrivate`, `AltmapError::Ranges`,
    /// `AltmapError::Misplaced` or `AltmapError::TooLarge` for the memmap's place.
    pub fn device_range(
        &self,
        ranges: &[(PhysAddr, u64)],
        kind: DeviceType,
        memmap: MemmapHome,
    ) -> Result<DeviceRange> {
        self.compound_device_range(ranges, kind, memmap, Compound::PAGE)
    }

    /// [`Self::device_range`], in compound pages: each range is whole ones, but for what is set aside before the first.
    ///
    /// # Errors
    /// As there; `RangeError::NotCompoundAligned`, and `DeviceError::NoCompoundLeft` after what is set aside.
    pub fn compound_device_range(
        &self,
        ranges: &[(PhysAddr, u64)],
        kind: DeviceType,
        memmap: MemmapHome,
        compound: Compound,
    ) -> Result<DeviceRange> {
        let g = self.granule();
        let wrong_count = DeviceError::Ranges { ranges: ranges.len(), most: MAX_RANGES };
        let mut pages = [PfnRange::default(); MAX_RANGES];
        for (i, (start, len)) in ranges.iter().enumerate() {
            let range = check_range(self, *start, *len)?;
            let found = PfnRange::inside(g, range);
            if let Some(other) = pages.iter().take(i).find(|other| other.overlaps(&found)) {
                return Err(RangeError::Exists { range, present: other.start.address(g) }.into());
            }
            *pages.get_mut(i).ok_or(wrong_count)? = found;
        }
        let ranges = pages.get(..ranges.len()).and_then(Ranges::new).ok_or(wrong_count)?;
        refuse_parts(g, &ranges, memmap, compound)?;
        let dedup = choose_dedup(self, &ranges, compound);
        let altmap = choose_altmap(self, &ranges, kind, memmap, (compound, dedup))?;
        let device = DeviceRange { ranges, kind, altmap, compound, dedup, node: 0 };
        if compound.order() > 0 && device.pagemap().usable_start() >= ranges.as_slice()[0].end {
            let (range, size) = (device.first_addresses(g), compound.bytes(g));
            return Err(DeviceError::NoCompoundLeft { range, size }.into());
        }
        Ok(device)
    }
}

/// `len` bytes at `start`, if a device can be made of them.
fn check_range<M: Machine>(mm: &Mm<M>, start: PhysAddr, len: u64) -> Result<PhysRange> {
    let range = whole(start, len, 1 << SUBSECTION_SHIFT, RangeError::NotSubsectionAligned)?;
    refuse_beyond(mm.space.layout(), range)?;
    let pages = PfnRange::inside(mm.granule(), range);
    mm.devices.refuse_claimed(mm.granule(), pages)?;
    refuse_present(&mm.frames, pages)?;
    Ok(range)
}

/// A range ends with a compound page; it begins with one unless something may be set aside before.
fn refuse_parts(g: Granule, ranges: &Ranges, memmap: MemmapHome, compound: Compound) -> Result<()> {
    let whole = |range: &&PfnRange| {
        let start = memmap != MemmapHome::Ram || range.start.is_aligned(compound.order());
        start && range.end.is_aligned(compound.order())
    };
    match ranges.as_slice().iter().find(|range| !whole(range)) {
        Some(range) => {
            Err(RangeError::NotCompoundAligned { range: range.addresses(g), size: compound.bytes(g) }.into())
        }
        None => Ok(()),
    }
}

/// Whether compound pages of `ranges` share, if they can. A hole of a boot section has had its memmap since boot.
fn choose_dedup<M: Machine>(mm: &Mm<M>, ranges: &Ranges, compound: Compound) -> Dedup {
    let g = mm.granule();
    let early = |range: &PfnRange| mm.frames.sections_of(*range).iter().any(|section| section.early);
    if compound.order() == 0 {
        Dedup::No(NoDedup::PageGeometry)
    } else if !compound.can_share(g) {
        Dedup::No(NoDedup::SmallMemmap)
    } else if ranges.as_slice().iter().any(early) {
        Dedup::No(NoDedup::BootSection)
    } else {
        Dedup::Shared
    }
}

/// A part in a boot section has its memmap since boot and takes nothing: the section stays, since what has holes cannot go.
fn choose_altmap<M: Machine>(
    mm: &Mm<M>,
    ranges: &Ranges,
    kind: DeviceType,
    memmap: MemmapHome,
    (compound, dedup): (Compound, Dedup),
) -> Result<Option<Altmap>> {
    let (g, first) = (mm.granule(), ranges.as_slice()[0]);
    if memmap != MemmapHome::Ram && !kind.is_reachable() {
        return Err(AltmapError::OnPrivate(first.addresses(g)).into());
    }
    if memmap != MemmapHome::Ram && ranges.as_slice().len() > 1 {
        return Err(AltmapError::Ranges { ranges: ranges.as_slice().len() }.into());
    }
    let reserve = match memmap {
        MemmapHome::Ram => return Ok(None),
        MemmapHome::Demand => return Err(DeviceError::OnDemand(first.addresses(g)).into()),
        MemmapHome::Given(altmap) => {
            altmap.check_range(g, first)?;
            return Ok(Some(altmap));
        }
        MemmapHome::SelfHosted => 0,
        MemmapHome::SelfRange { reserve } => reserve,
    };
    // Before it is added to: what does not fit is not tried out.
    if reserve > first.len() {
        let (memmap, of) = (first.len() * PAGE_BYTES / g.page_size, first.len());
        let pages = reserve.saturating_add(memmap);
        return Err(AltmapError::TooLarge { pages, range: first.addresses(g), of }.into());
    }
    let altmap = if dedup == Dedup::Shared {
        let (range, size) = (first.addresses(g), compound.bytes(g));
        compound.altmap(g, first, reserve).ok_or(DeviceError::NoCompoundLeft { range, size })?
    } else {
        let early = |part: &PfnRange| mm.frames.section_of(part.start).is_some_and(|s| s.early);
        Altmap::for_parts(g, first.start, first.sections(g).filter(|part| !early(part)), reserve, 0)
    };
    altmap.check_range(g, first)?;
    Ok(Some(altmap))
}
