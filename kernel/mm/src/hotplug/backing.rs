//! Step 3 of `add_memory`: what will hold the memmap of added memory.
//!
//! ```text
//!  self        |M|          |M|          |M|          |      an altmap in each block: each can go by itself
//!  self-range  |MMM|                                  |      one altmap for the range: it goes as one
//!  ram         |                                      |      no altmap
//! ```

use crate::error::{AltmapError, Error, Resource, Result};
use crate::frame::altmap::Altmap;
use crate::frame::section::Backing;
use crate::hotplug::home::MemmapHome;
use crate::machine::Machine;
use crate::mm::Mm;
use crate::pfn::{Pfn, PfnRange};

impl<M: Machine> Mm<M> {
    /// Step 3. Every check comes before anything is written: a step that fails has changed nothing.
    ///
    /// # Errors
    /// `BadAltmap`, `AltmapPadding` (a warning), `Out` when the heap has no room.
    pub(crate) fn choose_backing(&mut self, pages: PfnRange, home: MemmapHome) -> Result<()> {
        let g = self.granule();
        match home {
            MemmapHome::Ram => Ok(()),
            MemmapHome::SelfHosted => {
                self.reserve_altmaps(pages.blocks(g).count())?;
                for start in pages.blocks(g) {
                    let altmap = Altmap::for_memory(g, PfnRange::new(start, g.section_pages));
                    self.set_backing(start, Backing::Altmap(start), altmap.offset());
                    self.frames.altmaps.insert(altmap);
                }
                Ok(())
            }
            MemmapHome::SelfRange { reserve } => {
                let memmap = Altmap::for_memory(g, pages).free();
                self.host_in(pages, Altmap::new(pages.start, reserve, memmap))
            }
            MemmapHome::Given(altmap) => self.host_in(pages, altmap),
        }
    }

    /// Let `altmap` hold the memmap of all of `pages`.
    fn host_in(&mut self, pages: PfnRange, altmap: Altmap) -> Result<()> {
        let g = self.granule();
        altmap.check_range(g, pages)?;
        let padding = altmap.padding_for(g);
        if padding != 0 {
            self.frames.warnings.altmap += 1;
            return Err(Error::Altmap(AltmapError::Padding {
                base: altmap.base_pfn().address(g),
                pages: padding,
            }));
        }
        self.reserve_altmaps(1)?;
        let hosting = PfnRange::new(pages.start, altmap.offset());
        for block in pages.sections(g) {
            let own = hosting.end.min(block.end).get().saturating_sub(block.start.get());
            self.set_backing(block.start, Backing::Altmap(pages.start), own);
        }
        self.frames.altmaps.insert(altmap);
        Ok(())
    }

    pub(crate) fn reserve_altmaps(&mut self, count: usize) -> Result<()> {
        self.frames.may_fail(Resource::Heap { bytes: count * size_of::<Altmap>() })?;
        self.frames.altmaps.reserve(count)
    }

    /// The section that starts at `start` has its memmap there; its block keeps so many pages.
    fn set_backing(&mut self, start: Pfn, backing: Backing, memmap_pages: u64) {
        if let Some(section) = self.frames.sections.get_mut(start.get()) {
            section.backing = backing;
        }
        if let Some(block) = self.frames.blocks.get_mut(start.get()) {
            block.memmap_pages = memmap_pages;
        }
    }

    /// The inverse of step 3.
    pub(crate) fn drop_backing(&mut self, pages: PfnRange) {
        let in_use = self.frames.altmaps.remove_in(pages);
        debug_assert!(in_use == 0 || self.frames.hooks.any(), "{in_use} pages of an altmap are in use");
        for start in pages.blocks(self.granule()) {
            self.set_backing(start, Backing::Ram, 0);
        }
    }

    /// Refuse to part sections whose memmap is in one altmap: they follow each other, so only the ends of `pages` can.
    ///
    /// # Errors
    /// `HeldTogether`.
    pub(crate) fn refuse_parted(&self, pages: PfnRange) -> Result<()> {
        let g = self.granule();
        let host = |start: Pfn| match self.frames.sections.get(start.get()).map(|section| section.backing) {
            Some(Backing::Altmap(base)) => base,
            _ => start,
        };
        let parted = |block: Pfn, host: Pfn| {
            Err(Error::Altmap(AltmapError::HeldTogether { block: block.address(g), host: host.address(g) }))
        };
        let (first, after) = (host(pages.start), host(pages.end));
        if first < pages.start {
            return parted(pages.start, first);
        }
        if pages.contains(after) { parted(pages.end, after) } else { Ok(()) }
    }
}
