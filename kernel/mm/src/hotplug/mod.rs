//! Memory is added, goes online and offline, and is removed.
//!
//! ```text
//!  a source (DIMM slot, ...)
//!    -> range     HotRange::new validates
//!    -> add       add_memory      1 claim sections  2 map linearly  3 choose backing  4 populate vmemmap  5 initialise pages
//!    -> online    online_pages    6 join zone       7 go online
//!  and back:
//!    -> offline   offline_pages   isolate, migrate what is in use; 7 6
//!    -> add       remove_memory   5 4 3 2 1
//! ```

pub mod add;
pub mod home;
pub mod isolate;
mod node;
pub mod notify;
pub mod offline;
pub mod online;
mod part;
pub(crate) mod present;
pub mod range;
pub mod step;
pub(crate) mod undo;
