//! Break-before-make windows: `entry` is the live entry, 0 while it is broken, and the reader's address is `INSIDE`.

use hotmap_sync::figures::Clock;
use hotmap_sync::window::{Entry, Verdict, Window};
use loom::sync::Arc;
use loom::sync::atomic::AtomicU64;
use loom::sync::atomic::Ordering::{Acquire, Relaxed};
use loom::thread;

use crate::{bounded, cpu};

const START: u64 = 0x1000;
const END: u64 = 0x2000;
const INSIDE: u64 = 0x1040;
const OUTSIDE: u64 = 0x2000;

struct Machine {
    window: Window,
    entry: AtomicU64,
}

impl Machine {
    fn new() -> Arc<Self> {
        Arc::new(Self { window: Window::new(), entry: AtomicU64::new(1) })
    }

    /// The writer breaks the entry and writes the new one, with stores that order nothing by themselves.
    fn change(&self, new: u64) {
        self.window.open(START, END, Clock::default()).expect("closed");
        self.entry.store(0, Relaxed);
        self.entry.store(new, Relaxed);
        self.window.close(Clock::default()).expect("open");
    }

    fn translates(&self) -> bool {
        self.entry.load(Relaxed) != 0
    }

    /// A reader's access: translated, or retried, or a real fault.
    fn read(&self, reader: usize, va: u64) -> Verdict {
        while !self.translates() {
            match self.window.fault(cpu(reader), va, || self.translates(), thread::yield_now) {
                Verdict::Retry => (),
                Verdict::Real => return Verdict::Real,
            }
        }
        Verdict::Retry
    }

    fn access(&self, reader: usize) {
        assert_eq!(self.read(reader, INSIDE), Verdict::Retry, "a window's fault is not a real one");
    }
}

/// One window: the reader may come before, inside and after it.
///
/// loom finds "a window's fault is not a real one" without each of: the fence in `open` (the entry is seen broken, the
/// window is not); Release in `close`, or Acquire at `seen` (the window is seen closed, the new entry is not); the last look
/// at the generation. Without Acquire in the wait for the close it finds "one retry is enough".
#[test]
fn no_fault_of_a_window_is_taken_for_a_real_one() {
    loom::model(|| {
        let machine = Machine::new();
        let reader = thread::spawn({
            let machine = machine.clone();
            move || machine.access(1)
        });
        machine.change(2);
        reader.join().expect("the reader");
        let figures = machine.window.figures();
        assert!(figures.waited[1] + figures.late[1] <= 1, "one retry is enough for one window");
    });
}

/// Two windows one after the other, the first of them open: its fault may be looked at in, between or after them.
///
/// loom finds "a window's fault is not a real one" without the last look at the generation, or its fence: the second
/// window opens after the first look and before the translation.
#[test]
fn a_fault_that_is_looked_at_in_the_next_window_is_not_a_real_one() {
    bounded(3, || {
        let machine = Machine::new();
        machine.window.open(START, END, Clock::default()).expect("closed");
        machine.entry.store(0, Relaxed);
        let reader = thread::spawn({
            let machine = machine.clone();
            move || machine.access(1)
        });
        machine.entry.store(2, Relaxed);
        machine.window.close(Clock::default()).expect("open");
        machine.change(3);
        reader.join().expect("the reader");
    });
}

/// Two readers, one window: a fault inside retries and a fault outside is real, whatever the other reader does.
#[test]
fn readers_do_not_disturb_each_other() {
    bounded(2, || {
        let machine = Machine::new();
        let inside = thread::spawn({
            let machine = machine.clone();
            move || machine.access(1)
        });
        let outside = thread::spawn({
            let machine = machine.clone();
            move || machine.window.fault(cpu(2), OUTSIDE, || false, || panic!("waits outside"))
        });
        machine.change(2);
        inside.join().expect("a reader");
        assert_eq!(outside.join().expect("a reader"), Verdict::Real);
        assert_eq!(machine.window.figures().waited[2], 0);
    });
}

/// A window that is not declared: the fault is real, and the reader says so. (Declaring is not a formality.)
#[test]
#[should_panic(expected = "a window's fault is not a real one")]
fn without_open_the_fault_is_real() {
    loom::model(|| {
        let machine = Machine::new();
        let reader = thread::spawn({
            let machine = machine.clone();
            move || machine.access(1)
        });
        machine.entry.store(0, Relaxed);
        machine.entry.store(2, Relaxed);
        reader.join().expect("the reader");
    });
}

/// The window closed before the entry is made again.
#[test]
#[should_panic(expected = "a window's fault is not a real one")]
fn closed_too_early_the_fault_is_real() {
    loom::model(|| {
        let machine = Machine::new();
        let reader = thread::spawn({
            let machine = machine.clone();
            move || machine.access(1)
        });
        machine.window.open(START, END, Clock::default()).expect("closed");
        machine.entry.store(0, Relaxed);
        machine.window.close(Clock::default()).expect("open");
        machine.entry.store(2, Relaxed);
        reader.join().expect("the reader");
    });
}

/// An address that no window covers and nothing maps, while the range that windows cover moves: first far below it, then
/// far above it. The bounds of the two together would cover it.
///
/// loom finds "waits for a window that does not cover it" (start of the first, end of the second) without the generation's
/// check in `covers`, or with a relaxed store of the end or of the generation in `open`.
#[test]
fn a_fault_outside_is_real_and_never_waits() {
    loom::model(|| {
        let window = Arc::new(Window::new());
        window.open(START, END, Clock::default()).expect("closed");
        let reader = thread::spawn({
            let window = window.clone();
            move || {
                let waits = || panic!("waits for a window that does not cover it");
                assert_eq!(window.fault(cpu(1), OUTSIDE, || false, waits), Verdict::Real);
                assert_eq!(window.figures().waited, [0; 8], "counted as a retry");
            }
        });
        window.close(Clock::default()).expect("open");
        window.open(END + 0x1000, END + 0x2000, Clock::default()).expect("closed");
        reader.join().expect("the reader");
    });
}

/// A stretched window ends, and `Reader` is only said of a reader that waited in it.
#[test]
fn a_stretched_window_knows_its_reader() {
    loom::model(|| {
        let machine = Machine::new();
        let reader = thread::spawn({
            let machine = machine.clone();
            move || machine.access(1)
        });
        machine.window.open(START, END, Clock::default()).expect("closed");
        machine.entry.store(0, Relaxed);
        let entry = machine.window.stretch(2, thread::yield_now);
        machine.entry.store(2, Relaxed);
        machine.window.close(Clock::default()).expect("open");
        reader.join().expect("the reader");
        if entry == Entry::Reader {
            assert_eq!(machine.window.figures().waited[1], 1, "it waited");
        }
    });
}

/// A reader that waits in one window is not taken for an entry into the next, which does not cover its address.
///
/// With a flag in place of the generation in `entered`, loom finds "no reader can be in it". With a relaxed store of the
/// start in `open` it finds "a window's fault is not a real one": the new start is taken for the old window's.
#[test]
fn an_entry_belongs_to_one_window() {
    bounded(3, || {
        let machine = Machine::new();
        let reader = thread::spawn({
            let machine = machine.clone();
            move || machine.access(1)
        });
        machine.change(2);
        machine.window.open(END, END + 0x1000, Clock::default()).expect("closed");
        assert_eq!(machine.window.stretch(1, thread::yield_now), Entry::Unknown, "no reader can be in it");
        machine.window.close(Clock::default()).expect("open");
        reader.join().expect("the reader");
    });
}

/// The two ends that the stretch can have are both reached: `Reader` is not a word only.
#[test]
fn a_reader_can_enter_and_can_stay_out() {
    static SEEN: std::sync::Mutex<[bool; 2]> = std::sync::Mutex::new([false; 2]);
    loom::model(|| {
        let machine = Machine::new();
        let broken = Arc::new(AtomicU64::new(0));
        let reader = thread::spawn({
            let (machine, broken) = (machine.clone(), broken.clone());
            move || {
                if broken.load(Acquire) == 1 {
                    machine.access(1);
                }
            }
        });
        machine.window.open(START, END, Clock::default()).expect("closed");
        machine.entry.store(0, Relaxed);
        broken.store(1, loom::sync::atomic::Ordering::Release);
        let entry = machine.window.stretch(2, thread::yield_now);
        machine.entry.store(2, Relaxed);
        machine.window.close(Clock::default()).expect("open");
        reader.join().expect("the reader");
        SEEN.lock().expect("not poisoned")[usize::from(entry == Entry::Reader)] = true;
    });
    assert_eq!(*SEEN.lock().expect("not poisoned"), [true; 2]);
}
