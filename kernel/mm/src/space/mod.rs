//! The kernel's address space: one descriptor format, one walker for every granule and level.
//!
//! ```text
//!  walk          visits the entries of a range; the one function that writes an entry
//!  table         KernelSpace: map, break and reap, translate
//!  visitors      what a walk does at an entry
//!  request       what is asked of the space, and what it gives back
//!  descriptor    the bits
//!  live_update   which changes of a live entry are legal (break-before-make)
//!  change        changes of live entries under readers
//!  shared        one frame mapped again and again
//!  flush         the TLB maintenance that a change needs
//!  dump          what is mapped, as runs
//! ```

pub mod change;
pub mod descriptor;
pub mod dump;
pub mod flush;
pub mod live_update;
pub mod request;
pub mod shared;
pub mod table;
mod visitors;
pub mod walk;
