//! Compound pages: a run of pages that is one page. Its tails say its order, so that each finds its head by itself:
//!
//! ```text
//!   head            tails, all of them the same 64 bytes
//!  [HugeTlb, 9]    [Tail, 9][Tail, 9][Tail, 9] ... [Tail, 9]         head = pfn aligned down to 1 << 9
//! ```
//! Any other run keeps zeroed tails: `mark_compound` writes them, and `dissolve_compound` clears them again.

use crate::error::{Error, HugeError, PageError, PageNeeds, Resource, Result};
use crate::frame::Frames;
use crate::frame::block::{BlockState, MemoryBlock};
use crate::frame::extent::{Piece, Record};
use crate::frame::page::PageKind;
use crate::frame::zone::ZoneKind;
use crate::machine::{self, Machine};
use crate::migrate::compact::alloc_or_compact;
use crate::pfn::{Pfn, PfnRange};
use crate::space::table::KernelSpace;

const KIND: PageKind = PageKind::HugeTlb;

/// The order of the huge page whose first page is `pfn`.
///
/// # Errors
/// `PageError::NotPresent`; `PageError::State` when it is none.
pub(super) fn order_at<M: Machine>(frames: &Frames<M>, pfn: Pfn) -> Result<u32> {
    let (is, head) = frames.use_of(pfn)?;
    if is != KIND || head != pfn {
        return Err(PageError::State { pfn, is, needs: PageNeeds::HugeHead }.into());
    }
    Ok(frames.pages().get(pfn).order())
}

/// Refuses a huge page in use; `pfn` is any of its pages.
///
/// # Errors
/// `HugeError::Taken`; `PageError::NotPresent`.
pub(crate) fn refuse_taken<M: Machine>(frames: &Frames<M>, pfn: Pfn) -> Result<()> {
    let (_, head) = frames.use_of(pfn)?;
    if frames.pages().get(head).as_huge_head().is_in_use() {
        return Err(HugeError::Taken(head).into());
    }
    Ok(())
}

/// Allocates a huge page: a run of zone Normal, or whole free blocks side by side. It is in no pool yet.
///
/// # Errors
/// `Out`, also when a page that would have to move finds no place.
pub(super) fn new_compound<M: Machine>(
    space: &mut KernelSpace<M>,
    frames: &mut Frames<M>,
    order: u32,
) -> Result<Pfn> {
    let head = if order > frames.granule().section_order {
        alloc_blocks(frames, order)?
    } else {
        alloc_or_compact(space, frames, order, KIND)?
    };
    mark_compound(frames, head, order);
    Ok(head)
}

/// Writes the head and the tails of a huge page that is in no pool yet.
pub(super) fn mark_compound<M: Machine>(frames: &Frames<M>, head: Pfn, order: u32) {
    let pages = frames.pages();
    pages.own(head).clear_head();
    pages.own(head).set_head(KIND, order);
    if keeps_zeroed_tails(frames, head) {
        return;
    }
    pages.set_tails(PfnRange { start: head + 1, end: head + (1 << order) }, order);
}

/// Whether the tails of a huge page stay as a free run's are, zeroed: in a block on demand, where they are shared by
/// construction, and each finds its head by rounding.
fn keeps_zeroed_tails<M: Machine>(frames: &Frames<M>, head: Pfn) -> bool {
    frames.is_on_demand(head)
}

/// The inverse of [`new_compound`]. All of its struct pages can be written.
pub(super) fn dissolve_compound<M: Machine>(frames: &mut Frames<M>, head: Pfn, order: u32) {
    let g = frames.granule();
    let run = PfnRange::new(head, 1 << order);
    if !keeps_zeroed_tails(frames, head) {
        machine::zero_mapped(frames.machine(), frames.layout().memmap(run));
    }
    frames.uncharge(KIND, run.len());
    for (start, order) in run.chunks(g.section_order) {
        frames.put_back(start, order);
    }
}

/// Allocates whole free blocks for a huge page that is larger than one.
fn alloc_blocks<M: Machine>(frames: &mut Frames<M>, order: u32) -> Result<Pfn> {
    let g = frames.granule();
    let resource = Resource::FreeBlocks { bytes: g.page_size << order };
    frames.may_fail(resource)?;
    let run = free_blocks(frames, order).ok_or(Error::Out(resource))?;
    for start in run.blocks(g) {
        let taken = frames.take_from(start, g.section_order);
        debug_assert_eq!(taken, Some(start), "a block that is all free is one run");
    }
    frames.pages().mark(run.start, order, KIND);
    frames.charge(KIND, run.len());
    Ok(run.start)
}

/// The first blocks of one zone that map the image and are `1 << order` pages, at least one block, aligned.
pub(super) fn free_images<M: Machine>(frames: &Frames<M>, order: u32) -> Option<PfnRange> {
    let g = frames.granule();
    if order < g.section_order {
        return None;
    }
    ZoneKind::ALL.into_iter().find_map(|zone| {
        let state = Some(BlockState::Online(zone));
        let free = |piece: Piece| piece.record == Record::Extent && piece.state == state;
        frames.extents().iter().filter(|extent| Some(extent.state) == state).find_map(|extent| {
            // It begins in this extent, and may reach into those behind.
            let (first, end) = (extent.pages.start.align_up(order), extent.pages.end);
            let starts = (0..).map(|i| first + (i << order)).take_while(|start| *start < end);
            let mut runs = starts.map(|start| PfnRange::new(start, 1 << order));
            runs.find(|run| frames.pieces(*run).all(free))
        })
    })
}

/// The first whole free blocks of one zone that are `1 << order` pages, aligned, Normal's before Movable's. A block that
/// hosts its own memmap, or has holes, is never free as a whole.
fn free_blocks<M: Machine>(frames: &Frames<M>, order: u32) -> Option<PfnRange> {
    let g = frames.granule();
    find_blocks(frames, order, |block| block.demand.is_none() && block.free.pages() == g.section_pages)
}

fn find_blocks<M: Machine>(
    frames: &Frames<M>,
    order: u32,
    fits: impl Fn(&MemoryBlock) -> bool,
) -> Option<PfnRange> {
    let g = frames.granule();
    let right = |start: Pfn, zone| {
        frames.blocks.get(start.get()).is_some_and(|b| b.state == BlockState::Online(zone) && fits(b))
    };
    ZoneKind::ALL.into_iter().find_map(|zone| {
        let starts = frames.zone(zone).blocks().iter().filter(|start| start.is_aligned(order));
        let mut runs = starts.map(|start| PfnRange::new(*start, 1 << order));
        runs.find(|run| run.blocks(g).all(|start| right(start, zone)))
    })
}
