//! Drives QEMU from outside, for the boot tests, the bench and the demo.
//!
//! | room | what happens there |
//! |---|---|
//! | [`machine`], [`qemu`] | typed options of `scripts/qemu`; one QEMU process and its exit status |
//! | [`serial`], [`shell`] | the serial console; commands and replies at the prompt |
//! | [`qmp`], [`dimm`], [`eyes`] | QEMU's control socket; DIMMs; memory and mappings as QEMU sees them |
//! | [`a64`] | instructions by their encodings, and QEMU's log of those that a run executed |
//! | [`state`], [`geometry`] | `state` as types; the numbers per granule, written down independently of the kernel |
//! | [`ktap`] | the output of the kernel's self-tests |
//! | [`guest`] | a booted machine |
//! | [`suite`], [`runner`], [`report`] | the tests; running them in parallel; their verdicts |
//! | [`options`], [`output`] | the command line; standard output that may close |
//! | [`bench`] | figures, and Linux's beside them |
//! | [`demo`] | the life of a DIMM, narrated |

pub mod a64;
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
pub mod vmem;
