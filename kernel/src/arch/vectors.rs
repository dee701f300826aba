//! The exception vectors: save everything, on a stack that is surely there, and call [`super::exceptions`].
//!
//! Arm ARM D1 "Exception vectors": VBAR_EL1 is 2 KiB aligned, 16 entries of 0x80 bytes, one for each of four kinds
//! (synchronous, IRQ, FIQ, SError) from each of four places (this EL on SP_EL0, this EL on SP_ELx, a lower EL in
//! AArch64, a lower EL in AArch32).
//!
//! The kernel's own stack may be what failed (an overflow runs into its guard page), so an entry never pushes to it. It
//! goes to its CPU's emergency stack, except when SP is there already: an exception inside the handler continues below.
//!
//! ```text
//!  emergency stacks, one for each CPU           frame (304 bytes)
//!  +------ CPU 0 ------+------ CPU 1 ---         0x000 x0 ... x30
//!  |          <- frame |          <- ...         0x0f8 SP at the exception
//!  +-------------------+----------------         0x100 ELR, SPSR, ESR, FAR, vector, padding
//! ```
//!
//! Two registers are needed before anything is saved: TPIDR_EL0 and TPIDRRO_EL0 hold x0 and x1 meanwhile. Nothing runs
//! at EL0, so they are free.
#![expect(unsafe_code, reason = "the vectors are assembly; rules M2, M3")]

use core::arch::global_asm;
use core::cell::UnsafeCell;
use core::mem::offset_of;

use super::exceptions::{Frame, exception_entry};

/// More CPUs than this would share emergency stacks; no more are started.
pub(crate) const MAX_CPUS: usize = crate::cpus::plan::ROOM;
/// log2 of the bytes of an emergency stack.
const STACK_SHIFT: usize = 13;

#[repr(C, align(16))]
struct Stacks(UnsafeCell<[[u8; 1 << STACK_SHIFT]; MAX_CPUS]>);

// SAFETY: M3; each CPU uses its own stack, and only as a stack.
unsafe impl Sync for Stacks {}

static EMERGENCY_STACKS: Stacks = Stacks(UnsafeCell::new([[0; 1 << STACK_SHIFT]; MAX_CPUS]));

global_asm!(
    r#"
    .macro hotmap_vector index
    .balign 0x80
    msr     tpidr_el0, x0
    msr     tpidrro_el0, x1
    mrs     x0, tpidr_el1
    and     x0, x0, #{max_cpus} - 1
    adrp    x1, {stacks}
    add     x1, x1, :lo12:{stacks}
    add     x1, x1, x0, lsl #{stack_shift}
    mov     x0, sp
    sub     x0, x0, x1                      // SP's offset in this CPU's emergency stack
    cmp     x0, #2, lsl #12                 // (the flags are in SPSR_EL1 already)
    add     x1, x1, #2, lsl #12             // its top
    mov     x0, sp
    csel    x1, x0, x1, lo                  // on it already: go on below
    and     x1, x1, #~15
    sub     x1, x1, #{frame_bytes}
    stp     x2, x3, [x1, #16]
    str     x0, [x1, #{sp}]
    mov     x2, #\index
    b       hotmap_exception
    .endm

    .pushsection .text.hotmap_vectors, "ax"
    .balign 0x800
    .global hotmap_vectors
hotmap_vectors:
    .irp index, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
    hotmap_vector \index
    .endr
    .balign 0x80

hotmap_exception:
    mov     sp, x1
    mrs     x0, tpidr_el0
    mrs     x1, tpidrro_el0
    stp     x0, x1, [sp]
    stp     x4, x5, [sp, #32]
    stp     x6, x7, [sp, #48]
    stp     x8, x9, [sp, #64]
    stp     x10, x11, [sp, #80]
    stp     x12, x13, [sp, #96]
    stp     x14, x15, [sp, #112]
    stp     x16, x17, [sp, #128]
    stp     x18, x19, [sp, #144]
    stp     x20, x21, [sp, #160]
    stp     x22, x23, [sp, #176]
    stp     x24, x25, [sp, #192]
    stp     x26, x27, [sp, #208]
    stp     x28, x29, [sp, #224]
    str     x30, [sp, #240]
    mrs     x3, elr_el1
    mrs     x4, spsr_el1
    mrs     x5, esr_el1
    mrs     x6, far_el1
    stp     x3, x4, [sp, #{elr}]
    stp     x5, x6, [sp, #{esr}]
    str     x2, [sp, #{vector}]
    mov     x29, #0                         // the handler's own frames end here
    mov     x30, #0
    mov     x0, sp
    bl      {handler}

    // The handler came back: the exception was expected, and ELR in the frame says where to go on.
    mov     x0, sp
    ldp     x1, x2, [x0, #{elr}]
    msr     elr_el1, x1
    msr     spsr_el1, x2
    ldr     x1, [x0, #{sp}]
    mov     sp, x1
    ldp     x2, x3, [x0, #16]
    ldp     x4, x5, [x0, #32]
    ldp     x6, x7, [x0, #48]
    ldp     x8, x9, [x0, #64]
    ldp     x10, x11, [x0, #80]
    ldp     x12, x13, [x0, #96]
    ldp     x14, x15, [x0, #112]
    ldp     x16, x17, [x0, #128]
    ldp     x18, x19, [x0, #144]
    ldp     x20, x21, [x0, #160]
    ldp     x22, x23, [x0, #176]
    ldp     x24, x25, [x0, #192]
    ldp     x26, x27, [x0, #208]
    ldp     x28, x29, [x0, #224]
    ldr     x30, [x0, #240]
    ldp     x0, x1, [x0]
    eret
    .popsection
    "#,
    stacks = sym EMERGENCY_STACKS,
    handler = sym exception_entry,
    max_cpus = const MAX_CPUS,
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
    assert!(MAX_CPUS.is_power_of_two());
    assert!(offset_of!(Frame, x) == 0 && offset_of!(Frame, sp) == 31 * 8);
    assert!(offset_of!(Frame, spsr) == offset_of!(Frame, elr) + 8);
    assert!(offset_of!(Frame, far) == offset_of!(Frame, esr) + 8);
    assert!(size_of::<Frame>().is_multiple_of(16), "SP must stay 16-byte aligned");
};

unsafe extern "C" {
    static hotmap_vectors: u8;
}

/// Where the vectors are, as this code sees itself (low before the MMU is on, high after).
pub(super) fn base() -> u64 {
    (&raw const hotmap_vectors) as u64
}
