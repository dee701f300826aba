//! This CPU: its features, its number, waiting, and the clock.
#![expect(unsafe_code, reason = "reads a system register that no crate names; rule M1")]

use core::arch::asm;

use aarch64_cpu::asm::barrier::{SY, dsb, isb};
use aarch64_cpu::registers::{
    CNTFRQ_EL0, CNTVCT_EL0, ID_AA64DFR0_EL1, ID_AA64MMFR0_EL1, ID_AA64MMFR2_EL1, ID_AA64PFR0_EL1, MPIDR_EL1,
    Readable,
};

use super::features::Features;
use super::vectors::MAX_CPUS;

/// Reads the identification registers.
pub fn features() -> Features {
    let (isar2, dczid): (u64, u64);
    // SAFETY: M1. ID_AA64ISAR2_EL1 by its number (op0 3, op1 0, CRn 0, CRm 6, op2 2), because old assemblers do not
    // know its name; it reads as zero on CPUs that are older than it.
    unsafe {
        asm!("mrs {}, S3_0_C0_C6_2", out(reg) isar2, options(nomem, nostack, preserves_flags));
        asm!("mrs {}, dczid_el0", out(reg) dczid, options(nomem, nostack, preserves_flags));
    }
    Features {
        mmfr0: ID_AA64MMFR0_EL1.get(),
        mmfr2: ID_AA64MMFR2_EL1.get(),
        isar2,
        pfr0: ID_AA64PFR0_EL1.get(),
        dfr0: ID_AA64DFR0_EL1.get(),
        dczid,
    }
}

/// The affinity fields of MPIDR_EL1 (Aff3 in bits 39:32, Aff2 to Aff0 in 23:0): how PSCI and GICv3 name this CPU.
pub fn affinity() -> u64 {
    MPIDR_EL1.get() & 0xff_00ff_ffff
}

/// This CPU's number: MPIDR_EL1.Aff0, which tells up to [`MAX_CPUS`] CPUs of QEMU's virt apart (hw/arm/virt.c,
/// `virt_cpu_mp_affinity`: clusters of 8 with a GICv2, of 16 with a GICv3). `cpus::plan` starts no CPU for which it does not.
/// The boot CPU is 0: entry.rs lets no other one through.
#[expect(clippy::cast_possible_truncation, reason = "Aff0 is the low byte")]
pub fn number() -> usize {
    MPIDR_EL1.get() as u8 as usize % MAX_CPUS
}

/// Tells whoever runs beside this CPU that it only waits. Under QEMU with one host thread for all CPUs the next one's turn
/// begins; `spin_loop`'s ISB would wait for the end of the turn.
pub fn relax() {
    // SAFETY: M1; a hint.
    unsafe { asm!("yield", options(nomem, nostack, preserves_flags)) };
}

/// Sleeps until another CPU sends an event, or for no reason (Arm ARM, "Wait for Event"): look again whether it came.
pub fn wait_for_event() {
    aarch64_cpu::asm::wfe();
}

/// Wakes the CPUs in [`wait_for_event`]. What was stored before is seen by them.
pub fn send_event() {
    finish_accesses();
    aarch64_cpu::asm::sev();
}

/// Writes `len` bytes at `start` back to where a CPU with its caches off reads them, and forgets them.
pub fn clean_to_memory(start: u64, len: u64) {
    let ctr: u64;
    // SAFETY: M1. CTR_EL0.DminLine, bits 19:16: log2 of the words in the smallest line.
    unsafe { asm!("mrs {}, ctr_el0", out(reg) ctr, options(nomem, nostack, preserves_flags)) };
    let line = 4 << (ctr >> 16 & 0xf);
    let mut at = start & !(line - 1);
    while at < start + len {
        // SAFETY: cleaning and invalidating a line changes no value.
        unsafe { asm!("dc civac, {}", in(reg) at, options(nostack, preserves_flags)) };
        at += line;
    }
    finish_accesses();
}

/// The virtual counter (CNTVCT_EL0), in ticks of [`ticks_per_second`].
pub fn ticks() -> u64 {
    isb(SY);
    CNTVCT_EL0.get()
}

/// The counter's frequency (CNTFRQ_EL0) in Hz.
pub fn ticks_per_second() -> u64 {
    CNTFRQ_EL0.get()
}

/// Sleeps until an interrupt is pending. A masked one wakes too (Arm ARM D1 "Wait for Interrupt"); if one is pending
/// already, this returns at once, so nothing that arrives between the last look and the WFI is slept through.
pub fn wait_for_interrupt() {
    // What was written to devices, the acknowledgement of the last interrupt included, is done before the CPU sleeps.
    finish_accesses();
    aarch64_cpu::asm::wfi();
}

/// Waits until every access before this one is complete, for memory and devices alike, and keeps the later ones after it
/// (Arm ARM B2 "Data Synchronization Barrier").
pub fn finish_accesses() {
    dsb(SY);
}
