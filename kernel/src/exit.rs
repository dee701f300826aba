//! The end of a run: one line on the console that says the status and why, then the status itself: through a virtio console
//! with QEMU's testdev behind it, else by semihosting. Without either the machine is powered off by PSCI, and what the line
//! says is all that is left of the status; without PSCI this CPU waits for ever.
//!
//! ```text
//!   hotmap: exit 1: 2 of 5 commands of run= failed
//! ```

use core::fmt::Display;

#[cfg(target_os = "none")]
use crate::arch::{cpu, psci, semihosting};
#[cfg(target_os = "none")]
use crate::drivers::virtio;
use crate::{kprintln, script};

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

/// Ends the run with `status`, and says so, and why. A frame of `script=on` ends first, unless the run ends out of order.
pub fn exit(status: Status, why: impl Display) -> ! {
    if matches!(status, Status::Fine | Status::Failed) {
        script::end();
    }
    kprintln!("hotmap: exit {}: {why}", status as u32);
    #[cfg(target_os = "none")]
    if let Err((name, refusal)) = virtio::console::send(status as u32) {
        kprintln!("exit: {name}: {refusal}; the status does not go through it");
    }
    leave(status)
}

/// Ends the run with `status`, without the line: for when the console has failed.
///
/// Needs [`crate::exceptions::install`] first: without semihosting its trap is undefined.
#[cfg(target_os = "none")]
pub fn leave(status: Status) -> ! {
    // What it refuses cannot be said here, and was said unless the console has failed.
    let _ = virtio::console::send(status as u32);
    semihosting::exit(status as u32);
    psci::system_off();
    cpu::halt()
}

/// Ends the run with `status`: the host goes on.
///
/// # Panics
/// Always.
#[cfg(not(target_os = "none"))]
pub fn leave(status: Status) -> ! {
    panic!("the run ends with status {}", status as u32)
}
