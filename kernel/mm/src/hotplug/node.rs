//! NUMA nodes of memory, as far as hotplug cares: struct pages on another node than the pages that they describe make every
//! look at them a remote access, so such a memmap is reported, once (RFC 3/5 hosts the memmap in the added range to avoid
//! it).

use crate::device::pagemap::Pagemap;
use crate::machine::Machine;
use crate::mm::Mm;
use crate::pfn::{Pfn, PfnRange};

impl<M: Machine> Mm<M> {
    /// Says on which node the blocks are that have memory of `pages`; 0 is where nothing is said.
    pub fn set_node(&mut self, pages: PfnRange, node: u32) {
        let g = self.granule();
        let on_it = self.frames.blocks.iter_mut().filter(|block| block.pages(g).overlaps(&pages));
        on_it.for_each(|block| block.node = node);
        let g = self.granule();
        let whole = PfnRange {
            start: pages.start.align_down(g.section_order),
            end: pages.end.align_up(g.section_order),
        };
        // Without room to part an extent, all of it is on the node.
        let _whole_extents = self.frames.cut_extents(whole);
        self.frames.set_extents_node(whole, node);
    }

    /// The node of the device or the memory block at `pfn`.
    pub fn node_of(&self, pfn: Pfn) -> Option<u32> {
        let device = self.devices.of(pfn).map(Pagemap::node);
        device.or_else(|| self.frames.block_of(pfn).map(|block| block.node))
    }

    /// Notes it when the struct page of `pfn` lies on another node than `pfn`.
    pub(crate) fn note_remote_memmap(&mut self, pfn: Pfn) {
        let g = self.granule();
        if self.frames.warnings.remote_memmap != 0 {
            return;
        }
        let memmap = self.space.translate(self.space.layout().page_address(pfn));
        let there = memmap.and_then(|pa| self.node_of(Pfn::containing(g, pa)));
        self.frames.warnings.remote_memmap = u64::from(there.is_some() && there != self.node_of(pfn));
    }
}
