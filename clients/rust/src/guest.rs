//! A booted machine: its console and its monitor.
//!
//! [`Guest`] takes commands at the prompt; [`run_to_end`] boots a machine that runs `run="..."` and powers off.

mod batch;
mod hotplug;
mod record;
mod session;

pub use batch::{Finished, run_to_end, run_to_end_within};
pub use hotplug::{Plugged, Unplug};
pub use session::{Guest, Phase};

#[cfg(test)]
mod tests;
