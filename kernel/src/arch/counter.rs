//! Counting time, and guest instructions: event counter 0 of the performance monitor, event INST_RETIRED.
//!
//! Source: Arm ARM (DDI 0487), chapter "The Performance Monitors Extension" and the PMU event list. On QEMU the event
//! exists only under `-icount`, and then its count is exact and repeats (`target/arm/helper.c`, `instructions_supported`).
//!
//! Before PMUv3p5 an event counter has 32 bits: 4.29 thousand million instructions, then it wraps. [`instructions`] carries
//! the wraps over into 64 bits, which is right as long as it is called at least once in each wrap: a bench that
//! reads it before and after something of less than 2^32 instructions always gets the right difference.
//!
//! Coming from EL2, boot must leave MDCR_EL2.TPM and TPMCR clear and MDCR_EL2.HPMN at PMCR_EL0.N.
#![expect(unsafe_code, reason = "the PMU's registers; rule M1")]

use core::arch::asm;
use core::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use aarch64_cpu::asm::barrier::{SY, isb};

use super::cpu;

/// PMU event 0x08, INST_RETIRED: an instruction was architecturally executed.
const INST_RETIRED: u64 = 0x08;
/// PMCR_EL0.E, bit 0: the counters run.
const PMCR_E: u64 = 1 << 0;
/// PMCR_EL0.LP, bit 7 (FEAT_PMUv3p5): event counters are 64 bits wide.
const PMCR_LP: u64 = 1 << 7;
/// PMCR_EL0.N, bits 15:11: how many event counters there are.
const PMCR_N_SHIFT: u32 = 11;
const PMCR_N_MASK: u64 = 0x1f;

/// The width of the counter's register in bits: 0 before [`adopt`] and where there is no counter.
static WIDTH: AtomicU8 = AtomicU8::new(0);
/// The 64-bit count at the last call, for a counter of 32 bits.
static LAST: AtomicU64 = AtomicU64::new(0);

macro_rules! read {
    ($register:literal) => {{
        let value: u64;
        // SAFETY: M1; reading a register of the PMU changes nothing.
        unsafe { asm!(concat!("mrs {}, ", $register), out(reg) value, options(nomem, nostack, preserves_flags)) };
        value
    }};
}

macro_rules! write {
    ($register:literal, $value:expr) => {
        // SAFETY: M1; this room owns the PMU, and its overflow interrupt stays disabled.
        unsafe { asm!(concat!("msr ", $register, ", {}"), in(reg) $value, options(nomem, nostack, preserves_flags)) }
    };
}

/// The time, in [`ticks_per_second`] (Arm ARM, "CNTVCT_EL0").
pub fn ticks() -> u64 {
    isb(SY);
    read!("cntvct_el0")
}

/// How many [`ticks`] a second has (CNTFRQ_EL0, which firmware or QEMU has set).
pub fn ticks_per_second() -> u64 {
    read!("cntfrq_el0")
}

/// Whether this CPU counts instructions: it has a PMU with an event counter, and the event is implemented (PMCEID0_EL0).
pub fn have_instruction_counter() -> bool {
    cpu::features().has_pmu() && event_counters() != 0 && read!("pmceid0_el0") & (1 << INST_RETIRED) != 0
}

/// How many event counters there are (PMCR_EL0.N). Only a CPU with a performance monitor has the register.
pub(super) fn event_counters() -> u64 {
    read!("pmcr_el0") >> PMCR_N_SHIFT & PMCR_N_MASK
}

/// Takes over the counter that the boot code started with the first instructions. Does nothing where there is none.
pub fn adopt() {
    if !have_instruction_counter() {
        return;
    }
    let (width, long) = if cpu::features().has_long_counters() { (64, PMCR_LP) } else { (32, 0) };
    write!("pmcr_el0", PMCR_E | long);
    isb(SY);
    LAST.store(0, Ordering::Relaxed);
    WIDTH.store(width, Ordering::Relaxed);
}

/// Instructions executed on this CPU since boot; zero where there is no counter.
pub fn instructions() -> u64 {
    let width = WIDTH.load(Ordering::Relaxed);
    if width == 0 {
        return 0;
    }
    isb(SY);
    let now = read!("pmevcntr0_el0");
    if width == 64 {
        return now;
    }
    let count = extend(LAST.load(Ordering::Relaxed), now);
    LAST.store(count, Ordering::Relaxed);
    count
}

/// The 64-bit count that has `low` as its low half and is the first one at or after `last`.
const fn extend(last: u64, low: u64) -> u64 {
    let low = low & 0xffff_ffff;
    let high = last & !0xffff_ffff;
    if low < last & 0xffff_ffff { high + (1 << 32) + low } else { high + low }
}

// The wrap, checked where it is compiled: this room has no host tests.
const _: () = {
    assert!(extend(0, 7) == 7 && extend(7, 7) == 7);
    assert!(extend(0xffff_ffff, 0) == 0x1_0000_0000);
    assert!(extend(0x2_8000_0000, 0x7fff_ffff) == 0x3_7fff_ffff);
};
