//! The memmap of blocks on demand: step 4 and its inverse.

use crate::error::Result;
use crate::frame::Frames;
use crate::frame::memmap::Groups;
use crate::machine::Machine;
use crate::pfn::PfnRange;
use crate::space::table::KernelSpace;

/// Maps the image for the blocks of `pages`, of which `sharing` share a table.
///
/// # Errors
/// `Out`; nothing has changed then.
pub(crate) fn populate_image<M: Machine>(
    space: &mut KernelSpace<M>,
    frames: &mut Frames<M>,
    pages: PfnRange,
    sharing: Groups,
) -> Result<()> {
    let g = frames.granule();
    let (blocks, memmap) = (pages.len() >> g.section_order, space.layout().memmap(pages));
    let image = frames.get_image(blocks, sharing.spans(space.layout()).next().is_some())?;
    if let Err(error) = space.map_image(frames, memmap, image) {
        frames.put_image(blocks);
        return Err(error);
    }
    space.publish();
    Ok(())
}

/// The inverse of [`populate_image`], for blocks that are offline. What they have lent goes with them.
pub(crate) fn depopulate_image<M: Machine>(
    space: &mut KernelSpace<M>,
    frames: &mut Frames<M>,
    pages: PfnRange,
) {
    let g = frames.granule();
    let unmapped = space.unmap_image(frames, space.layout().memmap(pages));
    debug_assert!(unmapped.is_ok(), "emptying an entry is always legal");
    frames.put_image(pages.len() >> g.section_order);
}
