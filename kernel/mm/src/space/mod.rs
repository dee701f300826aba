//! The kernel's address space: one walker for every granule and level.
//!
//! ```text
//!  walk          visits the entries of a range
//!  table         KernelSpace: map, break and reap, translate
//!  visitors      what a walk does at an entry
//!  request       what is asked of the space, and what it gives back
//!  change        changes of live entries under readers
//!  exchange      pages that get other frames, many at once
//!  image         the memmap of free blocks on demand
//!  shared        one frame mapped again and again
//!  dump          what is mapped, as runs
//! ```

pub mod change;
pub mod dump;
pub mod exchange;
mod image;
pub mod request;
pub mod shared;
pub mod table;
mod visitors;
pub mod walk;
