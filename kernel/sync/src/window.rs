//! The break-before-make window: a live entry is invalid for a moment, and the writer declares it beforehand.
//!
//! ```text
//!  writer                                      reader
//!  open(start, end)   generation odd           load from vmemmap: translation fault
//!  break the entry, TLBI, DSB                  fault(va): a window is open and covers va?
//!  write the entry, DSB                          yes: wait until the generation moves, retry the load
//!  close              generation even            no: does va translate now? then retry, else the fault is real
//! ```
//! A fault may be taken inside the window and handled after its end, so a closed window proves nothing. The handler asks
//! the MMU (AT S1E1R), and accepts "does not translate" only if the generation was the same before and after: then no
//! window was opened or closed in between, and none that covers the address was open.
//! - **A fault of a window is not taken for a real one.** A CPU that has seen the entry invalid sees the generation of that
//!   window or a later one; a CPU that has seen the window's end sees the new entry.
//! - **Nothing outside waits.** A fault outside the range does not wait for a close; the handler looks again only if a
//!   window opened or closed while it looked.
//!
//! The writer must not wait while a window is open: a reader that waits in it may be inside a section of
//! [`crate::readers`].

use crate::atomic::{Acquire, AtomicU64, Relaxed, Release, constructor, fence};
use crate::cpu::Cpu;
use crate::figures::{Clock, Counters, Figures};

/// How a reader handles its translation fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use = "a real fault must be reported"]
pub enum Verdict {
    /// Retry the access: a window caused the fault or may have caused it.
    Retry,
    /// No window caused it.
    Real,
}

/// Whether a reader has entered a stretched window.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use = "a window that no reader entered has shown nothing"]
pub enum Entry {
    /// A reader has faulted in it, and waits.
    Reader,
    /// No reader has within the bound, which proves nothing.
    Unknown,
}

/// A window was opened while another one was open.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AlreadyOpen;

/// The window: one for all of vmemmap.
#[derive(Debug)]
pub struct Window {
    /// Odd while open. It only grows, so that two windows differ.
    generation: AtomicU64,
    start: AtomicU64,
    end: AtomicU64,
    /// The generation of the last window that a reader waited in.
    entered: AtomicU64,
    counters: Counters,
}

const fn is_open(generation: u64) -> bool {
    generation % 2 == 1
}

impl Window {
    constructor! {
        /// No window.
        pub fn new() -> Self {
            Self {
                generation: AtomicU64::new(0),
                start: AtomicU64::new(0),
                end: AtomicU64::new(0),
                entered: AtomicU64::new(0),
                counters: Counters::new(),
            }
        }
    }

    /// Writer: opens the window at the time `now`: live entries of `start..end` are about to be broken.
    ///
    /// # Errors
    /// `AlreadyOpen`; nothing has changed.
    pub fn open(&self, start: u64, end: u64, now: Clock) -> Result<(), AlreadyOpen> {
        let closed = self.generation.load(Relaxed);
        if is_open(closed) {
            return Err(AlreadyOpen);
        }
        self.counters.opened(now);
        // Release: a CPU that reads these bounds also sees that the window before is closed.
        self.start.store(start, Release);
        self.end.store(end, Release);
        // Release: a CPU that sees the window open sees its bounds.
        self.generation.store(closed + 1, Release);
        // A CPU that sees an entry broken after this sees the window open.
        fence(Release);
        Ok(())
    }

    /// Writer: closes the window, after it has written the entries and their stores are complete (DSB ISHST: the walkers
    /// see them). Returns the window's length, or `None` if none was open.
    pub fn close(&self, now: Clock) -> Option<Clock> {
        let open = self.generation.load(Relaxed);
        if !is_open(open) {
            return None;
        }
        // Release: a CPU that sees the window closed sees the new entries.
        self.generation.store(open + 1, Release);
        Some(self.counters.closed(now))
    }

    /// For tests: keeps the open window open until a reader waits in it, for at most `turns` calls of `pause`.
    pub fn stretch(&self, turns: u64, mut pause: impl FnMut()) -> Entry {
        let open = self.generation.load(Relaxed);
        let entered = || is_open(open) && self.entered.load(Relaxed) == open;
        for _ in 0..turns {
            if entered() {
                return Entry::Reader;
            }
            pause();
        }
        if entered() { Entry::Reader } else { Entry::Unknown }
    }

    /// Excludes the stretch from the window's length.
    pub fn leave_out(&self, from: Clock, to: Clock) {
        self.counters.left_out(from, to);
    }

    /// Handles a translation fault of `cpu` on a read at `va`; called from its exception handler. `translates` asks the MMU
    /// about `va`; `pause` is called while waiting.
    ///
    /// `translates` must be ordered after the reads before it and before the reads after it: DSB ISH, ISB, AT S1E1R, ISB,
    /// then PAR_EL1.F (a load's order does not bind an AT's walk; context synchronisation does). The exception's entry
    /// synchronises too: what the faulting walk saw comes before what the handler reads.
    ///
    /// The writer's own fault does not wait, because it would wait for itself.
    pub fn fault(
        &self,
        cpu: Cpu,
        va: u64,
        mut translates: impl FnMut() -> bool,
        mut pause: impl FnMut(),
    ) -> Verdict {
        loop {
            // Acquire, with the Release in `close`: `translates` sees the new entries.
            let seen = self.generation.load(Acquire);
            if cpu != Cpu::BOOT && self.covers(seen, va) {
                self.entered.fetch_max(seen, Relaxed);
                while self.generation.load(Acquire) == seen {
                    pause();
                }
                self.counters.waited(cpu);
                return Verdict::Retry;
            }
            if translates() {
                self.counters.late(cpu);
                return Verdict::Retry;
            }
            // With the fence in `open`: a CPU that has seen an entry broken sees its window here.
            if self.is_still(seen) {
                return Verdict::Real;
            }
        }
    }

    /// Whether the window `seen` is open, unchanged while its bounds are read, and covers `va`.
    fn covers(&self, seen: u64, va: u64) -> bool {
        if !is_open(seen) {
            return false;
        }
        let (start, end) = (self.start.load(Relaxed), self.end.load(Relaxed));
        (start..end).contains(&va) && self.is_still(seen)
    }

    /// Whether the generation is still `seen`, so that the reads since then belong to it.
    fn is_still(&self, seen: u64) -> bool {
        fence(Acquire);
        self.generation.load(Relaxed) == seen
    }

    /// Whether a window is open, as the writer sees it.
    pub fn is_open(&self) -> bool {
        is_open(self.generation.load(Relaxed))
    }

    /// The counts, which are exact while no CPU reads or writes.
    pub fn figures(&self) -> Figures {
        self.counters.figures(self.generation.load(Relaxed) / 2)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::cpu::CPUS;
    use std::sync::Barrier;
    use std::thread;

    const fn at(ticks: u64, instructions: u64) -> Clock {
        Clock { ticks, instructions }
    }
    fn cpu(index: usize) -> Cpu {
        Cpu::new(index).expect("below eight")
    }
    const START: u64 = 0xffff_fdff_c000_0000;
    const END: u64 = START + 0x20_0000;

    #[test]
    fn the_longest_window_is_kept_for_each_clock() {
        let window = Window::new();
        for (from, to, length) in [
            (at(100, 1000), at(107, 1050), at(7, 50)),
            (at(200, 2000), at(203, 2090), at(3, 90)),
            (at(300, 3000), at(299, 3001), at(0, 1)),
        ] {
            window.open(START, END, from).expect("closed");
            assert_eq!(window.close(to), Some(length));
        }
        assert_eq!(window.figures(), Figures { windows: 3, longest: at(7, 90), ..Figures::default() });
    }

    #[test]
    fn what_a_window_was_stretched_by_is_none_of_its_length() {
        let window = Window::new();
        window.open(START, END, at(100, 1000)).expect("closed");
        window.leave_out(at(103, 1010), at(903, 5010));
        assert_eq!(window.close(at(907, 5050)), Some(at(7, 50)));
    }

    #[test]
    fn a_second_window_is_refused_and_the_first_stays() {
        let window = Window::new();
        assert_eq!(window.close(Clock::default()), None, "none is open");
        window.open(START, END, at(5, 0)).expect("closed");
        assert_eq!(window.open(0, 1, at(6, 0)), Err(AlreadyOpen));
        assert!(window.is_open());
        assert_eq!(window.close(at(9, 0)), Some(at(4, 0)), "since the first one");
    }

    #[test]
    fn outside_an_open_window_the_mmu_decides() {
        let window = Window::new();
        window.open(START, END, Clock::default()).expect("closed");
        let never = || panic!("nothing to wait for");
        for va in [START - 1, END] {
            assert_eq!(window.fault(cpu(3), va, || false, never), Verdict::Real);
            assert_eq!(window.fault(cpu(3), va, || true, never), Verdict::Retry);
        }
        let figures = window.figures();
        assert_eq!((figures.waited, figures.late), ([0; CPUS], [0, 0, 0, 2, 0, 0, 0, 0]));
    }

    #[test]
    fn the_first_and_the_last_byte_are_inside() {
        for va in [START, END - 1] {
            let window = Window::new();
            window.open(START, END, Clock::default()).expect("closed");
            let closing = || assert!(window.close(Clock::default()).is_some());
            let verdict = window.fault(cpu(1), va, || panic!("no need to ask"), closing);
            assert_eq!((verdict, window.figures().waited[1]), (Verdict::Retry, 1));
        }
    }

    #[test]
    fn the_writer_does_not_wait_for_itself() {
        let window = Window::new();
        window.open(START, END, Clock::default()).expect("closed");
        assert_eq!(window.fault(Cpu::BOOT, START, || false, || panic!("for ever")), Verdict::Real);
    }

    #[test]
    fn a_stretched_window_that_nobody_entered_is_unknown() {
        let window = Window::new();
        assert_eq!(window.stretch(3, || ()), Entry::Unknown, "no window");
        window.open(START, END, Clock::default()).expect("closed");
        let mut turns = 0;
        assert_eq!(window.stretch(3, || turns += 1), Entry::Unknown);
        assert_eq!(turns, 3);
    }

    #[test]
    fn every_reader_of_a_stretched_window_is_counted_once() {
        let (window, ready) = (Window::new(), Barrier::new(CPUS));
        window.open(START, END, Clock::default()).expect("closed");
        let inside = AtomicU64::new(0);
        thread::scope(|scope| {
            for reader in Cpu::secondaries() {
                let (window, ready, inside) = (&window, &ready, &inside);
                scope.spawn(move || {
                    ready.wait();
                    let mut first = true;
                    let pause = || {
                        inside.fetch_add(u64::from(core::mem::take(&mut first)), Relaxed);
                        thread::yield_now();
                    };
                    assert_eq!(window.fault(reader, START + 64, || false, pause), Verdict::Retry);
                });
            }
            ready.wait();
            assert_eq!(window.stretch(u64::MAX, thread::yield_now), Entry::Reader);
            while inside.load(Relaxed) < 7 {
                thread::yield_now();
            }
            assert!(window.close(Clock::default()).is_some());
        });
        assert_eq!(window.figures().waited, [0, 1, 1, 1, 1, 1, 1, 1]);
    }
}
