//! Interrupts of this CPU, on and off. Only IRQs are meant: nothing here makes FIQs, and SErrors stay masked.
#![cfg_attr(target_os = "none", expect(unsafe_code, reason = "writes PSTATE.I; rules M1, M2"))]

#[cfg(target_os = "none")]
use core::arch::asm;

/// While there is one, this CPU takes no IRQ. They nest, innermost dropped first: each restores what it found.
#[derive(Debug)]
#[must_use = "dropped at once, it masks nothing"]
pub struct Masked {
    #[cfg(target_os = "none")]
    daif: u64,
}

#[cfg(target_os = "none")]
impl Masked {
    /// No IRQs from here on.
    pub fn new() -> Self {
        let daif: u64;
        // SAFETY: M2 is what this provides. Without `nomem`: what is guarded stays between the two ends.
        unsafe { asm!("mrs {}, daif", "msr daifset, #2", out(reg) daif, options(nostack, preserves_flags)) };
        Self { daif }
    }
}

#[cfg(target_os = "none")]
impl Drop for Masked {
    fn drop(&mut self) {
        // SAFETY: M2; as it was found.
        unsafe { asm!("msr daif, {}", in(reg) self.daif, options(nostack, preserves_flags)) };
    }
}

#[cfg(not(target_os = "none"))]
impl Masked {
    /// The host has no interrupts.
    pub const fn new() -> Self {
        Self {}
    }
}

impl Default for Masked {
    fn default() -> Self {
        Self::new()
    }
}

/// Runs `body` with IRQs on. For a CPU that keeps them masked otherwise, and is not the boot CPU.
#[cfg(target_os = "none")]
pub fn unmasked<R>(body: impl FnOnce() -> R) -> R {
    // SAFETY: M2; the caller holds nothing that an interrupt may not see. The ISB makes a pending one come here, not later.
    unsafe { asm!("msr daifclr, #2", "isb", options(nostack, preserves_flags)) };
    let result = body();
    // SAFETY: M2.
    unsafe { asm!("msr daifset, #2", options(nostack, preserves_flags)) };
    result
}
