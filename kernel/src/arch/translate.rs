//! How the CPU translates an address, to compare with the memory model's own walk.
#![expect(unsafe_code, reason = "uses AT, an instruction; rule M1")]

use core::arch::asm;

use hotmap_mm::addr::VirtAddr;

pub use super::translation::Translation;

/// How a load at `va` is translated.
pub fn load(va: VirtAddr) -> Translation {
    let par: u64;
    // SAFETY: M1; AT writes PAR_EL1 and nothing else, and no other code uses that register.
    unsafe {
        asm!("at s1e1r, {}", "isb", "mrs {}, par_el1", in(reg) va.get(), out(reg) par, options(nostack))
    };
    Translation::from_par(par, va)
}

/// How a store at `va` is translated.
pub fn store(va: VirtAddr) -> Translation {
    let par: u64;
    // SAFETY: M1, as in `load`.
    unsafe {
        asm!("at s1e1w, {}", "isb", "mrs {}, par_el1", in(reg) va.get(), out(reg) par, options(nostack))
    };
    Translation::from_par(par, va)
}
