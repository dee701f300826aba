//! The kernel's virtual address space, and the arithmetic between page frame, struct page and linear address.
//!
//! As arm64 Linux lays it out for 48 bits (its `Documentation/arch/arm64/memory.rst`):
//!
//! ```text
//!  0xffff_0000_0000_0000  linear map, 128 TiB: va = pa - phys_base + this
//!  0xffff_8000_8000_0000  the kernel image
//!  0xffff_8001_0000_0000  devices, 8 TiB (Device-nGnRE, never executable)
//!  0xffff_9000_0000_0000  tenants: a vmalloc-like area
//!  vmemmap_start          64 bytes for each page from first_pfn on
//!  0xffff_ffff_c000_0000  vmemmap ends 1 GiB below the top
//! ```

use crate::addr::{PhysAddr, PhysRange, VirtAddr, VirtRange};
use crate::frame::page::PAGE_BYTES;
use crate::granule::Granule;
use crate::pfn::{Pfn, PfnRange};

/// Where the linear map starts.
pub const LINEAR_START: VirtAddr = VirtAddr::new(0xffff_0000_0000_0000);
/// How much the linear map covers: half of the upper address space.
pub const LINEAR_SIZE: u64 = 1 << 47;
/// Where the kernel image is linked (linker/kernel.ld says the same).
pub const IMAGE_START: VirtAddr = VirtAddr::new(0xffff_8000_8000_0000);
/// Devices.
pub const DEVICES: VirtRange =
    VirtRange { start: VirtAddr::new(0xffff_8001_0000_0000), end: VirtAddr::new(0xffff_8801_0000_0000) };
/// Tenants' mappings.
pub const TENANTS: VirtRange =
    VirtRange { start: VirtAddr::new(0xffff_9000_0000_0000), end: VirtAddr::new(0xffff_a000_0000_0000) };
/// Where vmemmap ends: 1 GiB below the top.
pub const VMEMMAP_END: VirtAddr = VirtAddr::new(0xffff_ffff_c000_0000);

/// Where the device registers at `pa` are mapped: devices below 8 TiB lie one to one in [`DEVICES`].
pub fn device_address(pa: PhysAddr) -> Option<VirtAddr> {
    let va = DEVICES.start.checked_add(pa.get())?;
    DEVICES.contains(va).then_some(va)
}

/// Where things are for one granule and one machine.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    granule: Granule,
    /// The physical address at the linear map's start.
    pub phys_base: PhysAddr,
    first_pfn: Pfn,
    vmemmap: VirtAddr,
    /// Physical addresses have at most so many bits.
    pa_bits: u32,
}

impl Layout {
    /// The layout for RAM that starts at `ram_start`. The base is aligned down to the largest compound page, so that the
    /// linear map and vmemmap are congruent with physical memory for every block size and hint; only virtual space is spent.
    /// A CPU puts out physical addresses of `cpu_pa_bits` (ID_AA64MMFR0_EL1.PARange).
    pub fn new(granule: Granule, ram_start: PhysAddr, cpu_pa_bits: u32) -> Self {
        let phys_base = ram_start.align_down(1 << granule.largest_compound_shift);
        let size = (LINEAR_SIZE >> granule.page_shift) * PAGE_BYTES;
        Self {
            granule,
            phys_base,
            first_pfn: Pfn::containing(granule, phys_base),
            vmemmap: VirtAddr::new(VMEMMAP_END.get() - size),
            pa_bits: cpu_pa_bits.min(granule.pa_bits),
        }
    }

    /// The granule.
    #[inline(always)]
    pub const fn granule(&self) -> Granule {
        self.granule
    }

    /// The physical memory that the linear map can reach, by its size and by what a CPU can address.
    pub fn reach(&self) -> PhysRange {
        let limit = PhysAddr::new(1 << self.pa_bits);
        let end = self.phys_base.checked_add(LINEAR_SIZE).unwrap_or(limit);
        PhysRange { start: self.phys_base, end: end.min(limit) }
    }

    /// The linear address of `pa`, which must be within [`Self::reach`].
    pub fn linear(&self, pa: PhysAddr) -> VirtAddr {
        LINEAR_START + (pa - self.phys_base)
    }

    /// The linear addresses of a range.
    pub fn linear_range(&self, range: PhysRange) -> VirtRange {
        VirtRange { start: self.linear(range.start), end: self.linear(range.end) }
    }

    /// The first page that vmemmap describes.
    pub const fn first_pfn(&self) -> Pfn {
        self.first_pfn
    }

    /// All of vmemmap: 64 bytes for each page that the linear map can hold.
    pub const fn vmemmap(&self) -> VirtRange {
        VirtRange { start: self.vmemmap, end: VMEMMAP_END }
    }

    /// vmemmap with the addresses around it that nothing else uses: its tables' floor and ceiling (I4). Within vmemmap's
    /// own ends its first and last tables, which reach over them, could never be freed.
    pub const fn vmemmap_bounds(&self) -> VirtRange {
        VirtRange { start: TENANTS.end, end: VirtAddr::new(u64::MAX) }
    }

    /// The physical memory that vmemmap can describe.
    pub fn described(&self) -> PhysRange {
        PhysRange {
            start: self.phys_base,
            end: PhysAddr::new(self.phys_base.get().saturating_add(LINEAR_SIZE)),
        }
    }

    /// Where the struct page of `pfn` is.
    #[inline(always)]
    pub fn page_address(&self, pfn: Pfn) -> VirtAddr {
        self.vmemmap + (pfn - self.first_pfn) * PAGE_BYTES
    }

    /// Where the struct pages of a range are.
    pub fn memmap(&self, range: PfnRange) -> VirtRange {
        VirtRange { start: self.page_address(range.start), end: self.page_address(range.end) }
    }

    /// The page whose struct page is at `va`, if `va` is in vmemmap.
    pub fn pfn_of_page(&self, va: VirtAddr) -> Option<Pfn> {
        let vmemmap = self.vmemmap();
        vmemmap.contains(va).then(|| self.first_pfn() + (va - vmemmap.start) / PAGE_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::granule::Granule;

    // Golden: arm64 Linux's VMEMMAP_START for 48-bit addresses is -(2^(48-page_shift-1+6)) - 1 GiB.
    #[test]
    fn vmemmap_is_where_arm64_linux_has_it() {
        let ram = PhysAddr::new(0x4000_0000);
        assert_eq!(Layout::new(Granule::K4, ram, 48).vmemmap().start.get(), 0xffff_fdff_c000_0000);
        assert_eq!(Layout::new(Granule::K16, ram, 48).vmemmap().start.get(), 0xffff_ff7f_c000_0000);
        assert_eq!(Layout::new(Granule::K64, ram, 48).vmemmap().start.get(), 0xffff_ffdf_c000_0000);
    }

    #[test]
    fn a_struct_page_is_64_bytes_per_pfn_from_first_pfn() {
        let l = Layout::new(Granule::K64, PhysAddr::new(0x4000_0000), 48);
        assert_eq!(l.first_pfn().get(), 0, "aligned down to the 16 GiB compound page");
        let pfn = Pfn::new(0x4001);
        assert_eq!(l.page_address(pfn).get(), 0xffff_ffdf_c000_0000 + 0x4001 * 64);
        assert_eq!(l.pfn_of_page(l.page_address(pfn) + 63), Some(pfn));
        assert_eq!(l.pfn_of_page(VMEMMAP_END), None);
    }

    #[test]
    fn no_memory_is_reached_that_the_cpu_cannot_address() {
        let ram = PhysAddr::new(0x4000_0000);
        let end = |bits| Layout::new(Granule::K4, ram, bits).reach().end.get();
        // A Cortex-A53 has 40 bits; the linear map has 128 TiB; no descriptor here has more than 48 bits.
        assert_eq!((end(40), end(48), end(52)), (1 << 40, 0x4000_0000 + (1 << 47), 0x4000_0000 + (1 << 47)));
    }
}
