//! A section's memmap that is one block (4K, where there was a run for it) is mapped by pages while huge pages of the section
//! are optimised, and by a block again when none is:
//!
//! ```text
//!   split   one head for each page of the run      a table of its pieces for the block
//!   join    pages read-only    copied to a new run    switched, page by page    a block for the table    written to again
//!                              (none of these three when every page is where it was)
//! ```
//! The copy is whole because the struct pages are read-only meanwhile. Without a free run the memmap stays as it is,
//! mapped by pages, until the next huge page of the section is restored.

use super::frames::FrameStack;
use crate::addr::{VirtAddr, VirtRange};
use crate::error::{Error, Result, SpaceError};
use crate::frame::page::{PAGE_BYTES, PageKind};
use crate::machine::Machine;
use crate::migrate::compact::alloc_or_compact;
use crate::mm::Mm;
use crate::pfn::Pfn;

const KIND: PageKind = PageKind::MemmapRam;

impl<M: Machine> Mm<M> {
    /// The memmap of the section at `start`.
    fn memmap_of(&self, start: Pfn) -> VirtRange {
        let va = self.space.layout().page_address(start);
        VirtRange { start: va, end: va + (PAGE_BYTES << self.granule().section_order) }
    }

    /// The frames of the memmap of the section at `start`.
    fn memmap_frames(&self, start: Pfn) -> impl Iterator<Item = (VirtAddr, Pfn)> + '_ {
        let (memmap, size) = (self.memmap_of(start), self.granule().page_size);
        let pages = (0..memmap.len() / size).map(move |i| memmap.start + i * size);
        pages.filter_map(|va| Some((va, self.memmap_frame(va)?.frame)))
    }

    /// The order of a run that a block of memmap fits into.
    fn memmap_order(&self) -> u32 {
        self.granule().level_shift(2) - self.granule().page_shift
    }

    fn is_memmap_block(&self, start: Pfn) -> bool {
        self.memmap_frame(self.space.layout().page_address(start)).is_some_and(|leaf| leaf.in_block)
    }

    /// Let every section that the huge page at `head` is in have its memmap mapped by pages.
    ///
    /// # Errors
    /// `Out` of tables; `BreakBeforeMake`. What was split before is for [`Self::join_memmap`].
    pub(super) fn split_memmap(&mut self, head: Pfn, order: u32) -> Result<()> {
        let count =
            self.sections_of_compound(head, order).filter(|start| self.is_memmap_block(*start)).count()
                as u64;
        let mut tables = self.alloc_frames(count, PageKind::Table)?;
        for start in self.sections_of_compound(head, order) {
            if !self.is_memmap_block(start) {
                continue;
            }
            let Some(table) = tables.pop(&self.frames) else { break };
            if let Err(error) = self.split_section(start, table) {
                self.frames.free(table);
                self.free_frames(tables);
                return Err(error);
            }
        }
        Ok(())
    }

    fn split_section(&mut self, start: Pfn, table: Pfn) -> Result<()> {
        let va = self.space.layout().page_address(start);
        let run = self.memmap_frame(va).ok_or(Error::Space(SpaceError::NotMapped(va)))?.frame;
        self.split_run(run);
        if let Err(error) = self.split_block(va, table) {
            self.join_run(run);
            return Err(error);
        }
        self.set_run(start, Some(run));
        Ok(())
    }

    /// One head for each page of a run, so that each can be freed by itself.
    fn split_run(&self, run: Pfn) {
        for i in 0..1 << self.memmap_order() {
            let page = self.own(run + i);
            page.set_head(KIND, 0);
            page.set_refs(1);
        }
    }

    /// The inverse of [`Self::split_run`].
    fn join_run(&self, run: Pfn) {
        (0..1 << self.memmap_order()).for_each(|i| self.own(run + i).clear_head());
        let head = self.own(run);
        head.set_head(KIND, self.memmap_order());
        head.set_refs(1);
    }

    fn set_run(&mut self, start: Pfn, run: Option<Pfn>) {
        if let Some(section) = self.frames.section_mut(start) {
            section.memmap_run = run;
        }
    }

    /// The frame that the memmap at `va` had when it was a block, so that it can go back to where it was.
    pub(super) fn home_of(&self, va: VirtAddr) -> Option<Pfn> {
        let start = self.space.layout().pfn_of_page(va)?.align_down(self.granule().section_order);
        let at = self.frames.sections().binary_search_by_key(&start, |section| section.start).ok()?;
        let run = self.frames.sections().get(at)?.memmap_run?;
        Some(run + (va - self.space.layout().page_address(start)) / self.granule().page_size)
    }

    /// The inverse of [`Self::split_memmap`], for the sections in which nothing is optimised, and for which there is a run.
    pub(super) fn join_memmap(&mut self, head: Pfn, order: u32) {
        for start in self.sections_of_compound(head, order) {
            let ready =
                self.frames.section_mut(start).is_some_and(|s| s.memmap_run.is_some() && s.optimised == 0);
            if ready {
                // Mapped by pages it is as good, at the price of a table.
                let _stays_split = self.join_section(start);
            }
        }
    }

    /// All of a section's memmap becomes a block again.
    fn join_section(&mut self, start: Pfn) -> Result<()> {
        let (memmap, mut old) = (self.memmap_of(start), FrameStack::default());
        let run = match self.in_place(start) {
            Some(run) => run,
            None => self.move_memmap(start, &mut old)?,
        };
        let joined = self.join_block(memmap.start);
        let writable = self.rewrite_all(memmap, &mut |_, d| d.writable());
        if let Ok(table) = joined {
            self.join_run(run);
            self.set_run(start, None);
            self.frames.free(table);
        }
        self.free_frames(old);
        writable.and(joined.map(|_| ()))
    }

    /// The run that a section's memmap is mapped to from its first page to its last, if it is one.
    fn in_place(&self, start: Pfn) -> Option<Pfn> {
        let run = self.memmap_frame(self.space.layout().page_address(start))?.frame;
        let follows = self.memmap_frames(start).zip(0..).all(|((_, frame), i)| frame == run + i);
        (follows && run.is_aligned(self.memmap_order())).then_some(run)
    }

    /// The memmap of a section moves into a run, and is read-only from here on; what it was in is `old`.
    fn move_memmap(&mut self, start: Pfn, old: &mut FrameStack) -> Result<Pfn> {
        let order = self.memmap_order();
        let run = alloc_or_compact(&mut self.space, &mut self.frames, order, KIND)?;
        self.split_run(run);
        // Before the struct pages are read-only: those of the old frames may be among them.
        self.memmap_frames(start).for_each(|(_, frame)| old.push(&self.frames, frame));
        let (memmap, geometry) = (self.memmap_of(start), self.granule());
        self.rewrite_all(memmap, &mut |_, d| d.read_only())?;
        self.memmap_frames(start).zip(0..).for_each(|((_, frame), i)| self.copy_frame(frame, run + i));
        let to = self.frame_address(run);
        self.rewrite_all(memmap, &mut |va, d| d.moved_to(to + (va - memmap.start), geometry))?;
        Ok(run)
    }
}
