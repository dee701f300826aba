//! Page frames as translation tables.

use crate::addr::PhysAddr;
use crate::error::Result;
use crate::frame::page::PageKind;
use crate::frame::{Frames, Mobility};
use crate::machine::Machine;
use crate::pfn::Pfn;

/// Where table pages come from and go to.
pub trait TableFrames {
    /// A frame for a table, of one granule page; its contents do not matter.
    ///
    /// # Errors
    /// `Out` when there is none.
    fn alloc_table(&mut self) -> Result<PhysAddr>;
    /// Gives a table's frame back.
    fn free_table(&mut self, table: PhysAddr);
    /// One more entry leads to this table: the first is counted by [`Self::alloc_table`].
    fn share_table(&mut self, _table: PhysAddr) {}
    /// One entry less leads to this table; whether it was the last. The table is not given back.
    fn unshare_table(&mut self, _table: PhysAddr) -> bool {
        true
    }
}

impl<M: Machine> TableFrames for Frames<M> {
    /// A table page is always system RAM, never an altmap's, and never movable.
    fn alloc_table(&mut self) -> Result<PhysAddr> {
        let g = self.granule();
        self.alloc(0, PageKind::Table, Mobility::Unmovable).map(|pfn| pfn.address(g))
    }
    fn free_table(&mut self, table: PhysAddr) {
        let g = self.granule();
        self.free(Pfn::containing(g, table));
    }
    fn share_table(&mut self, table: PhysAddr) {
        let g = self.granule();
        let page = self.pages().own(Pfn::containing(g, table));
        page.as_table().set_entries(page.as_table().entries() + 1);
    }
    fn unshare_table(&mut self, table: PhysAddr) -> bool {
        let g = self.granule();
        let page = self.pages().own(Pfn::containing(g, table));
        let entries = page.as_table().entries().saturating_sub(1);
        page.as_table().set_entries(entries);
        entries == 0
    }
}
