//! Translation tables: one descriptor format, one walker for every granule and level.
//!
//! `walk` visits entries; `table` is what can be done with tables; `descriptor` knows the bits; `live_update` knows which
//! changes of a live entry are legal, and `change` makes them under readers; `shared` maps one frame over and over; `flush` is
//! the TLB maintenance that a change needs; `dump` describes what is mapped.

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
