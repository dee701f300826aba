//! Exceptions. Three kinds are expected, and execution continues after them:
//!
//! - the load of [`crate::arch::probe`] and the trap of [`crate::arch::semihosting`];
//! - a fault of a load from vmemmap while its tables change ([`crate::arch::fault`]);
//! - on a secondary CPU, an IRQ: a signal of another CPU ([`crate::cpus::signals`]). The boot CPU polls, with DAIF.I set.
//!
//! Any other exception ends the run, on every CPU, with one report and exit status 2. So does a panic.
//!
//! ```text
//!  vectors --> entry --> report <-- panic
//! ```
//! These files are above those whose exceptions they handle: a call begins at the vectors, and nothing below calls them.

mod entry;
mod frame;
mod panic;
mod report;
mod vectors;

pub use report::set_kernel_stack;
pub use vectors::install;
