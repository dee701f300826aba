//! Memory that comes and goes. One range's way, in [`steps`]; each step has its inverse, and removal is the list backwards.
//!
//! ```text
//!  a source (DIMM slot, ...)
//!    -> range     HotRange::new: the only validation
//!    -> steps     1 claim sections  2 map linearly  3 choose backing  4 populate vmemmap  5 initialise pages
//!    -> online    6 join the zone   7 online to the buddy allocator
//!  and back:      offline (migrates what is in use), then 5 4 3 2 1
//! ```

pub mod block;
pub mod offline;
pub mod online;
pub mod range;
pub mod steps;
