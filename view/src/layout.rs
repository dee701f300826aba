//! What the kernel has at which virtual addresses (docs/reference/memory-map.md).

use std::ops::Range;

/// The last GiB is not used.
const VMEMMAP_END: u64 = 0xffff_ffff_c000_0000;

/// The regions by address; vmemmap starts where `state` says.
pub(crate) const fn regions(vmemmap: u64) -> [(&'static str, Range<u64>); 5] {
    [
        ("linear", 0xffff_0000_0000_0000..0xffff_8000_0000_0000),
        ("image", 0xffff_8000_8000_0000..0xffff_8001_0000_0000),
        ("devices", 0xffff_8001_0000_0000..0xffff_8801_0000_0000),
        ("tenants", 0xffff_9000_0000_0000..0xffff_a000_0000_0000),
        ("vmemmap", vmemmap..VMEMMAP_END),
    ]
}

/// Where vmemmap is.
pub(crate) const fn vmemmap(start: u64) -> Range<u64> {
    start..VMEMMAP_END
}
