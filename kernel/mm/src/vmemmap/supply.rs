//! Where memmap is taken from, and where it goes back to. Who populates resolves the first once for a range; the second
//! needs no answer from anybody: a frame that lies in an altmap goes back to that altmap, any other to system RAM. So
//! "an altmap's page freed as RAM", and the reverse, cannot be said.
//!
//! Only what describes nobody else comes from an altmap. A page of memmap at the edge of a device may describe its neighbour
//! too (at 16K one serves two subsections, at 64K 32): the altmap's memory goes with its device, and must not take the
//! neighbour's struct pages along (I7). Such a page is system RAM.

use crate::bugs::Bug;
use crate::error::{Error, Resource, Result};
use crate::machine::Machine;
use crate::model::{Mm, Mobility};
use crate::page::PageKind;
use crate::pfn::{Pfn, PfnRange};
use crate::section::Backing;
use crate::vmemmap::altmap::Altmap;

/// Where the memmap of a range comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Supply {
    /// System RAM.
    Ram,
    /// The altmap of the section that starts here.
    Section(Pfn),
    /// The altmap of the device whose first range starts here.
    Device(Pfn),
}

impl<M: Machine> Mm<M> {
    /// Where the memmap of the range around `pfn` comes from.
    pub(crate) fn supply_of(&self, pfn: Pfn) -> Supply {
        let g = self.granule();
        if let Some(device) = self.device_of(pfn) {
            return if device.altmap().is_some() { Supply::Device(device.start()) } else { Supply::Ram };
        }
        match self.section_of(pfn).map(|section| &section.backing) {
            Some(Backing::SelfHosted(_)) => Supply::Section(pfn.align_down(g.section_order)),
            Some(Backing::HostedBy(host)) => Supply::Section(*host),
            Some(Backing::Boot | Backing::Ram) | None => Supply::Ram,
        }
    }

    /// Give `frames` back to the altmap of their own section, if they lie in it: what memory mostly has.
    fn release_at_home(&mut self, frames: PfnRange) -> bool {
        let g = self.granule();
        match self.sections.get_mut(frames.start.align_down(g.section_order).get()).map(|s| &mut s.backing) {
            Some(Backing::SelfHosted(altmap)) if altmap.frames().contains(frames.start) => {
                altmap.release(frames.start, frames.len());
                true
            }
            _ => false,
        }
    }

    /// The altmap that `supply` names.
    pub(crate) fn altmap_mut(&mut self, supply: Supply) -> Option<&mut Altmap> {
        match supply {
            Supply::Ram => None,
            Supply::Device(start) => self.devices.get_mut(start.get())?.altmap_mut(),
            Supply::Section(start) => match &mut self.sections.get_mut(start.get())?.backing {
                Backing::SelfHosted(altmap) => Some(altmap),
                Backing::Boot | Backing::Ram | Backing::HostedBy(_) => None,
            },
        }
    }

    /// The altmap that `frame` was taken from, if it lies in one.
    fn altmap_with(&mut self, frame: Pfn) -> Option<&mut Altmap> {
        let supply = self.supply_of(frame);
        self.altmap_mut(supply).filter(|altmap| altmap.frames().contains(frame))
    }

    /// Frames for a block of memmap.
    pub(super) fn memmap_block(&mut self, supply: Supply) -> Result<Pfn> {
        let g = self.granule();
        let pages = g.pmd_size >> g.page_shift;
        if supply == Supply::Ram {
            return self.alloc_or_compact(pages.trailing_zeros(), PageKind::MemmapRam);
        }
        self.may_fail(Resource::Altmap { pages })?;
        let exhausted = Error::Out(Resource::Altmap { pages });
        self.altmap_mut(supply).ok_or(exhausted)?.allocate_bytes(g, g.pmd_size)
    }

    /// Up to `most` neighbouring frames for base pages of memmap.
    pub(super) fn memmap_pages(&mut self, supply: Supply, most: u64) -> Result<(Pfn, u64)> {
        if supply == Supply::Ram {
            return self.alloc(0, PageKind::MemmapRam, Mobility::Unmovable).map(|pfn| (pfn, 1));
        }
        self.may_fail(Resource::Altmap { pages: most })?;
        let exhausted = Error::Out(Resource::Altmap { pages: most });
        self.altmap_mut(supply).ok_or(exhausted)?.allocate_pages(most)
    }

    /// Give frames of memmap back to where they came from: the altmap that they lie in, at once, or system RAM, run by run.
    /// Frames that follow each other may come from both, but no subsection has both.
    pub(crate) fn release_memmap(&mut self, frames: PfnRange) {
        let g = self.granule();
        let as_ram = self.has_bug(Bug::AltmapAsRam);
        let mut at = frames.start;
        while at < frames.end {
            let end = (at.align_down(g.subsection_order) + g.subsection_pages).min(frames.end);
            let part = PfnRange { start: at, end };
            at = end;
            if !as_ram && self.release_at_home(part) {
                continue;
            }
            match self.altmap_with(part.start) {
                Some(altmap) if !as_ram => altmap.release(part.start, part.len()),
                _ => self.free_runs(part),
            }
        }
    }

    /// Free every run of `frames`, each by its own head.
    fn free_runs(&mut self, frames: PfnRange) {
        let mut pfn = frames.start;
        while pfn < frames.end {
            let order = self.freeable(pfn).map_or(0, |(_, order)| order);
            self.free(pfn);
            pfn = pfn + (1 << order);
        }
    }
}
