//! A shared page of tails enters the tables and leaves them, as in kernel/mm: `write` stores an entry with Release and reads
//! with Acquire; paying a `TlbDebt` invalidates on every CPU and waits for it, before the frame underneath is used for
//! anything else (I5).
//!
//! Frames are numbered, and entry 0 is invalid. A CPU's TLB is one cached entry. An invalidation that is broadcast is a
//! request to each CPU, complete when all have dropped what they had cached: that is what a DSB after TLBI waits for.

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::AtomicU64;
use loom::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use loom::thread;

use crate::bounded;

const OLD: u64 = 1;
const SHARED: u64 = 2;
/// What every tail of one order holds.
const TAIL: u64 = 0x54;
/// What the old frame's next owner writes.
const FOREIGN: u64 = 0xbad;

#[derive(Default)]
struct Machine {
    /// The live entry of vmemmap.
    entry: AtomicU64,
    /// The words of frames OLD and SHARED.
    frames: [AtomicU64; 2],
    /// Uses of frame OLD, so that its reuse must come after all of them (loom reads no value before it is written, so a
    /// late load is seen by this alone).
    old: UnsafeCell<()>,
    /// The broadcast's number, and each CPU's answer.
    invalidate: AtomicU64,
    answers: [AtomicU64; 2],
}

impl Machine {
    fn frame(&self, number: u64) -> &AtomicU64 {
        &self.frames[usize::try_from(number - 1).expect("small")]
    }

    /// kernel/mm's `write`.
    fn write(&self, entry: u64) {
        self.entry.store(entry, Release);
    }

    /// kernel/mm's `TlbDebt`, when it is paid.
    fn pay(&self, cpus: usize) {
        self.invalidate.store(1, Release);
        for answer in &self.answers[..cpus] {
            while answer.load(Acquire) == 0 {
                thread::yield_now();
            }
        }
    }

    /// The old frame's next owner.
    fn reuse_old(&self) {
        self.frame(OLD).store(FOREIGN, Relaxed);
        self.old.with_mut(|_| ());
    }

    /// A reader: two reads through its TLB, which drops its entry only on an invalidation, then no more.
    fn read_twice(&self, cpu: usize) {
        let mut tlb = 0;
        for _ in 0..2 {
            if tlb == 0 {
                tlb = self.entry.load(Acquire);
            }
            if tlb != 0 {
                assert_eq!(self.frame(tlb).load(Relaxed), TAIL, "a tail is a tail");
            }
            if tlb == OLD {
                self.old.with(|_| ());
            }
            if self.invalidate.load(Acquire) == 1 {
                tlb = 0;
                self.answers[cpu].store(1, Release);
            }
        }
        self.answers[cpu].store(1, Release);
    }
}

/// The steps of an optimisation's switch; a test may leave one out.
#[derive(Clone, Copy, PartialEq)]
enum LeftOut {
    Nothing,
    Filling,
    Invalidation,
}

/// The switch RO -> RO: the entry leads to the old frame, then to the shared one with the same contents; then the old
/// frame has another owner.
fn switch(cpus: usize, left_out: LeftOut) {
    let machine = Arc::new(Machine::default());
    machine.frame(OLD).store(TAIL, Relaxed);
    machine.write(OLD);
    let readers: Vec<_> = (0..cpus)
        .map(|cpu| {
            let machine = machine.clone();
            thread::spawn(move || machine.read_twice(cpu))
        })
        .collect();
    if left_out != LeftOut::Filling {
        machine.frame(SHARED).store(TAIL, Relaxed);
    }
    machine.write(SHARED);
    if left_out != LeftOut::Invalidation {
        machine.pay(cpus);
    }
    machine.reuse_old();
    for reader in readers {
        reader.join().expect("a reader");
    }
}

/// An entry that was invalid leads to the shared tail: a reader that finds it sees it filled.
///
/// loom finds "a tail is a tail" (it reads 0) without Release in `write`, or Acquire in the walker's read.
#[test]
fn a_tail_that_is_found_is_filled() {
    loom::model(|| {
        let machine = Arc::new(Machine::default());
        let reader = thread::spawn({
            let machine = machine.clone();
            move || machine.read_twice(0)
        });
        machine.frame(SHARED).store(TAIL, Relaxed);
        machine.write(SHARED);
        reader.join().expect("the reader");
    });
}

/// Old frame or new, the contents are the same, and the old frame is not reused while a CPU can reach it.
///
/// loom finds a "Causality violation" of `old` without Release at `answers`, or Acquire in `pay`; "a tail is a tail" (it
/// reads 0) without Release in `write`, or with a relaxed request: the CPU has forgotten the old entry, and reads it again.
#[test]
fn a_switch_between_equal_frames_has_no_hole() {
    loom::model(|| switch(1, LeftOut::Nothing));
}

/// Two CPUs: both have answered before the frame goes.
#[test]
fn the_old_frame_waits_for_every_cpu() {
    bounded(2, || switch(2, LeftOut::Nothing));
}

#[test]
#[should_panic(expected = "Causality violation")]
fn without_the_invalidation_the_reused_frame_is_read() {
    loom::model(|| switch(1, LeftOut::Invalidation));
}

#[test]
#[should_panic(expected = "a tail is a tail")]
fn without_equal_contents_the_switch_is_seen() {
    loom::model(|| switch(1, LeftOut::Filling));
}

/// An invalidation that does not reach every CPU (TLBI without the inner-shareable suffix).
#[test]
#[should_panic(expected = "Causality violation")]
fn an_invalidation_of_one_cpu_is_not_enough_for_two() {
    loom::model(|| {
        let machine = Arc::new(Machine::default());
        machine.frame(OLD).store(TAIL, Relaxed);
        machine.write(OLD);
        let readers = [0, 1].map(|cpu| {
            let machine = machine.clone();
            thread::spawn(move || machine.read_twice(cpu))
        });
        machine.frame(SHARED).store(TAIL, Relaxed);
        machine.write(SHARED);
        machine.pay(1);
        machine.reuse_old();
        for reader in readers {
            reader.join().expect("a reader");
        }
    });
}
