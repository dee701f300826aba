//! Whether a memmap page is still needed (I7). A leaf of vmemmap may describe more than what goes: at 16K one memmap page
//! serves two subsections, at 64K 32. It may be freed only when no present page has its struct page in it.

use crate::addr::VirtRange;
use crate::frame::Frames;
use crate::frame::page::PAGE_BYTES;
use crate::granule::Granule;
use crate::machine::Machine;
use crate::pfn::{Pfn, PfnRange};

impl<M: Machine> Frames<M> {
    /// Whether the struct page of some valid page lies in `leaf`, a range of vmemmap.
    pub(crate) fn is_occupied(&self, leaf: VirtRange) -> bool {
        let g = self.granule();
        let vmemmap = self.layout.vmemmap();
        let first = self.layout.first_pfn() + (leaf.start - vmemmap.start) / PAGE_BYTES;
        let described = PfnRange::new(first, leaf.len() / PAGE_BYTES);
        let mut at = described.start;
        while at < described.end {
            let section_end = at.align_down(g.section_order) + g.section_pages;
            let part = PfnRange { start: at, end: section_end.min(described.end) };
            if self.any_valid(part) {
                return true;
            }
            at = part.end;
        }
        false
    }

    /// Whether a page of `part`, which lies in one section, is valid.
    fn any_valid(&self, part: PfnRange) -> bool {
        let g = self.granule();
        let Some(section) = self.section_of(part.start) else { return false };
        let mut at = part.start;
        while at < part.end {
            if section.is_valid(g, at) {
                return true;
            }
            at = next_subsection(g, at);
        }
        false
    }
}

/// The first page of the next subsection.
fn next_subsection(g: Granule, pfn: Pfn) -> Pfn {
    let order = g.subsection_pages.trailing_zeros();
    pfn.align_down(order) + g.subsection_pages
}
