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

use tock_registers::register_bitfields;

register_bitfields![u64,
    /// The operand of TLBI VAE1IS and VALE1IS.
    OPERAND [
        /// Address bits 55:12, whatever the granule.
        VA OFFSET(0) NUMBITS(44) [],
        TTL OFFSET(44) NUMBITS(4) [],
        ASID OFFSET(48) NUMBITS(16) []
    ]
];

/// Address bits below those in [`OPERAND`].
const VA_SHIFT: u32 = 12;

/// Above this number of operations everything is invalidated instead, which costs less than they do. (Linux's limit is the
/// number of entries in a table. It is lower here because readers wait while a table's pages are joined to a block.)
pub const MAX_OPERATIONS: u64 = 128;

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
/// the granule.
pub const fn plan(range: &Range<u64>, stride: u64) -> Plan {
    if range.start >= range.end {
        return Plan::Nothing;
    }
    let first = range.start & !(stride - 1);
    // The last byte, so that a range that ends at the top of the address space does not wrap.
    let operations = ((range.end - 1 - first) / stride).saturating_add(1);
    if operations > MAX_OPERATIONS { Plan::All } else { Plan::ByAddress { first, operations } }
}

/// The operand for the page or block at `address`.
pub fn operand(address: u64) -> u64 {
    (OPERAND::VA.val(address >> VA_SHIFT) + OPERAND::TTL.val(0) + OPERAND::ASID.val(0)).value
}

#[cfg(target_os = "none")]
pub use operations::{
    invalidate_all, invalidate_here, invalidate_page, invalidate_pages, invalidate_pages_here,
    invalidate_range, publish,
};

#[cfg(target_os = "none")]
mod operations {
    #![expect(unsafe_code, reason = "TLB maintenance is made of instructions; rule M1, invariant I5")]

    use core::arch::asm;
    use core::ops::Range;

    use super::{Plan, Scope, operand, plan};
    use crate::arch::costs::{self, Cost};

    /// Counts so many TLBI, between two DSB, and an ISB.
    fn count(cost: Cost, operations: u64) {
        costs::add(cost, operations);
        costs::add(Cost::Dsb, 2);
        costs::add(Cost::Isb, 1);
    }

    /// Makes entries that turned from invalid to valid usable: by every table walker, and by this CPU's next instruction.
    pub fn publish() {
        // SAFETY: M1; barriers only. Without `nomem`, so that the compiler keeps the stores before it.
        unsafe { asm!("dsb ishst", "isb", options(nostack, preserves_flags)) };
        costs::add(Cost::Dsb, 1);
        costs::add(Cost::Isb, 1);
    }

    /// Invalidates what is cached for `range`, whose leaves are `stride` bytes each, on every CPU; complete on return.
    pub fn invalidate_range(range: &Range<u64>, stride: u64, scope: Scope) {
        match plan(range, stride) {
            Plan::Nothing => {}
            Plan::All => invalidate_all(),
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
        let mut operations = 0;
        for address in addresses {
            operations += 1;
            // SAFETY: I5.
            unsafe { asm!("tlbi vale1is, {}", in(reg) operand(address), options(nostack, preserves_flags)) };
        }
        // SAFETY: I5.
        unsafe { asm!("dsb ish", "isb", options(nostack, preserves_flags)) };
        count(Cost::Tlbi, operations);
    }

    /// [`invalidate_pages`] on this CPU alone.
    pub fn invalidate_pages_here(addresses: impl Iterator<Item = u64>) {
        // SAFETY: I5, as in `invalidate_all`; the same for the two blocks below.
        unsafe { asm!("dsb nshst", options(nostack, preserves_flags)) };
        let mut operations = 0;
        for address in addresses {
            operations += 1;
            // SAFETY: I5.
            unsafe { asm!("tlbi vale1, {}", in(reg) operand(address), options(nostack, preserves_flags)) };
        }
        // SAFETY: I5.
        unsafe { asm!("dsb nsh", "isb", options(nostack, preserves_flags)) };
        count(Cost::TlbiLocal, operations);
    }

    /// Invalidates everything that EL1 has cached, on every CPU; complete on return.
    pub fn invalidate_all() {
        // SAFETY: I5; invalidating more than is pending is always sound, and the barriers are those of the rule above.
        unsafe { asm!("dsb ishst", "tlbi vmalle1is", "dsb ish", "isb", options(nostack, preserves_flags)) };
        count(Cost::Tlbi, 1);
    }

    /// Invalidates everything that this CPU has cached for EL1: it may hold two entries for one address.
    pub fn invalidate_here() {
        // SAFETY: I5, as in `invalidate_all`.
        unsafe { asm!("dsb nshst", "tlbi vmalle1", "dsb nsh", "isb", options(nostack, preserves_flags)) };
        count(Cost::TlbiLocal, 1);
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
        count(Cost::Tlbi, operations);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VMEMMAP: u64 = 0xffff_fdff_c000_0000;

    #[test]
    fn an_empty_or_reversed_range_needs_nothing() {
        assert_eq!(plan(&(VMEMMAP..VMEMMAP), 4096), Plan::Nothing);
        assert_eq!(plan(&Range { start: VMEMMAP, end: VMEMMAP - 1 }, 4096), Plan::Nothing);
    }

    #[test]
    fn every_leaf_that_the_range_touches_gets_one_operation() {
        let by = |first, operations| Plan::ByAddress { first, operations };
        assert_eq!(plan(&(VMEMMAP..VMEMMAP + 1), 4096), by(VMEMMAP, 1));
        assert_eq!(plan(&(VMEMMAP..VMEMMAP + 4096), 4096), by(VMEMMAP, 1));
        assert_eq!(plan(&(VMEMMAP + 4095..VMEMMAP + 4097), 4096), by(VMEMMAP, 2));
        assert_eq!(plan(&(VMEMMAP + 0x1000..VMEMMAP + 0x20_1000), 0x20_0000), by(VMEMMAP, 2));
    }

    #[test]
    fn the_threshold_counts_operations_not_bytes() {
        let pages = |n: u64| VMEMMAP..VMEMMAP + n * 4096;
        assert_eq!(plan(&pages(128), 4096), Plan::ByAddress { first: VMEMMAP, operations: 128 });
        assert_eq!(plan(&pages(129), 4096), Plan::All);
        assert_eq!(plan(&pages(513), 0x20_0000), Plan::ByAddress { first: VMEMMAP, operations: 2 });
    }

    #[test]
    fn ranges_at_the_ends_of_the_address_space_do_not_wrap() {
        let top = u64::MAX - 0xffff;
        assert_eq!(plan(&(top..u64::MAX), 0x1_0000), Plan::ByAddress { first: top, operations: 1 });
        assert_eq!(plan(&(0..u64::MAX), 4096), Plan::All);
    }

    /// Arm ARM, "TLBI VAE1IS": bits 43:0 are VA[55:12], 47:44 TTL, 63:48 ASID.
    #[test]
    fn the_operand_has_the_page_number_and_neither_asid_nor_level() {
        assert_eq!(operand(0xffff_fdff_c000_1fff), 0xfff_dffc_0001);
        assert_eq!(operand(0xffff_0000_0000_0000), 0xff0_0000_0000);
        assert_eq!(operand(0x0000_0000_4020_0000), 0x4_0200);
    }
}
