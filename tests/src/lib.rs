//! Drives QEMU from outside: the boot tests, the bench and the demo are its three uses.
//!
//! | room | what happens there |
//! |---|---|
//! | [`machine`], [`qemu`] | typed options for `scripts/qemu`; one process and its end |
//! | [`serial`], [`shell`] | the console to its last byte; a conversation at the prompt |
//! | [`qmp`], [`dimm`], [`eyes`] | QEMU's control socket; DIMMs that come and go; what QEMU itself sees |
//! | [`state`], [`geometry`] | the guest's claims, typed; the design's numbers, written down independently |
//! | [`ktap`] | the kernel's self-test plan, strictly read |
//! | [`guest`] | all of it together: a booted machine |
//! | [`suite`], [`runner`], [`report`] | the tests themselves; side by side; a line for each |
//! | [`options`], [`output`] | the command line; standard output that may close |
//! | [`bench`] | figures, and Linux's beside them |
//! | [`demo`] | the life of a DIMM, told |

pub mod bench;
pub mod demo;
pub mod dimm;
pub mod eyes;
pub mod fdt;
pub mod geometry;
pub mod guest;
pub mod ktap;
pub mod machine;
pub mod options;
pub mod output;
pub mod patience;
pub mod qemu;
pub mod qmp;
pub mod report;
pub mod run;
pub mod runner;
pub mod serial;
pub mod shell;
pub mod state;
pub mod suite;
pub mod trouble;
