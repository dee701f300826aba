//! What the CPU can do, decoded from its identification registers. Pure: [`super::cpu`] reads them.
//!
//! Source: Arm ARM (DDI 0487), "ID_AA64MMFR0_EL1", "ID_AA64MMFR2_EL1", "ID_AA64ISAR2_EL1", "ID_AA64PFR0_EL1",
//! "ID_AA64DFR0_EL1", "DCZID_EL0".

use hotmap_mm::granule::GranuleKind;
use hotmap_mm::machine::Bbm;

/// The raw identification registers.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Features {
    /// ID_AA64MMFR0_EL1.
    pub mmfr0: u64,
    /// ID_AA64MMFR2_EL1.
    pub mmfr2: u64,
    /// ID_AA64ISAR2_EL1.
    pub isar2: u64,
    /// ID_AA64PFR0_EL1.
    pub pfr0: u64,
    /// ID_AA64DFR0_EL1.
    pub dfr0: u64,
    /// DCZID_EL0.
    pub dczid: u64,
}

/// The four-bit field whose lowest bit is `shift`.
const fn field(register: u64, shift: u32) -> u64 {
    register >> shift & 0xf
}

impl Features {
    /// Whether stage 1 has this granule. TGran4 (bits 31:28) and TGran64 (27:24) count 0xf as absent; TGran16 (23:20)
    /// counts 0 as absent.
    pub const fn has_granule(&self, granule: GranuleKind) -> bool {
        match granule {
            GranuleKind::K4 => field(self.mmfr0, 28) != 0xf,
            GranuleKind::K16 => field(self.mmfr0, 20) != 0,
            GranuleKind::K64 => field(self.mmfr0, 24) != 0xf,
        }
    }
    /// PARange (bits 3:0) as it goes into TCR_EL1.IPS: at most 0b101, 48 bits, because the descriptors here have no more.
    pub const fn ips(&self) -> u64 {
        let range = field(self.mmfr0, 0);
        if range > 0b101 { 0b101 } else { range }
    }
    /// PARange as a number of bits.
    pub const fn pa_bits(&self) -> u32 {
        match field(self.mmfr0, 0) {
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
    /// BBM, bits 55:52 (FEAT_BBML1, FEAT_BBML2).
    pub const fn bbm(&self) -> Bbm {
        Bbm::from_field(field(self.mmfr2, 52))
    }
    /// MOPS, bits 19:16: FEAT_MOPS, the memory copy and memory set instructions.
    pub const fn has_mops(&self) -> bool {
        field(self.isar2, 16) != 0
    }
    /// AdvSIMD, bits 23:20: 0xf is absent.
    pub const fn has_simd(&self) -> bool {
        field(self.pfr0, 20) != 0xf
    }
    /// The bytes that one DC ZVA clears: BS (bits 3:0) is log2 of the block in words. `None` if DZP (bit 4) prohibits it.
    pub const fn zva_bytes(&self) -> Option<usize> {
        if self.dczid & 0x10 != 0 { None } else { Some(4 << (self.dczid & 0xf)) }
    }
    /// PMUVer, bits 11:8: whether there is a performance monitor. 0xf is one that is not Arm's.
    pub const fn has_pmu(&self) -> bool {
        !matches!(field(self.dfr0, 8), 0 | 0xf)
    }
    /// Whether event counters can have 64 bits (FEAT_PMUv3p5: PMUVer 6 and up).
    pub const fn has_long_counters(&self) -> bool {
        self.has_pmu() && field(self.dfr0, 8) >= 6
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
            pfr0: 0x1100_0000_1011_1112,
            dfr0: 0x0001_1030_5408,
            dczid: 4,
            isar2: 0,
        };
        assert_eq!([K4, K16, K64].map(|granule| n1.has_granule(granule)), [true; 3]);
        assert_eq!((n1.pa_bits(), n1.bbm(), n1.zva_bytes()), (48, Bbm::Level0, Some(64)));
        assert!(n1.has_pmu() && !n1.has_long_counters() && n1.has_simd() && !n1.has_mops());
    }

    #[test]
    fn a_52_bit_range_is_cut_to_the_48_that_the_descriptors_have() {
        let wide = Features { mmfr0: 0x6, ..Features::default() };
        assert_eq!((wide.pa_bits(), wide.ips()), (52, 0b101));
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
        let max = Features { mmfr2: 2 << 52, isar2: 1 << 16, dfr0: 6 << 8, ..Features::default() };
        assert!(max.has_mops() && max.has_long_counters());
        assert_eq!(max.bbm(), Bbm::Level2);
        assert!(!Features { dfr0: 0xf00, ..Features::default() }.has_pmu());
    }
}
