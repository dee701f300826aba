//! The end of a run: one line on the console that says the status and why, then the status itself, by semihosting. Without
//! that the machine is powered off by PSCI, and what the line says is all that is left of the status; without PSCI this CPU
//! waits for ever.
//!
//! ```text
//!   hotmap: exit 1: 2 of 5 commands of run= failed
//! ```

use core::fmt::Display;

use crate::arch::{cpu, psci, semihosting};
use crate::kprintln;

/// The exit status of a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Status {
    /// Everything asked for succeeded.
    Fine = 0,
    /// A command or a self-test failed.
    Failed = 1,
    /// A panic, an unexpected exception, or a boot that cannot go on.
    Crashed = 2,
    /// The machine lacks what was asked for.
    Unsupported = 3,
}

/// Ends the run with `status`, and says so, and why.
pub fn exit(status: Status, why: impl Display) -> ! {
    kprintln!("hotmap: exit {}: {why}", status as u32);
    leave(status)
}

/// Ends the run with `status`, without the line: for when the console has failed.
///
/// Needs [`crate::exceptions::install`] first: without semihosting its trap is undefined.
pub fn leave(status: Status) -> ! {
    semihosting::exit(status as u32);
    psci::system_off();
    cpu::halt()
}
