//! Memory blocks go online: steps 6 and 7, each beside its inverse (Linux: `online_pages`).

use crate::error::{BlockError, BlockNeeds, Resource, Result};
use crate::frame::Frames;
use crate::frame::block::BlockState;
use crate::frame::extent::{Piece, Record};
use crate::frame::memmap::{GroupTables, Groups};
use crate::frame::page::PageKind;
use crate::frame::pages::Pages;
use crate::frame::zone::ZoneKind;
use crate::hotplug::notify::Direction;
use crate::hotplug::step::Step;
use crate::machine::Machine;
use crate::mm::Mm;
use crate::pfn::{Pfn, PfnRange};

impl<M: Machine> Mm<M> {
    /// Brings the block at `start` online in `zone`.
    ///
    /// # Errors
    /// `BlockError::Absent`, and as [`Self::online_pages`].
    pub fn online_block(&mut self, start: Pfn, zone: ZoneKind) -> Result<()> {
        let block = PfnRange::new(start, self.granule().section_pages);
        self.frames.require_offline(block)?;
        self.online_pages(block, zone, |_, _| {})
    }

    /// Brings the blocks of `pages` online in `zone`: steps 6 and 7. `progress` is called after each.
    ///
    /// # Errors
    /// `BlockError::State` when a block is not offline, `BlockError::Vetoed`, `Out` when the heap has no room; nothing has
    /// changed then.
    pub fn online_pages(
        &mut self,
        pages: PfnRange,
        zone: ZoneKind,
        mut progress: impl FnMut(&Self, Step),
    ) -> Result<()> {
        let range = pages.addresses(self.granule());
        self.frames.require_offline(pages)?;
        self.notifiers.ask(Direction::Online, range)?;
        if let Err(error) = self.frames.join_zone(pages, zone) {
            self.notifiers.cancel(Direction::Online, range);
            return Err(error);
        }
        Step::JoinZone.done(self.space.machine());
        progress(self, Step::JoinZone);
        self.frames.release_to_buddy(pages);
        self.notifiers.done(Direction::Online, range);
        Step::GoOnline.done(self.space.machine());
        progress(self, Step::GoOnline);
        Ok(())
    }
}

impl<M: Machine> Frames<M> {
    /// Refuses pages of which a block is not present or not offline.
    pub(crate) fn require_offline(&self, pages: PfnRange) -> Result<()> {
        let other = self.pieces(pages).find(|piece| piece.state != Some(BlockState::Offline));
        let Some(Piece { pages, state, .. }) = other else { return Ok(()) };
        let block = pages.start.address(self.granule());
        let is = state.ok_or(BlockError::Absent(block))?.described();
        Err(BlockError::State { block, is, needs: BlockNeeds::Offline }.into())
    }

    /// Step 6: the blocks of `pages`, all offline, join `zone`.
    ///
    /// # Errors
    /// `Out` when the heap has no room, or no frame is free for the table of a group; nothing has changed then.
    pub(crate) fn join_zone(&mut self, pages: PfnRange, zone: ZoneKind) -> Result<()> {
        self.cut_extents(pages)?;
        let tables = self.get_room_in_zone(pages, zone).inspect_err(|_| self.join_all_extents(pages))?;
        self.unshare_groups(Groups::unshared_by(pages, zone), tables);
        let (blocks, folded) = (self.blocks.range(keys(pages)).len(), self.extents_in(pages).len());
        if folded == 0 {
            for i in 0..blocks {
                self.join_zone_block(pages.start + i as u64 * self.granule().section_pages, zone);
            }
            return Ok(());
        }
        let mut rest = pages;
        loop {
            let next = self.pieces(rest).next();
            let Some(piece) = next else { break };
            match piece.record {
                Record::Block => self.join_zone_block(piece.pages.start, zone),
                Record::Extent => {
                    self.set_extents_state(piece.pages, BlockState::Online(zone));
                    self.zones[zone as usize].join(piece.pages.start);
                    self.zones[zone as usize].present += piece.pages.len();
                    self.add_present(piece.pages.len());
                    self.join_extents(piece.pages.start);
                }
                Record::Absent => {}
            }
            rest.start = piece.pages.end;
        }
        self.join_extents(pages.end);
        self.shrink_records();
        self.share_groups(pages);
        Ok(())
    }

    /// What [`Self::join_zone`] can run out of. The tables first: that takes pages of the zone.
    fn get_room_in_zone(&mut self, pages: PfnRange, zone: ZoneKind) -> Result<GroupTables> {
        let tables = self.get_group_tables(Groups::unshared_by(pages, zone))?;
        let count = self.blocks.range(keys(pages)).len() + self.extents_in(pages).len();
        let room = self
            .may_fail(Resource::Heap { bytes: count * size_of::<Pfn>() })
            .and_then(|()| self.zones[zone as usize].reserve(count));
        match room {
            Ok(()) => Ok(tables),
            Err(error) => {
                self.put_group_tables(tables);
                Err(error)
            }
        }
    }

    fn join_zone_block(&mut self, start: Pfn, zone: ZoneKind) {
        let Some(block) = self.blocks.get_mut(start.get()) else { return };
        block.state = BlockState::Online(zone);
        let (present, memmap, poisoned) = (block.present, block.own_memmap(), block.poisoned);
        self.charge(PageKind::Poisoned, poisoned);
        self.zones[zone as usize].join(start);
        self.zones[zone as usize].present += present;
        self.add_present(present - memmap);
    }

    /// The inverse of [`Self::join_zone`].
    pub(crate) fn leave_zone(&mut self, pages: PfnRange) {
        for zone in &mut self.zones {
            zone.leave(pages);
        }
        let mut gone = [0u64; ZoneKind::ALL.len()];
        for extent in self.extents.range_mut(keys(pages)) {
            if let Some(zone) = extent.state.zone() {
                extent.state = BlockState::Offline;
                gone[zone as usize] += extent.pages.len();
            }
        }
        for (zone, gone) in ZoneKind::ALL.into_iter().zip(gone) {
            self.zones[zone as usize].present -= gone;
            self.remove_present(gone);
        }
        self.join_all_extents(pages);
        for i in 0..self.blocks.range(keys(pages)).len() {
            let block = &mut self.blocks.range_mut(keys(pages))[i];
            let Some(zone) = block.state.zone() else { continue };
            block.state = BlockState::Offline;
            let (present, memmap, poisoned) = (block.present, block.own_memmap(), block.poisoned);
            self.uncharge(PageKind::Poisoned, poisoned);
            self.zones[zone as usize].present -= present;
            self.remove_present(present - memmap);
        }
    }

    /// Step 7: the usable pages of the blocks of `pages` go to the free lists, in the largest runs that alignment allows. A
    /// block that hosts its own memmap is a handful of runs. A block on demand has kept its lists.
    pub(crate) fn release_to_buddy(&mut self, pages: PfnRange) {
        let g = self.granule();
        let free_memmap = self.hooks.frees_memmap();
        self.count_folded(pages, 1);
        let struct_pages = Pages::new(&self.machine, self.layout);
        for block in self.blocks.range_mut(pages.start.get()..pages.end.get()) {
            let Some(zone) = block.state.zone() else { continue };
            if block.demand.is_some() {
                self.zones[zone as usize].free += block.free.pages();
                continue;
            }
            let mut usable = block.usable(g);
            if free_memmap {
                usable.start = block.start;
            }
            if block.marked_inside() == 0 {
                block.free.put_range(&struct_pages, usable);
            } else {
                let whole = block.marked_inside() == block.unplugged;
                let step = if whole { g.subsection_pages } else { 1 };
                around_marked(&struct_pages, usable, step, |part| block.free.put_range(&struct_pages, part));
            }
            self.zones[zone as usize].free += block.free.pages();
        }
    }

    /// The pages of `pages` in extents are free, or no longer: `sign` times as many more.
    fn count_folded(&mut self, pages: PfnRange, sign: i64) {
        let mut free = [0i64; ZoneKind::ALL.len()];
        for extent in self.extents_in(pages) {
            if let Some(zone) = extent.state.zone() {
                let inside = extent.pages.end.min(pages.end) - extent.pages.start.max(pages.start);
                free[zone as usize] += sign * inside.cast_signed();
            }
        }
        for (zone, by) in self.zones.iter_mut().zip(free) {
            zone.free = zone.free.wrapping_add_signed(by);
        }
    }

    /// Puts free pages of one boot block, in zone Normal, on its lists.
    pub(crate) fn put_boot_range(&mut self, range: PfnRange) {
        let struct_pages = Pages::new(&self.machine, self.layout);
        if let Some(block) =
            self.blocks.get_mut(range.start.align_down(self.layout.granule().section_order).get())
        {
            block.free.put_range(&struct_pages, range);
            self.zones[ZoneKind::Normal as usize].free += range.len();
        }
    }

    /// The inverse of [`Self::release_to_buddy`], for blocks in which everything is free: their heads become tails, but
    /// for a block on demand, which keeps its lists.
    pub(crate) fn withdraw_from_buddy(&mut self, pages: PfnRange) {
        self.count_folded(pages, -1);
        let struct_pages = Pages::new(&self.machine, self.layout);
        for block in self.blocks.range_mut(pages.start.get()..pages.end.get()) {
            let Some(zone) = block.state.zone() else { continue };
            self.zones[zone as usize].free -= block.free.pages();
            if block.demand.is_none() {
                block.free.drop_all(&struct_pages);
            }
        }
    }
}

/// The keys of the records that begin in `pages`.
fn keys(pages: PfnRange) -> core::ops::Range<u64> {
    pages.start.get()..pages.end.get()
}

/// The parts of `usable`, pages of a block that is offline, between those that keep their mark: its memmap, poisoned pages,
/// what is unplugged. Marks begin and end at multiples of `step` pages.
fn around_marked<M: Machine>(
    pages: &Pages<'_, M>,
    usable: PfnRange,
    step: u64,
    mut found: impl FnMut(PfnRange),
) {
    let mut part = PfnRange { start: usable.start, end: usable.start };
    while part.end < usable.end {
        let page = pages.get(part.end);
        if matches!(page.kind(), PageKind::MemmapSelf | PageKind::Poisoned | PageKind::Unplugged) {
            found(part);
            let end = part.end + (1 << page.order());
            part = PfnRange { start: end, end };
        } else {
            part.end = part.end.align_down(step.ilog2()) + step;
        }
    }
    found(part);
}
