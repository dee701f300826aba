//! Memory that comes and goes. One range's way is [`steps`]; removal is that list backwards.
//!
//! ```text
//!  a source (DIMM slot, ...)
//!    -> range     HotRange::new: the only validation
//!    -> steps     1 claim sections  2 map linearly  3 choose backing  4 populate vmemmap  5 initialise pages
//!                 6 join zone       7 go online
//!  and back:
//!       offline   isolate, migrate what is in use
//!    -> steps     7 6 5 4 3 2 1
//! ```

pub mod add;
mod backing;
pub mod home;

pub mod isolate;
mod node;
pub mod notify;
pub mod offline;
pub mod online;
mod present;
pub mod range;
pub mod step;
pub(crate) mod undo;
