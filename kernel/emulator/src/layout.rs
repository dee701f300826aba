//! Where arm64 Linux puts things with 48-bit addresses (its Documentation/arch/arm64/memory.rst), as numbers: the layout that
//! the model promises to have.

use std::ops::Range;

use crate::arch::spec::Spec;

/// The linear map: 128 TiB.
pub const LINEAR: Range<u64> = 0xffff_0000_0000_0000..0xffff_8000_0000_0000;
/// The tenants' area (the project's own).
pub const TENANTS: Range<u64> = 0xffff_9000_0000_0000..0xffff_a000_0000_0000;
/// The bytes of a struct page.
pub const STRUCT_PAGE: u64 = 64;

/// vmemmap: 64 bytes for each page of the linear map, ending 1 GiB below the top.
pub fn vmemmap(spec: &Spec) -> Range<u64> {
    let end = 0xffff_ffff_c000_0000;
    end - (LINEAR.end - LINEAR.start) / spec.page * STRUCT_PAGE..end
}

/// The bytes of a memory block: Linux's section sizes.
pub fn block(spec: &Spec) -> u64 {
    match spec.page {
        0x1000 | 0x4000 => 128 << 20,
        _ => 512 << 20,
    }
}

/// What the physical base is aligned to: the largest compound page (1 GiB at 4K and 16K, 16 GiB at 64K).
pub fn base(spec: &Spec, ram_start: u64) -> u64 {
    let largest = if spec.page == 0x1_0000 { 16 << 30 } else { 1 << 30 };
    ram_start / largest * largest
}
