//! hotmap's memory model: memory that comes and goes, and the `struct Page` array that describes it.
//!
//! No assembly and no drivers: the kernel runs it on real tables, the test kit on an emulated machine, and both are audited
//! by the same code. Follow one range from [`hotplug::range`] through [`hotplug::steps`] to [`hotplug::online`].
#![no_std]

extern crate alloc;

pub mod addr;
pub mod audit;
pub mod boot;
pub mod debug;
pub mod device;
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
pub mod vmemmap;
