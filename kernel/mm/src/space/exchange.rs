//! Pages that get other frames, by break-before-make, many at once.
//!
//! ```text
//!   look up      every page has an entry that maps its frame; else nothing changes
//!   break        every entry
//!   invalidate   once
//!   copy         every page: no CPU reaches the old frames any more, and none the new ones yet
//!   make         every entry, then one barrier
//! ```

use super::request::Exchange;
use super::table::KernelSpace;
use crate::addr::{VirtAddr, VirtRange};
use crate::entry::descriptor::{Attributes, Descriptor};
use crate::entry::flush::PendingInvalidation;
use crate::entry::live_update::Contents;
use crate::entry::slot::{Slot, read, slot, write};
use crate::error::{Result, SpaceError};
use crate::granule::{Granule, LAST_LEVEL};
use crate::machine::Machine;

/// The most pages that are invalidated by address. For more, one broadcast that invalidates everything takes the place of
/// one for each.
const MOST_BY_ADDRESS: usize = 4;

/// The entry of a page whose table was looked up.
#[inline(always)]
fn entry_of(g: Granule, page: &Exchange) -> Slot {
    slot(g, page.table, LAST_LEVEL, VirtRange { start: page.va, end: page.va })
}

impl<M: Machine> KernelSpace<M> {
    /// Lets each of `pages` map its new frame. `copy` runs for each page when no CPU can reach the old frame any more, and
    /// none the new one yet.
    ///
    /// # Errors
    /// `SpaceError::NotMapped` for the first page that is not mapped to its old frame; nothing has changed then.
    pub fn exchange_pages(&mut self, pages: &mut [Exchange], copy: impl Fn(&M, &Exchange)) -> Result<()> {
        let g = self.granule();
        self.look_up(pages)?;
        self.machine.exchange_open();
        if !self.hooks.skips_break() {
            let pending = self.break_pages(pages)?;
            self.invalidate(pending);
        }
        pages.iter().for_each(|page| copy(&self.machine, page));
        for page in pages.iter() {
            let new = Descriptor::leaf(page.to, Attributes::DATA, LAST_LEVEL, false);
            write::<M>(g, &self.machine, &entry_of(g, page), new, Contents::MayDiffer)?;
        }
        self.machine.publish();
        self.machine.exchange_close();
        Ok(())
    }

    /// Finds the table of each page. Neighbours are mostly in one.
    fn look_up(&self, pages: &mut [Exchange]) -> Result<()> {
        let g = self.granule();
        let size = 1 << g.level_shift(LAST_LEVEL - 1);
        let (mut start, mut table) = (VirtAddr::new(0), None);
        for page in pages {
            let not_mapped = SpaceError::NotMapped(page.va);
            page.table = match table {
                Some(table) if page.va.align_down(size) == start => table,
                _ => {
                    let path = self.path(page.va);
                    path.leaf().filter(|leaf| leaf.slot.level == LAST_LEVEL).ok_or(not_mapped)?.slot.table
                }
            };
            (start, table) = (page.va.align_down(size), Some(page.table));
            let leaf = read::<M>(&self.machine, &entry_of(g, page));
            if !leaf.is_leaf(LAST_LEVEL) || leaf.address(g) != page.from {
                return Err(not_mapped.into());
            }
        }
        Ok(())
    }

    fn break_pages(&self, pages: &[Exchange]) -> Result<PendingInvalidation> {
        let g = self.granule();
        let mut pending = PendingInvalidation::none();
        for page in pages {
            let old = Descriptor::leaf(page.from, Attributes::DATA, LAST_LEVEL, false);
            write::<M>(g, &self.machine, &entry_of(g, page), old.broken(), Contents::MayDiffer)?;
            pending.add_leaf(page.va, g.page_size);
        }
        if pages.len() > MOST_BY_ADDRESS {
            pending.add_leaves(
                VirtRange { start: VirtAddr::new(0), end: VirtAddr::new(u64::MAX) },
                g.page_size,
                false,
            );
        }
        Ok(pending)
    }
}
