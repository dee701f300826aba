//! Moving a page in use: break its mapping, copy it, map the copy, free the original (Linux: `migrate_pages`).

use crate::entry::live_update::Contents;
use crate::error::Result;
use crate::frame::page::PageKind;
use crate::frame::{Frames, Mobility};
use crate::machine::{self, Machine};
use crate::pfn::Pfn;
use crate::space::table::KernelSpace;

/// Moves the tenant's page `from` to a page of a block that is online, and free it; returns the new page.
///
/// The order is what makes it safe: the mapping is broken and its translations are gone before the copy, so that no
/// write can be lost between copy and remap.
///
/// # Errors
/// `Out` when there is no page to move to; nothing has changed then.
pub(crate) fn migrate_page<M: Machine>(
    space: &mut KernelSpace<M>,
    frames: &mut Frames<M>,
    from: Pfn,
) -> Result<Pfn> {
    let g = frames.granule();
    let va = frames.pages().get(from).as_tenant().address();
    let to = frames.alloc(0, PageKind::Tenant, Mobility::Movable)?;
    let (old, new) = (from.address(g), to.address(g));
    let copy = |machine: &M| machine::copy_frame(machine, old, new, g.page_size);
    let exchanged = if frames.hooks.skips_break() {
        copy(space.machine());
        space.switch_page(va, new, Contents::Same)
    } else {
        space.exchange_page(va, new, copy)
    };
    if let Err(error) = exchanged {
        frames.free(to);
        return Err(error);
    }
    frames.pages().own(to).as_tenant().set_address(va);
    frames.count_tenant(to, 1);
    frames.count_tenant(from, -1);
    frames.free(from);
    Ok(to)
}
