//! FrameStack in a row that has no memory of its own: each names the next in the owner's word of its struct page. For as many frames
//! as a huge page's memmap has.

use crate::addr::{VirtAddr, VirtRange};
use crate::error::Result;
use crate::frame::Frames;
use crate::frame::page::PageKind;
use crate::machine::Machine;
use crate::mm::Mm;
use crate::pfn::Pfn;

/// FrameStack, the last that came first.
#[derive(Debug, Default)]
pub(super) struct FrameStack {
    first: Option<Pfn>,
}

impl FrameStack {
    pub(super) fn push<M: Machine>(&mut self, frames: &Frames<M>, frame: Pfn) {
        frames.pages().own(frame).as_stacked().set_below(self.first);
        self.first = Some(frame);
    }

    pub(super) fn pop<M: Machine>(&mut self, frames: &Frames<M>) -> Option<Pfn> {
        let frame = self.first?;
        let page = frames.pages().own(frame);
        self.first = page.as_stacked().below();
        page.as_stacked().set_below(None);
        Some(frame)
    }
}

impl<M: Machine> Mm<M> {
    /// Free all of `frames`.
    pub(super) fn free_frames(&mut self, mut frames: FrameStack) {
        while let Some(frame) = frames.pop(&self.frames) {
            self.frames.free(frame);
        }
    }

    /// `count` frames.
    ///
    /// # Errors
    /// `Out`; there are none then.
    pub(super) fn alloc_frames(&mut self, count: u64, kind: PageKind) -> Result<FrameStack> {
        self.alloc_each((0..count).map(|_| None), kind)
    }

    /// A frame for each page of memmap of `range`, the first page's first: where it was when it was a block, if that is free.
    ///
    /// # Errors
    /// `Out`; there are none then.
    pub(super) fn memmap_frames_for(&mut self, range: VirtRange) -> Result<FrameStack> {
        let size = self.granule().page_size;
        // Backwards, because the last that comes is the first that goes.
        let pages = (0..range.len() / size).rev().map(|i| range.start + i * size);
        self.alloc_each(pages.map(Some), PageKind::MemmapRam)
    }

    fn alloc_each(
        &mut self,
        pages: impl Iterator<Item = Option<VirtAddr>>,
        kind: PageKind,
    ) -> Result<FrameStack> {
        let mut frames = FrameStack::default();
        for page in pages {
            let home = page.and_then(|va| self.home_of(va));
            match self.alloc_page(home, kind) {
                Ok(frame) => frames.push(&self.frames, frame),
                Err(error) => {
                    self.free_frames(frames);
                    return Err(error);
                }
            }
        }
        Ok(frames)
    }
}
