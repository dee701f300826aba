//! Step 3 of [`crate::hotplug::steps`]: what will hold the memmap of added memory.
//!
//! ```text
//!  self        |M|          |M|          |M|          |      an altmap in each block: each can go by itself
//!  self-range  |MMM|                                  |      one altmap for the range: it goes as one
//!  ram         |                                      |      no altmap
//! ```

use crate::error::{Error, Result};
use crate::hotplug::range::HotRange;
use crate::hotplug::steps::MemmapHome;
use crate::machine::Machine;
use crate::model::Mm;
use crate::pfn::{Pfn, PfnRange};
use crate::section::{Backing, Section};
use crate::vmemmap::altmap::Altmap;

impl<M: Machine> Mm<M> {
    /// Step 3. Every check comes before anything is written: a step that fails has changed nothing. An altmap that is made
    /// for its memory needs none.
    pub(crate) fn choose_backing(&mut self, pages: PfnRange, home: MemmapHome) -> Result<()> {
        let g = self.granule();
        match home {
            MemmapHome::Ram => Ok(()),
            MemmapHome::SelfHosted => {
                for start in HotRange::blocks(g, pages) {
                    let altmap = Altmap::for_memory(g, PfnRange::new(start, g.section_pages));
                    self.set_backing(start, Backing::SelfHosted(altmap), altmap.offset());
                }
                Ok(())
            }
            MemmapHome::SelfRange => self.host_in(pages, Altmap::for_memory(g, pages)),
            MemmapHome::Given(altmap) => self.host_in(pages, altmap),
        }
    }

    /// Let `altmap` hold the memmap of all of `pages`.
    fn host_in(&mut self, pages: PfnRange, altmap: Altmap) -> Result<()> {
        let g = self.granule();
        altmap.check_range(g, pages)?;
        let padding = altmap.padding_for(g);
        if padding != 0 {
            self.warnings.altmap += 1;
            return Err(Error::AltmapPadding { base: altmap.base_pfn().address(g), pages: padding });
        }
        let hosting = PfnRange::new(pages.start, altmap.offset());
        for block in pages.sections(g) {
            let first = block.start == pages.start;
            let own = hosting.end.min(block.end).get().saturating_sub(block.start.get());
            let backing = if first { Backing::SelfHosted(altmap) } else { Backing::HostedBy(pages.start) };
            self.set_backing(block.start, backing, own);
        }
        Ok(())
    }

    /// The section that starts at `start` has its memmap there; its block keeps so many pages.
    fn set_backing(&mut self, start: Pfn, backing: Backing, memmap_pages: u64) {
        if let Some(section) = self.sections.get_mut(start.get()) {
            section.backing = backing;
        }
        if let Some(block) = self.blocks.get_mut(start.get()) {
            block.memmap_pages = memmap_pages;
        }
    }

    /// The inverse of step 3.
    pub(crate) fn forget_backing(&mut self, pages: PfnRange) {
        let g = self.granule();
        for start in HotRange::blocks(g, pages) {
            let section = self.sections.get(start.get());
            let out = section.and_then(Section::altmap).map_or(0, Altmap::alloc);
            debug_assert!(out == 0 || self.bug.is_some(), "{out} pages of an altmap that goes are still out");
            self.set_backing(start, Backing::Ram, 0);
        }
    }

    /// The first section of those whose memmap is in one altmap with that of the section at `start`.
    fn host_of(&self, start: Pfn) -> Pfn {
        match self.sections.get(start.get()).map(|section| &section.backing) {
            Some(Backing::HostedBy(host)) => *host,
            _ => start,
        }
    }

    /// Refuse to part sections whose memmap is in one altmap: they follow each other, so only the ends of `pages` can.
    ///
    /// # Errors
    /// `HeldTogether`.
    pub(crate) fn refuse_parted(&self, pages: PfnRange) -> Result<()> {
        let g = self.granule();
        let parted = |block: Pfn, host: Pfn| {
            let (block, host) = (block.address(g), host.address(g));
            Err(Error::HeldTogether { block, host })
        };
        let first = self.host_of(pages.start);
        if first < pages.start {
            return parted(pages.start, first);
        }
        let after = self.host_of(pages.end);
        if pages.contains(after) { parted(pages.end, after) } else { Ok(()) }
    }
}
