//! TLB maintenance, with its barriers.
//!
//! Source: Arm ARM (DDI 0487), D8 "TLB maintenance" and "Ordering and completion of TLB maintenance instructions". The
//! rule, for a change that every CPU has to see:
//!
//! ```text
//!  store the descriptor
//!  DSB ISHST      the store is seen by every table walker before ...
//!  TLBI ..., IS   ... the invalidation is broadcast to the Inner Shareable domain,
//!  DSB ISH        which is complete on every CPU here,
//!  ISB            and this CPU's next instruction is fetched and translated afresh
//! ```
//!
//! An entry that turns from invalid to valid needs no invalidation (the architecture forbids caching a faulting entry),
//! only the DSB, so that the walk sees it, and the ISB ([`publish`]).
//!
//! The kernel's entries are global and ASID 0 is the only one, so the ASID field of the operand stays 0. The operand's
//! TTL field stays 0 too: "no hint about the level".

use core::ops::Range;

use hotmap_mm::granule::GranuleKind;
use tock_registers::register_bitfields;

register_bitfields![u64,
    /// The operand of TLBI VAE1IS and VALE1IS.
    OPERAND [
        /// Address bits 55:12, whatever the granule.
        VA OFFSET(0) NUMBITS(44) [],
        TTL OFFSET(44) NUMBITS(4) [],
        ASID OFFSET(48) NUMBITS(16) []
    ],
    /// The operand of TLBI RVAE1IS and RVALE1IS.
    RANGE [
        /// The first page, in pages.
        BaseADDR OFFSET(0) NUMBITS(37) [],
        TTL OFFSET(37) NUMBITS(2) [],
        NUM OFFSET(39) NUMBITS(5) [],
        SCALE OFFSET(44) NUMBITS(2) [],
        TG OFFSET(46) NUMBITS(2) [],
        ASID OFFSET(48) NUMBITS(16) []
    ]
];

/// Address bits below those in [`OPERAND`].
const VA_SHIFT: u32 = 12;

/// Above this number of operations everything is invalidated instead. Each operation is broadcast, and every CPU answers it; what
/// else its TLB has of EL1 is little, since most of it is blocks. With 128 a life of 1 GiB had 33 operations at 16K and 18 at 64K
/// where the CPU has none by range; with 8 it has 2 and 3. (Linux 7.2 goes on to the number of entries in a table.)
pub const MAX_OPERATIONS: u64 = 8;

/// An operation by range covers less than this: QEMU computes the bytes in 32 bits (target/arm/helper.c,
/// `tlbi_aa64_get_range`), so 4 GiB are none there.
const MOST_BYTES: u64 = 1 << 32;

/// How a range is invalidated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Plan {
    /// Nothing to do.
    Nothing,
    /// One operation for each leaf.
    ByAddress {
        /// The first address, a multiple of the stride.
        first: u64,
        /// How many operations.
        operations: u64,
    },
    /// One operation by range, with this operand.
    ByRange(u64),
    /// One operation for everything.
    All,
}

/// Which cached entries are invalidated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scope {
    /// Only the leaf (TLBI VALE1IS): enough when no table descriptor on the way changed.
    Leaf,
    /// The leaf and every cached table descriptor on the way to it (TLBI VAE1IS): after a table was unlinked.
    Walk,
}

/// Plans the invalidation of `range` (virtual addresses) whose leaves are `stride` bytes each, a power of two of at least
/// the granule. `ranges` is the granule, if the CPU has operations by range.
pub fn plan(range: &Range<u64>, stride: u64, ranges: Option<GranuleKind>) -> Plan {
    if range.start >= range.end {
        return Plan::Nothing;
    }
    let first = range.start & !(stride - 1);
    // The last byte, so that a range that ends at the top of the address space does not wrap.
    let operations = ((range.end - 1 - first) / stride).saturating_add(1);
    if operations == 1 {
        return Plan::ByAddress { first, operations };
    }
    let by_range = ranges.and_then(|granule| range_operand(range, granule));
    match by_range {
        Some(operand) => Plan::ByRange(operand),
        None if operations > MAX_OPERATIONS => Plan::All,
        None => Plan::ByAddress { first, operations },
    }
}

/// The operand for the page or block at `address`.
pub fn operand(address: u64) -> u64 {
    (OPERAND::VA.val(address >> VA_SHIFT) + OPERAND::TTL.val(0) + OPERAND::ASID.val(0)).value
}

/// The operand for all pages of `range`, and at most as many after it: `NUM + 1` times `2^(5 * SCALE + 1)` pages. `None` for
/// more than 2^21 pages, which is the most (Arm ARM, "TLBI RVAE1IS"), and from [`MOST_BYTES`].
fn range_operand(range: &Range<u64>, granule: GranuleKind) -> Option<u64> {
    let (shift, tg) = match granule {
        GranuleKind::K4 => (12, 1),
        GranuleKind::K16 => (14, 2),
        GranuleKind::K64 => (16, 3),
    };
    let first = range.start >> shift;
    let pages = ((range.end - 1) >> shift) - first + 1;
    let units = |scale: u64| pages.div_ceil(1 << (5 * scale + 1));
    let scale = (0..4).find(|scale| units(*scale) <= 32)?;
    if units(scale) << (5 * scale + 1) << shift >= MOST_BYTES {
        return None;
    }
    let fields = RANGE::BaseADDR.val(first)
        + RANGE::TTL.val(0)
        + RANGE::NUM.val(units(scale) - 1)
        + RANGE::SCALE.val(scale)
        + RANGE::TG.val(tg)
        + RANGE::ASID.val(0);
    Some(fields.value)
}

#[cfg(target_os = "none")]
pub use operations::{
    adopt, invalidate_all, invalidate_here, invalidate_page, invalidate_pages, invalidate_pages_here,
    invalidate_range, publish,
};

#[cfg(target_os = "none")]
mod operations {
    #![expect(unsafe_code, reason = "TLB maintenance is made of instructions; rule M1, invariant I5")]

    use core::arch::asm;
    use core::ops::Range;
    use core::sync::atomic::{AtomicU8, Ordering};

    use hotmap_mm::granule::GranuleKind;

    use super::{Plan, Scope, operand, plan};
    use crate::arch::costs::{self, Cost};
    use crate::arch::features::Features;

    /// The granule, as its place in [`GranuleKind::ALL`], plus 1, if there are operations by range; else 0.
    static RANGES: AtomicU8 = AtomicU8::new(0);

    /// Uses operations by range from now on, if CPUs with `features` have them.
    pub fn adopt(features: &Features, granule: GranuleKind) {
        if features.has_range_invalidation() {
            RANGES.store(granule as u8 + 1, Ordering::Relaxed);
        }
    }

    fn ranges() -> Option<GranuleKind> {
        let place = usize::from(RANGES.load(Ordering::Relaxed));
        GranuleKind::ALL.get(place.wrapping_sub(1)).copied()
    }

    /// Makes entries that turned from invalid to valid usable: by every table walker, and by this CPU's next instruction.
    pub fn publish() {
        // SAFETY: M1; barriers only. Without `nomem`, so that the compiler keeps the stores before it.
        unsafe { asm!("dsb ishst", "isb", options(nostack, preserves_flags)) };
        costs::add(Cost::Publish, 1);
    }

    /// Invalidates what is cached for `range`, whose leaves are `stride` bytes each, on every CPU; complete on return.
    pub fn invalidate_range(range: &Range<u64>, stride: u64, scope: Scope) {
        match plan(range, stride, ranges()) {
            Plan::Nothing => {}
            Plan::All => invalidate_all(),
            Plan::ByRange(operand) => by_range(operand, scope),
            Plan::ByAddress { first, operations } => by_address(first, operations, stride, scope),
        }
    }

    /// Invalidates what is cached for the page or block at `address`.
    pub fn invalidate_page(address: u64, scope: Scope) {
        by_address(address, 1, 1, scope);
    }

    /// Invalidates what is cached for each page at one of `addresses`, on every CPU; complete on return.
    pub fn invalidate_pages(addresses: impl Iterator<Item = u64>) {
        // SAFETY: I5, as in `invalidate_all`; the same for the two blocks below.
        unsafe { asm!("dsb ishst", options(nostack, preserves_flags)) };
        let mut operations = costs::SEQUENCE;
        for address in addresses {
            operations += 1;
            // SAFETY: I5.
            unsafe { asm!("tlbi vale1is, {}", in(reg) operand(address), options(nostack, preserves_flags)) };
        }
        // SAFETY: I5.
        unsafe { asm!("dsb ish", "isb", options(nostack, preserves_flags)) };
        costs::add(Cost::Tlbi, operations);
    }

    /// [`invalidate_pages`] on this CPU alone.
    pub fn invalidate_pages_here(addresses: impl Iterator<Item = u64>) {
        // SAFETY: I5, as in `invalidate_all`; the same for the two blocks below.
        unsafe { asm!("dsb nshst", options(nostack, preserves_flags)) };
        let mut operations = costs::SEQUENCE;
        for address in addresses {
            operations += 1;
            // SAFETY: I5.
            unsafe { asm!("tlbi vale1, {}", in(reg) operand(address), options(nostack, preserves_flags)) };
        }
        // SAFETY: I5.
        unsafe { asm!("dsb nsh", "isb", options(nostack, preserves_flags)) };
        costs::add(Cost::TlbiLocal, operations);
    }

    /// Invalidates everything that EL1 has cached, on every CPU; complete on return.
    pub fn invalidate_all() {
        // SAFETY: I5; invalidating more than is pending is always sound, and the barriers are those of the rule above.
        unsafe { asm!("dsb ishst", "tlbi vmalle1is", "dsb ish", "isb", options(nostack, preserves_flags)) };
        costs::add_sequence(Cost::Tlbi, 1);
    }

    /// Invalidates everything that this CPU has cached for EL1: it may hold two entries for one address.
    pub fn invalidate_here() {
        // SAFETY: I5, as in `invalidate_all`.
        unsafe { asm!("dsb nshst", "tlbi vmalle1", "dsb nsh", "isb", options(nostack, preserves_flags)) };
        costs::add_sequence(Cost::TlbiLocal, 1);
    }

    /// Not every assembler knows the mnemonics: SYS #0, C8, C2, #5 is TLBI RVALE1IS, and #1 is TLBI RVAE1IS.
    fn by_range(operand: u64, scope: Scope) {
        // SAFETY: I5, as in `invalidate_all`; the CPU has the operations (`adopt`).
        unsafe {
            match scope {
                Scope::Leaf => {
                    asm!("dsb ishst", "sys #0, c8, c2, #5, {}", "dsb ish", "isb", in(reg) operand, options(nostack, preserves_flags))
                }
                Scope::Walk => {
                    asm!("dsb ishst", "sys #0, c8, c2, #1, {}", "dsb ish", "isb", in(reg) operand, options(nostack, preserves_flags))
                }
            }
        }
        costs::add_sequence(Cost::TlbiRange, 1);
    }

    fn by_address(first: u64, operations: u64, stride: u64, scope: Scope) {
        // SAFETY: I5, as in `invalidate_all`; the same for the two blocks below.
        unsafe { asm!("dsb ishst", options(nostack, preserves_flags)) };
        for index in 0..operations {
            let operand = operand(first + index * stride);
            match scope {
                // SAFETY: I5.
                Scope::Leaf => unsafe {
                    asm!("tlbi vale1is, {}", in(reg) operand, options(nostack, preserves_flags))
                },
                // SAFETY: I5.
                Scope::Walk => unsafe {
                    asm!("tlbi vae1is, {}", in(reg) operand, options(nostack, preserves_flags))
                },
            }
        }
        // SAFETY: I5.
        unsafe { asm!("dsb ish", "isb", options(nostack, preserves_flags)) };
        costs::add_sequence(Cost::Tlbi, operations);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VMEMMAP: u64 = 0xffff_fdff_c000_0000;

    #[test]
    fn an_empty_or_reversed_range_needs_nothing() {
        assert_eq!(plan(&(VMEMMAP..VMEMMAP), 4096, None), Plan::Nothing);
        assert_eq!(plan(&Range { start: VMEMMAP, end: VMEMMAP - 1 }, 4096, None), Plan::Nothing);
    }

    #[test]
    fn every_leaf_that_the_range_touches_gets_one_operation() {
        let by = |first, operations| Plan::ByAddress { first, operations };
        assert_eq!(plan(&(VMEMMAP..VMEMMAP + 1), 4096, None), by(VMEMMAP, 1));
        assert_eq!(plan(&(VMEMMAP..VMEMMAP + 4096), 4096, None), by(VMEMMAP, 1));
        assert_eq!(plan(&(VMEMMAP + 4095..VMEMMAP + 4097), 4096, None), by(VMEMMAP, 2));
        assert_eq!(plan(&(VMEMMAP + 0x1000..VMEMMAP + 0x20_1000), 0x20_0000, None), by(VMEMMAP, 2));
    }

    #[test]
    fn the_threshold_counts_operations_not_bytes() {
        let pages = |n: u64| VMEMMAP..VMEMMAP + n * 4096;
        assert_eq!(plan(&pages(8), 4096, None), Plan::ByAddress { first: VMEMMAP, operations: 8 });
        assert_eq!(plan(&pages(9), 4096, None), Plan::All);
        assert_eq!(plan(&pages(513), 0x20_0000, None), Plan::ByAddress { first: VMEMMAP, operations: 2 });
    }

    #[test]
    fn ranges_at_the_ends_of_the_address_space_do_not_wrap() {
        let top = u64::MAX - 0xffff;
        assert_eq!(plan(&(top..u64::MAX), 0x1_0000, None), Plan::ByAddress { first: top, operations: 1 });
        assert_eq!(plan(&(0..u64::MAX), 4096, None), Plan::All);
    }

    /// Arm ARM, "TLBI VAE1IS": bits 43:0 are VA[55:12], 47:44 TTL, 63:48 ASID.
    #[test]
    fn the_operand_has_the_page_number_and_neither_asid_nor_level() {
        assert_eq!(operand(0xffff_fdff_c000_1fff), 0xfff_dffc_0001);
        assert_eq!(operand(0xffff_0000_0000_0000), 0xff0_0000_0000);
        assert_eq!(operand(0x0000_0000_4020_0000), 0x4_0200);
    }

    /// What an operand invalidates, as the Arm ARM's pseudocode has it (TLBI RVAE1IS): from BaseADDR, in units of the granule
    /// that TG names, (NUM + 1) * 2^(5 * SCALE + 1) of them. Bits are read by hand.
    fn covered(operand: u64) -> Range<u64> {
        let shift = [0, 12, 14, 16][(operand >> 46 & 3) as usize];
        let (num, scale) = (operand >> 39 & 31, operand >> 44 & 3);
        // BaseADDR is signed: an address of the upper half.
        let base = ((operand << 27).cast_signed() >> 27).cast_unsigned() << shift;
        base..base + ((num + 1) << (5 * scale + 1) << shift)
    }

    #[test]
    fn an_operation_by_range_covers_the_range_and_at_most_as_much_again() {
        let counts = (2..200).chain([2047, 2048, 2049, 4096, 65535, 65536, 65537, (1 << 21) - 1, 1 << 21]);
        for (granule, page) in
            [(GranuleKind::K4, 0x1000), (GranuleKind::K16, 0x4000), (GranuleKind::K64, 0x1_0000)]
        {
            for (start, pages) in
                counts.clone().flat_map(|pages| [(VMEMMAP, pages), (VMEMMAP + 7 * page, pages)])
            {
                let range = start..start + pages * page;
                if pages * page > MOST_BYTES - MOST_BYTES / 32 {
                    assert_eq!(plan(&range, page, Some(granule)), Plan::All);
                    continue;
                }
                let Plan::ByRange(operand) = plan(&range, page, Some(granule)) else {
                    panic!("{pages} pages")
                };
                let covered = covered(operand);
                assert_eq!(covered.start, range.start, "{pages} pages");
                assert!(
                    covered.end >= range.end && covered.end - range.end <= pages * page,
                    "{pages}: {covered:#x?}"
                );
                assert_eq!(operand >> 48 | operand >> 37 & 3, 0, "neither an ASID nor a level");
            }
        }
    }

    #[test]
    fn four_gibibytes_are_not_invalidated_by_range() {
        for (granule, page) in
            [(GranuleKind::K4, 1 << 12), (GranuleKind::K16, 1 << 14), (GranuleKind::K64, 1 << 16)]
        {
            let range = |bytes: u64| VMEMMAP..VMEMMAP + bytes;
            assert_eq!(plan(&range(4 << 30), page, Some(granule)), Plan::All);
            assert!(matches!(plan(&range(3 << 30), page, Some(granule)), Plan::ByRange(_)));
        }
    }

    #[test]
    fn one_leaf_needs_no_range_and_too_many_pages_have_none() {
        let one = plan(&(VMEMMAP..VMEMMAP + 0x20_0000), 0x20_0000, Some(GranuleKind::K4));
        assert_eq!(one, Plan::ByAddress { first: VMEMMAP, operations: 1 });
        let pages = (1 << 21) + 1;
        assert_eq!(plan(&(VMEMMAP..VMEMMAP + pages * 4096), 4096, Some(GranuleKind::K4)), Plan::All);
        // A few large leaves of a range that is too long: by address.
        let blocks = 0..4 << 32;
        let by_address = Plan::ByAddress { first: 0, operations: 4 };
        assert_eq!(plan(&blocks, 1 << 32, Some(GranuleKind::K4)), by_address);
    }
}
