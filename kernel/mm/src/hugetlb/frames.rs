//! Frames in a row that has no memory of its own: each names the next in the owner's word of its struct page. For as many frames
//! as a huge page's memmap has.

use super::memory::Memory;
use crate::addr::{VirtAddr, VirtRange};
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
        self.alloc_each((0..count).map(|_| None), kind)
    }

    /// A frame for each page of memmap of `range`, the first page's first: where it was when it was a block, if that is free.
    ///
    /// # Errors
    /// `Out`; there are none then.
    pub(super) fn memmap_frames_for(&mut self, range: VirtRange) -> Result<Frames> {
        let size = self.page_size();
        // Backwards, because the last that comes is the first that goes.
        let pages = (0..range.len() / size).rev().map(|i| range.start + i * size);
        self.alloc_each(pages.map(Some), PageKind::MemmapRam)
    }

    fn alloc_each(
        &mut self,
        pages: impl Iterator<Item = Option<VirtAddr>>,
        kind: PageKind,
    ) -> Result<Frames> {
        let mut frames = Frames::default();
        for page in pages {
            let home = page.and_then(|va| self.home_of(va));
            match self.alloc_page(home, kind) {
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
