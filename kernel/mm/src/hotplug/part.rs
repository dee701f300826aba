//! Memory blocks of which only a part is plugged, for virtio-mem (Linux: the sub-block mode of
//! drivers/virtio/virtio_mem.c). Parts are whole subsections. What is done to the pages is in frame/unplugged.
//!
//! ```text
//!   plug_block_part    a block comes: it is added, the rest of it marked as unplugged, and brought online
//!   plug_part          a part more: its pages become free
//!   unplug_part        a part less: what is in use there migrates
//!   unplug             the block goes, with its last part
//! ```

use crate::addr::PhysRange;
use crate::error::{BlockError, BlockNeeds, Error, PageError, PageNeeds, RangeError, Resource, Result};
use crate::frame::Frames;
use crate::frame::altmap::Altmap;
use crate::frame::block::BlockState;
use crate::frame::memmap::aside_order;
use crate::frame::page::PageKind;
use crate::frame::zone::ZoneKind;
use crate::hotplug::add::{refuse_kmem, remove_offline};
use crate::hotplug::home::MemmapHome;
use crate::hotplug::isolate::Used;
use crate::hotplug::offline::{MOST_TRIES, Offlined};
use crate::hotplug::range::HotRange;
use crate::hotplug::step::Step;
use crate::machine::Machine;
use crate::migrate::batch::Batch;
use crate::mm::Mm;
use crate::pfn::{Pfn, PfnRange};
use crate::stop::Stop;

impl<M: Machine> Mm<M> {
    /// Adds the block `range`, of which `plugged` is memory now, and brings it online in `zone`.
    ///
    /// # Errors
    /// As [`Self::add_block_part`] and [`Self::online_pages`]; the machine is as after a refused [`Self::add_memory`].
    pub fn plug_block_part(
        &mut self,
        range: &HotRange,
        plugged: PfnRange,
        home: MemmapHome,
        zone: ZoneKind,
        mut progress: impl FnMut(&Self, Step),
    ) -> Result<()> {
        let pages = range.pages();
        self.add_block_part(range, plugged, home, &mut progress)?;
        self.online_pages(pages, zone, progress)
            .inspect_err(|_| remove_offline(&mut self.space, &mut self.frames, pages))
    }

    /// Adds the block `range`, of which `plugged` is memory now, and leaves it offline. Nothing reads or writes the rest.
    ///
    /// # Errors
    /// `RangeError::NotOneBlock` when `range` is several; `RangeError::Empty`, `RangeError::NotSubsectionAligned`, or
    /// `RangeError::NotOneBlock` for `plugged`; `BlockError::MemmapUnplugged` when the memmap is to be in the block, which has
    /// it in its first pages, and `plugged` is without them; as [`Self::add_memory`]; `Out` for the memmap on demand of what
    /// is not plugged. The machine is as after a refused [`Self::add_memory`].
    pub fn add_block_part(
        &mut self,
        range: &HotRange,
        plugged: PfnRange,
        home: MemmapHome,
        progress: impl FnMut(&Self, Step),
    ) -> Result<()> {
        let g = self.granule();
        let block = range.pages();
        let start = self.check_part(plugged)?;
        if block != PfnRange::new(start, g.section_pages) {
            return Err(RangeError::NotOneBlock { range: block.addresses(g), block: g.section_size }.into());
        }
        let memmap_pages = match home {
            MemmapHome::Ram => 0,
            MemmapHome::Demand => 1 << aside_order(g),
            MemmapHome::SelfHosted => Altmap::for_memory(g, block).offset(),
            MemmapHome::SelfRange { reserve } => {
                reserve.saturating_add(Altmap::for_memory(g, block).offset())
            }
            MemmapHome::Given(altmap) => altmap.reserve().saturating_add(altmap.free()),
        };
        let memmap = PfnRange { start, end: Pfn::new(start.get().saturating_add(memmap_pages)) };
        if !memmap.is_empty() && (plugged.start != start || plugged.end < memmap.end) {
            return Err(self.memmap_unplugged(memmap));
        }
        self.add_memory(range, home, progress)?;
        for part in [PfnRange { start, end: plugged.start }, PfnRange { start: plugged.end, end: block.end }]
        {
            if !part.is_empty()
                && let Err(error) = self.frames.unplug_offline(part)
            {
                remove_offline(&mut self.space, &mut self.frames, block);
                return Err(error);
            }
        }
        Ok(())
    }

    /// `pages`, a part of one block that is not plugged, have memory from here on. They are free; if the block is offline,
    /// once it is online.
    ///
    /// # Errors
    /// `RangeError::Empty`, `RangeError::NotSubsectionAligned`, `RangeError::NotOneBlock`; `BlockError::Absent`;
    /// `BlockError::State` while the block is isolated, and for what a device gave; `PageError::State` with the first page that
    /// is plugged; `Out` for the memmap on demand of what stays unplugged. Nothing has changed then.
    pub fn plug_part(&mut self, pages: PfnRange) -> Result<()> {
        self.require_part(pages)?;
        let mut at = pages.start;
        while at < pages.end {
            let (is, head) = self.frames.use_of(at)?;
            if is != PageKind::Unplugged {
                return Err(PageError::State { pfn: at, is, needs: PageNeeds::Unplugged }.into());
            }
            at = head + (1 << self.frames.pages().get(head).order());
        }
        self.frames.plug_unplugged(pages)
    }

    /// `pages`, a plugged part of one block, have no memory from here on. What is in use there migrates: to other blocks, or
    /// where these have no room to the rest of the block. Between two batches `stop` is asked.
    ///
    /// # Errors
    /// - `RangeError::Empty`, `RangeError::NotSubsectionAligned`, `RangeError::NotOneBlock`; `BlockError::Absent`;
    ///   `BlockError::State` while the block is isolated, and for what a device gave; `BlockError::NotWhole` for a boot block
    ///   with holes.
    /// - `BlockError::MemmapUnplugged` for the first pages of a block on demand, which its memmap takes.
    /// - The first page that cannot go: `PageError::State` if it is not plugged; `PageError::Unmovable`, also of the block's own
    ///   memmap; `PageError::Poisoned`; `PageError::Pinned`; `HugeError::Taken`; `PageError::Stays`.
    /// - `BlockError::Interrupted` when `stop` said so.
    /// - `Out` for the memmap on demand.
    ///
    /// All of `pages` is plugged then. Pages that have migrated stay where they are.
    pub fn unplug_part(&mut self, pages: PfnRange, stop: Stop<'_>) -> Result<Offlined> {
        let start = self.require_part(pages)?;
        self.refuse_unplug(start, pages)?;
        if self.frames.state_of(start) == Some(BlockState::Offline) {
            self.frames.unplug_offline(pages)?;
            return Ok(Offlined::default());
        }
        let block = PfnRange::new(start, self.granule().section_pages);
        self.frames.unfold(start)?;
        let mut migrated = 0;
        let emptied =
            self.frames.start_isolate(block).and_then(|_| self.empty_part(pages, &mut migrated, stop));
        self.frames.undo_isolate(block);
        match emptied {
            Ok(()) => self.frames.unplug_held(pages),
            Err(_) => self.frames.put_held(pages),
        }
        emptied.map(|()| Offlined { migrated })
    }

    /// Empties `pages` of an isolated block, and holds them. When other blocks have no room, the block itself serves again,
    /// without what is held of `pages`.
    fn empty_part(&mut self, pages: PfnRange, migrated: &mut u64, stop: Stop<'_>) -> Result<()> {
        let outside = self.evacuate(pages, migrated, stop);
        if outside.is_err() && !matches!(outside, Err(Error::Page(PageError::Stays { .. }))) {
            return outside;
        }
        self.frames.hold_free(pages)?;
        if outside.is_ok() {
            return Ok(());
        }
        let g = self.granule();
        self.frames.undo_isolate(PfnRange::new(pages.start.align_down(g.section_order), g.section_pages));
        self.empty_within(pages, migrated, stop)
    }

    /// [`Self::empty_part`], into the same block: what a batch leaves is held before the next batch looks for room.
    fn empty_within(&mut self, pages: PfnRange, migrated: &mut u64, stop: Stop<'_>) -> Result<()> {
        let batch = Batch::most(self.granule()) as u64;
        let (mut tries, mut out) = (0, Resource::Frames { order: 0 });
        while let Some(Used { pfn, kind, .. }) = self.frames.next_used(pages) {
            if tries == MOST_TRIES || !self.frames.has_room_for(kind) {
                return Err(PageError::Stays { pfn, tries: tries + 1, out }.into());
            }
            tries += 1;
            let mut rest = PfnRange { start: pfn, end: pages.end };
            while let Some(Used { pfn, .. }) = self.frames.next_used(rest) {
                if stop(*migrated) {
                    return Err(BlockError::Interrupted { migrated: *migrated }.into());
                }
                let part = PfnRange { start: pfn, end: (pfn + batch).min(pages.end) };
                if let Some((_, needs)) = self.evacuate_once(part, migrated, stop)? {
                    out = needs;
                }
                self.frames.hold_free(part)?;
                rest.start = part.end;
            }
        }
        Ok(())
    }

    /// The block of `pages`, if they are whole subsections of one.
    fn check_part(&self, pages: PfnRange) -> Result<Pfn> {
        let g = self.granule();
        let (range, start) = (pages.addresses(g), pages.start.align_down(g.section_order));
        if pages.is_empty() {
            return Err(RangeError::Empty(range.start).into());
        }
        let order = g.subsection_pages.trailing_zeros();
        if !pages.start.is_aligned(order) || !pages.end.is_aligned(order) {
            return Err(RangeError::NotSubsectionAligned(range).into());
        }
        if pages.end > start + g.section_pages {
            return Err(RangeError::NotOneBlock { range, block: g.section_size }.into());
        }
        Ok(start)
    }

    /// [`Self::check_part`] of a block that is present, not isolated, and no device's.
    fn require_part(&self, pages: PfnRange) -> Result<Pfn> {
        let start = self.check_part(pages)?;
        let g = self.granule();
        let block = start.address(g);
        refuse_kmem(&self.frames, PfnRange::new(start, g.section_pages).addresses(g))?;
        match self.frames.state_of(start).ok_or(BlockError::Absent(block))? {
            state @ BlockState::GoingOffline(_) => {
                let (is, needs) = (state.described(), BlockNeeds::Online);
                Err(BlockError::State { block, is, needs }.into())
            }
            BlockState::Offline | BlockState::Online(_) => Ok(start),
        }
    }

    /// Refuses to unplug what has no memory, holds the block's memmap, or is poisoned.
    fn refuse_unplug(&self, start: Pfn, pages: PfnRange) -> Result<()> {
        let aside = PfnRange::new(start, 1 << aside_order(self.granule()));
        if self.frames.is_on_demand(start) && pages.start < aside.end {
            return Err(self.memmap_unplugged(aside));
        }
        let mut at = pages.start;
        while at < pages.end {
            let (is, head) = self.frames.use_of(at)?;
            match is {
                PageKind::Unplugged => {
                    return Err(PageError::State { pfn: at, is, needs: PageNeeds::Plugged }.into());
                }
                PageKind::Poisoned => return Err(PageError::Poisoned(at).into()),
                PageKind::MemmapSelf if !self.frames.is_lent(at) => {
                    return Err(PageError::Unmovable { pfn: at, kind: is }.into());
                }
                _ => at = head + (1 << self.frames.pages().get(head).order()),
            }
        }
        Ok(())
    }

    fn memmap_unplugged(&self, memmap: PfnRange) -> Error {
        let g = self.granule();
        let memmap: PhysRange = memmap.addresses(g);
        BlockError::MemmapUnplugged { block: memmap.start, memmap }.into()
    }
}

impl<M: Machine> Frames<M> {
    /// `pages` of an offline block, without marks, have no memory from here on.
    ///
    /// # Errors
    /// `Out` for the memmap on demand; nothing has changed then.
    fn unplug_offline(&mut self, pages: PfnRange) -> Result<()> {
        if !self.is_on_demand(pages.start) {
            self.mark_unplugged(pages);
            return Ok(());
        }
        self.unfold(pages.start)?;
        let held = self.hold_free(pages);
        match held {
            Ok(()) => self.unplug_held(pages),
            Err(_) => self.put_held(pages),
        }
        held
    }
}
