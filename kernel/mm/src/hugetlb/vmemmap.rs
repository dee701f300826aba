//! HVO (Linux: `mm/hugetlb_vmemmap.c`, which is switched off on arm64): all pages of a huge page's memmap but the first hold the
//! same, so they can be one page, and the others are free memory.
//!
//! ```text
//!   vmemmap    |head+tails| tails | tails | tails | ...              |head+tails| tails | tails | tails | ...
//!                    |        |       |       |                            |        \_______|_______/
//!   frames          (a)      (b)     (c)     (d)     optimise  ->         (a)              (s)            b, c, d are free
//!                                                    <-  restore                     shared, read-only
//! ```
//! No reader meets a hole, and no entry changes its address while it can be written through (Arm ARM, R_WHZWS; Linux's remapping
//! does just that, which is why it is off):
//!
//! ```text
//!   optimise   split the block, if it is one; entries read-only, TLBI; entries to the shared page, TLBI; free the old frames
//!   restore    new frames, filled alike; entries to them, TLBI; entries writable, TLBI; join the block, if nothing of it is shared
//! ```
//! Everything that can run out is taken first. What is left is legal in every step, and cannot fail.

use super::frames::FrameStack;
use super::shared_tail::TailOf;
use crate::addr::VirtRange;
use crate::error::HvoRule;
use crate::error::{Error, HugeError, PageError, PageNeeds, Result};
use crate::frame::page::{PAGE_BYTES, PageKind};
use crate::frame::section::Backing;
use crate::frame::zone::ZoneKind;
use crate::machine::Machine;
use crate::mm::Mm;
use crate::pfn::Pfn;
use crate::space::live_update::Contents;
use crate::vmemmap::sharing::pages_of_tails;
#[cfg(debug_assertions)]
use crate::{addr::VirtAddr, error::BbmRule, error::SpaceError};

/// What is shared of a huge page.
#[derive(Clone, Copy)]
struct Sharing {
    head: Pfn,
    /// The memmap that is tails only: all but the first page.
    tails: VirtRange,
    /// The entries that map it.
    mappings: u64,
    of: TailOf,
}

impl<M: Machine> Mm<M> {
    /// What a huge page can share, if its memmap is large enough and system RAM.
    fn sharing(&self, head: Pfn) -> Result<Sharing> {
        let (order, size) = (self.order_at(head)?, self.granule().page_size);
        let refuse = |rule| Err(Error::Huge(HugeError::NotOptimisable { pfn: head, rule }));
        let mappings = pages_of_tails(order, PAGE_BYTES, size);
        if mappings == 0 {
            return refuse(HvoRule::Memmap { pages: (PAGE_BYTES << order).div_ceil(size) });
        }
        let ram = |start: Pfn| {
            let section = self.frames.sections().binary_search_by_key(&start, |section| section.start);
            section.is_ok_and(|at| matches!(self.frames.sections()[at].backing, Backing::Boot | Backing::Ram))
        };
        if !self.sections_of_compound(head, order).all(ram) {
            return refuse(HvoRule::Altmap);
        }
        let memmap = self.space.layout().page_address(head);
        let tails = VirtRange { start: memmap + size, end: memmap + (mappings + 1) * size };
        let zone = self.zone_of(head).unwrap_or(ZoneKind::Normal);
        Ok(Sharing { head, tails, mappings, of: TailOf { zone, order } })
    }

    /// Let all of a huge page's memmap but its first page be the page that its zone and order share. The huge page may be in
    /// use: a tail is not written to.
    ///
    /// # Errors
    /// `NotPresent`; `PageState` when it is no huge page, or is optimised; `NotOptimisable` with the rule; `Out` of a table or
    /// the shared page; `BreakBeforeMake`. Nothing has changed then.
    pub fn optimise(&mut self, head: Pfn) -> Result<()> {
        let sharing = self.sharing(head)?;
        self.needs_optimised(head, false)?;
        let tail = self.tail_frame(sharing.of)?;
        let split = self.split_memmap(head, sharing.of.order);
        if let Err(error) = split.and_then(|()| self.share(&sharing, tail)) {
            self.join_memmap(head, sharing.of.order);
            self.count_tail(sharing.of, 0, 0);
            return Err(error);
        }
        self.count_tail(sharing.of, sharing.mappings, 0);
        self.set_optimised(&sharing, true);
        Ok(())
    }

    /// Entries that can be written through become read-only ones of the shared page; what they mapped is free. Nothing of it
    /// can fail half-way: what is in the pages is looked at first, where there are debug checks.
    fn share(&mut self, sharing: &Sharing, tail: Pfn) -> Result<()> {
        #[cfg(debug_assertions)]
        self.refuse_other_contents(sharing, tail)?;
        if !self.frames.hooks.skips_break() {
            self.rewrite_all(sharing.tails, &mut |_, d| d.read_only())?;
        }
        let (to, geometry, mut old) = (self.frame_address(tail), self.granule(), FrameStack::default());
        let frames = &self.frames;
        let switched = self.space.rewrite(sharing.tails, Contents::Same, &mut |_, d| {
            old.push(frames, Pfn::containing(geometry, d.address(geometry)));
            d.moved_to(to, geometry).read_only().shared()
        });
        match switched {
            Ok(pending) => self.space.invalidate(pending),
            Err(error) => {
                // The first entry was writable, and so refused: what it maps stays.
                let _stays = old.pop(&self.frames);
                return Err(error);
            }
        }
        self.free_frames(old);
        Ok(())
    }

    /// Refuse pages of tails that are not what the shared one is: a tail that differs was written to by mistake.
    #[cfg(debug_assertions)]
    fn refuse_other_contents(&self, sharing: &Sharing, tail: Pfn) -> Result<()> {
        let mut pages = (0..sharing.mappings).map(|i| sharing.tails.start + i * self.granule().page_size);
        let differs =
            |va: &VirtAddr| self.memmap_frame(*va).is_none_or(|leaf| !self.same_contents(leaf.frame, tail));
        let rule = BbmRule::AddressWithOtherContents;
        pages.find(differs).map_or(Ok(()), |at| Err(Error::Space(SpaceError::BreakBeforeMake { at, rule })))
    }

    /// The inverse of [`Self::optimise`].
    ///
    /// # Errors
    /// `NotPresent`; `PageState` when it is no huge page, or not optimised; `Out` when there are not enough frames;
    /// `BreakBeforeMake` when the shared page was written to (where there are debug checks): it is still optimised then. (A memmap that was a block, and for which there is no run, stays mapped by pages: that is no error.)
    pub fn restore(&mut self, head: Pfn) -> Result<()> {
        self.order_at(head)?;
        self.needs_optimised(head, true)?;
        let sharing = self.sharing(head)?;
        let (order, geometry) = (sharing.of.order, self.granule());
        let (mut frames, mut last) = (self.memmap_frames_for(sharing.tails)?, None);
        let all = &self.frames;
        let rewritten = self.space.rewrite(sharing.tails, Contents::Same, &mut |_, d| {
            let Some(frame) = frames.pop(all) else { return d };
            last = Some(frame);
            let address = frame.address(geometry);
            all.pages().fill_tail_page(address, order);
            d.moved_to(address, geometry)
        });
        match rewritten {
            Ok(pending) => self.space.invalidate(pending),
            Err(error) => {
                // All entries map the one shared page: when any is refused, the first is, and no frame is mapped.
                last.into_iter().for_each(|frame| frames.push(&self.frames, frame));
                self.free_frames(frames);
                return Err(error);
            }
        }
        self.rewrite_all(sharing.tails, &mut |_, d| d.writable())?;
        self.set_optimised(&sharing, false);
        self.count_tail(sharing.of, 0, sharing.mappings);
        self.join_memmap(head, order);
        Ok(())
    }

    fn needs_optimised(&self, head: Pfn, needed: bool) -> Result<()> {
        let needs = if needed { PageNeeds::Optimised } else { PageNeeds::NotOptimised };
        if self.page(head).as_huge_head().is_optimised() == needed {
            return Ok(());
        }
        Err(Error::Page(PageError::State { pfn: head, is: PageKind::HugeTlb, needs }))
    }

    /// The head, its pool and its sections know.
    fn set_optimised(&mut self, sharing: &Sharing, optimised: bool) {
        self.own(sharing.head).as_huge_head().set_optimised(optimised);
        if let Some(pool) = self.hugetlb.pool_mut(sharing.of.order) {
            pool.optimised = if optimised { pool.optimised + 1 } else { pool.optimised - 1 };
        }
        for start in self.sections_of_compound(sharing.head, sharing.of.order) {
            if let Some(section) = self.frames.section_mut(start) {
                section.optimised = if optimised { section.optimised + 1 } else { section.optimised - 1 };
            }
        }
    }
}
