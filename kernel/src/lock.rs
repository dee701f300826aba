//! The kernel's lock: a spin lock whose holder takes no interrupts. So a handler does not wait for a lock that its own CPU
//! holds, and a CPU that an interrupt keeps (parked, stopped) holds no lock.

use core::ops::{Deref, DerefMut};
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use spin::{Mutex, MutexGuard};

use crate::arch::interrupts::Masked;

/// A value with a lock.
pub struct Lock<T> {
    mutex: Mutex<T>,
    /// One more than the number of the CPU that holds the lock, or 0, for reports.
    holder: AtomicUsize,
}

/// The lock, held; dropping it releases the lock.
pub struct Guard<'a, T> {
    // Dropped in this order: the lock first, then interrupts are unmasked.
    value: MutexGuard<'a, T>,
    holder: &'a AtomicUsize,
    _masked: Masked,
}

impl<T> Lock<T> {
    /// Makes a free lock.
    pub const fn new(value: T) -> Self {
        Self { mutex: Mutex::new(value), holder: AtomicUsize::new(0) }
    }

    /// Waits for the lock.
    pub fn lock(&self) -> Guard<'_, T> {
        let masked = Masked::new();
        let value = self.mutex.lock();
        self.holder.store(this_cpu() + 1, Relaxed);
        Guard { value, holder: &self.holder, _masked: masked }
    }

    /// Whether another CPU holds the lock.
    pub fn is_held_elsewhere(&self) -> bool {
        let holder = self.holder.load(Relaxed);
        self.mutex.is_locked() && holder != 0 && holder != this_cpu() + 1
    }

    /// Frees the lock, even if a CPU holds it.
    ///
    /// # Safety
    /// The holder does not continue.
    #[expect(unsafe_code, reason = "passes the caller's promise on")]
    pub unsafe fn seize(&self) {
        // SAFETY: this function's own contract.
        unsafe { self.mutex.force_unlock() };
    }
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for Guard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

impl<T> Drop for Guard<'_, T> {
    fn drop(&mut self) {
        self.holder.store(0, Relaxed);
    }
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
}
