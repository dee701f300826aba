//! vmemmap: the virtually mapped array of `struct Page`, what backs it, and how it comes and goes.
//!
//! ```text
//!  pfn            first_pfn          section n           section n+1
//!  vmemmap        |..................|######## memmap ###|..........
//!                                     one 2 MiB block (4K), 32 pages (16K), 8 pages (64K)
//!  backed by                          system RAM, the section's own first pages (altmap), or the image of a free block
//! ```

pub(crate) mod compound;
pub mod cost;
pub(crate) mod depopulate;
pub(crate) mod hosted;
pub(crate) mod image;
pub(crate) mod leaves;
pub(crate) mod populate;
pub mod sharing;
pub(crate) mod source;
mod tails;
