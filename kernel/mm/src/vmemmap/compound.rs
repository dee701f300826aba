//! The memmap of a device's compound pages, of which only two pages have memory of their own: the head's, and one page of
//! tails that is mapped for all the others (Linux: `vmemmap_populate_compound_pages`). The first says what the head says;
//! the second is only read.
//!
//! ```text
//!  memmap of a compound page     |head's|tails|tails|tails| ...        |head's|tails| ...
//!  frames                           h      t   (t)   (t)                  H      T      or t again: `TailScope::Device`
//! ```
//! A page of tails counts the entries that map it, in its own first struct page, which is reached through the linear map: it
//! may lie in an altmap, whose own struct pages go in the same pass. A table that is shared counts in its frame's struct
//! page the entries that lead to it; its own entries count once, while there is one.

use crate::addr::VirtRange;
use crate::error::Result;
use crate::frame::Frames;
use crate::frame::section::Backing;
use crate::machine::{self, Machine};
use crate::pfn::{Pfn, PfnRange};
use crate::space::shared::SharedFrame;
use crate::space::table::KernelSpace;
use crate::vmemmap::leaves::map_memmap;
use crate::vmemmap::source;

/// Maps the memmap of one compound page, with the page of tails that `tail` has, or a new one. The head's page is not cleared
/// yet. Publishing is the caller's.
///
/// # Errors
/// `Out`; the tails may be mapped then, and are counted.
pub(crate) fn populate_compound<M: Machine>(
    space: &mut KernelSpace<M>,
    frames: &mut Frames<M>,
    pages: PfnRange,
    source: Backing,
    tail: &mut Option<SharedFrame>,
) -> Result<()> {
    let (g, memmap) = (frames.granule(), space.layout().memmap(pages));
    let mut shared = match *tail {
        Some(shared) => shared,
        None => make_tail(frames, pages.len().trailing_zeros(), source)?,
    };
    // Before the head's page, so that a new table is filled in one go.
    let tails = VirtRange { start: memmap.start + g.page_size, end: memmap.end };
    let mapped = space.map_shared(frames, tails, &mut shared);
    if shared.entries == 0 {
        source::release(frames, PfnRange::new(Pfn::containing(g, shared.pa), 1));
    } else {
        machine::page_in(space.machine(), shared.pa, 0).as_shared_tail().set_mappings(shared.entries);
        *tail = Some(shared);
    }
    mapped?;
    let (head, _) = source::alloc_pages(frames, source, 1)?;
    map_memmap(space, frames, memmap.start, head, g.page_size, g.page_size)?;
    Ok(())
}

/// A page of tails that no entry maps yet.
fn make_tail<M: Machine>(frames: &mut Frames<M>, order: u32, source: Backing) -> Result<SharedFrame> {
    let (frame, _) = source::alloc_pages(frames, source, 1)?;
    let frame = frame.address(frames.granule());
    frames.pages().fill_tail_page(frame, order);
    Ok(SharedFrame::new(frame))
}
