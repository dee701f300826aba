//! Frames in a row that has no memory of its own: each names the next in the owner's word of its struct page. For as many frames
//! as a huge page's memmap has.

use crate::granule::Granule;
use crate::machine::Machine;
use crate::model::Mm;
use crate::pages::Pages;
use crate::pfn::Pfn;

/// Frames, the last that came first.
#[derive(Debug, Default)]
pub(super) struct Frames {
    first: Option<Pfn>,
}

impl Frames {
    pub(super) fn push<G: Granule, M: Machine>(&mut self, pages: &Pages<'_, G, M>, frame: Pfn) {
        pages.own(frame).set_private(self.first.map_or(0, |next| next.get() + 1));
        self.first = Some(frame);
    }

    pub(super) fn pop<G: Granule, M: Machine>(&mut self, pages: &Pages<'_, G, M>) -> Option<Pfn> {
        let frame = self.first?;
        let page = pages.own(frame);
        self.first = page.private().checked_sub(1).map(Pfn::new);
        page.set_private(0);
        Some(frame)
    }
}

impl<G: Granule, M: Machine> Mm<G, M> {
    /// Free all of `frames`.
    pub(super) fn free_frames(&mut self, mut frames: Frames) {
        while let Some(frame) = frames.pop(&self.pages()) {
            self.free(frame);
        }
    }

    /// As many frames as `count`, each from `alloc`.
    ///
    /// # Errors
    /// The first of `alloc`; there are none then.
    pub(super) fn alloc_frames(
        &mut self,
        count: u64,
        alloc: impl Fn(&mut Self) -> crate::error::Result<Pfn>,
    ) -> crate::error::Result<Frames> {
        let mut frames = Frames::default();
        for _ in 0..count {
            match alloc(self) {
                Ok(frame) => frames.push(&self.pages(), frame),
                Err(error) => {
                    self.free_frames(frames);
                    return Err(error);
                }
            }
        }
        Ok(frames)
    }
}
