//! A section's memmap that is one block (4K, where there was a run for it) is mapped by pages while huge pages of the section
//! are optimised, and by a block again when none is:
//!
//! ```text
//!   split   one head for each page of the run      a table of its pieces for the block
//!   join    pages read-only    copied to a new run    switched, page by page    a block for the table    written to again
//!                              (none of this three when every page is where it was)
//! ```
//! The copy is whole because nobody writes meanwhile: the struct pages are read-only. Without a free run the memmap stays as it is,
//! mapped by pages, until the next huge page of the section is restored.

use super::frames::Frames;
use crate::addr::{VirtAddr, VirtRange};
use crate::error::{Error, Result};
use crate::granule::{Granule, LAST_LEVEL};
use crate::machine::{self, Machine};
use crate::model::Mm;
use crate::page::PageKind;
use crate::paging::descriptor::Descriptor;
use crate::paging::live_update::Contents;
use crate::paging::table::TableFrames;
use crate::pfn::{Pfn, PfnRange};

const KIND: PageKind = PageKind::MemmapRam;

impl<G: Granule, M: Machine> Mm<G, M> {
    /// The order of a run that a block of memmap fits into.
    const MEMMAP_ORDER: u32 = (G::BLOCK_SIZE >> G::SHIFT).trailing_zeros();

    /// The memmap of the section at `start`.
    fn memmap_of(&self, start: Pfn) -> VirtRange {
        self.layout.memmap(PfnRange::new(start, G::SECTION_PAGES))
    }

    /// Whether the memmap of the section at `start` is one block.
    fn is_memmap_block(&self, start: Pfn) -> bool {
        let path = self.tables.path(&self.machine, self.layout.page_address(start));
        path.leaf().is_some_and(|leaf| leaf.slot.level < LAST_LEVEL)
    }

    /// Let every section of `pages` have its memmap mapped by pages.
    ///
    /// # Errors
    /// `Out` of tables; `BreakBeforeMake`. Nothing has changed then.
    pub(super) fn split_memmap(&mut self, pages: PfnRange) -> Result<()> {
        let starts = || pages.sections::<G>().map(|part| part.start.align_down(G::BLOCK_ORDER));
        let count = starts().filter(|start| self.is_memmap_block(*start)).count() as u64;
        let table = |mm: &mut Self| mm.alloc_table().map(Pfn::containing::<G>);
        let mut tables = self.alloc_frames(count, table)?;
        for start in starts() {
            if !self.is_memmap_block(start) {
                continue;
            }
            let Some(table) = tables.pop(&self.pages()) else { break };
            if let Err(error) = self.split_section(start, table) {
                self.free(table);
                self.free_frames(tables);
                self.join_memmap(pages);
                return Err(error);
            }
        }
        Ok(())
    }

    fn split_section(&mut self, start: Pfn, table: Pfn) -> Result<()> {
        let va = self.layout.page_address(start);
        let run = self.memmap_frame(va)?;
        self.cut(run);
        let (machine, tables) = (self.machine.clone(), self.tables);
        if let Err(error) = tables.split_block(&machine, va, table.address::<G>(), self.bug) {
            self.sew(run);
            return Err(error);
        }
        self.set_split(start, true);
        Ok(())
    }

    /// The frame that holds the struct page at `va`.
    fn memmap_frame(&self, va: VirtAddr) -> Result<Pfn> {
        let pa = self.tables.translate(&self.machine, va).ok_or(Error::NotMapped(va))?;
        Ok(Pfn::containing::<G>(pa))
    }

    /// One head for each page of a run, so that each can be freed by itself.
    fn cut(&mut self, run: Pfn) {
        let pages = self.pages();
        (0..1 << Self::MEMMAP_ORDER).for_each(|i| pages.mark(run + i, 0, KIND));
    }

    /// The inverse of [`Self::cut`].
    fn sew(&mut self, run: Pfn) {
        let pages = self.pages();
        (0..1 << Self::MEMMAP_ORDER).for_each(|i| pages.own(run + i).clear_head());
        pages.mark(run, Self::MEMMAP_ORDER, KIND);
    }

    fn set_split(&mut self, start: Pfn, split: bool) {
        if let Some(section) = self.sections.get_mut(start.get()) {
            section.memmap_split = split;
        }
    }

    /// The inverse of [`Self::split_memmap`], for the sections of `pages` in which nothing is optimised, and for which there
    /// is a run.
    pub(super) fn join_memmap(&mut self, pages: PfnRange) {
        for part in pages.sections::<G>() {
            let start = part.start.align_down(G::BLOCK_ORDER);
            let section = self.sections.get(start.get());
            if section.is_some_and(|section| section.memmap_split && section.optimised == 0) {
                // Mapped by pages it is as good, at the price of a table.
                let _stays_split = self.join_section(start);
            }
        }
    }

    /// All of a section's memmap becomes a block again.
    fn join_section(&mut self, start: Pfn) -> Result<()> {
        let memmap = self.memmap_of(start);
        let mut old = Frames::default();
        let run = match self.in_place(memmap)? {
            Some(run) => run,
            None => {
                let run = self.alloc_or_compact(Self::MEMMAP_ORDER, KIND)?;
                self.cut(run);
                // Before the struct pages are read-only: those of the old frames may be among them.
                for va in pages_of::<G>(memmap) {
                    old.push(&self.pages(), self.memmap_frame(va)?);
                }
                self.rewrite_memmap(memmap, |_, d| d.read_only())?;
                self.move_memmap(memmap, run)?;
                run
            }
        };
        let joined = self.join_pages(memmap);
        if let Ok(table) = joined {
            self.sew(run);
            self.set_split(start, false);
            self.free(table);
        }
        self.free_frames(old);
        joined.map(|_| ())
    }

    /// The run that `memmap` is mapped to from its first page to its last, if it is one.
    fn in_place(&self, memmap: VirtRange) -> Result<Option<Pfn>> {
        let run = self.memmap_frame(memmap.start)?;
        let mut follows = run.is_aligned(Self::MEMMAP_ORDER);
        for va in pages_of::<G>(memmap) {
            follows &= self.memmap_frame(va)? == run + ((va - memmap.start) >> G::SHIFT);
        }
        Ok(follows.then_some(run))
    }

    /// The pages of `memmap`, which are read-only, are `run`'s from here on.
    fn move_memmap(&mut self, memmap: VirtRange, run: Pfn) -> Result<()> {
        let to = |va: VirtAddr| (run + ((va - memmap.start) >> G::SHIFT)).address::<G>();
        for va in pages_of::<G>(memmap) {
            let from = self.memmap_frame(va)?.address::<G>();
            machine::copy_frame(&self.machine, from, to(va), G::SIZE);
        }
        self.rewrite_memmap(memmap, |va, d| d.moved_to(to(va), &G::GEOMETRY))
    }

    /// A block for the table of `memmap`, and written to again; returns what was the table.
    fn join_pages(&mut self, memmap: VirtRange) -> Result<Pfn> {
        let (machine, tables) = (self.machine.clone(), self.tables);
        let joined = tables.join_block(&machine, memmap.start, LAST_LEVEL - 1, self.bug);
        self.rewrite_memmap(memmap, |_, d| d.writable())?;
        joined.map(Pfn::containing::<G>)
    }

    /// One step for every entry of `memmap`, on every CPU on return.
    ///
    /// # Errors
    /// `BreakBeforeMake`.
    pub(super) fn rewrite_memmap(
        &mut self,
        memmap: VirtRange,
        mut change: impl FnMut(VirtAddr, Descriptor) -> Descriptor,
    ) -> Result<()> {
        let (machine, tables) = (self.machine.clone(), self.tables);
        let debt = tables.rewrite(&machine, memmap, Contents::Same, &mut change)?;
        self.pay(debt);
        Ok(())
    }
}

/// The addresses of the pages of `range`.
fn pages_of<G: Granule>(range: VirtRange) -> impl Iterator<Item = VirtAddr> {
    (0..range.len() >> G::SHIFT).map(move |i| range.start + (i << G::SHIFT))
}
