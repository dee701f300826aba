//! Whose memory a physical address is, by `state`.

use hotmap_client::state::{Block, Device, Memmap};

use crate::machine::Machine;

impl Machine<'_> {
    /// The memory block at `pa`.
    pub(crate) fn block_at(&self, pa: u64) -> Option<&Block> {
        let after = self.state.blocks.partition_point(|block| block.start <= pa);
        let block = self.state.blocks.get(after.checked_sub(1)?)?;
        (pa - block.start < block.size).then_some(block)
    }

    /// The device at `pa`; not one whose memory the system has.
    pub(crate) fn device_at(&self, pa: u64) -> Option<&Device> {
        let has = |device: &&Device| {
            let mut ranges = device.ranges.iter();
            device.state != "kmem" && ranges.any(|range| range.start <= pa && pa - range.start < range.size)
        };
        self.state.devices.iter().find(has)
    }

    /// How the memmap of the memory at `pa` is populated, where it is a block's or an extent's.
    pub(crate) fn memmap_at(&self, pa: u64) -> Option<Memmap> {
        let block = self.block_at(pa).map(|block| block.memmap);
        let in_extent = || self.state.extents.iter().any(|e| e.start <= pa && pa - e.start < e.size);
        block.or_else(|| in_extent().then_some(Memmap::Demand))
    }

    /// Where the memory at `pa` comes from: a block's or an extent's `source`, or the device.
    pub(crate) fn source_of(&self, pa: u64) -> Option<String> {
        if let Some(device) = self.device_at(pa) {
            return Some(format!("device {:#x}", device.start));
        }
        if let Some(block) = self.block_at(pa) {
            return Some(block.source.clone());
        }
        let extent = self.state.extents.iter().find(|e| e.start <= pa && pa - e.start < e.size);
        extent.map(|extent| extent.source.clone())
    }
}
