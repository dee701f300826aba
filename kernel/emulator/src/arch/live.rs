//! Which change of a live entry is legal in one step (Arm ARM D8.16.1, "Using break-before-make when updating translation
//! table entries"). The oracle beside the model's own predicate: it reads the memory instead of being told about it.

use super::spec::{Entry, Leaf, Spec};

/// Judges the change of an entry of `level` from `old` to `new`; `same` compares the memory at two output addresses over a
/// length.
///
/// Returns why it is legal.
///
/// # Errors
/// What the architecture says against it.
pub fn judge(
    spec: &Spec,
    level: usize,
    old: u64,
    new: u64,
    same: impl FnOnce(u64, u64, u64) -> bool,
) -> Result<&'static str, &'static str> {
    match (spec.decode(level, old), spec.decode(level, new)) {
        (Entry::Reserved(why), _) | (_, Entry::Reserved(why)) => Err(why),
        (Entry::Invalid, Entry::Invalid) => Ok("invalid before and after"),
        (Entry::Invalid, _) => Ok("make"),
        (_, Entry::Invalid) => Ok("break"),
        (Entry::Table { pa: a, .. }, Entry::Table { pa: b, .. }) if a == b => Ok("the same table"),
        (Entry::Table { .. }, Entry::Table { .. }) => Err("a live table is exchanged for another"),
        (Entry::Leaf(a), Entry::Leaf(b)) => leaves(a, b, spec.levels[level].size(), same),
        _ => Err("a block and a table replace each other live"),
    }
}

fn leaves(
    a: Leaf,
    b: Leaf,
    size: u64,
    same: impl FnOnce(u64, u64, u64) -> bool,
) -> Result<&'static str, &'static str> {
    if a.contiguous != b.contiguous {
        return Err("the Contiguous bit changes live");
    }
    if a.memory != b.memory {
        return Err("memory type or shareability changes live");
    }
    if a.non_global != b.non_global {
        return Err("nG changes live");
    }
    if a.pa == b.pa {
        return Ok("permissions alone change live");
    }
    if a.writable || b.writable {
        return Err("the output address changes live, and old or new is writable");
    }
    if same(a.pa, b.pa, size) {
        Ok("the output address changes live: read-only, to the same contents")
    } else {
        Err("the output address changes live to other contents")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::spec::SPEC_4K;

    const RW: u64 = 0x0060_0000_4000_0705;
    const RO: u64 = RW | 0x80;
    const MOVE: u64 = 0x20_0000;

    fn judge_as(old: u64, new: u64, same: bool) -> Result<(), &'static str> {
        judge(&SPEC_4K, 2, old, new, |_, _, _| same).map(drop)
    }

    #[test]
    fn what_goes_through_an_invalid_entry_and_what_changes_permission_only_is_legal() {
        for (old, new) in [(0, RW), (RW, 0), (RW, RW & !1), (RW, RO), (RO, RW), (RW, RW)] {
            assert_eq!(judge_as(old, new, false), Ok(()), "{old:#x} to {new:#x}");
        }
        assert_eq!(judge_as(RO, RO + MOVE, true), Ok(()));
    }

    #[test]
    fn every_other_change_of_a_live_entry_is_not() {
        let wrong = [
            (RW, 0x5003),
            (0x5003, 0x6003),
            (RW, RW | 1 << 52),
            (RW, RW & !0x1c),
            (RW, RW & !0x300),
            (RW, RW | 1 << 11),
            (RW, RW + MOVE),
            (RO, RW + MOVE),
            (RW, RO + MOVE),
        ];
        for (old, new) in wrong {
            assert!(judge_as(old, new, true).is_err(), "{old:#x} to {new:#x}");
        }
        assert!(judge_as(RO, RO + MOVE, false).is_err());
    }
}
