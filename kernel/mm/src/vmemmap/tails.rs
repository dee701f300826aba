//! Counting off the entries of the tail pages that devices' compound pages share.

use core::sync::atomic::Ordering::Relaxed;

use crate::addr::PhysAddr;
use crate::entry::descriptor::Descriptor;
use crate::frame::Frames;
use crate::frame::tables::TableFrames;
use crate::granule::LAST_LEVEL;
use crate::machine::{self, Machine};
use crate::pfn::{Pfn, PfnRange};
use crate::vmemmap::source;

/// Entries of one page of tails that are gone, and not counted off yet.
#[derive(Clone, Copy, Default)]
pub(super) struct Tails {
    frame: PhysAddr,
    entries: u64,
}

impl Tails {
    /// `entries` more entries of a page of tails are gone.
    pub(super) fn forget<M: Machine>(&mut self, frames: &mut Frames<M>, frame: PhysAddr, entries: u64) {
        if self.frame != frame {
            core::mem::replace(self, Self { frame, entries: 0 }).release(frames);
        }
        self.entries += entries;
    }

    /// An entry that led to a shared table is gone: with the last of them go the table, and its entries.
    pub(super) fn forget_table<M: Machine>(&mut self, frames: &mut Frames<M>, table: PhysAddr) {
        if frames.unshare_table(table) {
            let g = frames.granule();
            let entry = machine::entry(frames.machine(), table, 0).load(Relaxed);
            self.forget(frames, Descriptor::from_bits(entry).address(g), g.entries(LAST_LEVEL) as u64);
            frames.free_table(table);
        }
    }

    /// Counts entries off; a page of tails goes back to where it came from with the last of them.
    pub(super) fn release<M: Machine>(self, frames: &mut Frames<M>) {
        if self.entries == 0 {
            return;
        }
        let page = machine::page_in(frames.machine(), self.frame, 0);
        let left = page.as_shared_tail().mappings().saturating_sub(self.entries);
        page.as_shared_tail().set_mappings(left);
        if left == 0 {
            source::release(frames, PfnRange::new(Pfn::containing(frames.granule(), self.frame), 1));
        }
    }
}
