//! Extents: neighbouring blocks on demand that map the image, as one record. A block has a section and a memory block of its
//! own while something of it is in use or poisoned.
//!
//! ```text
//!   blocks          |image|image|image|image| used |image|image|
//!   records         [         extent        ][block][  extent  ]
//!   a page is taken of the last block of an extent, or a page of any is pinned: it is unfolded
//!   all of a block is free again: it is folded, and joins the extents beside it
//! ```
//! A zone's list has one entry for each record, at the place of its first block. Unfolding needs the heap, and fails without
//! a change when it has no room. Folding needs none: there is room for the extent of each block that is unfolded.

use crate::error::{Resource, Result};
use crate::frame::Frames;
use crate::frame::block::{BlockState, MemoryBlock, Source};
use crate::frame::extent::{Extent, Piece, Record};
use crate::frame::memmap::{DemandMemmap, Groups, aside_order};
use crate::frame::section::{Backing, Section, Subsections};
use crate::frame::zone::{Zone, ZoneKind};
use crate::machine::Machine;
use crate::pfn::{Pfn, PfnRange};

impl<M: Machine> Frames<M> {
    /// The extents, ascending.
    pub fn extents(&self) -> &[Extent] {
        self.extents.as_slice()
    }

    /// The extent that `pfn` is in.
    pub(crate) fn extent_of(&self, pfn: Pfn) -> Option<&Extent> {
        self.extents.at_or_below(pfn.get()).filter(|extent| extent.pages.contains(pfn))
    }

    /// The pieces of `pages`, whole blocks, ascending. The records are found once. From a page inside of a block on, nothing is
    /// present: a caller that is given such a page refuses it as it refuses an absent block.
    pub(crate) fn pieces(&self, pages: PfnRange) -> impl Iterator<Item = Piece> + '_ {
        let (g, mut rest) = (self.granule(), pages);
        let mut blocks = self.blocks.range(pages.start.get()..pages.end.get()).iter().peekable();
        let mut extents = self.extents_in(pages).iter().peekable();
        core::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let (one, whole) =
                (PfnRange::new(rest.start, g.section_pages), rest.start.is_aligned(g.section_order));
            let block = blocks.next_if(|block| block.start == rest.start);
            let extent = extents.next_if(|extent| whole && extent.pages.contains(rest.start));
            let piece = match (block, extent) {
                (Some(block), _) => Piece { pages: one, record: Record::Block, state: Some(block.state) },
                (None, Some(extent)) => {
                    let part = PfnRange { start: rest.start, end: extent.pages.end.min(rest.end) };
                    Piece { pages: part, record: Record::Extent, state: Some(extent.state) }
                }
                (None, None) => Piece { pages: one, record: Record::Absent, state: None },
            };
            rest.start = piece.pages.end;
            Some(piece)
        })
    }

    /// The extents that have something of `pages`, ascending.
    pub(crate) fn extents_in(&self, pages: PfnRange) -> &[Extent] {
        let first = self.extent_of(pages.start).map_or(pages.start, |extent| extent.pages.start);
        self.extents.range(first.get()..pages.end.get())
    }

    /// The states of the blocks that are present of `pages`, whole blocks: one for neighbours that have one record.
    pub fn states_of(&self, pages: PfnRange) -> impl Iterator<Item = BlockState> + '_ {
        self.pieces(pages).filter_map(|piece| piece.state)
    }

    /// How many pages of `pages`, whole blocks, are tenants'.
    pub fn tenant_pages(&self, pages: PfnRange) -> u64 {
        self.blocks.range(pages.start.get()..pages.end.get()).iter().map(|block| block.tenant_pages).sum()
    }

    /// Room for `more` extents beside one for each block that is unfolded, and for as many more entries of the zones.
    ///
    /// # Errors
    /// `Out` when the heap has no room.
    fn reserve_extents(&mut self, more: usize) -> Result<()> {
        self.extents.reserve(more + self.unfolded)?;
        self.zones.iter_mut().try_for_each(|zone| zone.reserve(more))
    }

    /// Cuts the extents of `pages` at its ends, so that each is inside or outside.
    ///
    /// # Errors
    /// `Out` when the heap has no room; nothing has changed then.
    pub(crate) fn cut_extents(&mut self, pages: PfnRange) -> Result<()> {
        let inside = |at: Pfn| self.extent_of(at).is_some_and(|extent| extent.pages.start < at);
        if ![pages.start, pages.end].into_iter().any(inside) {
            return Ok(());
        }
        self.may_fail(Resource::Heap { bytes: 2 * size_of::<Extent>() })?;
        self.reserve_extents(2)?;
        self.cut_extent(pages.start);
        self.cut_extent(pages.end);
        self.shrink_records();
        Ok(())
    }

    /// Cuts the extent around `at`, if `at` is inside of one, in two. There is room for one more.
    fn cut_extent(&mut self, at: Pfn) {
        let Some(extent) = self.extent_of(at).copied().filter(|extent| extent.pages.start < at) else {
            return;
        };
        if let Some(low) = self.extents.get_mut(extent.pages.start.get()) {
            low.pages.end = at;
        }
        self.extents.insert(Extent { pages: PfnRange { start: at, end: extent.pages.end }, ..extent });
        if let Some(zone) = extent.state.zone() {
            self.zones[zone as usize].split_entry(extent.pages.start, at);
        }
    }

    /// Joins the extents that meet at `at`, if they are alike, and side by side in their zone. Where one of them is about to
    /// be removed they stay two.
    pub(crate) fn join_extents(&mut self, at: Pfn) {
        if self.removing.is_some_and(|pages| at == pages.start || at == pages.end) {
            return;
        }
        let (Some(low), Some(high)) =
            (self.extent_of(Pfn::new(at.get() - 1)).copied(), self.extent_of(at).copied())
        else {
            return;
        };
        let alike = |e: &Extent| (e.state, e.source, e.node, e.present);
        if low.pages.end != at || alike(&low) != alike(&high) {
            return;
        }
        if let Some(zone) = low.state.zone()
            && !self.zones[zone as usize].merge_entry(low.pages.start, at)
        {
            return;
        }
        self.extents.remove(at.get());
        if let Some(low) = self.extents.get_mut(low.pages.start.get()) {
            low.pages.end = high.pages.end;
        }
    }

    /// Joins the extents of `pages` with each other and with those beside them, where they are alike.
    pub(crate) fn join_all_extents(&mut self, pages: PfnRange) {
        let mut at = pages.start;
        while let Some(extent) = self.extents.range(at.get()..pages.end.get() + 1).first() {
            let (start, end) = (extent.pages.start, extent.pages.end);
            self.join_extents(start);
            at = end;
        }
        self.join_extents(pages.end);
        self.shrink_records();
    }

    /// `pages` become an extent, offline; its struct pages cannot be read yet.
    ///
    /// # Errors
    /// `Out` when the heap has no room; nothing has changed then.
    pub(crate) fn claim_extent(&mut self, pages: PfnRange, source: Source, node: u32) -> Result<()> {
        self.may_fail(Resource::Heap { bytes: size_of::<Extent>() })?;
        self.reserve_extents(1)?;
        self.extents.insert(Extent { pages, state: BlockState::Offline, source, node, present: false });
        Ok(())
    }

    /// The block of `pfn` leaves the extent that it is in, if it is in one, before a page of it is taken.
    ///
    /// # Errors
    /// `Out` when the heap has no room, or no frame is free for the table of its group; nothing has changed then.
    pub(crate) fn unfold(&mut self, pfn: Pfn) -> Result<()> {
        if self.extent_of(pfn).is_none() {
            return Ok(());
        }
        self.may_fail(Resource::Heap { bytes: size_of::<Section>() + size_of::<MemoryBlock>() })?;
        self.unfold_again(pfn.align_down(self.granule().section_order))
    }

    /// [`Self::unfold`] the block at `start`, without a fault of the heap: for a block that a free has just folded.
    ///
    /// # Errors
    /// As there.
    pub(crate) fn unfold_again(&mut self, start: Pfn) -> Result<()> {
        let block = PfnRange::new(start, self.granule().section_pages);
        if self.extent_of(start).is_none() {
            return Ok(());
        }
        // Before the records change: to allocate a table may change them too.
        let tables = self.get_group_tables(Groups::of(block))?;
        self.unshare_groups(Groups::of(block), tables);
        self.unfold_alone(block).inspect_err(|_| self.share_groups(block))
    }

    /// [`Self::unfold_again`], when its group has a table of its own.
    fn unfold_alone(&mut self, block: PfnRange) -> Result<()> {
        let start = block.start;
        let Some(extent) = self.extent_of(start).copied() else { return Ok(()) };
        self.reserve_extents(3)?;
        self.sections.reserve(1)?;
        self.blocks.reserve(1)?;
        self.cut_extent(start);
        self.cut_extent(block.end);
        self.extents.remove(start.get());
        self.unfolded += 1;
        self.sections.insert(self.section_in(&extent, start));
        self.blocks.insert(self.block_in(&extent, start));
        self.shrink_records();
        Ok(())
    }

    /// The inverse of [`Self::unfold`]: the block at `start` maps the image.
    pub(crate) fn fold(&mut self, start: Pfn) {
        let g = self.granule();
        let Some(block) = self.blocks.remove(start.get()) else { return };
        self.sections.remove(start.get());
        let pages = PfnRange::new(start, g.section_pages);
        let MemoryBlock { state, source, node, .. } = block;
        self.unfolded -= 1;
        self.extents.insert(Extent { pages, state, source, node, present: true });
        self.join_extents(pages.end);
        self.join_extents(pages.start);
        self.shrink_records();
        self.share_groups(pages);
    }

    /// The blocks of `pages` become an extent, for boot, which has made a record for each.
    ///
    /// # Errors
    /// `Out` when the heap has no room.
    pub(crate) fn fold_boot_blocks(&mut self, pages: PfnRange) -> Result<()> {
        self.reserve_extents(2)?;
        for start in pages.blocks(self.granule()) {
            // It counts one less.
            self.unfolded += 1;
            self.fold(start);
        }
        Ok(())
    }

    /// Takes the extents of `pages`, which lie inside, out of the list.
    pub(crate) fn drop_extents(&mut self, pages: PfnRange) {
        self.extents.remove_where(pages.start.get()..pages.end.get(), |_| true);
    }

    /// Frees what the heap holds for records that are gone.
    pub(crate) fn shrink_records(&mut self) {
        self.sections.shrink();
        self.blocks.shrink();
        self.extents.shrink_to(self.unfolded);
        self.zones.iter_mut().for_each(Zone::shrink);
    }

    /// Sets whether the struct pages of the extents of `pages` can be read.
    pub(crate) fn set_extents_present(&mut self, pages: PfnRange, present: bool) {
        let extents = self.extents.range_mut(pages.start.get()..pages.end.get());
        extents.iter_mut().for_each(|extent| extent.present = present);
    }

    /// Takes the block at `start` out of the list.
    pub(crate) fn forget_block(&mut self, start: Pfn) {
        let gone = self.blocks.remove(start.get());
        self.unfolded -= usize::from(gone.is_some_and(|block| block.demand.is_some()));
    }

    /// Sets the node of the extents that have memory of `pages`.
    pub(crate) fn set_extents_node(&mut self, pages: PfnRange, node: u32) {
        let on_it = self.extents.iter_mut().filter(|extent| extent.pages.overlaps(&pages));
        on_it.for_each(|extent| extent.node = node);
        self.join_extents(pages.start);
        self.join_extents(pages.end);
    }

    /// Sets the state of the extents of `pages`, which lie inside.
    pub(crate) fn set_extents_state(&mut self, pages: PfnRange, state: BlockState) {
        let extents = self.extents.range_mut(pages.start.get()..pages.end.get());
        extents.iter_mut().for_each(|extent| extent.state = state);
    }

    /// The memory block at `start`, which `extent` stands for.
    pub(crate) fn block_in(&self, extent: &Extent, start: Pfn) -> MemoryBlock {
        let g = self.granule();
        let block = MemoryBlock::offline(start, extent.source, g.section_pages);
        let demand = self.memmap_entry(start).map(|(table, index)| DemandMemmap { table, index, outside: 0 });
        let mut block = MemoryBlock { state: extent.state, node: extent.node, demand, ..block };
        block.free.set_whole(g.section_order, 1 << aside_order(g));
        block
    }

    /// The section at `start`, which `extent` stands for.
    pub(crate) fn section_in(&self, extent: &Extent, start: Pfn) -> Section {
        let present = if extent.present { Subsections::all(self.granule()) } else { Subsections::NONE };
        Section { present, backing: Backing::Demand, ..Section::claimed(start) }
    }
}

/// Items in the order of two lists: those of one, and the blocks of extents.
impl<M: Machine> Frames<M> {
    /// The starts of all blocks, ascending.
    pub(crate) fn block_starts(&self) -> impl Iterator<Item = Pfn> + Clone + '_ {
        let g = self.granule();
        let (mut block, mut extent, mut inside) = (0, 0, 0);
        core::iter::from_fn(move || {
            let own = self.blocks.as_slice().get(block).map(|block| block.start);
            let folded = self.extents().get(extent).map(|e| (e.pages.start + inside, e.pages.end));
            match (own, folded) {
                (Some(own), folded) if folded.is_none_or(|(start, _)| own < start) => {
                    block += 1;
                    Some(own)
                }
                (_, Some((start, end))) => {
                    inside += g.section_pages;
                    if start + g.section_pages == end {
                        (extent, inside) = (extent + 1, 0);
                    }
                    Some(start)
                }
                _ => None,
            }
        })
    }

    /// All memory blocks, ascending; those of extents as they would be by themselves.
    pub fn blocks(&self) -> impl Iterator<Item = MemoryBlock> + Clone + '_ {
        self.block_starts().filter_map(|start| self.block_of(start))
    }

    /// The starts of the blocks of a zone, oldest first: what [`Zone::blocks`](super::zone::Zone::blocks) says, with each block
    /// of an extent.
    pub fn blocks_in(&self, zone: ZoneKind) -> impl Iterator<Item = Pfn> + '_ {
        let g = self.granule();
        self.zone(zone).blocks().iter().flat_map(move |first| {
            let extent = self.blocks.get(first.get()).is_none().then(|| self.extent_of(*first)).flatten();
            let count = extent.map_or(1, |extent| extent.pages.len() >> g.section_order);
            (0..count).map(move |i| *first + (i << g.section_order))
        })
    }

    /// The first and the last page of a zone's blocks, the last exclusive; `(0, 0)` when it has none.
    pub fn zone_span(&self, zone: ZoneKind) -> (Pfn, Pfn) {
        let section = self.granule().section_pages;
        let end_of = |first: Pfn| self.extent_of(first).map_or(first + section, |extent| extent.pages.end);
        let entries = || self.zone(zone).blocks().iter().copied();
        let span = entries().min().zip(entries().map(end_of).max());
        span.unwrap_or((Pfn::new(0), Pfn::new(0)))
    }

    /// The block that `pfn` is in, as it would be by itself.
    pub fn block_of(&self, pfn: Pfn) -> Option<MemoryBlock> {
        let start = pfn.align_down(self.granule().section_order);
        let own = self.blocks.get(start.get()).cloned();
        own.or_else(|| self.extent_of(start).map(|extent| self.block_in(extent, start)))
    }

    /// The section that `pfn` is in, as it would be by itself.
    pub fn section_of(&self, pfn: Pfn) -> Option<Section> {
        let start = pfn.align_down(self.granule().section_order);
        let own = self.sections.get(start.get()).cloned();
        own.or_else(|| self.extent_of(start).map(|extent| self.section_in(extent, start)))
    }
}
