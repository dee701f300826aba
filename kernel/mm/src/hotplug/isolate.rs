//! Isolation, and the walk over what is in use (Linux: `start_isolate_page_range`, `test_pages_isolated`, and the migration
//! scanner).
//!
//! The scanner skips free runs, holes, devices' pages, poisoned and unplugged pages, and a block's own memmap, wherever in the
//! block it lies: the last three keep their mark while the block is offline, and go with it.

use core::ops::ControlFlow;

use crate::error::{BlockError, BlockNeeds, Result};
use crate::frame::Frames;
use crate::frame::block::{BlockState, MemoryBlock};
use crate::frame::extent::Piece;
use crate::frame::page::PageKind;
use crate::frame::zone::{Zone, ZoneKind};
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
            Self::Free
                | Self::MemmapSelf
                | Self::Hole
                | Self::Poisoned
                | Self::Device
                | Self::DeviceMemmap
                | Self::Unplugged
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
        let mut going = PfnRange::default();
        for piece in self.pieces(pages) {
            if self.can_isolate(piece)? {
                let first = if going.is_empty() { piece.pages.start } else { going.start };
                going = PfnRange { start: first, end: piece.pages.end };
            }
        }
        self.cut_extents(pages)?;
        self.change_states(going, |state| match state {
            BlockState::Online(zone) => BlockState::GoingOffline(zone),
            other => other,
        });
        Ok(going)
    }

    /// Changes the states of the blocks of `pages`.
    fn change_states(&mut self, pages: PfnRange, change: impl Fn(BlockState) -> BlockState) {
        let keys = || pages.start.get()..pages.end.get();
        self.blocks.range_mut(keys()).iter_mut().for_each(|block| block.state = change(block.state));
        self.extents.range_mut(keys()).iter_mut().for_each(|extent| extent.state = change(extent.state));
    }

    /// Whether the blocks of `piece` have to be isolated.
    fn can_isolate(&self, piece: Piece) -> Result<bool> {
        let g = self.granule();
        let (start, address) = (piece.pages.start, piece.pages.start.address(g));
        let state = piece.state.ok_or(BlockError::Absent(address))?;
        let whole = self.blocks.get(start.get()).is_none_or(|b| b.present + b.unplugged == g.section_pages);
        match state {
            BlockState::Offline => Ok(false),
            BlockState::GoingOffline(_) => {
                let (is, needs) = (state.described(), BlockNeeds::Online);
                Err(BlockError::State { block: address, is, needs }.into())
            }
            BlockState::Online(_) if !whole => Err(BlockError::NotWhole(address).into()),
            BlockState::Online(_) => Ok(true),
        }
    }

    /// The first page of `pages` that is in use: `None` when what is isolated can go.
    pub fn test_isolated(&self, pages: PfnRange) -> Option<Pfn> {
        self.next_used(pages).map(|used| used.pfn)
    }

    /// Lets the isolated blocks of `pages` serve allocations again.
    pub fn undo_isolate(&mut self, pages: PfnRange) {
        self.change_states(pages, |state| match state {
            BlockState::GoingOffline(zone) => BlockState::Online(zone),
            other => other,
        });
        self.zones.iter_mut().for_each(Zone::note_freed);
        self.join_all_extents(pages);
        self.share_groups(pages);
    }

    /// Whether a block that serves allocations has a free page for moving a page of `kind`: a huge page takes memmap, which
    /// only zone Normal serves.
    pub(crate) fn has_room_for(&self, kind: PageKind) -> bool {
        let serves = |state: BlockState| match state {
            BlockState::Online(zone) => zone != ZoneKind::Movable || kind != PageKind::HugeTlb,
            BlockState::Offline | BlockState::GoingOffline(_) => false,
        };
        let free = |block: &MemoryBlock| block.free.pages() != 0;
        self.blocks.as_slice().iter().any(|block| serves(block.state) && free(block))
            || self.extents().iter().any(|extent| serves(extent.state))
    }

    /// The first isolated blocks side by side in `pages`.
    pub(crate) fn first_isolated_run(&self, pages: PfnRange) -> Option<PfnRange> {
        let isolated = |piece: &Piece| matches!(piece.state, Some(BlockState::GoingOffline(_)));
        let first = self.pieces(pages).find(isolated)?;
        let rest = PfnRange { start: first.pages.start, end: pages.end };
        let end = self.pieces(rest).take_while(isolated).last()?.pages.end;
        Some(PfnRange { start: rest.start, end })
    }

    /// The last isolated blocks side by side in `pages`.
    pub(crate) fn last_isolated_run(&self, pages: PfnRange) -> Option<PfnRange> {
        let (mut rest, mut last) = (pages, None);
        while let Some(run) = self.first_isolated_run(rest) {
            (rest.start, last) = (run.end, Some(run));
        }
        last
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
            let start = at.align_down(g.section_order);
            let Some(block) = self.blocks.get(start.get()) else {
                // Nothing of an extent is in use.
                at = self.extent_of(at).map_or(start + g.section_pages, |extent| extent.pages.end);
                continue;
            };
            let idle = |b: &MemoryBlock| b.free.pages() + b.marked_inside() == b.usable(g).len();
            if block.state == BlockState::Offline || idle(block) {
                at = start + g.section_pages;
                continue;
            }
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
