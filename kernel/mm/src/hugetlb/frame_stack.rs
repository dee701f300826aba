//! A stack of frames that needs no memory of its own: each frame names the one below it in the owner's word of its struct
//! page. It has room for as many frames as a huge page's memmap has.

use crate::addr::{VirtAddr, VirtRange};
use crate::error::{Error, Resource, Result};
use crate::frame::block::BlockState;
use crate::frame::page::PageKind;
use crate::frame::zone::ZoneKind;
use crate::frame::{Frames, Mobility};
use crate::machine::Machine;
use crate::pfn::Pfn;

/// Allocated frames, the last one pushed on top.
#[derive(Debug, Default)]
pub(super) struct FrameStack {
    top: Option<Pfn>,
}

impl FrameStack {
    pub(super) fn push<M: Machine>(&mut self, frames: &Frames<M>, frame: Pfn) {
        frames.pages().own(frame).as_stacked().set_below(self.top);
        self.top = Some(frame);
    }

    pub(super) fn pop<M: Machine>(&mut self, frames: &Frames<M>) -> Option<Pfn> {
        let frame = self.top?;
        let page = frames.pages().own(frame);
        self.top = page.as_stacked().below();
        page.as_stacked().set_below(None);
        Some(frame)
    }

    /// Frees every frame of the stack.
    pub(super) fn free<M: Machine>(mut self, frames: &mut Frames<M>) {
        while let Some(frame) = self.pop(frames) {
            frames.free(frame);
        }
    }

    /// Allocates `count` frames.
    ///
    /// # Errors
    /// `Out`; nothing is allocated then.
    pub(super) fn alloc<M: Machine>(frames: &mut Frames<M>, count: u64, kind: PageKind) -> Result<Self> {
        let mut stack = Self::default();
        for _ in 0..count {
            let frame = frames.alloc(0, kind, Mobility::Unmovable);
            stack = stack.pushed(frames, frame)?;
        }
        Ok(stack)
    }

    /// Allocates a frame for each page of memmap of `range`, the first page's on top: the frame that the page had while the
    /// memmap was a block, if that is free.
    ///
    /// # Errors
    /// `Out`; nothing is allocated then.
    pub(super) fn alloc_memmap<M: Machine>(frames: &mut Frames<M>, range: VirtRange) -> Result<Self> {
        let size = frames.granule().page_size;
        let mut stack = Self::default();
        // LIFO: push in reverse order.
        for i in (0..range.len() / size).rev() {
            let home = home_of(frames, range.start + i * size);
            let frame = alloc_at(frames, home, PageKind::MemmapRam);
            stack = stack.pushed(frames, frame)?;
        }
        Ok(stack)
    }

    /// The stack with `frame` on top; without one, the stack's frames are freed.
    fn pushed<M: Machine>(mut self, frames: &mut Frames<M>, frame: Result<Pfn>) -> Result<Self> {
        match frame {
            Ok(frame) => {
                self.push(frames, frame);
                Ok(self)
            }
            Err(error) => {
                self.free(frames);
                Err(error)
            }
        }
    }
}

/// The frame that the memmap at `va` had while its section's memmap was a block.
fn home_of<M: Machine>(frames: &Frames<M>, va: VirtAddr) -> Option<Pfn> {
    let (g, layout) = (frames.granule(), frames.layout());
    let section = frames.section_of(layout.pfn_of_page(va)?)?;
    Some(section.memmap_run? + (va - layout.page_address(section.start)) / g.page_size)
}

/// Allocates one frame: `home`, if that is free and in zone Normal.
fn alloc_at<M: Machine>(frames: &mut Frames<M>, home: Option<Pfn>, kind: PageKind) -> Result<Pfn> {
    frames.may_fail(Resource::Frames { order: 0 })?;
    let serves = |pfn| frames.state_of(pfn) == Some(BlockState::Online(ZoneKind::Normal));
    let free = |pfn| serves(pfn) && matches!(frames.use_of(pfn), Ok((PageKind::Free, _)));
    if let Some(home) = home.filter(|home| free(*home))
        && frames.take_free(home, 0, kind).is_ok()
    {
        return Ok(home);
    }
    frames.take(0, kind, Mobility::Unmovable).ok_or(Error::Out(Resource::Frames { order: 0 }))
}
