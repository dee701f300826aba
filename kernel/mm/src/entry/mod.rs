//! One entry of a translation table. Whatever writes an entry that a walk can reach writes it here.
//!
//! ```text
//!  descriptor    the bits
//!  live_update   which changes of a live entry are legal (break-before-make)
//!  slot          where an entry is; reading and writing it
//!  flush         the TLB maintenance that a change needs
//! ```

pub mod descriptor;
pub mod flush;
pub mod live_update;
pub mod slot;
