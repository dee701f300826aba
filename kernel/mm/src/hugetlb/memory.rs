//! What huge pages need of memory.

use crate::addr::{PhysAddr, VirtAddr, VirtRange};
use crate::error::{Error, Resource, Result, SpaceError};
use crate::frame::Mobility;
use crate::frame::block::BlockState;
use crate::frame::page::{Page, PageKind};
use crate::frame::zone::ZoneKind;
use crate::granule::LAST_LEVEL;
use crate::machine::{self, Machine};
use crate::mm::Mm;
use crate::pfn::Pfn;
use crate::space::change::Rewrite;
use crate::space::live_update::Contents;

/// A frame that holds memmap.
#[derive(Clone, Copy)]
pub(crate) struct MemmapFrame {
    /// The frame.
    pub(crate) frame: Pfn,
    /// Whether it is mapped by a block, together with others.
    pub(crate) in_block: bool,
}

impl<M: Machine> Mm<M> {
    /// The bytes of a page of `1 << order`; 0 when there can be none.
    pub(crate) fn bytes(&self, order: u32) -> u64 {
        self.granule().page_size.checked_shl(order).unwrap_or(0)
    }
    pub(crate) fn frame_address(&self, frame: Pfn) -> PhysAddr {
        frame.address(self.granule())
    }
    pub(crate) fn frame(&self, address: PhysAddr) -> Pfn {
        Pfn::containing(self.granule(), address)
    }
    /// The sections that a page of `1 << order` at `head` is in.
    pub(crate) fn sections_of_compound(&self, head: Pfn, order: u32) -> impl Iterator<Item = Pfn> + use<M> {
        let section = self.granule().section_order;
        (0..1u64 << order.saturating_sub(section)).map(move |i| head.align_down(section) + (i << section))
    }
    /// One step for every entry of `range`, between places with the same contents, on every CPU on return.
    pub(super) fn rewrite_all(&mut self, range: VirtRange, change: Rewrite<'_>) -> Result<()> {
        let pending = self.space.rewrite(range, Contents::Same, change)?;
        self.space.invalidate(pending);
        Ok(())
    }
    pub(crate) fn page(&self, pfn: Pfn) -> &Page {
        self.frames.pages().get(pfn)
    }
    pub(crate) fn own(&self, pfn: Pfn) -> &Page {
        self.frames.pages().own(pfn)
    }
    /// The struct page of `pfn`, if it is valid and mapped: for the auditor.
    pub(crate) fn readable(&self, pfn: Pfn) -> Option<&Page> {
        // Valid first: the struct page of a pfn out of nowhere has no address.
        let va = self.frames.is_valid(pfn).then(|| self.space.layout().page_address(pfn))?;
        self.space.translate(va).map(|_| self.frames.pages().get(pfn))
    }
    /// The struct page number `index` in a frame that is full of them.
    pub(crate) fn page_in(&self, frame: Pfn, index: u64) -> &Page {
        machine::page_in(self.space.machine(), self.frame_address(frame), index)
    }
    /// The zone of the block that `pfn` is in.
    pub(crate) fn zone_of(&self, pfn: Pfn) -> Option<ZoneKind> {
        self.frames.block_of(pfn)?.state.zone()
    }
    /// A page that stays where it is: `home`, if that is free.
    pub(super) fn alloc_page(&mut self, home: Option<Pfn>, kind: PageKind) -> Result<Pfn> {
        self.frames.may_fail(Resource::Frames { order: 0 })?;
        let serves =
            |pfn| self.frames.block_of(pfn).is_some_and(|b| b.state == BlockState::Online(ZoneKind::Normal));
        let free = |pfn| serves(pfn) && matches!(self.frames.use_of(pfn), Ok((PageKind::Free, _)));
        if let Some(home) = home.filter(|home| free(*home)) {
            self.frames.take_free(home, 0, kind);
            return Ok(home);
        }
        self.frames.take(0, kind, Mobility::Unmovable).ok_or(Error::Out(Resource::Frames { order: 0 }))
    }
    pub(super) fn fill_tail_page(&self, frame: Pfn, order: u32) {
        self.frames.pages().fill_tail_page(self.frame_address(frame), order);
    }
    #[cfg(debug_assertions)]
    pub(super) fn same_contents(&self, a: Pfn, b: Pfn) -> bool {
        let (a, b) = (self.frame_address(a), self.frame_address(b));
        machine::same_contents(self.space.machine(), a, b, self.granule().page_size)
    }
    pub(super) fn copy_frame(&self, from: Pfn, to: Pfn) {
        let (from, to) = (self.frame_address(from), self.frame_address(to));
        machine::copy_frame(self.space.machine(), from, to, self.granule().page_size);
    }
    /// What is mapped at `va`, in vmemmap.
    pub(super) fn memmap_frame(&self, va: VirtAddr) -> Option<MemmapFrame> {
        let path = self.space.path(va);
        let leaf = path.leaf()?;
        let address = leaf.descriptor.address(self.granule()) + (va - leaf.slot.span.start);
        Some(MemmapFrame { frame: self.frame(address), in_block: leaf.slot.level < LAST_LEVEL })
    }
    /// Let the block at `va` be the table of its pieces. Only where a section's memmap is a block is there one to split.
    pub(super) fn split_block(&mut self, va: VirtAddr, table: Pfn) -> Result<()> {
        let g = self.granule();
        if g.section_memmap != g.pmd_size {
            return Err(Error::Space(SpaceError::NotMapped(va)));
        }
        self.space.split_block(va, table.address(g))
    }
    /// Let the table of pages at `va` be a block; returns what was the table.
    pub(super) fn join_block(&mut self, va: VirtAddr) -> Result<Pfn> {
        let g = self.granule();
        if g.section_memmap != g.pmd_size {
            return Err(Error::Space(SpaceError::NotMapped(va)));
        }
        let table = self.space.join_block(va, LAST_LEVEL - 1)?;
        Ok(Pfn::containing(g, table))
    }
}
