//! A booted machine: its console, its monitor, and the two kept in step.
//!
//! [`Guest`] is for conversations; [`run_to_end`] is for boots that do what `run="..."` says and power off.

mod batch;
mod hotplug;
mod record;
mod session;

pub use batch::{Finished, run_to_end};
pub use hotplug::{Plugged, Unplug};
pub use session::Guest;
