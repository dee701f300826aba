//! This CPU: its features, its number, and waiting.
#![expect(unsafe_code, reason = "reads a system register that no crate names; rule M1")]

use core::arch::asm;

use aarch64_cpu::asm::barrier::{SY, dsb};
use aarch64_cpu::registers::{
    ID_AA64DFR0_EL1, ID_AA64ISAR0_EL1, ID_AA64MMFR0_EL1, ID_AA64MMFR1_EL1, ID_AA64MMFR2_EL1, ID_AA64PFR0_EL1, ID_AA64PFR1_EL1,
    MPIDR_EL1, Readable, TPIDR_EL1,
};

use super::costs::{self, Cost};
use super::features::Features;
use super::psci::AFFINITY;
use crate::per_cpu::CPUS;

macro_rules! read {
    ($register:literal) => {{
        let value: u64;
        // SAFETY: M1; reading an identification register changes nothing.
        unsafe { asm!(concat!("mrs {}, ", $register), out(reg) value, options(nomem, nostack, preserves_flags)) };
        value
    }};
}

/// Reads the identification registers. Those that the assembler or aarch64-cpu does not know are named by their numbers;
/// they read as zero on CPUs that are older than they are (Arm ARM, "Reserved encodings in the ID space").
pub fn features() -> Features {
    Features {
        mmfr0: ID_AA64MMFR0_EL1.get(),
        mmfr1: ID_AA64MMFR1_EL1.get(),
        mmfr2: ID_AA64MMFR2_EL1.get(),
        mmfr4: read!("S3_0_C0_C7_4"),
        isar0: ID_AA64ISAR0_EL1.get(),
        isar2: read!("S3_0_C0_C6_2"),
        pfr0: ID_AA64PFR0_EL1.get(),
        pfr1: ID_AA64PFR1_EL1.get(),
        dfr0: ID_AA64DFR0_EL1.get(),
        dczid: read!("dczid_el0"),
    }
}

/// The affinity fields of MPIDR_EL1: how PSCI and GICv3 name this CPU.
pub fn affinity() -> u64 {
    MPIDR_EL1.get() & AFFINITY
}

/// This CPU's number, below [`CPUS`]: 0 for the boot CPU, else the number of `cpus::plan`. The entry code of each CPU
/// writes it to TPIDR_EL1.
pub fn number() -> usize {
    super::word(TPIDR_EL1.get()) % CPUS
}

/// Hints that this CPU only waits (YIELD). Under QEMU with one host thread for all CPUs the next CPU's turn begins; the ISB
/// of `spin_loop` would wait for the end of the turn.
pub fn relax() {
    // SAFETY: M1; a hint.
    unsafe { asm!("yield", options(nomem, nostack, preserves_flags)) };
}

/// Sleeps until another CPU sends an event, or returns early (Arm ARM, "Wait for Event"): the caller checks its condition.
pub fn wait_for_event() {
    aarch64_cpu::asm::wfe();
}

/// Wakes the CPUs in [`wait_for_event`]. They see what was stored before.
pub fn send_event() {
    finish_accesses();
    aarch64_cpu::asm::sev();
}

/// Writes ICC_SGI1R_EL1, which sends the interrupt that `value` names ([`crate::drivers::affinity::sgi1r`]).
pub fn send_sgi(value: u64) {
    // SAFETY: M1; the register is there on every machine with a GICv3 whose set-up succeeded.
    unsafe { asm!("msr icc_sgi1r_el1, {}", "isb", in(reg) value, options(nostack, preserves_flags)) };
    costs::add(Cost::Isb, 1);
}

/// Sleeps until an interrupt is pending, masked or not (Arm ARM D1 "Wait for Interrupt"). Returns at once if one is pending
/// already, so an interrupt between the caller's last check and the WFI is not missed.
pub fn wait_for_interrupt() {
    // Writes to devices, such as the end of the last interrupt, are complete before the CPU sleeps.
    finish_accesses();
    aarch64_cpu::asm::wfi();
}

/// Waits until every access before this one is complete, for memory and devices alike, and keeps the later ones after it
/// (Arm ARM B2 "Data Synchronization Barrier").
pub fn finish_accesses() {
    dsb(SY);
    costs::add(Cost::Dsb, 1);
}

/// Stops this CPU for ever.
pub fn halt() -> ! {
    loop {
        aarch64_cpu::asm::wfe();
    }
}
