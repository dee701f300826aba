//! More than one CPU. The boot CPU alone changes the model; the others idle until it gives them a job.
//!
//! ```text
//!  plan      which CPUs of the device tree are started, and why the others are not
//!  start     PSCI CPU_ON, and the wait until they have reported in
//!  work      the jobs that the boot CPU posts in their mailboxes (hotmap-sync)
//!  signals   the interrupts between CPUs: wake up and look, stay where you are, stop
//! ```

pub mod plan;
#[cfg_attr(
    not(target_os = "none"),
    expect(dead_code, reason = "what other CPUs do has no caller on the host")
)]
pub mod signals;
pub mod start;
#[cfg_attr(
    not(target_os = "none"),
    expect(dead_code, reason = "what other CPUs do has no caller on the host")
)]
pub mod work;
