//! Views of a machine that runs hotmap, read from outside: nothing but its physical memory and what `state` prints.
//!
//! ```text
//!  memory    blocks and devices, and the runs of pages in them, by use
//!  vmemmap   the pages of struct pages, and the frames that hold them
//!  walk      one translation, descriptor by descriptor, bit by bit
//!  tables    the tree of translation tables
//!  page      one struct page, field by field
//!      |
//!  struct_pages    what a struct page's 64 bytes say        descriptor, fields    what a descriptor's 64 bits say
//!      +--------------- translation: the walk from `root`, with the tables that it has read
//!                          |
//!                       memory: physical addresses to bytes
//! ```
//! No line is shared with the kernel: descriptors are decoded by the Arm ARM (DDI 0487, D8.2 and D8.3), struct pages by
//! docs/reference/memory-map.md. So a view that disagrees with what the kernel prints is a finding.
//!
//! The machine may be damaged: tables that lead nowhere or in circles, struct pages of garbage. A view marks what it cannot
//! read, and its time has a bound that does not depend on what it reads.

mod address;
mod budget;
mod descriptor;
mod error;
mod fields;
mod layout;
mod machine;
mod memory;
mod owner;
mod places;
mod spec;
mod struct_pages;
mod translation;
pub mod views;

pub use address::Address;
pub use descriptor::EntryType;
pub use error::{Fault, FaultKind, Unreadable, ViewError};
pub use fields::Field;
pub use hotmap_client::state::{BlockState, State};
pub use machine::{Machine, Target, Transit};
pub use memory::Memory;
pub use owner::Use;
