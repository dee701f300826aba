//! Values for the registers that turn translation on. Pure functions of plain numbers, without statics, so that boot code
//! may call them with the MMU off.
//!
//! Source: Arm ARM (DDI 0487), "TCR_EL1, Translation Control Register (EL1)" and "SCTLR_EL1". **TG0 and TG1 do not have the
//! same encoding**: TG0 is 00, 10, 01 for 4K, 16K, 64K, and TG1 is 10, 01, 11.

use aarch64_cpu::registers::{SCTLR_EL1, TCR_EL1};
use hotmap_mm::granule::GranuleKind;
use tock_registers::fields::FieldValue;

type TcrFields = FieldValue<u64, TCR_EL1::Register>;

fn granule_fields(granule: GranuleKind) -> TcrFields {
    match granule {
        GranuleKind::K4 => TCR_EL1::TG0::KiB_4 + TCR_EL1::TG1::KiB_4,
        GranuleKind::K16 => TCR_EL1::TG0::KiB_16 + TCR_EL1::TG1::KiB_16,
        GranuleKind::K64 => TCR_EL1::TG0::KiB_64 + TCR_EL1::TG1::KiB_64,
    }
}

/// Walks of both halves are Inner Shareable and Write-Back Cacheable.
fn walk_fields() -> TcrFields {
    TCR_EL1::SH0::Inner
        + TCR_EL1::ORGN0::WriteBack_ReadAlloc_WriteAlloc_Cacheable
        + TCR_EL1::IRGN0::WriteBack_ReadAlloc_WriteAlloc_Cacheable
        + TCR_EL1::SH1::Inner
        + TCR_EL1::ORGN1::WriteBack_ReadAlloc_WriteAlloc_Cacheable
        + TCR_EL1::IRGN1::WriteBack_ReadAlloc_WriteAlloc_Cacheable
}

/// TCR_EL1 with the same granule and `va_bits` (up to 48) for both halves, ASIDs of TTBR0 in 8 bits, no tag bits, and `ips`
/// from [`Features::ips`](super::features::Features::ips).
pub fn tcr(granule: GranuleKind, va_bits: u32, ips: u64) -> u64 {
    // T0SZ and T1SZ: how many bits of a 64-bit address are not translated.
    let size = 64 - u64::from(va_bits);
    let sizes = TCR_EL1::T0SZ.val(size) + TCR_EL1::T1SZ.val(size) + TCR_EL1::IPS.val(ips);
    (granule_fields(granule) + walk_fields() + sizes).value
}

/// TCR_EL1.EPD0: a miss in the lower half faults instead of walking TTBR0. Set it when the identity map goes.
pub const TCR_EPD0: u64 = TCR_EL1::EPD0::DisableTTBR0Walks.value;

/// The bits of SCTLR_EL1 that are RES1, or 1 for the behaviour that older CPUs have (Arm ARM, "SCTLR_EL1"): LSMAOE 29,
/// nTLSMD 28, SPAN 23, EIS 22, TSCXT 20, EOS 11. aarch64-cpu does not name them.
const SCTLR_RES1: u64 = 1 << 29 | 1 << 28 | 1 << 23 | 1 << 22 | 1 << 20 | 1 << 11;
/// SCTLR_EL1.WXN: what is writable is never executable, whatever its descriptor says (invariant I8).
pub const SCTLR_WXN: u64 = SCTLR_EL1::WXN::Enable.value;
/// SCTLR_EL1 with the MMU and the caches off, and a misaligned SP that faults: what to set before anything is known.
pub const SCTLR_OFF: u64 = SCTLR_RES1 | SCTLR_EL1::SA::Enable.value;
/// SCTLR_EL1 with the MMU and the caches on, and nothing both writable and executable.
pub const SCTLR_ON: u64 = SCTLR_OFF
    | SCTLR_EL1::M::Enable.value
    | SCTLR_EL1::C::Cacheable.value
    | SCTLR_EL1::I::Cacheable.value
    | SCTLR_WXN;

#[cfg(test)]
mod tests {
    use super::*;

    /// Each value taken apart again by the positions of the Arm ARM's table, written out here a second time.
    fn bits(value: u64, high: u32, low: u32) -> u64 {
        value >> low & ((1 << (high - low + 1)) - 1)
    }

    #[test]
    fn tg0_and_tg1_have_the_arm_arms_two_different_encodings() {
        let expected =
            [(GranuleKind::K4, 0b00, 0b10), (GranuleKind::K16, 0b10, 0b01), (GranuleKind::K64, 0b01, 0b11)];
        for (granule, zero, one) in expected {
            let tcr = tcr(granule, 48, 5);
            assert_eq!((bits(tcr, 15, 14), bits(tcr, 31, 30)), (zero, one), "{granule}");
        }
    }

    #[test]
    fn a_48_bit_space_has_16_bits_left_and_a_39_bit_one_25() {
        for (va_bits, size) in [(48, 16), (39, 25), (47, 17)] {
            let tcr = tcr(GranuleKind::K4, va_bits, 0);
            assert_eq!((bits(tcr, 5, 0), bits(tcr, 21, 16)), (size, size));
        }
    }

    #[test]
    fn walks_are_inner_shareable_and_write_back() {
        let tcr = tcr(GranuleKind::K64, 48, 0b101);
        assert_eq!([bits(tcr, 9, 8), bits(tcr, 11, 10), bits(tcr, 25, 24), bits(tcr, 27, 26)], [1; 4]);
        assert_eq!([bits(tcr, 13, 12), bits(tcr, 29, 28)], [3; 2]);
    }

    #[test]
    fn both_halves_walk_asid_comes_from_ttbr0_and_nothing_optional_is_on() {
        let tcr = tcr(GranuleKind::K16, 48, 0b101);
        assert_eq!([bits(tcr, 7, 7), bits(tcr, 23, 23), bits(tcr, 22, 22)], [0; 3]);
        assert_eq!((bits(tcr, 34, 32), bits(tcr, 63, 35)), (0b101, 0));
    }

    #[test]
    fn golden_values_of_the_three_granules_at_48_bits() {
        assert_eq!(tcr(GranuleKind::K4, 48, 5), 0x5_b510_3510);
        assert_eq!(tcr(GranuleKind::K16, 48, 5), 0x5_7510_b510);
        assert_eq!(tcr(GranuleKind::K64, 48, 5), 0x5_f510_7510);
    }

    /// 0x30d0_0800 is the value that the Arm ARM's RES1 bits of an Armv8.0 SCTLR_EL1 add up to.
    #[test]
    fn sctlr_keeps_the_res1_bits() {
        assert_eq!(SCTLR_OFF, 0x30d0_0808);
        assert_eq!(SCTLR_ON, 0x30d8_180d);
    }
}
