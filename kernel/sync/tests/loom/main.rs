//! The protocols under loom: every order of events, and for every load every value that the memory model allows.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p hotmap-sync --profile loom --test loom` (with its own `--target-dir`, or the flag
//! rebuilds everything). Without `--cfg loom` this is empty.
//!
//! The MMU is a stand-in: an entry is an atomic, and the walker reads it *relaxed*, which is less than the Arm ARM promises.
//! A test ends with the ways to break what it proves, each of which was tried: "without ..." names the ordering or the
//! step that was dropped, and loom's or the test's own words for what it found. Steps that a test can drop by itself are
//! tests too, which must fail.
#![cfg(loom)]

mod board;
mod demand;
mod mailbox;
mod publish;
mod readers;
mod window;

use hotmap_sync::cpu::Cpu;

fn cpu(index: usize) -> Cpu {
    Cpu::new(index).expect("below eight")
}

/// For three CPUs, or many steps: at most `preemptions` times a CPU is interrupted by another where it would have gone on.
/// (All orders would take minutes; values of loads are tried all the same.)
fn bounded(preemptions: usize, run: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(run);
}
