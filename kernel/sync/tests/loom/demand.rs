//! Memmap on demand under readers, as in kernel/mm (frame/demand): a memmap page gets a frame of its own, loses it, and a
//! block becomes the image again.
//!
//! ```text
//!   populate    image, read-only -> own, read-only; TLBI on every CPU -> own, writable; TLBI here -> a head is written
//!   give back   own, zero -> own, read-only; TLBI -> image, read-only; TLBI -> the frame has another owner
//!   collapse    in a window: own -> broken; TLBI -> image; the window closes, and the frame has another owner
//! ```
//! Each CPU has a TLB of one entry, which it drops only when an invalidation reaches it; the writer is CPU 0. An entry is a
//! frame's number times two, and 1 if it is writable. A broadcast is complete when each CPU has answered.

use hotmap_sync::figures::Clock;
use hotmap_sync::window::{Verdict, Window};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::AtomicU64;
use loom::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use loom::thread;

use crate::{bounded, cpu};

const IMAGE: u64 = 2;
const OWN: u64 = 4;
const WRITABLE: u64 = 1;
/// What a struct page says in which a run begins; all others are zero.
const HEAD: u64 = 0x901;
/// What the frame's next owner writes.
const FOREIGN: u64 = 0xbad;
/// The addresses of the window.
const PAGE: u64 = 0x1000;

/// A step that a test leaves out.
#[derive(Clone, Copy, PartialEq)]
enum LeftOut {
    Nothing,
    ClearingTheFrame,
    FirstInvalidation,
    SecondInvalidation,
}
use LeftOut::{ClearingTheFrame, FirstInvalidation, Nothing, SecondInvalidation};

/// What the writer runs into.
type Result = core::result::Result<(), &'static str>;

struct Machine {
    window: Window,
    entry: AtomicU64,
    /// A struct page in the image's frame, and in the page's own.
    frames: [AtomicU64; 2],
    /// Uses of the own frame, so that its reuse must come after all of them.
    own: UnsafeCell<()>,
    tlbs: [AtomicU64; 3],
    invalidate: AtomicU64,
    answers: [AtomicU64; 3],
    /// The head has been written: other memory leads to it now.
    published: AtomicU64,
}

impl Machine {
    fn new(entry: u64) -> Arc<Self> {
        let zeroes = || core::array::from_fn(|_| AtomicU64::new(0));
        Arc::new(Self {
            window: Window::new(),
            entry: AtomicU64::new(entry),
            // Memory that had another owner before.
            frames: [AtomicU64::new(0), AtomicU64::new(if entry == IMAGE { FOREIGN } else { 0 })],
            own: UnsafeCell::new(()),
            tlbs: zeroes(),
            invalidate: AtomicU64::new(0),
            answers: zeroes(),
            published: AtomicU64::new(0),
        })
    }

    fn frame(&self, entry: u64) -> &AtomicU64 {
        &self.frames[if entry & !WRITABLE == IMAGE { 0 } else { 1 }]
    }

    /// A CPU takes an invalidation, if there is one for it.
    fn answer(&self, cpu: usize) {
        let asked = self.invalidate.load(Acquire);
        if self.answers[cpu].load(Relaxed) < asked {
            self.tlbs[cpu].store(0, Relaxed);
            self.answers[cpu].store(asked, Release);
        }
    }

    /// What a CPU's access to the struct page uses.
    fn translate(&self, who: usize) -> u64 {
        let cached = self.tlbs[who].load(Relaxed);
        if cached != 0 {
            return cached;
        }
        loop {
            let entry = self.entry.load(Acquire);
            if entry != 0 {
                self.tlbs[who].store(entry, Relaxed);
                return entry;
            }
            let pause = || {
                self.answer(who);
                thread::yield_now();
            };
            let verdict = self.window.fault(cpu(who), PAGE, || self.entry.load(Relaxed) != 0, pause);
            assert_eq!(verdict, Verdict::Retry, "a hole");
        }
    }

    /// Reads the struct page, on another CPU.
    fn read(&self, who: usize) {
        let published = self.published.load(Acquire) == 1;
        let entry = self.translate(who);
        let says = self.frame(entry).load(Relaxed);
        if entry & !WRITABLE == OWN {
            self.own.with(|_| ());
        }
        assert!(says == 0 || says == HEAD, "neither a head nor a tail: {says:#x}");
        assert!(!published || says == HEAD, "a head that was published is not there");
    }

    /// A reader that reads twice, and drops what it has cached when it is asked to.
    fn reads(&self, who: usize) {
        for _ in 0..2 {
            self.read(who);
            self.answer(who);
        }
        self.tlbs[who].store(0, Relaxed);
        self.answers[who].store(u64::MAX, Release);
    }

    /// Writes the struct page, on the writer's CPU.
    fn write(&self, says: u64) -> Result {
        let entry = self.translate(0);
        if entry & WRITABLE == 0 {
            return Err("a store faults");
        }
        self.frame(entry).store(says, Relaxed);
        Ok(())
    }

    /// An entry in place of one that is valid. Another frame is legal only while no CPU can write through the old entry.
    fn switch(&self, entry: u64) -> Result {
        for tlb in &self.tlbs {
            let cached = tlb.load(Relaxed);
            if cached & WRITABLE != 0 && cached & !WRITABLE != entry & !WRITABLE {
                return Err("the address changes under a writable translation");
            }
        }
        self.entry.store(entry, Release);
        Ok(())
    }

    fn invalidate(&self, readers: usize) {
        self.tlbs[0].store(0, Relaxed);
        let asked = self.invalidate.load(Relaxed) + 1;
        self.invalidate.store(asked, Release);
        for answer in &self.answers[1..=readers] {
            while answer.load(Acquire) < asked {
                thread::yield_now();
            }
        }
    }

    fn populate(&self, readers: usize, left_out: LeftOut) -> Result {
        // The writer has looked at the struct page as well.
        self.translate(0);
        if left_out != ClearingTheFrame {
            self.frame(OWN).store(0, Relaxed);
        }
        self.switch(OWN)?;
        if left_out != FirstInvalidation {
            self.invalidate(readers);
        }
        self.translate(0);
        self.switch(OWN | WRITABLE)?;
        if left_out != SecondInvalidation {
            // On this CPU: what other CPUs have cached is right, and they do not write.
            self.tlbs[0].store(0, Relaxed);
        }
        self.write(HEAD)?;
        self.published.store(1, Release);
        Ok(())
    }

    fn give_back(&self, readers: usize, left_out: LeftOut) -> Result {
        self.write(0)?;
        self.switch(OWN)?;
        if left_out != FirstInvalidation {
            self.invalidate(readers);
        }
        self.switch(IMAGE)?;
        if left_out != SecondInvalidation {
            self.invalidate(readers);
        }
        self.reuse();
        Ok(())
    }

    fn collapse(&self, readers: usize, left_out: LeftOut) -> Result {
        self.window.open(PAGE, 2 * PAGE, Clock::default()).expect("closed");
        self.entry.store(0, Release);
        if left_out != FirstInvalidation {
            self.invalidate(readers);
        }
        self.entry.store(IMAGE, Release);
        self.window.close(Clock::default()).expect("open");
        self.reuse();
        Ok(())
    }

    /// The own frame has another owner.
    fn reuse(&self) {
        self.own.with_mut(|_| ());
        self.frame(OWN).store(FOREIGN, Relaxed);
    }
}

/// `write` beside readers, which began before; a block that had its own page had a head in it.
fn beside(readers: usize, entry: u64, write: impl Fn(&Machine) -> Result) {
    let machine = Machine::new(entry);
    if entry != IMAGE {
        machine.frame(OWN).store(HEAD, Relaxed);
    }
    let threads: Vec<_> = (1..=readers)
        .map(|who| {
            let machine = machine.clone();
            thread::spawn(move || machine.reads(who))
        })
        .collect();
    let written = write(&machine);
    threads.into_iter().for_each(|thread| thread.join().expect("a reader"));
    written.expect("the writer");
}

fn populate(readers: usize, left_out: LeftOut) {
    bounded(3, move || beside(readers, IMAGE, |machine| machine.populate(readers, left_out)));
}
fn give_back(readers: usize, left_out: LeftOut) {
    bounded(3, move || beside(readers, OWN | WRITABLE, |machine| machine.give_back(readers, left_out)));
}
fn collapse(readers: usize, left_out: LeftOut) {
    bounded(3, move || beside(readers, OWN | WRITABLE, |machine| machine.collapse(readers, left_out)));
}

#[test]
fn a_page_is_populated_under_a_reader() {
    populate(1, Nothing);
}
#[test]
fn a_page_is_given_back_under_a_reader() {
    give_back(1, Nothing);
}
#[test]
fn a_block_collapses_under_a_reader() {
    collapse(1, Nothing);
}
#[test]
fn every_reader_answers_before_the_next_step() {
    bounded(1, || beside(2, IMAGE, |machine| machine.populate(2, Nothing)));
    bounded(1, || beside(2, OWN | WRITABLE, |machine| machine.give_back(2, Nothing)));
}

#[test]
#[should_panic(expected = "neither a head nor a tail")]
fn without_clearing_what_the_frame_held_is_seen() {
    populate(1, ClearingTheFrame);
}
/// The reader goes on to look at the image.
#[test]
#[should_panic(expected = "a head that was published is not there")]
fn populating_without_the_broadcast_hides_the_head() {
    populate(1, FirstInvalidation);
}
#[test]
#[should_panic(expected = "a store faults")]
fn populating_without_the_local_invalidation_faults() {
    populate(1, SecondInvalidation);
}
#[test]
#[should_panic(expected = "the address changes under a writable translation")]
fn giving_back_without_the_first_broadcast_breaks_the_architectures_rule() {
    give_back(1, FirstInvalidation);
}
#[test]
#[should_panic(expected = "Causality violation")]
fn giving_back_without_the_second_broadcast_reads_the_next_owners_memory() {
    give_back(1, SecondInvalidation);
}
#[test]
#[should_panic(expected = "Causality violation")]
fn collapsing_without_the_broadcast_reads_the_next_owners_memory() {
    collapse(1, FirstInvalidation);
}
/// A broadcast that reaches one of two CPUs.
#[test]
#[should_panic(expected = "a head that was published is not there")]
fn a_broadcast_to_one_cpu_is_not_enough_for_two() {
    bounded(2, || beside(2, IMAGE, |machine| machine.populate(1, Nothing)));
}
