//! Counting time, and guest instructions: event counter 0 of the performance monitor, event INST_RETIRED.
//!
//! Source: Arm ARM (DDI 0487), chapter "The Performance Monitors Extension" and the PMU event list. On QEMU the event
//! exists only under `-icount`, and then its count is exact and repeats (`target/arm/helper.c`, `instructions_supported`).
//!
//! Before PMUv3p5 an event counter has 32 bits: it wraps after 4.29 thousand million instructions. [`instructions`] extends
//! it to 64 bits, which is right if it is called at least once in each wrap. So a bench that reads it before and after
//! less than 2^32 instructions gets the right difference.
//!
//! At EL2, [`super::el2`] leaves MDCR_EL2.TPM and TPMCR clear, and MDCR_EL2.HPMN at PMCR_EL0.N.
#![expect(unsafe_code, reason = "the PMU's registers; rule M1")]

use core::arch::asm;
use core::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use aarch64_cpu::asm::barrier::{SY, isb};
use tock_registers::register_bitfields;

use super::costs::{self, Cost};
use super::cpu;

register_bitfields![u64,
    PMCR [
        /// The counters run.
        E OFFSET(0) NUMBITS(1) [],
        /// Event counters are 64 bits wide (FEAT_PMUv3p5).
        LP OFFSET(7) NUMBITS(1) [],
        /// How many event counters there are.
        N OFFSET(11) NUMBITS(5) []
    ],
    /// A bit for each event from 0 to 31 that is implemented.
    PMCEID0 [
        /// An instruction was architecturally executed.
        INST_RETIRED OFFSET(0x08) NUMBITS(1) []
    ]
];

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
        // SAFETY: M1; this module owns the virtual timer and the PMU, whose overflow interrupt stays disabled.
        unsafe { asm!(concat!("msr ", $register, ", {}"), in(reg) $value, options(nomem, nostack, preserves_flags)) }
    };
}

/// ISB: the register is read, or written, where the program says.
fn synchronize() {
    isb(SY);
    costs::add(Cost::Isb, 1);
}

/// The time, in [`ticks_per_second`] (Arm ARM, "CNTVCT_EL0").
pub fn ticks() -> u64 {
    synchronize();
    read!("cntvct_el0")
}

/// How many [`ticks`] a second has (CNTFRQ_EL0, which firmware or QEMU has set).
pub fn ticks_per_second() -> u64 {
    read!("cntfrq_el0")
}

/// Raises this CPU's virtual timer interrupt once [`ticks`] has reached `at`, or takes it back (Arm ARM, "CNTV_CVAL_EL0",
/// "CNTV_CTL_EL0": ENABLE, with IMASK clear).
pub fn set_timer(at: Option<u64>) {
    if let Some(at) = at {
        write!("cntv_cval_el0", at);
    }
    write!("cntv_ctl_el0", u64::from(at.is_some()));
    synchronize();
}

/// Whether this CPU counts instructions: it has a PMU with an event counter, and the event is implemented (PMCEID0_EL0).
pub fn have_instruction_counter() -> bool {
    cpu::features().has_pmu() && event_counters() != 0 && PMCEID0::INST_RETIRED.is_set(read!("pmceid0_el0"))
}

/// How many event counters there are (PMCR_EL0.N). Only a CPU with a performance monitor has the register.
pub(super) fn event_counters() -> u64 {
    PMCR::N.read(read!("pmcr_el0"))
}

/// Takes over the counter that the boot code started with the first instructions. Does nothing where there is none.
pub fn adopt() {
    if !have_instruction_counter() {
        return;
    }
    let long = cpu::features().has_long_counters();
    let control = PMCR::E::SET + PMCR::LP.val(long.into());
    write!("pmcr_el0", control.value);
    synchronize();
    LAST.store(0, Ordering::Relaxed);
    WIDTH.store(if long { 64 } else { 32 }, Ordering::Relaxed);
}

/// Instructions executed on this CPU since boot; zero where there is no counter.
pub fn instructions() -> u64 {
    let width = WIDTH.load(Ordering::Relaxed);
    if width == 0 {
        return 0;
    }
    synchronize();
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

// The wrap, checked at compile time: this module has no host tests.
const _: () = {
    assert!(extend(0, 7) == 7 && extend(7, 7) == 7);
    assert!(extend(0xffff_ffff, 0) == 0x1_0000_0000);
    assert!(extend(0x2_8000_0000, 0x7fff_ffff) == 0x3_7fff_ffff);
};
