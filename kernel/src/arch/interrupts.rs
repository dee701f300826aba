//! Masks this CPU's IRQs. FIQs and SErrors stay masked throughout.
#![cfg_attr(target_os = "none", expect(unsafe_code, reason = "writes PSTATE.I; rules M1, M2"))]

#[cfg(target_os = "none")]
use core::arch::asm;
use core::marker::PhantomData;

#[cfg(target_os = "none")]
use super::costs::{self, Cost};

/// While it exists, this CPU takes no IRQ. They nest, and are dropped innermost first: each restores the mask it found. It
/// stays on its CPU.
#[derive(Debug)]
#[must_use = "dropped at once, it masks nothing"]
pub struct Masked {
    #[cfg(target_os = "none")]
    daif: u64,
    stays: PhantomData<*const ()>,
}

#[cfg(target_os = "none")]
impl Masked {
    /// Masks IRQs.
    pub fn new() -> Self {
        let daif: u64;
        // SAFETY: M2 is what this provides. Without `nomem`, so that the compiler keeps guarded accesses behind it.
        unsafe { asm!("mrs {}, daif", "msr daifset, #2", out(reg) daif, options(nostack, preserves_flags)) };
        Self { daif, stays: PhantomData }
    }
}

#[cfg(target_os = "none")]
impl Drop for Masked {
    fn drop(&mut self) {
        // SAFETY: M2; restores the mask that `new` found.
        unsafe { asm!("msr daif, {}", in(reg) self.daif, options(nostack, preserves_flags)) };
    }
}

#[cfg(not(target_os = "none"))]
impl Masked {
    /// The host has no interrupts.
    pub const fn new() -> Self {
        Self { stays: PhantomData }
    }
}

impl Default for Masked {
    fn default() -> Self {
        Self::new()
    }
}

/// Runs `body` with IRQs unmasked, on a secondary CPU, which has them masked otherwise.
#[cfg(target_os = "none")]
pub fn unmasked<R>(body: impl FnOnce() -> R) -> R {
    // SAFETY: M2; the caller holds no lock. The ISB makes a pending interrupt be taken here.
    unsafe { asm!("msr daifclr, #2", "isb", options(nostack, preserves_flags)) };
    costs::add(Cost::Isb, 1);
    let result = body();
    // SAFETY: M2.
    unsafe { asm!("msr daifset, #2", options(nostack, preserves_flags)) };
    result
}
