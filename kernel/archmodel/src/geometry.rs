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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_section_that_has_a_byte_in_a_piece_of_vmemmap_counts() {
        // 64 KiB pages, 16 MiB sections: 16 KiB of memmap each.
        let base = 0xf000_0000_0000_0000;
        let geometry =
            Geometry { page_shift: 16, section_shift: 24, physical_bits: 46, vmemmap: VirtAddr::new(base) };
        let sections = |start: u64, end: u64| {
            let at = |offset: u64| VirtAddr::new(base + offset);
            geometry.sections(VirtRange { start: at(start), end: at(end) })
        };
        assert_eq!(sections(0x4000, 0x8000), 1..2);
        assert_eq!(sections(0x4040, 0x4080), 1..2);
        assert_eq!(sections(0x3fc0, 0x8040), 0..3);
        assert_eq!(sections(0x100_0000, 0x200_0000), 1024..2048);
    }
}
