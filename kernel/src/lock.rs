//! The kernel's lock: a spin lock whose holder takes no interrupts. So a handler does not wait for a lock that its own CPU
//! holds, and a CPU that an interrupt keeps (parked, stopped) holds no lock.
//!
//! Until the MMU is on, only the boot CPU runs, and memory is Device memory, where exclusive accesses may fault (Arm ARM,
//! "Load-Exclusive and Store-Exclusive instruction usage restrictions"). There a lock is taken by a plain store.
#![expect(unsafe_code, reason = "a value that is reached through its lock; rule M7")]

use core::cell::UnsafeCell;
use core::ops::{Deref, DerefMut};
use core::sync::atomic::{
    AtomicBool, AtomicUsize,
    Ordering::{Acquire, Relaxed, Release},
};

use crate::arch::interrupts::Masked;

/// A value with a lock.
pub struct Lock<T> {
    locked: AtomicBool,
    /// One more than the number of the CPU that holds the lock, or 0, for reports.
    holder: AtomicUsize,
    value: UnsafeCell<T>,
}

// SAFETY: M7: one guard at a time reaches the value, so the value moves between CPUs and is not shared.
unsafe impl<T: Send> Sync for Lock<T> {}

/// The lock, held; dropping it releases the lock.
pub struct Guard<'a, T> {
    lock: &'a Lock<T>,
    // Dropped after the lock is released: then interrupts are unmasked.
    _masked: Masked,
}

impl<T> Lock<T> {
    /// Makes a free lock.
    pub const fn new(value: T) -> Self {
        Self { locked: AtomicBool::new(false), holder: AtomicUsize::new(0), value: UnsafeCell::new(value) }
    }

    /// Waits for the lock.
    pub fn lock(&self) -> Guard<'_, T> {
        let masked = Masked::new();
        if is_alone() {
            self.locked.store(true, Relaxed);
        } else {
            self.spin();
        }
        self.holder.store(this_cpu() + 1, Relaxed);
        Guard { lock: self, _masked: masked }
    }

    fn spin(&self) {
        while self.locked.compare_exchange_weak(false, true, Acquire, Relaxed).is_err() {
            while self.locked.load(Relaxed) {
                core::hint::spin_loop();
            }
        }
    }

    /// Whether another CPU holds the lock.
    pub fn is_held_elsewhere(&self) -> bool {
        let holder = self.holder.load(Relaxed);
        self.locked.load(Relaxed) && holder != 0 && holder != this_cpu() + 1
    }

    /// Frees the lock, even if a CPU holds it.
    ///
    /// # Safety
    /// The holder does not continue.
    pub unsafe fn seize(&self) {
        self.locked.store(false, Release);
    }
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: M7.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T> DerefMut for Guard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: M7, and the guard is borrowed exclusively.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T> Drop for Guard<'_, T> {
    fn drop(&mut self) {
        self.lock.holder.store(0, Relaxed);
        self.lock.locked.store(false, Release);
    }
}

/// Whether only this CPU can run: the MMU is off (rule B1 of boot).
#[cfg(target_os = "none")]
fn is_alone() -> bool {
    !crate::arch::mmu_control::is_on()
}
/// The host's tests take locks as the kernel does with its MMU on.
#[cfg(not(target_os = "none"))]
const fn is_alone() -> bool {
    false
}

#[cfg(target_os = "none")]
fn this_cpu() -> usize {
    crate::arch::cpu::number()
}
/// The host's tests run as one CPU.
#[cfg(not(target_os = "none"))]
const fn this_cpu() -> usize {
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_is_known_while_it_holds() {
        let lock = Lock::new(7);
        *lock.lock() += 1;
        assert!(!lock.is_held_elsewhere());
        let guard = lock.lock();
        assert!(!lock.is_held_elsewhere(), "this CPU's own");
        lock.holder.store(3, Relaxed);
        assert!(lock.is_held_elsewhere());
        assert_eq!(*guard, 8);
        drop(guard);
        assert!(!lock.is_held_elsewhere());
    }

    #[test]
    fn one_thread_at_a_time_has_the_value() {
        let lock = Lock::new(0_u64);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..100 {
                        let mut value = lock.lock();
                        // Not one addition: what another thread writes between the two is lost.
                        let seen = *value;
                        std::thread::yield_now();
                        *value = seen + 1;
                    }
                });
            }
        });
        assert_eq!(*lock.lock(), 400);
    }

    #[test]
    fn a_seized_lock_is_free() {
        let lock = Lock::new(());
        core::mem::forget(lock.lock());
        // SAFETY: the guard is forgotten, so its holder does not continue.
        unsafe { lock.seize() };
        drop(lock.lock());
    }
}
