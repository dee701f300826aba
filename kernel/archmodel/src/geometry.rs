//! Host model. The numbers that an architecture fixes: its page, its section, and where its vmemmap is.

use hotmap_mm::addr::{PhysAddr, VirtAddr, VirtRange};
use hotmap_mm::pfn::{Pfn, PfnRange};

use crate::error::{Error, Result};

/// Bytes of a struct page.
pub const PAGE_BYTES: u64 = 64;

/// One architecture's row.
#[derive(Clone, Copy, Debug)]
pub struct Geometry {
    /// log2 of the page size.
    pub page_shift: u32,
    /// log2 of a section (Linux: `SECTION_SIZE_BITS`).
    pub section_shift: u32,
    /// Bits of a physical address that vmemmap describes (Linux: `MAX_PHYSMEM_BITS`).
    pub physical_bits: u32,
    /// Where the struct page of pfn 0 would be.
    pub vmemmap: VirtAddr,
}

impl Geometry {
    /// The pages of a section.
    pub const fn section_pages(&self) -> u64 {
        1 << (self.section_shift - self.page_shift)
    }
    /// The bytes of a section's memmap.
    pub const fn section_memmap(&self) -> u64 {
        self.section_pages() * PAGE_BYTES
    }
    /// The first byte of a page.
    pub const fn address(&self, pfn: Pfn) -> PhysAddr {
        PhysAddr::new(pfn.get() << self.page_shift)
    }
    /// The page that contains a byte.
    pub const fn pfn(&self, pa: PhysAddr) -> Pfn {
        Pfn::new(pa.get() >> self.page_shift)
    }
    /// The struct pages of `range`.
    pub fn memmap(&self, range: PfnRange) -> VirtRange {
        let at = |pfn: Pfn| self.vmemmap + pfn.get() * PAGE_BYTES;
        VirtRange { start: at(range.start), end: at(range.end) }
    }
    /// All of vmemmap.
    pub fn everything(&self) -> VirtRange {
        self.memmap(PfnRange::new(Pfn::new(0), 1 << (self.physical_bits - self.page_shift)))
    }
    /// The sections that have a struct page in `memmap`.
    pub fn sections(&self, memmap: VirtRange) -> std::ops::Range<u64> {
        let offset = |va: VirtAddr| va.get().saturating_sub(self.vmemmap.get());
        offset(memmap.start) / self.section_memmap()..offset(memmap.end).div_ceil(self.section_memmap())
    }

    /// The section numbers of `range`.
    ///
    /// # Errors
    /// `NotSections`, `BeyondVmemmap`.
    pub fn whole_sections(&self, range: PfnRange) -> Result<std::ops::Range<u64>> {
        let section = self.section_pages();
        let whole = |pages: u64| pages.is_multiple_of(section);
        if range.is_empty() || !whole(range.start.get()) || !whole(range.len()) {
            return Err(Error::NotSections { range, section });
        }
        if range.end.get() > 1 << (self.physical_bits - self.page_shift) {
            return Err(Error::BeyondVmemmap(range));
        }
        Ok(range.start.get() / section..range.end.get() / section)
    }
}
