//! The design's table of numbers per granule, written out: what the model computes from levels and shifts stands here as
//! literals, so that the two can disagree.

use hotmap_mm::granule::GranuleKind;

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
    /// A leaf of vmemmap, for a whole section that hosts its own memmap.
    pub(super) memmap_leaf: u64,
    /// How many naturally aligned runs a self-hosted block's usable memory is.
    pub(super) usable_runs: u64,
    /// Where vmemmap starts (arm64 Linux with 48-bit addresses: Documentation/arch/arm64/memory.rst).
    pub(super) vmemmap: u64,
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
    memmap_leaf: 2 * MIB,
    usable_runs: 6,
    vmemmap: 0xffff_fdff_c000_0000,
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
    memmap_leaf: 16 * KIB,
    usable_runs: 8,
    vmemmap: 0xffff_ff7f_c000_0000,
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
    memmap_leaf: 64 * KIB,
    usable_runs: 10,
    vmemmap: 0xffff_ffdf_c000_0000,
    first_page: 16 * GIB,
};

/// The numbers of a granule.
pub(super) const fn numbers(granule: GranuleKind) -> &'static Numbers {
    match granule {
        GranuleKind::K4 => &K4,
        GranuleKind::K16 => &K16,
        GranuleKind::K64 => &K64,
    }
}
