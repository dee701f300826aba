//! The design's table of numbers per granule, written out: what the model computes from levels and shifts stands here as
//! literals, so that the two can disagree. The tests' arithmetic on pages is done with these.

use hotmap_mm::addr::{PhysAddr, PhysRange};
use hotmap_mm::entry::descriptor::Descriptor;
use hotmap_mm::frame::block::MemoryBlock;
use hotmap_mm::frame::section::Section;
use hotmap_mm::granule::GranuleKind;
use hotmap_mm::layout::LINEAR_SIZE;
use hotmap_mm::pfn::{Pfn, PfnRange};

use hotmap_kernel::arch::cpu;
use hotmap_kernel::kernel::Kernel;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// A granule's numbers. Sizes in bytes.
pub(super) struct Numbers {
    /// A page.
    pub(super) page: u64,
    /// A block at level 2.
    pub(super) block: u64,
    /// A block at level 1, where 48-bit addresses have one.
    pub(super) large_block: Option<u64>,
    /// What the Contiguous bit joins at level 3.
    pub(super) contiguous_pages: u64,
    /// What the Contiguous bit joins at level 2.
    pub(super) contiguous_blocks: u64,
    /// A section, which is a memory block.
    pub(super) section: u64,
    /// Pages of a section.
    pub(super) section_pages: u64,
    /// Pages that a section's memmap fills.
    pub(super) memmap_pages: u64,
    /// The memory that a page of memmap describes: 64 bytes for each page of it.
    pub(super) described: u64,
    /// A leaf of vmemmap, for a whole section that hosts its own memmap.
    pub(super) memmap_leaf: u64,
    /// How many naturally aligned runs a self-hosted block's usable memory is.
    pub(super) usable_runs: u64,
    /// Where vmemmap starts (arm64 Linux with 48-bit addresses: Documentation/arch/arm64/memory.rst).
    pub(super) vmemmap: u64,
    /// The sizes of huge pages, ascending (arm64 Linux: Documentation/arch/arm64/hugetlbpage.rst); fewer end with 0.
    pub(super) huge_sizes: [u64; 4],
    /// The smallest whose memmap is more than two pages: eight.
    pub(super) worth_sharing: u64,
    /// What the first described page is aligned to: the largest compound page.
    pub(super) first_page: u64,
}

const K4: Numbers = Numbers {
    page: 4 * KIB,
    block: 2 * MIB,
    large_block: Some(GIB),
    contiguous_pages: 64 * KIB,
    contiguous_blocks: 32 * MIB,
    section: 128 * MIB,
    section_pages: 32768,
    memmap_pages: 512,
    described: 256 * KIB,
    memmap_leaf: 2 * MIB,
    usable_runs: 6,
    vmemmap: 0xffff_fdff_c000_0000,
    huge_sizes: [64 * KIB, 2 * MIB, 32 * MIB, GIB],
    worth_sharing: 2 * MIB,
    first_page: GIB,
};

const K16: Numbers = Numbers {
    page: 16 * KIB,
    block: 32 * MIB,
    large_block: None,
    contiguous_pages: 2 * MIB,
    contiguous_blocks: GIB,
    section: 128 * MIB,
    section_pages: 8192,
    memmap_pages: 32,
    described: 4 * MIB,
    memmap_leaf: 16 * KIB,
    usable_runs: 8,
    vmemmap: 0xffff_ff7f_c000_0000,
    huge_sizes: [2 * MIB, 32 * MIB, GIB, 0],
    worth_sharing: 32 * MIB,
    first_page: GIB,
};

const K64: Numbers = Numbers {
    page: 64 * KIB,
    block: 512 * MIB,
    large_block: None,
    contiguous_pages: 2 * MIB,
    contiguous_blocks: 16 * GIB,
    section: 512 * MIB,
    section_pages: 8192,
    memmap_pages: 8,
    described: 64 * MIB,
    memmap_leaf: 64 * KIB,
    usable_runs: 10,
    vmemmap: 0xffff_ffdf_c000_0000,
    huge_sizes: [2 * MIB, 512 * MIB, 16 * GIB, 0],
    worth_sharing: 512 * MIB,
    first_page: 16 * GIB,
};

const fn numbers(granule: GranuleKind) -> &'static Numbers {
    match granule {
        GranuleKind::K4 => &K4,
        GranuleKind::K16 => &K16,
        GranuleKind::K64 => &K64,
    }
}

/// A kernel in these numbers. [`Kernel`] is the one implementation.
pub(super) trait Expected {
    /// The numbers of the granule.
    fn numbers(&self) -> &'static Numbers;
    /// The bytes of a page.
    fn page_size(&self) -> u64;
    /// The pages of a section, which is a memory block.
    fn section_pages(&self) -> u64;
    /// The order of a whole block.
    fn block_order(&self) -> u32;
    /// The page that contains `pa`.
    fn pfn(&self, pa: PhysAddr) -> Pfn;
    /// The first byte of a page.
    fn address(&self, pfn: Pfn) -> PhysAddr;
    /// The bytes of pages.
    fn addresses(&self, pages: PfnRange) -> PhysRange;
    /// The pages of the section that starts with `start`.
    fn section(&self, start: Pfn) -> PfnRange;
    /// The block that `pfn` is in.
    fn block_of(&self, pfn: Pfn) -> Option<MemoryBlock>;
    /// The section that `pfn` is in.
    fn section_of(&self, pfn: Pfn) -> Option<Section>;
    /// The pages of a block that are not its own memmap.
    fn usable_pages(&self, block: &MemoryBlock) -> u64;
    /// Whether nothing of an online block is in use.
    fn is_all_free(&self, block: &MemoryBlock) -> bool;
    /// The memory that the linear map can reach: from RAM's start, aligned down for the largest compound page.
    fn reach(&self) -> PhysRange;
    /// The highest block of which nothing is present, nor of the one after it.
    fn absent(&self) -> PhysAddr;
    /// The memory that a leaf's bits lead to, or the table that a table's do: bits 47 down to the page's (Arm ARM D8.3).
    fn output(&self, d: Descriptor) -> PhysAddr;
}

impl Expected for Kernel {
    #[inline(never)]
    fn numbers(&self) -> &'static Numbers {
        numbers(self.granule().kind)
    }
    #[inline(never)]
    fn page_size(&self) -> u64 {
        self.numbers().page
    }
    #[inline(never)]
    fn section_pages(&self) -> u64 {
        self.numbers().section_pages
    }
    fn block_order(&self) -> u32 {
        self.section_pages().trailing_zeros()
    }
    fn pfn(&self, pa: PhysAddr) -> Pfn {
        Pfn::new(pa.get() / self.page_size())
    }
    #[inline(never)]
    fn address(&self, pfn: Pfn) -> PhysAddr {
        PhysAddr::new(pfn.get() * self.page_size())
    }
    fn addresses(&self, pages: PfnRange) -> PhysRange {
        PhysRange { start: self.address(pages.start), end: self.address(pages.end) }
    }
    fn section(&self, start: Pfn) -> PfnRange {
        PfnRange::new(start, self.section_pages())
    }
    #[inline(never)]
    fn block_of(&self, pfn: Pfn) -> Option<MemoryBlock> {
        self.mm.frames().blocks().find(|block| self.section(block.start).contains(pfn))
    }
    #[inline(never)]
    fn section_of(&self, pfn: Pfn) -> Option<Section> {
        self.mm.frames().sections().find(|section| self.section(section.start).contains(pfn))
    }
    fn usable_pages(&self, block: &MemoryBlock) -> u64 {
        self.section_pages() - block.memmap_pages - block.memmap_inside - block.unplugged
    }
    fn is_all_free(&self, block: &MemoryBlock) -> bool {
        block.free.pages() == self.usable_pages(block)
    }
    fn reach(&self) -> PhysRange {
        let first = self.numbers().first_page;
        let start = self.info.ram_start.get() / first * first;
        PhysRange {
            start: PhysAddr::new(start),
            end: PhysAddr::new((start + LINEAR_SIZE).min(1 << cpu::features().pa_bits().min(48))),
        }
    }
    fn absent(&self) -> PhysAddr {
        let (block, end) = (self.numbers().section, self.reach().end.get());
        let is_free = |start: &u64| {
            !self
                .mm
                .frames()
                .sections()
                .any(|s| (*start..start + 2 * block).contains(&self.address(s.start).get()))
        };
        PhysAddr::new((2..).map(|i| end - i * block).find(is_free).unwrap_or(0))
    }
    fn output(&self, d: Descriptor) -> PhysAddr {
        PhysAddr::new(d.bits() & 0xffff_ffff_ffff & !(self.page_size() - 1))
    }
}

/// The first page of each block of `pages`, ascending.
pub(super) fn starts(
    kernel: &Kernel,
    pages: PfnRange,
) -> impl DoubleEndedIterator<Item = Pfn> + Clone + use<> {
    let step = kernel.section_pages();
    (0..pages.len() / step).map(move |i| pages.start + i * step)
}
