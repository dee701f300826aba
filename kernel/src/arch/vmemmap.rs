//! Where vmemmap is, for code that has no model at hand: readers on other CPUs, and the handler of a fault.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use hotmap_mm::addr::{VirtAddr, VirtRange};
use hotmap_mm::frame::page::PAGE_BYTES;

static START: AtomicU64 = AtomicU64::new(0);
static END: AtomicU64 = AtomicU64::new(0);
/// The pfn of vmemmap's first struct page.
static FIRST_PFN: AtomicU64 = AtomicU64::new(0);

/// Records where vmemmap is. Called once, before the other CPUs start.
pub(crate) fn set(vmemmap: VirtRange, first_pfn: u64) {
    START.store(vmemmap.start.get(), Relaxed);
    END.store(vmemmap.end.get(), Relaxed);
    FIRST_PFN.store(first_pfn, Relaxed);
}

/// The page whose struct page is at `va`, if `va` is in vmemmap.
pub(crate) fn pfn_at(va: u64) -> Option<u64> {
    let start = START.load(Relaxed);
    let inside = (start..END.load(Relaxed)).contains(&va);
    inside.then(|| FIRST_PFN.load(Relaxed) + (va - start) / PAGE_BYTES)
}

/// Where the struct page of `pfn` is.
pub(crate) fn struct_page(pfn: u64) -> VirtAddr {
    VirtAddr::new(START.load(Relaxed) + (pfn - FIRST_PFN.load(Relaxed)) * PAGE_BYTES)
}

/// Where the last struct page is that vmemmap has room for.
pub(crate) fn last() -> VirtAddr {
    VirtAddr::new(END.load(Relaxed) - PAGE_BYTES)
}
