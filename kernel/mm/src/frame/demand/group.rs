//! Groups: the blocks whose memmap one entry covers, one level above the image's. A whole group leads to one table for all
//! such groups from the moment at which it is added, until a block of it is unfolded or goes online in Normal; and again
//! once all of it is free and online in Movable.
//!
//! ```text
//!                         one entry: 64 GiB, 8 GiB, 512 GiB of memory at 4K, 16K, 64K
//!   level above           [shared][shared][shared]        one table: image, image, ... image
//!   a block is unfolded   [shared][ own  ][shared]        its group gets a copy of that table, from system RAM
//!   all is free again     [shared][shared][shared]        the copy is free
//! ```
//! The last group that leaves the shared table keeps it as its own, and the first that comes to share gives its own.
//!
//! A table comes from Normal. So that getting one never needs another, memory there does not share: its groups get tables of
//! their own as it goes online. While Normal has no free page, no page can be allocated of a group of free blocks in Movable.

use crate::addr::{VirtAddr, VirtRange};
use crate::entry::descriptor::Descriptor;
use crate::entry::live_update::Contents;
use crate::entry::slot::{self, Slot};
use crate::error::Result;
use crate::frame::block::BlockState;
use crate::frame::extent::Record;
use crate::frame::memmap::{GroupTables, Groups, image_level};
use crate::frame::page::{PAGE_BYTES, PageKind};
use crate::frame::tables::TableFrames;
use crate::frame::zone::ZoneKind;
use crate::frame::{Frames, Mobility};
use crate::machine::{self, Checkpoint, Machine};
use crate::pfn::{Pfn, PfnRange};

impl<M: Machine> Frames<M> {
    /// The entry above those of the image on the way to `va`, if it leads to a table.
    fn group_entry(&self, va: VirtAddr) -> Option<(Slot, Descriptor)> {
        let g = self.granule();
        let slot = slot::find::<M>(g, &self.machine, self.root, va, image_level(g) - 1)?;
        let entry = slot::read::<M>(&self.machine, &slot);
        entry.is_table(slot.level).then_some((slot, entry))
    }

    /// The entry of a group that leads to the shared table.
    fn shared_entry(&self, group: VirtRange) -> Option<Slot> {
        self.group_entry(group.start).filter(|(_, entry)| entry.is_shared()).map(|(slot, _)| slot)
    }

    /// How many entries lead to the table that groups share.
    fn group_entries(&self) -> u32 {
        let table = self.demand.image.and_then(|image| image.group_table);
        table.map_or(0, |table| self.pages().get(Pfn::containing(self.granule(), table)).as_table().entries())
    }

    /// How many tables `groups` need of those that share one: the last that shares keeps it, but others may come to share it
    /// while tables are kept for later.
    fn group_tables_needed(&self, groups: Groups) -> u32 {
        let entries = self.group_entries();
        if entries == 0 {
            return 0;
        }
        let sharing = groups.spans(self.layout).filter_map(|group| self.shared_entry(group)).count();
        let sharing = u32::try_from(sharing).unwrap_or(u32::MAX);
        if sharing == entries && !groups.are_for_later() { sharing - 1 } else { sharing }
    }

    /// A table for each of `groups` that shares one.
    ///
    /// # Errors
    /// `Out`; nothing has changed then.
    pub(crate) fn get_group_tables(&mut self, groups: Groups) -> Result<GroupTables> {
        let mut tables = GroupTables::default();
        for _ in 0..self.group_tables_needed(groups) {
            let table = match self.alloc(0, PageKind::Table, Mobility::Unmovable) {
                Ok(table) => table,
                Err(error) => {
                    self.put_group_tables(tables);
                    return Err(error);
                }
            };
            self.pages().own(table).as_stacked().set_below(tables.0);
            tables.0 = Some(table);
        }
        Ok(tables)
    }

    /// Gives back tables that were not needed.
    pub(crate) fn put_group_tables(&mut self, mut tables: GroupTables) {
        while let Some(table) = self.pop(&mut tables) {
            self.free(table);
        }
    }

    fn pop(&self, tables: &mut GroupTables) -> Option<Pfn> {
        let table = tables.0?;
        let page = self.pages().own(table);
        tables.0 = page.as_stacked().below();
        page.as_stacked().set_below(None);
        Some(table)
    }

    /// Each of `groups` gets a table of its own, out of [`Self::get_group_tables`].
    pub(crate) fn unshare_groups(&mut self, groups: Groups, mut tables: GroupTables) {
        if self.group_entries() != 0 {
            for group in groups.spans(self.layout) {
                if let Some(slot) = self.shared_entry(group) {
                    self.unshare_group(&slot, &mut tables);
                }
            }
        }
        self.put_group_tables(tables);
    }

    fn unshare_group(&mut self, slot: &Slot, tables: &mut GroupTables) {
        let g = self.granule();
        let Some(shared) = self.demand.image.and_then(|image| image.group_table) else { return };
        if self.group_entries() == 1 {
            return self.mark_group(slot, Descriptor::table(shared));
        }
        let table = self.pop(tables);
        debug_assert!(table.is_some(), "a table for each group that shares one");
        let Some(table) = table.map(|table| table.address(g)) else { return };
        machine::copy_frame(&self.machine, shared, table, g.page_size);
        self.swap_table(slot, Descriptor::table(table));
        self.machine.checkpoint(Checkpoint::Done("give the group a table"));
        self.unshare_table(shared);
    }

    /// Writes the entry of the only group that leads to its table: as one that is shared, or as one that is not.
    fn mark_group(&mut self, slot: &Slot, entry: Descriptor) {
        let g = self.granule();
        if let Some(image) = &mut self.demand.image {
            image.group_table = entry.is_shared().then(|| entry.address(g));
        }
        let written = slot::write::<M>(g, &self.machine, slot, entry, Contents::Same);
        debug_assert!(written.is_ok(), "{written:?}");
        self.machine.publish();
    }

    /// The groups of `pages` of which all is free in Movable share the table again.
    pub(crate) fn share_groups(&mut self, pages: PfnRange) {
        for group in Groups::of(pages).spans(self.layout) {
            // First what is cheap: while there is a shared table, most groups of large memory lead to it; else none does.
            if self.group_entries() != 0 && self.shared_entry(group).is_some() || !self.is_free_group(group) {
                continue;
            }
            if let Some((slot, own)) = self.group_entry(group.start) {
                self.share_group(&slot, own);
            }
        }
    }

    /// Whether all blocks of a group are in extents that are online in Movable. Not while they go offline: a removal
    /// holds the tables that it needs for that time.
    fn is_free_group(&self, group: VirtRange) -> bool {
        let Some(first) = self.layout.pfn_of_page(group.start) else { return false };
        let free = (Record::Extent, Some(BlockState::Online(ZoneKind::Movable)));
        let mut pieces = self.pieces(PfnRange::new(first, group.len() / PAGE_BYTES));
        pieces.all(|piece| (piece.record, piece.state) == free)
    }

    fn share_group(&mut self, slot: &Slot, own: Descriptor) {
        let g = self.granule();
        match self.demand.image.and_then(|image| image.group_table) {
            Some(group) => {
                self.swap_table(slot, Descriptor::table(group).shared());
                self.machine.checkpoint(Checkpoint::Done("share the groups' table"));
                self.share_table(group);
                self.free_table(own.address(g));
            }
            None => {
                let table = Pfn::containing(g, own.address(g));
                self.pages().own(table).as_table().set_entries(1);
                self.mark_group(slot, own.shared());
            }
        }
    }
}
