//! How the CPU translates an address, to compare with the memory model's own walk.
//!
//! Arm ARM (DDI 0487), "AT S1E1R", "AT S1E1W" and "PAR_EL1". The instruction walks the tables in force for a load or a
//! store at EL1, and never faults: the answer is in PAR_EL1.
//!
//! ```text
//!  F = 0   63..56 ATTR, as in MAIR   47..12 PA          8..7 SH      0
//!  F = 1                                       6..1 fault status    1
//! ```
#![expect(unsafe_code, reason = "uses AT, an instruction; rule M1")]

use core::arch::asm;

use hotmap_mm::addr::{PhysAddr, VirtAddr};
use tock_registers::register_bitfields;

use super::byte;
use super::costs::{self, Cost};
pub use super::translation::Translation;

register_bitfields![u64,
    PAR [
        /// The access would fault.
        F OFFSET(0) NUMBITS(1) [],
        /// With F: the fault status.
        FST OFFSET(1) NUMBITS(6) [],
        /// Without F: the address, and the memory's attributes as in a byte of MAIR_EL1.
        PA OFFSET(12) NUMBITS(36) [],
        ATTR OFFSET(56) NUMBITS(8) []
    ]
];
/// The bits of an address that translation does not change, for PAR_EL1.
const OFFSET: u64 = 0xfff;

/// How a load at `va` is translated.
pub fn load(va: VirtAddr) -> Translation {
    let par: u64;
    // SAFETY: M1; AT writes PAR_EL1 and nothing else, and no other code uses that register.
    unsafe {
        asm!("at s1e1r, {}", "isb", "mrs {}, par_el1", in(reg) va.get(), out(reg) par, options(nostack))
    };
    answer(par, va)
}

/// How a store at `va` is translated.
pub fn store(va: VirtAddr) -> Translation {
    let par: u64;
    // SAFETY: M1, as in `load`.
    unsafe {
        asm!("at s1e1w, {}", "isb", "mrs {}, par_el1", in(reg) va.get(), out(reg) par, options(nostack))
    };
    answer(par, va)
}

/// What PAR_EL1 says about `va`.
fn answer(par: u64, va: VirtAddr) -> Translation {
    costs::add(Cost::Isb, 1);
    if PAR::F.is_set(par) {
        return Translation::Fault(byte(PAR::FST.read(par)));
    }
    let pa = PhysAddr::new(PAR::PA.val(PAR::PA.read(par)).value | va.get() & OFFSET);
    Translation::Mapped { pa, attributes: byte(PAR::ATTR.read(par)) }
}
