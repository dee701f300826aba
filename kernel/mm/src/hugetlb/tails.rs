//! The pages that huge pages share: one page of ordered tails for each zone and order, made with its first user and freed
//! with its last. It is system RAM like other memmap, is written before an entry maps it, and is only read from then on.

use crate::addr::PhysAddr;
use crate::entry::descriptor::{Attributes, Descriptor};
use crate::error::Result;
use crate::frame::page::PageKind;
use crate::frame::tables::TableFrames;
use crate::frame::zone::ZoneKind;
use crate::frame::{Frames, Mobility};
use crate::granule::{LAST_LEVEL, MAX_HUGE_SIZES};
use crate::machine::{self, Machine};
use crate::pfn::Pfn;

/// A shared page.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SharedTail {
    /// The frame, while there is one.
    pub frame: Option<Pfn>,
    /// How many entries map it; those of the shared table count for each entry that leads to that.
    pub mappings: u64,
    /// The table whose every entry maps it, while huge pages of whole blocks on demand use it (4K). Its struct page counts the
    /// entries that lead to it.
    pub table: Option<PhysAddr>,
}

/// Which of the shared pages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TailOf {
    /// The zone of the huge pages that share it.
    pub zone: ZoneKind,
    /// Which of the pools they are in, 0 for the smallest pages.
    pub size: usize,
}

/// All of them: for each zone, for each size in the pools' order.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SharedTails([[SharedTail; MAX_HUGE_SIZES]; ZoneKind::ALL.len()]);

impl SharedTails {
    /// One of them.
    pub const fn get(&self, of: TailOf) -> SharedTail {
        self.0[of.zone as usize][of.size]
    }

    /// All of them, zone Normal's before Movable's.
    pub const fn as_flattened(&self) -> &[SharedTail] {
        self.0.as_flattened()
    }

    /// The frame that huge pages of this zone and order share, made if there is none. The caller counts its entries next,
    /// or counts none, which frees a frame that no entry maps.
    ///
    /// # Errors
    /// `Out`.
    pub(super) fn frame<M: Machine>(
        &mut self,
        frames: &mut Frames<M>,
        of: TailOf,
        order: u32,
    ) -> Result<Pfn> {
        let tail = &mut self.0[of.zone as usize][of.size];
        if let Some(frame) = tail.frame {
            return Ok(frame);
        }
        let frame = frames.alloc(0, PageKind::MemmapRam, Mobility::Unmovable)?;
        frames.pages().fill_tail_page(frame.address(frames.granule()), order);
        tail.frame = Some(frame);
        Ok(frame)
    }

    /// The shared table of these tails, for `entries` more entries; made if there is none. The frame is there.
    ///
    /// # Errors
    /// `Out`.
    pub(super) fn get_table<M: Machine>(
        &mut self,
        frames: &mut Frames<M>,
        of: TailOf,
        entries: u32,
    ) -> Result<PhysAddr> {
        let g = frames.granule();
        let tail = &mut self.0[of.zone as usize][of.size];
        let frame = tail.frame.unwrap_or_default().address(g);
        let table = match tail.table {
            Some(table) => table,
            None => {
                let table = frames.alloc_table()?;
                let leaf = Descriptor::leaf(frame, Attributes::RODATA, LAST_LEVEL, false).shared();
                machine::fill_table(frames.machine(), table, 0..g.entries(LAST_LEVEL), leaf.bits());
                frames.pages().own(Pfn::containing(g, table)).as_table().set_entries(0);
                table
            }
        };
        tail.table = Some(table);
        let page = frames.pages().own(Pfn::containing(g, table));
        page.as_table().set_entries(page.as_table().entries() + entries);
        Ok(table)
    }

    /// `entries` entries no longer lead to the shared table: it is freed with the last.
    pub(super) fn put_table<M: Machine>(&mut self, frames: &mut Frames<M>, of: TailOf, entries: u32) {
        let tail = &mut self.0[of.zone as usize][of.size];
        let Some(table) = tail.table else { return };
        let page = frames.pages().own(Pfn::containing(frames.granule(), table));
        let left = page.as_table().entries() - entries;
        page.as_table().set_entries(left);
        if left == 0 {
            tail.table = None;
            frames.free_table(table);
        }
    }

    /// `more` entries map the frame that did not before, and `less` do no more. Frees a frame that no entry maps.
    pub(super) fn count<M: Machine>(&mut self, frames: &mut Frames<M>, of: TailOf, more: u64, less: u64) {
        let tail = &mut self.0[of.zone as usize][of.size];
        tail.mappings = tail.mappings + more - less;
        if tail.mappings == 0
            && let Some(frame) = tail.frame.take()
        {
            frames.free(frame);
        }
    }
}
