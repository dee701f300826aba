//! What EL2 is set to before the entry code leaves it for EL1. [`Settings`] are pure functions of the identification
//! registers; `apply` writes them.
//!
//! Source: Arm ARM (DDI 0487), the registers' own pages; Linux Documentation/arch/arm64/booting.rst (what EL3 has to
//! allow) and arch/arm64/include/asm/el2_setup.h (`init_el2_state`).
//!
//! A register that belongs to an optional feature is written only where the feature is there. It traps or is undefined
//! elsewhere: an EL3 that does not know the feature does not let EL2 reach it (SCR_EL3.HXEn for HCRX_EL2).

use aarch64_cpu::registers::{CNTHCTL_EL2, HCR_EL2, MDCR_EL2};
use tock_registers::register_bitfields;

use super::features::Features;

register_bitfields![u64,
    /// CNTHCTL_EL2 with HCR_EL2.E2H set, which moves the fields.
    CNTHCTL_E2H [
        EL1PCTEN OFFSET(10) NUMBITS(1) [],
        EL1PTEN OFFSET(11) NUMBITS(1) []
    ],
    /// The two formats of CPTR_EL2.
    CPTR [
        RES1 OFFSET(0) NUMBITS(8) [],
        TZ OFFSET(8) NUMBITS(1) [],
        RES1_9 OFFSET(9) NUMBITS(1) [],
        TSM OFFSET(12) NUMBITS(1) [],
        RES1_13 OFFSET(13) NUMBITS(1) [],
        E2H_FPEN OFFSET(20) NUMBITS(2) [
            TrapNothing = 0b11
        ]
    ],
    HCRX [
        /// The memory copy and set instructions are allowed at EL1.
        MSCEn OFFSET(11) NUMBITS(1) []
    ],
    MPAMIDR [
        HAS_HCR OFFSET(17) NUMBITS(1) []
    ]
];

/// HCR_EL2 for EL1 in AArch64 state that traps nothing. E2H stays clear, except on CPUs that have no E2H = 0: there the
/// bit may come out of reset with any value, and has to be set.
pub fn hcr(features: &Features) -> u64 {
    let e2h = if features.is_e2h_res1() { HCR_EL2::E2H::SET.value } else { 0 };
    HCR_EL2::RW::EL1IsAarch64.value | e2h
}

/// Whether HCR_EL2 reads back with E2H set. Some CPUs have E2H as RES1 and do not say so in ID_AA64MMFR4_EL1.
pub fn e2h_is_set(hcr: u64) -> bool {
    HCR_EL2::E2H.is_set(hcr)
}

/// The registers that depend on the CPU's features.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// CNTHCTL_EL2: EL1 reaches the physical counter and timer.
    pub cnthctl: u64,
    /// CPTR_EL2: SIMD does not trap. (SVE and SME do, which nothing here uses.)
    pub cptr: u64,
    /// MDCR_EL2: all event counters are EL1's (HPMN), and nothing traps.
    pub mdcr: u64,
    /// HCRX_EL2 with FEAT_MOPS, which needs its MSCEn. Elsewhere the register stays as it is: none of its bits matters.
    pub hcrx: Option<u64>,
    /// Whether there are fine-grained traps (HFGRTR_EL2 and the like), which are cleared.
    pub fine_grained_traps: bool,
    /// Whether the GIC has system registers: ICC_SRE_EL2 lets EL1 use them, ICH_HCR_EL2 traps none.
    pub gic: bool,
    /// Whether there are memory partitions (MPAM2_EL2): EL1 stays in the default one.
    pub mpam: bool,
}

impl Settings {
    /// For a CPU with `features`. `e2h` is [`e2h_is_set`] once HCR_EL2 was written, `counters` is PMCR_EL0.N, which only
    /// a CPU with a performance monitor has.
    pub fn new(features: &Features, e2h: bool, counters: Option<u64>) -> Self {
        Self {
            cnthctl: cnthctl(e2h),
            cptr: cptr(e2h),
            mdcr: counters.map_or(0, |n| MDCR_EL2::HPMN.val(n).value),
            hcrx: (features.has_hcx() && features.has_mops()).then_some(HCRX::MSCEn::SET.value),
            fine_grained_traps: features.has_fine_grained_traps(),
            gic: features.has_gic_registers(),
            mpam: features.has_mpam(),
        }
    }
}

fn cnthctl(e2h: bool) -> u64 {
    if e2h {
        (CNTHCTL_E2H::EL1PCTEN::SET + CNTHCTL_E2H::EL1PTEN::SET).value
    } else {
        (CNTHCTL_EL2::EL1PCTEN::SET + CNTHCTL_EL2::EL1PCEN::SET).value
    }
}

fn cptr(e2h: bool) -> u64 {
    if e2h {
        CPTR::E2H_FPEN::TrapNothing.value
    } else {
        let res1 = CPTR::RES1.val(0xff) + CPTR::RES1_9::SET + CPTR::RES1_13::SET;
        (res1 + CPTR::TZ::SET + CPTR::TSM::SET).value
    }
}

#[cfg(target_os = "none")]
pub use write::apply;

#[cfg(target_os = "none")]
mod write {
    #![expect(unsafe_code, reason = "writes registers of EL2 that no crate names; rule M1")]

    use core::arch::asm;

    use aarch64_cpu::asm::barrier::{SY, isb};
    use aarch64_cpu::registers::{
        CNTHCTL_EL2, CNTVOFF_EL2, CPTR_EL2, HCR_EL2, HDFGRTR_EL2, HDFGWTR_EL2, HFGITR_EL2, HFGRTR_EL2,
        HFGWTR_EL2, ICC_SRE_EL2, ICH_HCR_EL2, MDCR_EL2, MIDR_EL1, MPIDR_EL1, ReadWriteable, Readable,
        SCTLR_EL1, VMPIDR_EL2, VTTBR_EL2, Writeable,
    };

    use super::super::{counter, cpu, mmu};
    use super::{MPAMIDR, Settings, e2h_is_set, hcr};

    macro_rules! write {
        ($register:literal, $value:expr) => {
            // SAFETY: M1; the entry code owns EL2 and leaves it next.
            unsafe { asm!(concat!("msr ", $register, ", {}"), in(reg) $value, options(nomem, nostack, preserves_flags)) }
        };
    }

    /// Makes EL2 let EL1 run with its MMU off and without traps. The entry code calls it at EL2 before the image is
    /// relocated, so it uses no static.
    pub extern "C" fn apply() {
        let features = cpu::features();
        HCR_EL2.set(hcr(&features));
        // From here on the other registers have the format that E2H gives them.
        isb(SY);
        let e2h = e2h_is_set(HCR_EL2.get());
        let counters = features.has_pmu().then(counter::event_counters);
        apply_settings(&Settings::new(&features, e2h, counters));
        // With E2H the name SCTLR_EL1 means SCTLR_EL2 here, and SCTLR_EL12 (op1 5) is EL1's.
        if e2h {
            write!("S3_5_C1_C0_0", mmu::SCTLR_OFF);
        } else {
            SCTLR_EL1.set(mmu::SCTLR_OFF);
        }
        isb(SY);
    }

    fn apply_settings(settings: &Settings) {
        CNTHCTL_EL2.set(settings.cnthctl);
        CNTVOFF_EL2.set(0);
        CPTR_EL2.set(settings.cptr);
        MDCR_EL2.set(settings.mdcr);
        write!("hstr_el2", 0_u64);
        VTTBR_EL2.set(0);
        write!("vpidr_el2", MIDR_EL1.get());
        VMPIDR_EL2.set(MPIDR_EL1.get());
        if let Some(hcrx) = settings.hcrx {
            write!("S3_4_C1_C2_2", hcrx); // HCRX_EL2
        }
        if settings.fine_grained_traps {
            HFGRTR_EL2.set(0);
            HFGWTR_EL2.set(0);
            HFGITR_EL2.set(0);
            HDFGRTR_EL2.set(0);
            HDFGWTR_EL2.set(0);
        }
        if settings.gic {
            open_gic();
        }
        if settings.mpam {
            open_mpam();
        }
    }

    /// SRE stays clear where EL3 does not allow the system registers; then there is no ICH_HCR_EL2 either.
    fn open_gic() {
        ICC_SRE_EL2.modify(ICC_SRE_EL2::SRE::SET + ICC_SRE_EL2::ENABLE::SET);
        isb(SY);
        if ICC_SRE_EL2.is_set(ICC_SRE_EL2::SRE) {
            ICH_HCR_EL2.set(0);
        }
    }

    fn open_mpam() {
        let id: u64;
        // SAFETY: M1; reads MPAMIDR_EL1 (op0 3, op1 0, CRn 10, CRm 4, op2 4), which is there with FEAT_MPAM.
        unsafe { asm!("mrs {}, S3_0_C10_C4_4", out(reg) id, options(nomem, nostack, preserves_flags)) };
        write!("S3_4_C10_C5_0", 0_u64); // MPAM2_EL2
        if MPAMIDR::HAS_HCR.is_set(id) {
            write!("S3_4_C10_C4_0", 0_u64); // MPAMHCR_EL2
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Field values of the identification registers, by the Arm ARM's tables.
    const HCX: Features = Features { mmfr1: 1 << 40, ..Features::NONE };
    const MOPS: u64 = 1 << 16;

    fn plain(features: &Features) -> Settings {
        Settings::new(features, false, None)
    }

    #[test]
    fn hcrx_is_written_only_with_mops() {
        assert_eq!(plain(&Features::NONE).hcrx, None);
        assert_eq!(plain(&HCX).hcrx, None, "an EL3 without SCR_EL3.HXEn traps the write");
        assert_eq!(plain(&Features { isar2: MOPS, ..HCX }).hcrx, Some(1 << 11));
    }

    #[test]
    fn without_a_performance_monitor_no_counter_is_handed_out() {
        assert_eq!(plain(&Features::NONE).mdcr, 0);
        assert_eq!(Settings::new(&Features::NONE, false, Some(6)).mdcr, 6, "HPMN, bits 4:0");
    }

    #[test]
    fn e2h_is_set_only_where_it_cannot_be_clear() {
        assert_eq!(hcr(&Features::NONE), 1 << 31);
        // E2H0 (bits 27:24 of ID_AA64MMFR4_EL1) is signed: 0b1111 and 0b1110 are "not implemented".
        for e2h0 in [0b1111, 0b1110] {
            let res1 = Features { mmfr4: e2h0 << 24, ..Features::NONE };
            assert_eq!(hcr(&res1), 1 << 34 | 1 << 31, "{e2h0:#b}");
        }
        assert!(e2h_is_set(1 << 34) && !e2h_is_set(!(1 << 34)));
    }

    /// Arm ARM, "CNTHCTL_EL2" and "CPTR_EL2": the format with E2H = 0 and the one with E2H = 1.
    #[test]
    fn e2h_moves_the_fields() {
        let (without, with) = (plain(&Features::NONE), Settings::new(&Features::NONE, true, None));
        assert_eq!((without.cnthctl, with.cnthctl), (0b11, 0b11 << 10));
        assert_eq!((without.cptr, with.cptr), (0x33ff, 0b11 << 20));
    }

    #[test]
    fn what_is_not_there_is_not_touched() {
        let none = plain(&Features::NONE);
        assert!(!none.fine_grained_traps && !none.gic && !none.mpam);
        assert!(plain(&Features { mmfr0: 1 << 56, ..Features::NONE }).fine_grained_traps);
        assert!(plain(&Features { pfr0: 1 << 24, ..Features::NONE }).gic);
        assert!(plain(&Features { pfr0: 1 << 40, ..Features::NONE }).mpam);
        // MPAM_frac (bits 19:16 of ID_AA64PFR1_EL1): version 0.1 has 0 in ID_AA64PFR0_EL1.
        assert!(plain(&Features { pfr1: 1 << 16, ..Features::NONE }).mpam);
    }
}
