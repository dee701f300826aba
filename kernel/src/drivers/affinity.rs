//! How a GICv3 finds a CPU by its affinity: its redistributor, and the register value that sends it an interrupt. Pure.
//!
//! Source: Arm IHI 0069, "GICR_TYPER", "ICC_SGI1R_EL1", "Redistributor register map".
//!
//! ```text
//!  a region      | RD | SGI |    | RD | SGI |    | ...        RD, SGI: frames of 64 KiB
//!  with VLPIS    | RD | SGI | VLPI | reserved |  | ...
//!                |<-------- stride --------->|
//! ```

use hotmap_devicetree::Region;
use tock_registers::{LocalRegisterCopy, register_bitfields};

/// The two frames of a redistributor that every GICv3 has: what a driver maps.
pub const REDISTRIBUTOR_BYTES: u64 = 0x2_0000;
/// GICR_TYPER's offset in the first frame.
pub const GICR_TYPER: u64 = 0x008;

register_bitfields![u64,
    TYPER [
        VLPIS OFFSET(1) NUMBITS(1) [],
        Last OFFSET(4) NUMBITS(1) [],
        AffinityValue OFFSET(32) NUMBITS(32) []
    ],
    SGI1R [
        TargetList OFFSET(0) NUMBITS(16) [],
        Aff1 OFFSET(16) NUMBITS(8) [],
        INTID OFFSET(24) NUMBITS(4) [],
        Aff2 OFFSET(32) NUMBITS(8) [],
        RS OFFSET(44) NUMBITS(4) [],
        Aff3 OFFSET(48) NUMBITS(8) []
    ]
];

/// The address of the redistributor whose CPU has `affinity` (the fields of MPIDR_EL1), in one of `regions`. `stride` is the
/// device tree's, 0 if it has none: then each redistributor says itself how many frames it has. `typer` reads GICR_TYPER at
/// an address, and is `None` where nothing answers.
pub fn find(
    regions: &[Region],
    stride: u64,
    affinity: u64,
    mut typer: impl FnMut(u64) -> Option<u64>,
) -> Option<u64> {
    // GICR_TYPER has Aff3 right above Aff2.
    let wanted = affinity >> 8 & 0xff00_0000 | affinity & 0x00ff_ffff;
    regions.iter().find_map(|region| {
        let mut at = region.start;
        loop {
            if at.checked_add(REDISTRIBUTOR_BYTES)? > region.end() {
                return None;
            }
            let typer = LocalRegisterCopy::<u64, TYPER::Register>::new(typer(at + GICR_TYPER)?);
            if typer.read(TYPER::AffinityValue) == wanted {
                return Some(at);
            }
            if typer.is_set(TYPER::Last) {
                return None;
            }
            let own = if typer.is_set(TYPER::VLPIS) { 2 * REDISTRIBUTOR_BYTES } else { REDISTRIBUTOR_BYTES };
            // A stride that is too short for two frames is none.
            at = at.checked_add(if stride < REDISTRIBUTOR_BYTES { own } else { stride })?;
        }
    })
}

/// ICC_SGI1R_EL1 that sends SGI `id` (0 to 15) to the one CPU with `affinity`. RS is the range of 16 Aff0 values that the
/// target list is about: 0 wherever GICD_TYPER.RSS says that there is no other.
pub fn sgi1r(affinity: u64, id: u32) -> u64 {
    let [aff0, aff1, aff2, _, aff3, ..] = affinity.to_le_bytes().map(u64::from);
    (SGI1R::TargetList.val(1 << (aff0 & 0xf))
        + SGI1R::RS.val(aff0 >> 4)
        + SGI1R::Aff1.val(aff1)
        + SGI1R::Aff2.val(aff2)
        + SGI1R::Aff3.val(aff3)
        + SGI1R::INTID.val(id.into()))
    .value
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    const LAST: u64 = 1 << 4;
    const VLPIS: u64 = 1 << 1;

    /// GICR_TYPER of a redistributor for `affinity` as GICR_TYPER has it.
    const fn typer(affinity: u64, flags: u64) -> u64 {
        affinity << 32 | flags
    }
    const fn region(start: u64, size: u64) -> Region {
        Region { start, size }
    }
    /// Finds `affinity` in a machine of `(address, GICR_TYPER)`; anything else that is read is outside of it.
    fn find_in(regions: &[Region], stride: u64, affinity: u64, machine: &[(u64, u64)]) -> Option<u64> {
        find(regions, stride, affinity, |at| {
            let inside = |region: &&Region| region.contains(at) && region.contains(at + 7);
            assert!(regions.iter().find(inside).is_some(), "a read of {at:#x}, outside of every region");
            machine.iter().find(|(start, _)| start + GICR_TYPER == at).map(|(_, typer)| *typer)
        })
    }

    #[test]
    fn a_gicv3_has_a_redistributor_every_128_kib_and_a_gicv4_every_256() {
        for (flags, distance) in [(0, 0x2_0000), (VLPIS, 0x4_0000)] {
            let machine: Vec<_> = (0..4)
                .map(|n| (0x80a_0000 + n * distance, typer(n, flags | if n == 3 { LAST } else { 0 })))
                .collect();
            for n in 0..4 {
                let at = find_in(&[region(0x80a_0000, 0xf6_0000)], 0, n, &machine);
                assert_eq!(at, Some(0x80a_0000 + n * distance), "CPU {n}");
            }
            assert_eq!(
                find_in(&[region(0x80a_0000, 0xf6_0000)], 0, 4, &machine),
                None,
                "behind the last one"
            );
        }
    }

    #[test]
    fn the_device_trees_stride_comes_before_what_the_redistributor_says() {
        let machine = [(0x1000_0000, typer(0, 0)), (0x1008_0000, typer(1, LAST))];
        assert_eq!(find_in(&[region(0x1000_0000, 0x10_0000)], 0x8_0000, 1, &machine), Some(0x1008_0000));
        let close = [(0x1000_0000, typer(0, 0)), (0x1002_0000, typer(1, LAST))];
        assert_eq!(find_in(&[region(0x1000_0000, 0x10_0000)], 0x1000, 1, &close), Some(0x1002_0000));
    }

    #[test]
    fn every_region_is_looked_through() {
        let regions = [region(0x1000_0000, 0x4_0000), region(0x2000_0000, 0x2_0000)];
        let machine = [
            (0x1000_0000, typer(0, 0)),
            (0x1002_0000, typer(1, LAST)),
            (0x2000_0000, typer(0x0102_0300, LAST)),
        ];
        assert_eq!(find_in(&regions, 0, 1, &machine), Some(0x1002_0000));
        // Aff3 is at bit 32 of MPIDR_EL1 and at bit 24 of the affinity here.
        assert_eq!(find_in(&regions, 0, 0x1_0002_0300, &machine), Some(0x2000_0000));
    }

    #[test]
    fn what_does_not_answer_or_does_not_fit_is_no_redistributor() {
        assert_eq!(find_in(&[region(0x1000_0000, 0x1000)], 0, 0, &[(0x1000_0000, typer(0, 0))]), None);
        assert_eq!(find_in(&[region(0x1000_0000, 0x10_0000)], 0, 0, &[]), None);
        let top = region(u64::MAX - 0x2_ffff, 0x2_ffff);
        assert_eq!(find_in(&[top], u64::MAX, 1, &[(top.start, typer(0, 0))]), None, "the address wraps");
        assert_eq!(find_in(&[], 0, 0, &[]), None);
    }

    /// IHI 0069, "ICC_SGI1R_EL1": TargetList 15:0, Aff1 23:16, INTID 27:24, Aff2 39:32, IRM 40, RS 47:44, Aff3 55:48.
    #[test]
    fn an_sgi_names_one_cpu() {
        assert_eq!(sgi1r(0, 0), 1);
        assert_eq!(sgi1r(0x1_0002_0305, 2), 1 << 48 | 2 << 32 | 2 << 24 | 3 << 16 | 1 << 5);
        assert_eq!(sgi1r(0x23, 1), 2 << 44 | 1 << 24 | 1 << 3);
    }
}
