//! The view `vmemmap`: the pages of struct pages, and the frames that hold them.

mod count;
mod range;
mod ranges;

pub use range::{Backing, MemmapRange};

use serde::Serialize;

use crate::address::Address;
use crate::budget;
use crate::machine::Machine;
use crate::struct_pages::BYTES;

/// vmemmap, by ranges. A *page of vmemmap* is a page of the granule, full of struct pages.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct VmemmapView {
    /// Its first virtual address: that of the struct page of `first_pfn`.
    pub base: Address,
    /// The first page that it describes.
    pub first_pfn: u64,
    /// Struct pages in a page of vmemmap.
    pub struct_pages: u64,
    /// Pages of vmemmap that are mapped.
    pub pages_mapped: u64,
    /// Frames behind them.
    pub frames: u64,
    /// Of these, those to which several pages of vmemmap lead.
    pub shared_frames: u64,
    /// `pages_mapped` - `frames`.
    pub saved: u64,
    /// What is mapped, by address.
    pub ranges: Vec<MemmapRange>,
    /// Whether all was read: false for more tables than a sound machine has, and where tables lead to no memory.
    pub complete: bool,
}

impl Machine<'_> {
    /// vmemmap, by ranges.
    pub fn vmemmap(&self) -> VmemmapView {
        self.vmemmap_near(None)
    }

    /// The same; the ranges that describe the section of `pfn` are listed, however many ranges there are.
    pub fn vmemmap_near(&self, pfn: Option<u64>) -> VmemmapView {
        let tables = self.tables();
        let counted = count::frames(&tables, self.state.vmemmap.start);
        let (mut ranges, mut complete) = ranges::read(self, &tables);
        if ranges.len() > budget::ROWS {
            ranges = ranges::fold(self, ranges, pfn);
        }
        complete &= !tables.is_spent() && counted.complete;
        VmemmapView {
            base: Address(self.state.vmemmap.start),
            first_pfn: self.state.vmemmap.first_pfn,
            struct_pages: self.spec.page() / BYTES as u64,
            pages_mapped: counted.mapped,
            frames: counted.frames,
            shared_frames: counted.shared,
            saved: counted.mapped - counted.frames,
            ranges,
            complete,
        }
    }
}
