//! HVO (Linux: `mm/hugetlb_vmemmap.c`, which is switched off on arm64): all pages of a huge page's memmap but the first
//! hold the same, so they can be one page, and the others are free memory.
//!
//! ```text
//!   vmemmap    |head+tails| tails | tails | tails | ...              |head+tails| tails | tails | tails | ...
//!                    |        |       |       |                            |        \_______|_______/
//!   frames          (a)      (b)     (c)     (d)     optimise  ->         (a)              (s)            b, c, d are free
//!                                                    <-  restore                     shared, read-only
//! ```
//! No reader meets a hole, and no entry changes its address while it can be written through (Arm ARM, R_WHZWS; Linux's
//! remapping does just that, which is why it is off):
//!
//! ```text
//!   optimise   split the block, if it is one; entries read-only, TLBI; entries to the shared page, TLBI; free the old frames
//!   restore    new frames, filled alike; entries to them, TLBI; entries writable, TLBI; join the block, if nothing of it is shared
//! ```
//! Everything that can run out is taken first. What is left is legal in every step, and cannot fail.

use super::HugeTlb;
use super::blocks::{join_memmap, split_memmap};
use super::compound::order_at;
use super::frame_stack::FrameStack;
use super::tails::TailOf;
use crate::addr::VirtRange;
use crate::entry::live_update::Contents;
use crate::error::{HugeError, HvoRule, PageError, PageNeeds, Result};
use crate::frame::Frames;
use crate::frame::page::{PAGE_BYTES, PageKind};
use crate::frame::section::Backing;
use crate::frame::zone::ZoneKind;
use crate::machine::{Checkpoint, Machine};
use crate::pfn::{Pfn, PfnRange};
use crate::space::table::KernelSpace;
use crate::vmemmap::sharing::pages_of_tails;
#[cfg(debug_assertions)]
use crate::{addr::VirtAddr, error::BbmRule, error::SpaceError, hugetlb::blocks::frame_at, machine};

/// What is shared of a huge page.
#[derive(Clone, Copy)]
struct Sharing {
    page: PfnRange,
    order: u32,
    /// The memmap that is tails only: all but the first page.
    tails: VirtRange,
    /// The entries that map it.
    mappings: u64,
    of: TailOf,
}

impl HugeTlb {
    /// What a huge page can share, if its memmap is large enough and system RAM.
    fn sharing<M: Machine>(&self, frames: &Frames<M>, head: Pfn) -> Result<Sharing> {
        let (g, order) = (frames.granule(), order_at(frames, head)?);
        let refuse = |rule| Err(HugeError::NotOptimisable { pfn: head, rule }.into());
        let mappings = pages_of_tails(order, PAGE_BYTES, g.page_size);
        if mappings == 0 {
            return refuse(HvoRule::Memmap { pages: (PAGE_BYTES << order).div_ceil(g.page_size) });
        }
        let page = PfnRange::new(head, 1 << order);
        if frames.sections_of(page).iter().any(|s| s.backing == Backing::Demand) {
            return refuse(HvoRule::Demand);
        }
        if !frames.sections_of(page).iter().all(|s| matches!(s.backing, Backing::Boot | Backing::Ram)) {
            return refuse(HvoRule::Altmap);
        }
        let memmap = frames.layout().page_address(head);
        let tails = VirtRange { start: memmap + g.page_size, end: memmap + (mappings + 1) * g.page_size };
        let zone = frames.zone_of(head).unwrap_or(ZoneKind::Normal);
        let of = TailOf { zone, size: self.size_of(order)? };
        Ok(Sharing { page, order, tails, mappings, of })
    }

    /// Lets all of a huge page's memmap but its first page be the page that its zone and order share. The huge page may be in
    /// use: a tail is not written to.
    ///
    /// # Errors
    /// `PageError::NotPresent`; `PageError::State` when it is no huge page, or is optimised; `HugeError::NotOptimisable`
    /// with the rule; `Out` of a table or the shared page; `SpaceError::BreakBeforeMake`. Nothing has changed then.
    pub(crate) fn optimise<M: Machine>(
        &mut self,
        space: &mut KernelSpace<M>,
        frames: &mut Frames<M>,
        head: Pfn,
    ) -> Result<()> {
        let sharing = self.sharing(frames, head)?;
        refuse_unless_optimised(frames, head, false)?;
        let tail = self.tails.frame(frames, sharing.of, sharing.order)?;
        frames.machine().checkpoint(Checkpoint::Done("get the page of tails"));
        let split = split_memmap(space, frames, sharing.page);
        frames.machine().checkpoint(Checkpoint::Done("map the memmap by pages"));
        if let Err(error) = split.and_then(|()| share(space, frames, &sharing, tail)) {
            join_memmap(space, frames, sharing.page);
            self.tails.count(frames, sharing.of, 0, 0);
            return Err(error);
        }
        self.tails.count(frames, sharing.of, sharing.mappings, 0);
        self.set_optimised(frames, sharing.page, true);
        Ok(())
    }

    /// The inverse of [`Self::optimise`]. A memmap that was a block, and for which there is no run, stays mapped by pages:
    /// that is no error.
    ///
    /// # Errors
    /// `PageError::NotPresent`; `PageError::State` when it is no huge page, or not optimised; `Out` when there are not enough
    /// frames; `SpaceError::BreakBeforeMake` when the shared page was written to (where there are debug checks). It is still
    /// optimised then.
    pub(crate) fn restore<M: Machine>(
        &mut self,
        space: &mut KernelSpace<M>,
        frames: &mut Frames<M>,
        head: Pfn,
    ) -> Result<()> {
        order_at(frames, head)?;
        refuse_unless_optimised(frames, head, true)?;
        let sharing = self.sharing(frames, head)?;
        unshare(space, frames, &sharing)?;
        self.set_optimised(frames, sharing.page, false);
        self.tails.count(frames, sharing.of, 0, sharing.mappings);
        join_memmap(space, frames, sharing.page);
        Ok(())
    }

    /// Notes in the head, its pool and its sections that the huge page `page` shares its memmap, or no longer.
    pub(super) fn set_optimised<M: Machine>(
        &mut self,
        frames: &mut Frames<M>,
        page: PfnRange,
        optimised: bool,
    ) {
        let g = frames.granule();
        frames.pages().own(page.start).as_huge_head().set_optimised(optimised);
        if let Ok(pool) = self.pool_mut(page.len().trailing_zeros()) {
            pool.optimised = if optimised { pool.optimised + 1 } else { pool.optimised - 1 };
        }
        for start in page.section_starts(g) {
            if let Some(section) = frames.section_mut(start) {
                section.optimised = if optimised { section.optimised + 1 } else { section.optimised - 1 };
            }
        }
    }
}

fn refuse_unless_optimised<M: Machine>(frames: &Frames<M>, head: Pfn, needed: bool) -> Result<()> {
    let needs = if needed { PageNeeds::Optimised } else { PageNeeds::NotOptimised };
    if frames.pages().get(head).as_huge_head().is_optimised() == needed {
        return Ok(());
    }
    Err(PageError::State { pfn: head, is: PageKind::HugeTlb, needs }.into())
}

/// Entries that can be written through become read-only ones of the shared page; what they mapped is free. Nothing of it
/// can fail half-way: what is in the pages is looked at first, where there are debug checks.
fn share<M: Machine>(
    space: &mut KernelSpace<M>,
    frames: &mut Frames<M>,
    sharing: &Sharing,
    tail: Pfn,
) -> Result<()> {
    #[cfg(debug_assertions)]
    refuse_other_contents(space, sharing, tail)?;
    if !frames.hooks.skips_break() {
        space.rewrite_same(sharing.tails, &mut |_, d| d.read_only())?;
        frames.machine().checkpoint(Checkpoint::Done("make the tails read-only"));
    }
    let (g, mut old) = (frames.granule(), FrameStack::default());
    let switched = space.rewrite(sharing.tails, Contents::Same, &mut |_, d| {
        old.push(frames, Pfn::containing(g, d.address(g)));
        d.moved_to(tail.address(g), g).read_only().shared()
    });
    match switched {
        Ok(pending) => space.invalidate(pending),
        Err(error) => {
            // The first entry was writable, and so refused: what it maps stays.
            let _stays = old.pop(frames);
            return Err(error);
        }
    }
    frames.machine().checkpoint(Checkpoint::Done("share the page of tails"));
    old.free(frames);
    frames.machine().checkpoint(Checkpoint::Done("free the old frames"));
    Ok(())
}

/// Refuses pages of tails that are not what the shared one is: a tail that differs was written to by mistake.
#[cfg(debug_assertions)]
fn refuse_other_contents<M: Machine>(space: &KernelSpace<M>, sharing: &Sharing, tail: Pfn) -> Result<()> {
    let g = space.granule();
    let same =
        |frame: Pfn| machine::same_contents(space.machine(), frame.address(g), tail.address(g), g.page_size);
    let mut pages = (0..sharing.mappings).map(|i| sharing.tails.start + i * g.page_size);
    let differs = |va: &VirtAddr| !frame_at(space, *va).is_some_and(same);
    let rule = BbmRule::AddressWithOtherContents;
    pages.find(differs).map_or(Ok(()), |at| Err(SpaceError::BreakBeforeMake { at, rule }.into()))
}

/// The inverse of [`share`]: entries of the shared page become ones of new frames with the same contents, and can be written
/// through again.
fn unshare<M: Machine>(space: &mut KernelSpace<M>, frames: &mut Frames<M>, sharing: &Sharing) -> Result<()> {
    let g = frames.granule();
    let (mut new, mut last) = (FrameStack::alloc_memmap(frames, sharing.tails)?, None);
    frames.machine().checkpoint(Checkpoint::Done("take frames"));
    let rewritten = space.rewrite(sharing.tails, Contents::Same, &mut |_, d| {
        let Some(frame) = new.pop(frames) else { return d };
        last = Some(frame);
        frames.pages().fill_tail_page(frame.address(g), sharing.order);
        d.moved_to(frame.address(g), g)
    });
    match rewritten {
        Ok(pending) => space.invalidate(pending),
        Err(error) => {
            // All entries map the one shared page: when any is refused, the first is, and no frame is mapped.
            last.into_iter().for_each(|frame| new.push(frames, frame));
            new.free(frames);
            return Err(error);
        }
    }
    frames.machine().checkpoint(Checkpoint::Done("map frames of its own"));
    space.rewrite_same(sharing.tails, &mut |_, d| d.writable())?;
    frames.machine().checkpoint(Checkpoint::Done("make the tails writable"));
    Ok(())
}
