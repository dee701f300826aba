//! The boot tests, the bench and the demo. They drive QEMU by the crate `hotmap-client`.
//!
//! | room | what happens there |
//! |---|---|
//! | [`eyes`] | memory and mappings as QEMU sees them |
//! | [`a64`] | instructions by their encodings, and QEMU's log of those that a run executed |
//! | [`fdt`] | device trees, written byte by byte |
//! | [`cases`] | the cases that every client passes |
//! | [`suite`], [`runner`], [`report`] | the tests; running them in parallel; their verdicts |
//! | [`schema`] | a validator for the schema of `state` |
//! | [`manifest`] | what can be tested, for programs that choose |
//! | [`options`], [`output`] | the command line; standard output that may close |
//! | [`bench`] | figures, and Linux's beside them |
//! | [`linux`] | Linux on the same QEMU, measured as hotmap is |
//! | [`demo`] | the life of a DIMM, narrated |

pub mod a64;
pub mod bench;
pub mod cases;
pub mod demo;
pub mod eyes;
pub mod fdt;
pub mod linux;
pub mod manifest;
pub mod options;
pub mod output;
pub mod report;
pub mod runner;
pub mod schema;
pub mod suite;
