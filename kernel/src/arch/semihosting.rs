//! The end of a run, with an exit status for QEMU: by semihosting, else by PSCI, else this CPU waits for ever.
//!
//! Arm, "Semihosting for AArch32 and AArch64", SYS_EXIT_EXTENDED (0x20): x0 is the operation, x1 points at two words,
//! the reason and the status. QEMU's side is `semihosting/arm-compat-semi.c`.
#![expect(unsafe_code, reason = "the semihosting trap is an instruction; rules M1, M2")]

use core::arch::global_asm;

use super::psci;

/// Exit status: everything asked for succeeded.
pub const EXIT_OK: u32 = 0;
/// Exit status: a command or a self-test failed.
pub const EXIT_FAILED: u32 = 1;
/// Exit status: panic or unexpected exception.
pub const EXIT_PANIC: u32 = 2;
/// Exit status: the CPU lacks what was asked for.
pub const EXIT_UNSUPPORTED: u32 = 3;

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

/// Ends the run with `code` (0 to 255) as QEMU's exit status.
///
/// Needs [`crate::exceptions::install`] first: without semihosting the trap is undefined. Then it powers off by PSCI (status
/// 0), and without PSCI's SYSTEM_OFF it stops this CPU for ever.
pub fn exit(code: u32) -> ! {
    let block = [ADP_STOPPED_APPLICATION_EXIT, u64::from(code)];
    // SAFETY: M2; the call reads two words of `block`, which outlives it, and changes x0 alone.
    unsafe { hotmap_semihosting_call(SYS_EXIT_EXTENDED, &raw const block) };
    psci::system_off();
    halt()
}

/// Stops this CPU for ever.
pub fn halt() -> ! {
    loop {
        aarch64_cpu::asm::wfe();
    }
}
