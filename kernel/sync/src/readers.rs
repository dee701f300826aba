//! Readers' sections, and the writer's wait for their end: a grace period.
//!
//! The writer withdraws something from where readers find it, calls [`Readers::synchronize`], and then changes it: readers
//! that were in a section have left, and readers that enter later cannot find it.
//!
//! ```text
//!  reader   count odd . SeqCst fence . look and use ................ count even (Release)
//!  writer   take away . SeqCst fence . a count is odd? wait until it moves (Acquire) . reuse
//! ```
//! Either the writer sees the reader inside, or the reader sees that the thing is withdrawn: with a SeqCst fence (DMB ISH on
//! arm64) between the store and the load on both sides, at least one of the loads sees the other's store. Readers that
//! enter later are not waited for.

use core::marker::PhantomData;

use crate::atomic::{Acquire, AtomicU64, Relaxed, Release, SeqCst, constructor, fence, zeroes};
use crate::cpu::{CPUS, Cpu};

/// The readers: one count for each CPU, odd while it is in a section.
#[derive(Debug)]
pub struct Readers {
    counts: [AtomicU64; CPUS],
}

/// A reader's section, which ends when this is dropped. What was found inside must not be used outside.
#[derive(Debug)]
#[must_use = "dropped at once, it protects nothing"]
pub struct Inside<'a> {
    /// The count and its value, in the outermost section only; nested ones change nothing.
    outermost: Option<(&'a AtomicU64, u64)>,
    /// A section belongs to the CPU that entered it.
    stays: PhantomData<*const ()>,
}

impl Readers {
    constructor! {
        /// No CPU is in a section.
        pub fn new() -> Self {
            Self { counts: zeroes() }
        }
    }

    /// Begins a section of `cpu`. Sections nest. `cpu` itself calls this, and not from an interrupt handler.
    pub fn enter(&self, cpu: Cpu) -> Inside<'_> {
        let count = &self.counts[cpu.index()];
        let before = count.load(Relaxed);
        if before % 2 == 1 {
            return Inside { outermost: None, stays: PhantomData };
        }
        // Release: the writer may see this store instead of the one that ended the section before.
        count.store(before + 1, Release);
        fence(SeqCst);
        Inside { outermost: Some((count, before + 1)), stays: PhantomData }
    }

    /// Writer: waits until every reader that is in a section now has left it, calling `pause` with the CPU it waits for.
    ///
    /// It does not wait for the boot CPU, which is the writer itself.
    pub fn synchronize(&self, mut pause: impl FnMut(Cpu)) {
        fence(SeqCst);
        for cpu in Cpu::secondaries() {
            let count = &self.counts[cpu.index()];
            // Acquire: what the reader did inside happens before what the writer does next.
            let seen = count.load(Acquire);
            while seen % 2 == 1 && count.load(Acquire) == seen {
                pause(cpu);
            }
        }
    }

    /// The number of sections that a CPU has left.
    pub fn sections(&self, cpu: Cpu) -> u64 {
        self.counts[cpu.index()].load(Relaxed) / 2
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        if let Some((count, odd)) = self.outermost {
            // Release: the reads of the section come before.
            count.store(odd + 1, Release);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::thread;

    fn cpu(index: usize) -> Cpu {
        Cpu::new(index).expect("below eight")
    }

    #[test]
    fn nobody_inside_means_no_wait() {
        let readers = Readers::new();
        drop(readers.enter(cpu(1)));
        readers.synchronize(|cpu| panic!("waits for {cpu:?}"));
        assert_eq!((readers.sections(cpu(1)), readers.sections(cpu(2))), (1, 0));
    }

    #[test]
    fn a_nested_section_ends_with_the_outermost() {
        let readers = Readers::new();
        let outer = readers.enter(cpu(1));
        drop(readers.enter(cpu(1)));
        let mut waited = 0;
        let mut outer = Some(outer);
        readers.synchronize(|for_whom| {
            assert_eq!(for_whom, cpu(1));
            waited += 1;
            if waited == 3 {
                outer = None;
            }
        });
        assert_eq!((waited, readers.sections(cpu(1))), (3, 1));
    }

    #[test]
    fn who_left_and_entered_again_is_not_waited_for() {
        let readers = Readers::new();
        let mut inside = Some(readers.enter(cpu(2)));
        let mut waited = 0;
        readers.synchronize(|_| {
            waited += 1;
            inside = None;
            inside = Some(readers.enter(cpu(2)));
        });
        assert_eq!(waited, 1);
    }

    #[test]
    fn all_seven_are_waited_for() {
        let readers = Readers::new();
        let (left, inside) = (AtomicU64::new(0), AtomicU64::new(0));
        thread::scope(|scope| {
            let mut doors = std::vec::Vec::new();
            for cpu in Cpu::secondaries() {
                let (open, door) = mpsc::channel::<()>();
                doors.push(open);
                let (readers, left, inside) = (&readers, &left, &inside);
                scope.spawn(move || {
                    let section = readers.enter(cpu);
                    inside.fetch_add(1, Release);
                    let _closed = door.recv();
                    left.fetch_add(1, Relaxed);
                    drop(section);
                });
            }
            while inside.load(Acquire) < 7 {
                thread::yield_now();
            }
            // Each pause lets one out, the last first: none can be missing when the wait is over.
            readers.synchronize(|_| {
                drop(doors.pop());
                thread::yield_now();
            });
            assert_eq!(left.load(Relaxed), 7);
        });
    }
}
