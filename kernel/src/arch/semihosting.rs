//! An exit status for QEMU, by semihosting.
//!
//! Arm, "Semihosting for AArch32 and AArch64", SYS_EXIT_EXTENDED (0x20): x0 is the operation, x1 points at two words,
//! the reason and the status. QEMU's side is `semihosting/arm-compat-semi.c`.
#![expect(unsafe_code, reason = "the semihosting trap is an instruction; rules M1, M2")]

use core::arch::global_asm;

/// The operation, SYS_EXIT_EXTENDED.
const SYS_EXIT_EXTENDED: u64 = 0x20;
/// ADP_Stopped_ApplicationExit: the program ended by itself, and the second word is its status.
const ADP_STOPPED_APPLICATION_EXIT: u64 = 0x20026;

// Without `-semihosting-config enable=on` the HLT is an undefined instruction. The exception handler knows its address
// and continues at `fixup`'s address: the attempt costs one exception.
global_asm!(include_str!("semihosting.S"));

unsafe extern "C" {
    fn hotmap_semihosting_call(operation: u64, block: *const [u64; 2]);
    static hotmap_semihosting_hlt: u8;
    static hotmap_semihosting_absent: u8;
}

/// Where execution continues when the instruction at `elr` was undefined: `Some` only for the trap of this module.
pub(crate) fn fixup(elr: u64) -> Option<u64> {
    let trap = (&raw const hotmap_semihosting_hlt) as u64;
    (elr == trap).then_some((&raw const hotmap_semihosting_absent) as u64)
}

/// Ends the run with `code` (0 to 255) as QEMU's exit status. Returns only where there is no semihosting.
///
/// Needs [`crate::exceptions::install`] first: without semihosting the trap is undefined.
pub(crate) fn exit(code: u32) {
    let block = [ADP_STOPPED_APPLICATION_EXIT, u64::from(code)];
    // SAFETY: M2; the call reads two words of `block`, which outlives it, and changes x0 alone.
    unsafe { hotmap_semihosting_call(SYS_EXIT_EXTENDED, &raw const block) };
}
