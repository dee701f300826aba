//! Which changes of a live descriptor are legal without going through an invalid one first.
//!
//! Arm ARM, "Using break-before-make when updating translation table entries" (rule R_WHZWS): break-before-make is needed
//! when a valid entry is replaced by a valid one and the memory type, the block size, the Contiguous bit, the global bit or
//! the output address changes; the last only if one of the two is writable or the contents of the two locations differ. A
//! change of permissions alone never needs it. Linux's `pgattr_change_is_safe` is stricter than this.
//!
//! FEAT_BBM (ID_AA64MMFR2_EL1.BBM) relaxes the block size, and nothing else ("Support levels for changing table or block
//! size"): at level 2 a table and a block may replace each other in one step if every address translates to the same
//! place with the same attributes before and after. A TLB may hold both then, and the CPU may answer with a TLB conflict
//! abort. Level 1 wants the nT bit in the entry for that time; it is treated as no support.

use super::descriptor::Descriptor;
use crate::error::BbmRule;
use crate::granule::Granule;
use crate::machine::Bbm;

/// What the caller knows of the memory behind the old and the new output address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Contents {
    /// The same, byte for byte.
    Same,
    /// Perhaps different.
    MayDiffer,
    /// The very same memory: a block and the table of its pieces, or the reverse, on CPUs that are as good as this.
    Resized(Bbm),
}

/// Whether the entry of `level` may change from `old` to `new` in one step.
///
/// # Errors
/// The rule that the change would break. Every change from or to an invalid entry is legal.
#[inline(always)] // Nearly every change is from or to an invalid entry.
pub fn check(
    g: Granule,
    level: u8,
    old: Descriptor,
    new: Descriptor,
    contents: Contents,
) -> Result<(), BbmRule> {
    if !old.is_valid() || !new.is_valid() || old == new {
        return Ok(());
    }
    check_live(g, level, old, new, contents)
}

/// [`check`] for two different valid entries.
#[inline(never)]
fn check_live(
    g: Granule,
    level: u8,
    old: Descriptor,
    new: Descriptor,
    contents: Contents,
) -> Result<(), BbmRule> {
    let moved = old.address(g) != new.address(g);
    if old.is_table(level) != new.is_table(level) {
        let supported = contents == Contents::Resized(Bbm::Level2);
        return if supported { Ok(()) } else { Err(BbmRule::BlockSize) };
    }
    if old.is_table(level) {
        return if moved { Err(BbmRule::TableAddress) } else { Ok(()) };
    }
    if old.is_contiguous() != new.is_contiguous() {
        return Err(BbmRule::Contiguous);
    }
    if old.memory_type() != new.memory_type() {
        return Err(BbmRule::MemoryType);
    }
    if old.is_non_global() != new.is_non_global() {
        return Err(BbmRule::Global);
    }
    if moved && (old.is_writable() || new.is_writable()) {
        return Err(BbmRule::AddressWhileWritable);
    }
    if moved && contents != Contents::Same {
        return Err(BbmRule::AddressWithOtherContents);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::PhysAddr;
    use crate::entry::descriptor::Attributes;
    use crate::granule::Granule;

    const G: Granule = Granule::K4;
    fn leaf(pa: u64, a: Attributes, contiguous: bool) -> Descriptor {
        Descriptor::leaf(PhysAddr::new(pa), a, 2, contiguous)
    }

    #[test]
    fn going_through_an_invalid_entry_is_always_legal() {
        let live = leaf(0x20_0000, Attributes::DATA, false);
        for (old, new) in
            [(Descriptor::EMPTY, live), (live, Descriptor::EMPTY), (live, live.broken()), (live, live)]
        {
            assert_eq!(check(G, 2, old, new, Contents::MayDiffer), Ok(()));
        }
    }

    #[test]
    fn permissions_alone_may_change_in_one_step() {
        let rw = leaf(0x20_0000, Attributes::DATA, false);
        let ro = leaf(0x20_0000, Attributes::RODATA, false);
        assert_eq!(check(G, 2, rw, ro, Contents::MayDiffer), Ok(()));
        assert_eq!(check(G, 2, ro, rw, Contents::MayDiffer), Ok(()));
    }

    #[test]
    fn only_bbm_level_2_lets_a_block_and_its_table_replace_each_other() {
        let (block, table) =
            (leaf(0x20_0000, Attributes::DATA, false), Descriptor::table(PhysAddr::new(0x1000)));
        for (old, new) in [(block, table), (table, block)] {
            assert_eq!(check(G, 2, old, new, Contents::Resized(Bbm::Level2)), Ok(()));
            for no in [Contents::Resized(Bbm::Level0), Contents::Resized(Bbm::Level1), Contents::Same] {
                assert_eq!(check(G, 2, old, new, no), Err(BbmRule::BlockSize));
            }
        }
        let moved = leaf(0x40_0000, Attributes::RODATA, false);
        let resized = Contents::Resized(Bbm::Level2);
        let ro = leaf(0x20_0000, Attributes::RODATA, false);
        assert_eq!(check(G, 2, ro, moved, resized), Err(BbmRule::AddressWithOtherContents));
    }

    #[test]
    fn each_forbidden_change_names_its_rule() {
        let rw = leaf(0x20_0000, Attributes::DATA, false);
        let ro = leaf(0x20_0000, Attributes::RODATA, false);
        let refuse = |old, new, contents| check(G, 2, old, new, contents).expect_err("must be refused");
        let table = Descriptor::table(PhysAddr::new(0x1000));
        assert_eq!(refuse(rw, table, Contents::Same), BbmRule::BlockSize);
        assert_eq!(
            refuse(table, Descriptor::table(PhysAddr::new(0x2000)), Contents::Same),
            BbmRule::TableAddress
        );
        assert_eq!(refuse(rw, leaf(0x20_0000, Attributes::DATA, true), Contents::Same), BbmRule::Contiguous);
        assert_eq!(
            refuse(rw, leaf(0x20_0000, Attributes::DEVICE, false), Contents::Same),
            BbmRule::MemoryType
        );
        let non_global = Descriptor::from_bits(rw.bits() | 1 << 11);
        assert_eq!(refuse(rw, non_global, Contents::Same), BbmRule::Global);
        let moved_rw = leaf(0x40_0000, Attributes::DATA, false);
        let moved_ro = leaf(0x40_0000, Attributes::RODATA, false);
        assert_eq!(refuse(rw, moved_rw, Contents::Same), BbmRule::AddressWhileWritable);
        assert_eq!(refuse(ro, moved_rw, Contents::Same), BbmRule::AddressWhileWritable);
        assert_eq!(refuse(ro, moved_ro, Contents::MayDiffer), BbmRule::AddressWithOtherContents);
        assert_eq!(check(G, 2, ro, moved_ro, Contents::Same), Ok(()));
    }
}
