//! The pages that huge pages share: one page of ordered tails for each zone and order, made with its first user and freed
//! with its last. It is system RAM like other memmap, is written before an entry maps it, and is only read from then on.

use crate::error::Result;
use crate::frame::page::PageKind;
use crate::frame::zone::ZoneKind;
use crate::frame::{Frames, Mobility};
use crate::granule::MAX_HUGE_SIZES;
use crate::machine::Machine;
use crate::pfn::Pfn;

/// A shared page.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SharedTail {
    /// The frame, while there is one.
    pub frame: Option<Pfn>,
    /// How many entries map it.
    pub mappings: u64,
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
