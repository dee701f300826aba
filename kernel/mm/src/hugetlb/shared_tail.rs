//! The pages that huge pages share, made with the first user and freed with the last.

use super::tails::SharedTail;
use crate::error::Result;
use crate::frame::page::PageKind;
use crate::frame::zone::ZoneKind;
use crate::machine::Machine;
use crate::mm::Mm;
use crate::pfn::Pfn;

/// Which one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct TailOf {
    pub(super) zone: ZoneKind,
    pub(super) order: u32,
}

impl<M: Machine> Mm<M> {
    fn tail_mut(&mut self, of: TailOf) -> Option<&mut SharedTail> {
        let hugetlb = &mut self.hugetlb;
        let size = hugetlb.pools().position(|pool| pool.order() == of.order)?;
        hugetlb.tails[of.zone as usize].get_mut(size)
    }

    /// The frame that huge pages of this zone and order share, made if it has to be. Its user counts it next, or drops it.
    ///
    /// # Errors
    /// `Out`.
    pub(super) fn tail_frame(&mut self, of: TailOf) -> Result<Pfn> {
        if let Some(frame) = self.tail_mut(of).and_then(|tail| tail.frame) {
            return Ok(frame);
        }
        let frame = self.alloc_page(None, PageKind::MemmapRam)?;
        self.fill_tail_page(frame, of.order);
        if let Some(tail) = self.tail_mut(of) {
            tail.frame = Some(frame);
        }
        Ok(frame)
    }

    /// `more` entries map the frame that did not, and `less` do no more. A frame that no entry maps is free memory.
    pub(super) fn count_tail(&mut self, of: TailOf, more: u64, less: u64) {
        let Some(tail) = self.tail_mut(of) else { return };
        tail.mappings = tail.mappings + more - less;
        if tail.mappings == 0
            && let Some(frame) = tail.frame.take()
        {
            self.frames.free(frame);
        }
    }
}
