//! Struct pages that an auditor can look at.

use crate::frame::page::Page;
use crate::machine::Machine;
use crate::mm::Mm;
use crate::pfn::Pfn;

/// The struct page of `pfn`, if it is valid and mapped: an auditor must not fault on what it is there to find.
pub(super) fn readable<M: Machine>(mm: &Mm<M>, pfn: Pfn) -> Option<&Page> {
    // Valid first: the struct page of a pfn out of nowhere has no address.
    let va = mm.frames.is_valid(pfn).then(|| mm.space.layout().page_address(pfn))?;
    mm.space.translate(va).map(|_| mm.frames.pages().get(pfn))
}
