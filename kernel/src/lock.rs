//! The kernel's lock: the mutex of the crate `lock_api` around a spin lock whose holder takes no interrupts. So a handler
//! does not wait for a lock that its own CPU holds, and a CPU that an interrupt keeps (parked, stopped) holds no lock.
//!
//! Until the MMU is on, only the boot CPU runs, and memory is Device memory, where exclusive accesses may fault (Arm ARM,
//! "Load-Exclusive and Store-Exclusive instruction usage restrictions"). There a lock is taken by a plain store.
#![expect(unsafe_code, reason = "`RawMutex` is an unsafe trait, and a panic frees a lock by force; rule M7")]

use core::sync::atomic::{
    AtomicUsize,
    Ordering::{Acquire, Relaxed, Release},
};

use lock_api::{Mutex, RawMutex};

use crate::arch::interrupts::Masked;

/// A value with a lock.
pub type Lock<T> = Mutex<RawLock, T>;

/// The lock without the value.
pub struct RawLock {
    /// One more than the number of the CPU that holds the lock; 0 while it is free.
    holder: AtomicUsize,
}

// SAFETY: M7: a CPU has the lock once it has changed `holder` from 0 to its own number, and until it makes it 0 again.
unsafe impl RawMutex for RawLock {
    const INIT: Self = Self { holder: AtomicUsize::new(0) };
    type Guard = Masked;

    fn lock(&self) -> Masked {
        let masked = Masked::new();
        while !self.take() {
            while self.is_locked() {
                core::hint::spin_loop();
            }
        }
        masked
    }

    fn try_lock(&self) -> Option<Masked> {
        let masked = Masked::new();
        self.take().then_some(masked)
    }

    unsafe fn unlock(&self, masked: Masked) {
        self.holder.store(0, Release);
        drop(masked);
    }

    fn is_locked(&self) -> bool {
        self.holder.load(Relaxed) != 0
    }
}

impl RawLock {
    /// One attempt to take the lock, with this CPU's interrupts masked.
    fn take(&self) -> bool {
        if is_alone() {
            self.holder.store(this_cpu(), Relaxed);
            return true;
        }
        self.holder.compare_exchange(0, this_cpu(), Acquire, Relaxed).is_ok()
    }
}

/// Whether another CPU holds the lock.
pub fn is_held_elsewhere<T>(lock: &Lock<T>) -> bool {
    // SAFETY: M7: this takes and frees nothing.
    let holder = unsafe { lock.raw() }.holder.load(Relaxed);
    holder != 0 && holder != this_cpu()
}

/// Frees the lock, even if a CPU holds it. The interrupts of this CPU stay as they are.
///
/// # Safety
/// The holder does not continue.
pub unsafe fn seize<T>(lock: &Lock<T>) {
    // SAFETY: M7: the caller promises that there is no guard any more that is used.
    unsafe { lock.raw() }.holder.store(0, Release);
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

/// What `holder` is while this CPU holds the lock.
fn this_cpu() -> usize {
    crate::arch::cpu::number() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_is_known_while_it_holds() {
        let lock = Lock::new(7);
        *lock.lock() += 1;
        assert!(!is_held_elsewhere(&lock));
        let guard = lock.lock();
        assert!(!is_held_elsewhere(&lock), "this CPU's own");
        // SAFETY: this takes and frees nothing.
        unsafe { lock.raw() }.holder.store(3, Relaxed);
        assert!(is_held_elsewhere(&lock));
        assert_eq!(*guard, 8);
        drop(guard);
        assert!(!is_held_elsewhere(&lock));
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
        unsafe { seize(&lock) };
        drop(lock.lock());
    }
}
