//! hotmap's memory model: memory that comes and goes, and the `struct Page` array that describes it.
//!
//! No assembly and no drivers: the kernel runs it on real tables, the test kit on an emulated machine, and both are audited
//! by the same code. Follow one range from [`hotplug::range`] through [`hotplug::steps`] to [`hotplug::online`].
#![no_std]

extern crate alloc;

pub mod addr;
pub mod audit;
pub mod boot;
pub mod buddy;
pub mod bugs;
pub mod compact;
pub mod device;
pub mod errno;
pub mod error;
pub mod faults;
pub mod granule;
pub mod hotplug;
pub mod hugetlb;
pub mod layout;
pub mod list;
pub mod machine;
pub mod memblock;
pub mod migrate;
pub mod model;
pub mod page;
pub mod pages;
pub mod paging;
pub mod pfn;
pub mod poison;
pub mod section;
pub mod tenant;
pub mod vmemmap;
pub mod zone;
