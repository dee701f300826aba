//! The machine under the memory model: exceptions, drivers, the console and its line editor.
//!
//! What has no assembly in it (syndrome decoding, TLB plans, control-register values, line editing, the parsers of
//! device registers) compiles for the host too, where `cargo test -p hotmap-kernel` runs its tests.
#![cfg_attr(not(test), no_std)]

pub mod arch;
pub mod console;
pub mod drivers;
pub mod line;
