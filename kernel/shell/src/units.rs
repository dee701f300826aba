//! The granule's arithmetic on a kernel's pages and blocks, as the commands use it.

use hotmap_mm::addr::{PhysAddr, PhysRange};
use hotmap_mm::frame::block::MemoryBlock;
use hotmap_mm::pfn::{Pfn, PfnRange};

use hotmap_kernel::kernel::Kernel;

/// Sizes in bytes. [`Kernel`] is the one implementation; the kernel's package has no need of these.
pub(crate) trait Units {
    /// The bytes of a page.
    fn page_size(&self) -> u64;
    /// The bytes of a memory block.
    fn block_size(&self) -> u64;
    /// The pages of a memory block.
    fn block_pages(&self) -> u64;
    /// The page that contains `address`.
    fn pfn(&self, address: PhysAddr) -> Pfn;
    /// The first byte of a page.
    fn address(&self, pfn: Pfn) -> PhysAddr;
    /// The bytes of pages.
    fn addresses(&self, pages: PfnRange) -> PhysRange;
    /// The first page of a block that the buddy allocator may have, by its address.
    fn usable_start(&self, block: &MemoryBlock) -> PhysAddr;
    /// The pages of a block that can be allocated. An offline block on demand keeps its free lists; none of it can.
    fn free_pages(&self, block: &MemoryBlock) -> u64;
}

impl Units for Kernel {
    fn page_size(&self) -> u64 {
        self.granule().page_size
    }
    fn block_size(&self) -> u64 {
        self.granule().section_size
    }
    fn block_pages(&self) -> u64 {
        1 << self.granule().section_order
    }
    fn pfn(&self, address: PhysAddr) -> Pfn {
        Pfn::containing(self.granule(), address)
    }
    fn address(&self, pfn: Pfn) -> PhysAddr {
        pfn.address(self.granule())
    }
    fn addresses(&self, pages: PfnRange) -> PhysRange {
        pages.addresses(self.granule())
    }
    fn usable_start(&self, block: &MemoryBlock) -> PhysAddr {
        self.address(block.start + block.memmap_pages)
    }
    fn free_pages(&self, block: &MemoryBlock) -> u64 {
        block.state.zone().map_or(0, |_| block.free.pages())
    }
}

/// Calls `found` for each free run of a block, with its order.
pub(crate) fn each_free_run(kernel: &Kernel, block: &MemoryBlock, mut found: impl FnMut(Pfn, u32)) {
    for order in 0..=kernel.granule().section_order {
        block.free.heads(&kernel.mm.frames().pages(), order).for_each(|pfn| found(pfn, order));
    }
}
