//! More than one CPU. The boot CPU alone changes the model; the others idle until it gives them a job.
//!
//! ```text
//!  plan      which CPUs of the device tree are started, and why the others are not
//!  start     PSCI CPU_ON, and the wait until they have reported in
//!  work      the jobs that the boot CPU posts in their mailboxes (hotmap-sync)
//!  signals   the interrupts between CPUs: wake up and look, stay where you are, stop
//! ```

pub mod plan;
#[cfg(target_os = "none")]
pub mod signals;
#[cfg(target_os = "none")]
pub mod start;
#[cfg(target_os = "none")]
pub mod work;
