//! The leaves of vmemmap that describe a range of pages.

use crate::addr::{VirtAddr, VirtRange};
use crate::entry::descriptor::Attributes;
use crate::error::{PageError, Result};
use crate::frame::Frames;
use crate::machine::Machine;
use crate::pfn::{Pfn, PfnRange};
use crate::space::request::MapRequest;
use crate::space::table::KernelSpace;
use crate::vmemmap::source;

/// The memmap of `range`, rounded out to whole granule pages; outside of vmemmap is a warning.
pub(crate) fn leaves_around<M: Machine>(frames: &mut Frames<M>, range: PfnRange) -> Result<VirtRange> {
    let (g, layout) = (frames.granule(), frames.layout());
    // Compared as pages: an address below first_pfn's would wrap.
    if !layout.described().covers(&range.addresses(g)) {
        frames.warnings.outside_vmemmap += 1;
        return Err(PageError::NotPresent(range.start).into());
    }
    let memmap = layout.memmap(range);
    let end = memmap.end.checked_align_up(g.page_size).unwrap_or(memmap.end);
    Ok(VirtRange { start: memmap.start.align_down(g.page_size), end })
}

/// Maps `size` bytes of memmap at `at` to the frames from `pfn` on, by leaves of `leaf` bytes; the frames are released on
/// failure.
pub(super) fn map_memmap<M: Machine>(
    space: &mut KernelSpace<M>,
    frames: &mut Frames<M>,
    at: VirtAddr,
    pfn: Pfn,
    size: u64,
    leaf: u64,
) -> Result<VirtAddr> {
    let g = frames.granule();
    let request = MapRequest {
        range: VirtRange { start: at, end: at + size },
        pa: pfn.address(g),
        attributes: Attributes::DATA,
        max_leaf: leaf,
        contiguous: false,
    };
    match space.map(frames, &request) {
        Ok(()) => Ok(request.range.end),
        Err(error) => {
            source::release(frames, PfnRange::new(pfn, size >> g.page_shift));
            Err(error)
        }
    }
}
