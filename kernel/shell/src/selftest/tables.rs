//! Counting table pages in the tables themselves.

use hotmap_mm::addr::PhysAddr;
use hotmap_mm::entry::descriptor::Descriptor;
use hotmap_mm::entry::slot::Slot;
use hotmap_mm::frame::section::Backing;

use super::check::{Outcome, check};
use super::expected::Expected;
use super::paging::each_entry;
use hotmap_kernel::kernel::Kernel;

/// The most tables that several entries share at a time: the image's, and of compound pages of devices.
const SHARED_TABLES: usize = 8;

/// Table pages, counted in the tables themselves: one that several entries share once, and none that a block on demand lends
/// for its own memmap.
pub(super) fn table_pages(kernel: &Kernel) -> Outcome<u64> {
    let (mut tables, mut shared) = (1, heapless::Vec::<PhysAddr, SHARED_TABLES>::new());
    each_entry(kernel, &mut |slot, d| {
        let pa = kernel.output(d);
        let counts = d.is_table(slot.level) && !is_lent(kernel, slot, d) && !shared.contains(&pa);
        tables += u64::from(counts);
        if counts && d.is_shared() {
            check!(shared.push(pa).is_ok(), "more than {SHARED_TABLES} tables are shared");
        }
        Ok(())
    })?;
    Ok(tables)
}

/// Whether what an entry leads to is memory of the block whose memmap is there, on demand: a memmap page, or at 4K the table
/// that serves one block's memmap.
pub(super) fn is_lent(kernel: &Kernel, slot: &Slot, d: Descriptor) -> bool {
    let serves_blocks = d.is_table(slot.level) && (slot.level != 2 || kernel.page_size() != 0x1000);
    let described = kernel.mm.space().layout().pfn_of_page(slot.span.start).filter(|_| !serves_blocks);
    described.and_then(|pfn| kernel.section_of(pfn)).is_some_and(|section| {
        let pages = kernel.section(section.start);
        matches!(section.backing, Backing::Demand) && pages.contains(kernel.pfn(kernel.output(d)))
    })
}
