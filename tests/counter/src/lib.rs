//! A plugin for QEMU's TCG: it counts, by opcode, the instructions that cost a real CPU more than others, in any guest.
//!
//! ```text
//!  qemu-system-aarch64 ... -plugin libhotmap_counter.so,out=FILE[,window=NAME:ENTRY:FROM:TO]...
//! ```
//! ```text
//!  plugin    what QEMU calls: at load, for each translated block, at an instruction
//!  windows   when a count is written down: at a mark of hotmap's, or while a function of Linux's runs
//!  counts    the counters
//!  opcode    A64 instructions by what they cost
//!  abi       QEMU's functions
//! ```
//! A file uses what is below it. Each line of FILE is a name, and the counts since the start (`mark`) or in the window, as
//! `key=value`:
//!
//! - `mark N` for the Nth execution of `hint #112`, which hotmap's meter executes with `bench=on` (kernel/src/meter.rs);
//! - `window NAME` for a call of the function at ENTRY from the code in FROM..TO, until it returns there.
//!
//! Instructions are counted by translated block: where an exception leaves one in the middle, its rest is counted too.

#![cfg_attr(test, expect(dead_code, reason = "a test is not linked with QEMU: plugin and abi are missing"))]

#[cfg(not(test))]
mod abi;
mod counts;
mod opcode;
#[cfg(not(test))]
mod plugin;
mod windows;
