//! Changing translation control while the MMU is on.
#![expect(unsafe_code, reason = "writes TCR_EL1; rule M1")]

use core::arch::asm;

use aarch64_cpu::registers::{Readable, SCTLR_EL1};

use super::costs::{self, Cost};
use super::{mmu, tlb};

/// Whether this CPU's MMU is on.
pub fn is_on() -> bool {
    SCTLR_EL1.is_set(SCTLR_EL1::M)
}

/// Disables the lower half of the address space: a walk of it faults (TCR_EL1.EPD0), and no translation of the identity map
/// is left in a TLB.
pub fn forget_identity_map() {
    // SAFETY: M1; the code runs in the upper half, and nothing refers to the lower one.
    unsafe {
        asm!(
            "mrs {t}, tcr_el1",
            "orr {t}, {t}, {epd0}",
            "msr tcr_el1, {t}",
            "isb",
            t = out(reg) _,
            epd0 = const mmu::TCR_EPD0,
            options(nomem, nostack, preserves_flags)
        );
    }
    costs::add(Cost::Isb, 1);
    tlb::invalidate_all();
}
