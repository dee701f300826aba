//! HVO (Linux: `mm/hugetlb_vmemmap.c`, which is switched off on arm64): all pages of a huge page's memmap but the first hold the
//! same, so they can be one page, and the others are free memory.
//!
//! ```text
//!   vmemmap    |head+tails| tails | tails | tails | ...              |head+tails| tails | tails | tails | ...
//!                    |        |       |       |                            |        \_______|_______/
//!   frames          (a)      (b)     (c)     (d)     optimise  ->         (a)              (s)            b, c, d are free
//!                                                    <-  restore                     shared, read-only
//! ```
//! No reader meets a hole, and no entry changes its address while it can be written through (Arm ARM, R_WHZWS; Linux's page for
//! page remap does just that):
//!
//! ```text
//!   optimise   split the block, if it is one; entries read-only, TLBI; entries to the shared page, TLBI; free the old frames
//!   restore    new frames, filled alike; entries to them, TLBI; entries writable, TLBI; join the block, if nobody shares in it
//! ```
//! Everything that can run out is taken first. What is left is legal in every step, and cannot fail.

use super::HvoRule;
use super::frames::Frames;
use super::tails::TailOf;
use crate::addr::VirtRange;
use crate::bugs::Bug;
use crate::error::{Error, Result};
use crate::granule::Granule;
use crate::machine::Machine;
use crate::model::{Mm, Mobility};
use crate::page::{PAGE_BYTES, PageKind};
use crate::pages::Pages;
use crate::pfn::{Pfn, PfnRange};
use crate::section::Backing;
use crate::zone::ZoneKind;

/// The fewest pages of memmap that are worth sharing: with two, one is the head's and the other would be the shared one.
const WORTH_SHARING: u64 = 3;

/// What is shared of a huge page.
#[derive(Clone, Copy)]
struct Sharing {
    /// Its pages.
    pages: PfnRange,
    /// The memmap that is tails only: all but the first page.
    tails: VirtRange,
    of: TailOf,
}

impl Sharing {
    /// The entries that map the shared page.
    const fn mappings<G: Granule>(&self) -> u64 {
        self.tails.len() >> G::SHIFT
    }
}

impl<G: Granule, M: Machine> Mm<G, M> {
    /// What a huge page can share, if its memmap is large enough and its own.
    fn sharing(&self, head: Pfn) -> Result<Sharing> {
        let order = self.hugetlb_at(head)?;
        let refuse = |rule| Err(Error::NotOptimisable { pfn: head, rule });
        let pages = PfnRange::new(head, 1 << order);
        let memmap = (pages.len() * PAGE_BYTES).div_ceil(G::SIZE);
        if memmap < WORTH_SHARING {
            return refuse(HvoRule::Memmap { pages: memmap });
        }
        let ram = |part: PfnRange| {
            let backing = self.section_of(part.start).map(|section| &section.backing);
            matches!(backing, Some(Backing::Boot | Backing::Ram))
        };
        if !pages.sections::<G>().all(ram) {
            return refuse(HvoRule::Altmap);
        }
        let all = self.layout.memmap(pages);
        let tails = VirtRange { start: all.start + G::SIZE, end: all.end };
        let zone = self.block_of(head).and_then(|block| block.state.zone()).unwrap_or(ZoneKind::Normal);
        Ok(Sharing { pages, tails, of: TailOf { zone, order } })
    }

    /// Let all of a huge page's memmap but its first page be the page that its zone and order share. The huge page may be in use:
    /// nobody writes to a tail.
    ///
    /// # Errors
    /// `NotPresent`; `PageState` when it is no huge page, or is optimised; `NotOptimisable` with the rule; `Out` of a table or the shared
    /// page; `BreakBeforeMake`. Nothing has changed then.
    pub fn hugetlb_optimise(&mut self, head: Pfn) -> Result<()> {
        let sharing = self.sharing(head)?;
        self.needs_optimised(head, false)?;
        let tail = self.tail_frame(sharing.of)?;
        let split = self.split_memmap(sharing.pages);
        if let Err(error) = split.and_then(|()| self.share(&sharing, tail)) {
            self.join_memmap(sharing.pages);
            self.drop_tail(sharing.of);
            return Err(error);
        }
        self.count_tail(sharing.of, sharing.mappings::<G>(), 0);
        self.set_optimised(&sharing, true);
        Ok(())
    }

    /// Entries that can be written through become read-only ones of the shared page; what they mapped is free.
    fn share(&mut self, sharing: &Sharing, tail: Pfn) -> Result<()> {
        if !self.has_bug(Bug::NoBbm) {
            self.rewrite_memmap(sharing.tails, |_, d| d.read_only())?;
        }
        let (machine, layout, mut old) = (self.machine.clone(), self.layout, Frames::default());
        let pages = Pages::new(&machine, layout);
        let switched = self.rewrite_memmap(sharing.tails, |_, d| {
            old.push(&pages, Pfn::containing::<G>(d.address(&G::GEOMETRY)));
            d.moved_to(tail.address::<G>(), &G::GEOMETRY).read_only().shared()
        });
        if switched.is_err() {
            // The first entry was writable, and so refused: what it maps stays.
            let _stays = old.pop(&pages);
            return switched;
        }
        self.free_frames(old);
        Ok(())
    }

    /// The inverse of [`Self::hugetlb_optimise`].
    ///
    /// # Errors
    /// `NotPresent`; `PageState` when it is no huge page, or not optimised; `Out` when there are not enough frames: it is still
    /// optimised then. (A memmap that was a block, and for which there is no run, stays mapped by pages: that is no error.)
    pub fn hugetlb_restore(&mut self, head: Pfn) -> Result<()> {
        self.hugetlb_at(head)?;
        self.needs_optimised(head, true)?;
        let sharing = self.sharing(head)?;
        let order = sharing.of.order;
        let mut frames = self.alloc_frames(sharing.mappings::<G>(), |mm| {
            let frame = mm.alloc(0, PageKind::MemmapRam, Mobility::Unmovable)?;
            mm.pages().fill_tail_page(frame.address::<G>(), order);
            Ok(frame)
        })?;
        let (machine, layout) = (self.machine.clone(), self.layout);
        let pages = Pages::new(&machine, layout);
        self.rewrite_memmap(sharing.tails, |_, d| match frames.pop(&pages) {
            Some(frame) => d.moved_to(frame.address::<G>(), &G::GEOMETRY),
            None => d,
        })?;
        self.rewrite_memmap(sharing.tails, |_, d| d.writable())?;
        self.set_optimised(&sharing, false);
        self.count_tail(sharing.of, 0, sharing.mappings::<G>());
        self.join_memmap(sharing.pages);
        Ok(())
    }

    fn needs_optimised(&self, head: Pfn, needed: bool) -> Result<()> {
        let needs = if needed { "optimised" } else { "a huge page that is not optimised" };
        if self.pages().get(head).is_optimised() == needed {
            return Ok(());
        }
        Err(Error::PageState { pfn: head, is: PageKind::HugeTlb, needs })
    }

    /// The head, its pool and its sections know.
    fn set_optimised(&mut self, sharing: &Sharing, optimised: bool) {
        self.pages().own(sharing.pages.start).set_optimised(optimised);
        if let Some(pool) = self.hugetlb.pool_mut(sharing.of.order) {
            pool.optimised = if optimised { pool.optimised + 1 } else { pool.optimised - 1 };
        }
        for part in sharing.pages.sections::<G>() {
            if let Some(section) = self.sections.get_mut(part.start.align_down(G::BLOCK_ORDER).get()) {
                section.optimised = if optimised { section.optimised + 1 } else { section.optimised - 1 };
            }
        }
    }
}
