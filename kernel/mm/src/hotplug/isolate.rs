//! Isolation, and the walk over what is in use (Linux: `start_isolate_page_range`, `test_pages_isolated`, and the migration
//! scanner).
//!
//! The scanner skips free runs, holes, devices' pages and poisoned pages, and a block's own memmap, wherever in the block it
//! lies: both keep their mark as long as the block is present, and go with it.

use core::ops::ControlFlow;

use crate::error::{BlockError, BlockNeeds, Result};
use crate::frame::Frames;
use crate::frame::block::{BlockState, MemoryBlock};
use crate::frame::page::PageKind;
use crate::frame::zone::ZoneKind;
use crate::machine::Machine;
use crate::pfn::{Pfn, PfnRange};

/// Something in use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Used {
    /// The first of its pages that the walk reached.
    pub pfn: Pfn,
    /// Its kind; [`PageKind::Tail`] for a page without a head, which breaks I6.
    pub kind: PageKind,
    /// The first page behind it.
    pub end: Pfn,
}

impl PageKind {
    /// Whether the migration scanner skips pages of this kind: they contain nothing to migrate. A device's page in a section
    /// that it shares with RAM is not RAM.
    pub const fn is_passed_over(self) -> bool {
        matches!(
            self,
            Self::Free | Self::MemmapSelf | Self::Hole | Self::Poisoned | Self::Device | Self::DeviceMemmap
        )
    }
}

impl<M: Machine> Frames<M> {
    /// Isolates every block of `pages` that is not offline: no allocation is served from them. Returns the pages from the
    /// first such block to the last.
    ///
    /// # Errors
    /// `BlockError::Absent`, `BlockError::State` when one is isolated already, `BlockError::NotWhole` for a boot block with
    /// holes. Nothing has changed then.
    pub fn start_isolate(&mut self, pages: PfnRange) -> Result<PfnRange> {
        let g = self.granule();
        let mut going = PfnRange::default();
        for start in pages.blocks(g) {
            if self.can_isolate(start)? {
                let first = if going.is_empty() { start } else { going.start };
                going = PfnRange { start: first, end: start + g.section_pages };
            }
        }
        for start in going.blocks(g) {
            if let Some(block) = self.blocks.get_mut(start.get())
                && let BlockState::Online(zone) = block.state
            {
                block.state = BlockState::GoingOffline(zone);
            }
        }
        Ok(going)
    }

    /// Whether the block at `start` has to be isolated.
    fn can_isolate(&self, start: Pfn) -> Result<bool> {
        let g = self.granule();
        let address = start.address(g);
        let block = self.blocks.get(start.get()).ok_or(BlockError::Absent(address))?;
        match block.state {
            BlockState::Offline => Ok(false),
            BlockState::GoingOffline(_) => {
                let (is, needs) = (block.state.described(), BlockNeeds::Online);
                Err(BlockError::State { block: address, is, needs }.into())
            }
            BlockState::Online(_) if block.present != g.section_pages => {
                Err(BlockError::NotWhole(address).into())
            }
            BlockState::Online(_) => Ok(true),
        }
    }

    /// The first page of `pages` that is in use: `None` when what is isolated can go.
    pub fn test_isolated(&self, pages: PfnRange) -> Option<Pfn> {
        self.next_used(pages).map(|used| used.pfn)
    }

    /// Lets the isolated blocks of `pages` serve allocations again.
    pub fn undo_isolate(&mut self, pages: PfnRange) {
        let g = self.granule();
        for start in pages.blocks(g) {
            if let Some(block) = self.blocks.get_mut(start.get())
                && let BlockState::GoingOffline(zone) = block.state
            {
                block.state = BlockState::Online(zone);
                self.zones[zone as usize].note_freed();
            }
        }
    }

    /// Whether a block that serves allocations has a free page for moving a page of `kind`: a huge page takes memmap, which
    /// only zone Normal serves.
    pub(crate) fn has_room_for(&self, kind: PageKind) -> bool {
        self.blocks().iter().any(|block| match block.state {
            BlockState::Online(ZoneKind::Movable) if kind == PageKind::HugeTlb => false,
            BlockState::Online(_) => block.free.pages() != 0,
            BlockState::Offline | BlockState::GoingOffline(_) => false,
        })
    }

    /// The first isolated blocks side by side in `pages`.
    pub(crate) fn first_isolated_run(&self, pages: PfnRange) -> Option<PfnRange> {
        let g = self.granule();
        let start = pages.blocks(g).find(|start| self.is_isolated(*start))?;
        let rest = PfnRange { start, end: pages.end };
        let end = rest.blocks(g).find(|start| !self.is_isolated(*start)).unwrap_or(pages.end);
        Some(PfnRange { start, end })
    }

    /// The last isolated blocks side by side in `pages`.
    pub(crate) fn last_isolated_run(&self, pages: PfnRange) -> Option<PfnRange> {
        let g = self.granule();
        let last = pages.blocks(g).rev().find(|start| self.is_isolated(*start))?;
        let rest = PfnRange { start: pages.start, end: last };
        let before = rest.blocks(g).rev().find(|start| !self.is_isolated(*start));
        let start = before.map_or(pages.start, |before| before + g.section_pages);
        Some(PfnRange { start, end: last + g.section_pages })
    }

    fn is_isolated(&self, start: Pfn) -> bool {
        let block = self.blocks.get(start.get());
        block.is_some_and(|block| matches!(block.state, BlockState::GoingOffline(_)))
    }

    /// The first thing in use in `pages`.
    pub fn next_used(&self, pages: PfnRange) -> Option<Used> {
        self.each_used(pages, ControlFlow::Break).break_value()
    }

    /// Calls `found` for each thing in use in `pages`, ascending, until it breaks. Blocks that are offline or all free are
    /// not looked at.
    pub(crate) fn each_used<B>(
        &self,
        pages: PfnRange,
        mut found: impl FnMut(Used) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        let g = self.granule();
        let mut at = pages.start;
        while at < pages.end {
            let block = self.block_of(at);
            let idle = |b: &MemoryBlock| b.free.pages() + b.marked_inside() == b.usable(g).len();
            let busy = block.filter(|b| b.state != BlockState::Offline && !idle(b));
            let Some(block) = busy else {
                at = at.align_down(g.section_order) + g.section_pages;
                continue;
            };
            let usable = block.usable(g);
            let part = PfnRange { start: at.max(usable.start), end: usable.end.min(pages.end) };
            self.each_used_in_block(part, &mut found)?;
            at = usable.end;
        }
        ControlFlow::Continue(())
    }

    #[inline(always)]
    fn each_used_in_block<B>(
        &self,
        part: PfnRange,
        found: &mut impl FnMut(Used) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        let (pages, mut pfn) = (self.pages(), part.start);
        while pfn < part.end {
            // The first page may be inside a run, since what was freed last may have joined one that began before it.
            let (kind, head) = pages.use_of(pfn);
            let end = head + (1 << pages.get(head).order());
            if !kind.is_passed_over() {
                found(Used { pfn, kind, end })?;
            }
            pfn = end;
        }
        ControlFlow::Continue(())
    }
}
