//! What the CPU can do, decoded from its identification registers. Pure: [`super::cpu`] reads them.
//!
//! Source: Arm ARM (DDI 0487), the pages of the registers that [`Features`] has.

use aarch64_cpu::registers::{ID_AA64DFR0_EL1, ID_AA64MMFR0_EL1, ID_AA64MMFR2_EL1};
use hotmap_mm::granule::GranuleKind;
use hotmap_mm::machine::Bbm;
use tock_registers::fields::Field;
use tock_registers::{RegisterLongName, register_bitfields};

// What aarch64-cpu does not know of the fields that are read here.
register_bitfields![u64,
    MMFR0 [FGT OFFSET(56) NUMBITS(4) []],
    MMFR1 [HCX OFFSET(40) NUMBITS(4) []],
    /// Signed: E2H0 is negative where HCR_EL2.E2H is RES1.
    MMFR4 [E2H0 OFFSET(24) NUMBITS(4) []],
    ISAR0 [TLB OFFSET(56) NUMBITS(4) []],
    ISAR2 [MOPS OFFSET(16) NUMBITS(4) []],
    PFR0 [
        AdvSIMD OFFSET(20) NUMBITS(4) [],
        GIC OFFSET(24) NUMBITS(4) [],
        MPAM OFFSET(40) NUMBITS(4) []
    ],
    PFR1 [MPAM_frac OFFSET(16) NUMBITS(4) []],
    DCZID [
        /// log2 of the block in words.
        BS OFFSET(0) NUMBITS(4) [],
        /// DC ZVA is prohibited.
        DZP OFFSET(4) NUMBITS(1) []
    ]
];

/// The raw identification registers.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Features {
    /// ID_AA64MMFR0_EL1.
    pub mmfr0: u64,
    /// ID_AA64MMFR1_EL1.
    pub mmfr1: u64,
    /// ID_AA64MMFR2_EL1.
    pub mmfr2: u64,
    /// ID_AA64MMFR4_EL1.
    pub mmfr4: u64,
    /// ID_AA64ISAR0_EL1.
    pub isar0: u64,
    /// ID_AA64ISAR2_EL1.
    pub isar2: u64,
    /// ID_AA64PFR0_EL1.
    pub pfr0: u64,
    /// ID_AA64PFR1_EL1.
    pub pfr1: u64,
    /// ID_AA64DFR0_EL1.
    pub dfr0: u64,
    /// DCZID_EL0.
    pub dczid: u64,
}

/// The sign bit of a signed four-bit field.
const SIGN: u64 = 0b1000;

fn field<R: RegisterLongName>(register: u64, field: Field<u64, R>) -> u64 {
    field.read(register)
}

impl Features {
    /// Registers that read as zero: those of the oldest CPU, with every field at its first value.
    pub const NONE: Self = Self {
        mmfr0: 0,
        mmfr1: 0,
        mmfr2: 0,
        mmfr4: 0,
        isar0: 0,
        isar2: 0,
        pfr0: 0,
        pfr1: 0,
        dfr0: 0,
        dczid: 0,
    };
    /// The widest physical address that the descriptors here have, in bits: without FEAT_LPA2 or FEAT_LPA.
    const DESCRIPTOR_BITS: u32 = 48;

    /// Whether stage 1 has this granule. TGran4 and TGran64 count 0xf as absent; TGran16 counts 0 as absent.
    pub fn has_granule(&self, granule: GranuleKind) -> bool {
        match granule {
            GranuleKind::K4 => field(self.mmfr0, ID_AA64MMFR0_EL1::TGran4) != 0xf,
            GranuleKind::K16 => field(self.mmfr0, ID_AA64MMFR0_EL1::TGran16) != 0,
            GranuleKind::K64 => field(self.mmfr0, ID_AA64MMFR0_EL1::TGran64) != 0xf,
        }
    }
    /// PARange as it goes into TCR_EL1.IPS: at most 0b101, 48 bits.
    pub fn ips(&self) -> u64 {
        field(self.mmfr0, ID_AA64MMFR0_EL1::PARange).min(0b101)
    }
    /// PARange as a number of bits.
    pub fn pa_bits(&self) -> u32 {
        match field(self.mmfr0, ID_AA64MMFR0_EL1::PARange) {
            0b0000 => 32,
            0b0001 => 36,
            0b0010 => 40,
            0b0011 => 42,
            0b0100 => 44,
            0b0101 => 48,
            0b0110 => 52,
            // 0b0111 is 56 bits; later values can only be more.
            _ => 56,
        }
    }
    /// How many bits a physical address has that both the CPU and the descriptors can express.
    pub fn usable_pa_bits(&self) -> u32 {
        self.pa_bits().min(Self::DESCRIPTOR_BITS)
    }
    /// BBM (FEAT_BBML1, FEAT_BBML2).
    pub fn bbm(&self) -> Bbm {
        Bbm::from_field(field(self.mmfr2, ID_AA64MMFR2_EL1::BBM))
    }
    /// FEAT_TLBIRANGE: TLB invalidation by range.
    pub fn has_range_invalidation(&self) -> bool {
        field(self.isar0, ISAR0::TLB) >= 2
    }
    /// FEAT_MOPS, the memory copy and memory set instructions.
    pub fn has_mops(&self) -> bool {
        field(self.isar2, ISAR2::MOPS) != 0
    }
    /// FEAT_HCX: there is HCRX_EL2.
    pub fn has_hcx(&self) -> bool {
        field(self.mmfr1, MMFR1::HCX) != 0
    }
    /// FEAT_FGT: there are HFGRTR_EL2, HFGWTR_EL2, HFGITR_EL2, HDFGRTR_EL2 and HDFGWTR_EL2.
    pub fn has_fine_grained_traps(&self) -> bool {
        field(self.mmfr0, MMFR0::FGT) != 0
    }
    /// Whether HCR_EL2.E2H is RES1, by the CPU's own word.
    pub fn is_e2h_res1(&self) -> bool {
        field(self.mmfr4, MMFR4::E2H0) & SIGN != 0
    }
    /// FEAT_MPAM, version 0.1 included, which is a fraction alone.
    pub fn has_mpam(&self) -> bool {
        field(self.pfr0, PFR0::MPAM) != 0 || field(self.pfr1, PFR1::MPAM_frac) != 0
    }
    /// Whether the GIC's CPU interface has system registers.
    pub fn has_gic_registers(&self) -> bool {
        field(self.pfr0, PFR0::GIC) != 0
    }
    /// AdvSIMD: 0xf is absent.
    pub fn has_simd(&self) -> bool {
        field(self.pfr0, PFR0::AdvSIMD) != 0xf
    }
    /// The bytes that one DC ZVA clears. `None` if it is prohibited.
    pub fn zva_bytes(&self) -> Option<usize> {
        if field(self.dczid, DCZID::DZP) != 0 { None } else { Some(4 << field(self.dczid, DCZID::BS)) }
    }
    /// Whether there is a performance monitor. PMUVer 0xf is one that is not Arm's.
    pub fn has_pmu(&self) -> bool {
        !matches!(field(self.dfr0, ID_AA64DFR0_EL1::PMUVer), 0 | 0xf)
    }
    /// Whether event counters can have 64 bits (FEAT_PMUv3p5: PMUVer 6 and up).
    pub fn has_long_counters(&self) -> bool {
        self.has_pmu() && field(self.dfr0, ID_AA64DFR0_EL1::PMUVer) >= 6
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use GranuleKind::{K4, K16, K64};

    /// Values that real CPUs' manuals give as reset values.
    #[test]
    fn cortex_a72_has_no_16k_and_44_bits() {
        let a72 = Features { mmfr0: 0x1124, ..Features::default() };
        assert_eq!([K4, K16, K64].map(|granule| a72.has_granule(granule)), [true, false, true]);
        assert_eq!((a72.pa_bits(), a72.ips()), (44, 0b100));
    }

    #[test]
    fn neoverse_n1_has_every_granule_no_bbm_and_32_bit_counters() {
        let n1 = Features {
            mmfr0: 0x0010_1125,
            mmfr2: 0x1011,
            isar0: 0x0000_1000_1021_1120,
            pfr0: 0x1100_0000_1011_1112,
            dfr0: 0x0001_1030_5408,
            dczid: 4,
            ..Features::NONE
        };
        assert_eq!([K4, K16, K64].map(|granule| n1.has_granule(granule)), [true; 3]);
        assert_eq!((n1.pa_bits(), n1.bbm(), n1.zva_bytes()), (48, Bbm::Level0, Some(64)));
        assert!(!n1.has_range_invalidation());
        assert!(n1.has_pmu() && !n1.has_long_counters() && n1.has_simd() && !n1.has_mops());
    }

    #[test]
    fn a_52_bit_range_is_cut_to_the_48_that_the_descriptors_have() {
        let wide = Features { mmfr0: 0x6, ..Features::default() };
        assert_eq!((wide.pa_bits(), wide.ips()), (52, 0b101));
    }

    #[test]
    fn an_address_is_as_wide_as_the_cpu_and_the_descriptors_allow() {
        let bits = |range| Features { mmfr0: range, ..Features::NONE }.usable_pa_bits();
        assert_eq!([bits(0), bits(2), bits(5), bits(6), bits(7)], [32, 40, 48, 48, 48]);
    }

    #[test]
    fn the_absent_values_differ_between_the_granules() {
        let none = Features { mmfr0: 0xff0f_ffff, ..Features::default() };
        assert_eq!([K4, K16, K64].map(|granule| none.has_granule(granule)), [false, false, false]);
        let lpa2 = Features { mmfr0: 0x1020_0000, ..Features::default() };
        assert_eq!([K4, K16, K64].map(|granule| lpa2.has_granule(granule)), [true, true, true]);
    }

    #[test]
    fn a_prohibited_dc_zva_has_no_size() {
        assert_eq!(Features { dczid: 0x14, ..Features::default() }.zva_bytes(), None);
        assert_eq!(Features { dczid: 0x9, ..Features::default() }.zva_bytes(), Some(2048));
    }

    #[test]
    fn mops_bbm_level_2_and_long_counters_are_seen() {
        assert!(Features { isar0: 2 << 56, ..Features::NONE }.has_range_invalidation());
        assert!(
            !Features { isar0: 1 << 56, ..Features::NONE }.has_range_invalidation(),
            "outer shareable only"
        );
        let max = Features { mmfr2: 2 << 52, isar2: 1 << 16, dfr0: 6 << 8, ..Features::default() };
        assert!(max.has_mops() && max.has_long_counters());
        assert_eq!(max.bbm(), Bbm::Level2);
        assert!(!Features { dfr0: 0xf00, ..Features::default() }.has_pmu());
    }
}
