//! hotmap's memory model: memory that comes and goes, and the `struct Page` array that describes it.
//!
//! It has no assembly and no drivers: the kernel runs it on real tables, the test kit on an emulated machine, and the same
//! auditor checks both.
//!
//! ```text
//!  addr, pfn, granule, error, machine     values, the granules' table, refusals, what a machine can do
//!    v
//!  entry      one entry of a translation table: its bits, which changes are legal, the one writer
//!    v
//!  frame      Frames: struct pages, sections, blocks, zones, free lists, altmaps, counts
//!    v
//!  space      KernelSpace: the translation tables
//!    v
//!  migrate    move a page in use; compact; tenants, whose pages move
//!  vmemmap    populate and depopulate the memmap of a range
//!    v
//!  hotplug    add, online, offline, remove      device   memremap, kmem      hugetlb   pools, HVO
//!    v
//!  mm         Mm: all of it in one value, and its public operations
//!  audit      reads everything                  debug    faults on purpose, behind named hooks
//! ```
//! Arrows go down only, and no file imports another in a circle (`scripts/check-circles`).
//!
//! Added memory goes through seven steps, each with an inverse: [`add_memory`](mm::Mm::add_memory) does 1 to 5,
//! [`online_pages`](mm::Mm::online_pages) 6 and 7. Begin reading there.
#![no_std]

extern crate alloc;

pub mod addr;
pub mod audit;
pub mod boot;
pub mod debug;
pub mod device;
pub mod entry;
pub mod errno;
pub mod error;
pub mod frame;
pub mod granule;
pub mod hotplug;
pub mod hugetlb;
pub mod layout;
pub mod list;
pub mod machine;
pub mod memblock;
pub mod migrate;
pub mod mm;
pub mod pfn;
mod pin;
pub mod poison;
pub mod space;
pub mod stop;
pub mod vmemmap;
