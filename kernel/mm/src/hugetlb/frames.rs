//! Frames in a row that has no memory of its own: each names the next in the owner's word of its struct page. For as many frames
//! as a huge page's memmap has.

use super::memory::Memory;
use crate::error::Result;
use crate::page::PageKind;
use crate::pfn::Pfn;

/// Frames, the last that came first.
#[derive(Debug, Default)]
pub(super) struct Frames {
    first: Option<Pfn>,
}

impl Frames {
    pub(super) fn push(&mut self, mm: &dyn Memory, frame: Pfn) {
        mm.own(frame).set_private(self.first.map_or(0, |next| next.get() + 1));
        self.first = Some(frame);
    }

    pub(super) fn pop(&mut self, mm: &dyn Memory) -> Option<Pfn> {
        let frame = self.first?;
        let page = mm.own(frame);
        self.first = page.private().checked_sub(1).map(Pfn::new);
        page.set_private(0);
        Some(frame)
    }
}

impl dyn Memory + '_ {
    /// Free all of `frames`.
    pub(super) fn free_frames(&mut self, mut frames: Frames) {
        while let Some(frame) = frames.pop(self) {
            self.free(frame);
        }
    }

    /// `count` frames.
    ///
    /// # Errors
    /// `Out`; there are none then.
    pub(super) fn alloc_frames(&mut self, count: u64, kind: PageKind) -> Result<Frames> {
        let mut frames = Frames::default();
        for _ in 0..count {
            match self.alloc_page(kind) {
                Ok(frame) => frames.push(self, frame),
                Err(error) => {
                    self.free_frames(frames);
                    return Err(error);
                }
            }
        }
        Ok(frames)
    }
}
