//! A range of vmemmap.

use serde::Serialize;

use crate::address::Address;

/// Neighbouring pages of vmemmap that are alike.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct MemmapRange {
    /// The first virtual address.
    pub va: Address,
    /// Pages of vmemmap.
    pub pages: u64,
    /// The first page that its struct pages describe.
    pub struct_of: u64,
    /// The physical address of that page.
    pub describes: Address,
    /// Frames behind it.
    pub frames: u64,
    /// The first of them; `null` where `same_as` says what is mapped, and in a range that is folded.
    pub frame: Option<Address>,
    /// How far apart the frames of neighbouring pages are: the page size, or 0 if all lead to one frame.
    pub stride: u64,
    /// The level of its leaves: 3 for pages, 2 for blocks.
    pub level: usize,
    /// Whether stores fault.
    pub readonly: bool,
    /// Whether the entries say that others lead to the same frames.
    pub shared: bool,
    /// What the frames are.
    pub backing: Backing,
    /// The table of this range is that of the range here, which comes before it in the list.
    pub same_as: Option<Address>,
    /// With `same_as`: the bytes after which it comes again.
    pub each: Option<u64>,
    /// Whether the range stands for several that differ: there are too many to list. `struct_of` a page in it lists them.
    pub folded: bool,
}

/// What holds struct pages.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Backing {
    /// System RAM.
    Ram,
    /// The start of the memory that they describe.
    #[serde(rename = "self")]
    SelfHosted,
    /// What the device that they describe sets aside.
    Altmap,
    /// The image of a free block, for all blocks on demand.
    Image,
    /// A page that their block on demand lends.
    Lent,
    /// A page of tails, for several compound pages, or for all pages of one.
    SharedTail,
    /// Several of these, in a range that is folded or a table that comes again.
    Mixed,
}
