//! The exception vectors: they save all registers on a stack of their own, and call [`exception_entry`].
//!
//! Arm ARM D1 "Exception vectors": VBAR_EL1 is 2 KiB aligned, 16 entries of 0x80 bytes, one for each of four kinds
//! (synchronous, IRQ, FIQ, SError) from each of four places (this EL on SP_EL0, this EL on SP_ELx, a lower EL in
//! AArch64, a lower EL in AArch32).
//!
//! The kernel's own stack may be what failed (an overflow faults in its guard page), so an entry does not use it. It uses
//! its CPU's emergency stack; if SP is there already, in an exception inside the handler, it continues below SP.
//!
//! ```text
//!  emergency stacks, one for each CPU           frame (304 bytes)
//!  +------ CPU 0 ------+------ CPU 1 ---         0x000 x0 ... x30
//!  |          <- frame |          <- ...         0x0f8 SP at the exception
//!  +-------------------+----------------         0x100 ELR, SPSR, ESR, FAR, vector, padding
//! ```
//!
//! `vectors.S` has the code, and the use of its registers.
#![expect(unsafe_code, reason = "the vectors are assembly; rules M1, M2, M3")]

use core::arch::{asm, global_asm};
use core::cell::UnsafeCell;
use core::mem::offset_of;

use super::entry::exception_entry;
use super::frame::Frame;
use crate::per_cpu::CPUS;

/// log2 of the bytes of an emergency stack.
const STACK_SHIFT: usize = 13;

#[repr(C, align(16))]
struct Stacks(UnsafeCell<[[u8; 1 << STACK_SHIFT]; CPUS]>);

// SAFETY: M3; each CPU uses its own stack, and only as a stack.
unsafe impl Sync for Stacks {}

static EMERGENCY_STACKS: Stacks = Stacks(UnsafeCell::new([[0; 1 << STACK_SHIFT]; CPUS]));

global_asm!(
    include_str!("vectors.S"),
    stacks = sym EMERGENCY_STACKS,
    handler = sym exception_entry,
    max_cpus = const CPUS,
    stack_shift = const STACK_SHIFT,
    frame_bytes = const size_of::<Frame>(),
    sp = const offset_of!(Frame, sp),
    elr = const offset_of!(Frame, elr),
    esr = const offset_of!(Frame, esr),
    vector = const offset_of!(Frame, vector),
);

// What the assembly spells out as numbers.
const _: () = {
    assert!(STACK_SHIFT == 13, "the vectors compare SP's offset with 2 << 12");
    assert!(CPUS.is_power_of_two());
    assert!(offset_of!(Frame, x) == 0 && offset_of!(Frame, sp) == 31 * 8);
    assert!(offset_of!(Frame, spsr) == offset_of!(Frame, elr) + 8);
    assert!(offset_of!(Frame, far) == offset_of!(Frame, esr) + 8);
    assert!(size_of::<Frame>().is_multiple_of(16), "SP must stay 16-byte aligned");
};

unsafe extern "C" {
    static hotmap_vectors: u8;
}

/// Sets VBAR_EL1. Works with the MMU off too; call it again once the code runs at another address.
pub fn install() {
    let vectors = (&raw const hotmap_vectors) as u64;
    // SAFETY: M1; VBAR_EL1 is this file's register, and it gets the address of a vector table.
    unsafe { asm!("msr vbar_el1, {}", "isb", in(reg) vectors, options(nomem, nostack)) };
}
