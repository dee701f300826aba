//! I6, by count: zones and counts against blocks and struct pages.

use super::tally::Tally;
use super::{Auditor, Offender};
use crate::frame::page::PageKind;
use crate::frame::zone::ZoneKind;
use crate::machine::Machine;
use crate::pfn::Pfn;

impl<M: Machine> Auditor<'_, M> {
    /// Every zone, then the counts.
    pub(super) fn zones(&mut self) {
        for zone in ZoneKind::ALL {
            self.zone(zone);
        }
        let mm = self.mm;
        self.ledger.counts(mm.frames.blocks.as_slice(), mm.frames.extents(), &mm.frames.counts());
    }

    fn zone(&mut self, zone: ZoneKind) {
        let g = self.mm.granule();
        let (mm, counted) = (self.mm, self.mm.frames.zone(zone));
        let (mut members, mut free, mut present) = (0, 0, 0);
        let of_zone = || mm.frames.blocks.as_slice().iter().filter(|b| b.state.zone() == Some(zone));
        let extents = || mm.frames.extents().iter().filter(|extent| extent.state.zone() == Some(zone));
        for block in of_zone() {
            members += 1;
            free += block.free.pages();
            present += block.present;
        }
        for extent in extents() {
            members += 1;
            free += extent.pages.len();
            present += extent.pages.len();
        }
        let starts = of_zone().map(|block| block.start).chain(extents().map(|extent| extent.pages.start));
        misfiled(starts, counted.blocks().iter().copied(), |start, listed| {
            let at = Offender::Block { block: start.address(g), found: listed, expected: 1 };
            self.find(6, "how often a block is in its zone's list", at);
        });
        let mut check = |what, found, expected| {
            self.find_unless(found == expected, 6, what, Offender::Zone { zone, found, expected });
        };
        check("blocks of a zone", members, counted.blocks().len() as u64);
        check("free pages of a zone", free, counted.free);
        check("present pages of a zone", present, counted.present);
    }
}

/// Reports each of `members` that is not exactly once in `listed`, and how often it is. The two are compared as sets, each
/// read once; block by block only when they differ.
fn misfiled(
    members: impl Iterator<Item = Pfn> + Clone,
    listed: impl Iterator<Item = Pfn> + Clone,
    mut report: impl FnMut(Pfn, u64),
) {
    let (mut expected, mut found) = (Tally::default(), Tally::default());
    members.clone().for_each(|start| expected.add(PageKind::Free, start, 1));
    listed.clone().for_each(|start| found.add(PageKind::Free, start, 1));
    if found.same_frames(&expected, PageKind::Free) {
        return;
    }
    for start in members {
        let count = listed.clone().filter(|other| *other == start).count() as u64;
        if count != 1 {
            report(start, count);
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use core::cell::Cell;
    use std::vec::Vec;

    /// How many blocks were looked at, and what was reported.
    fn look(members: &[u64], listed: &[u64]) -> (u64, Vec<(u64, u64)>) {
        let (visits, mut found) = (Cell::new(0), Vec::new());
        let counted = |starts| {
            let visits = &visits;
            Iterator::map(<[u64]>::iter(starts), move |start| {
                visits.set(visits.get() + 1);
                Pfn::new(*start)
            })
        };
        misfiled(counted(members), counted(listed), |start, count| found.push((start.get(), count)));
        (visits.get(), found)
    }

    #[test]
    fn each_block_is_looked_at_as_often_however_many_there_are() {
        let visits_per_block = |count: u64| {
            let (members, listed): (Vec<_>, Vec<_>) = ((0..count).collect(), (0..count).rev().collect());
            let (visits, found) = look(&members, &listed);
            assert!(found.is_empty(), "{found:?}");
            visits / count
        };
        assert_eq!(visits_per_block(8192), visits_per_block(16));
    }

    #[test]
    fn a_block_that_is_missing_or_listed_twice_is_named() {
        assert_eq!(look(&[1, 2, 3], &[3, 1]).1, [(2, 0)]);
        assert_eq!(look(&[1, 2, 3], &[3, 2, 1, 2]).1, [(2, 2)]);
        assert_eq!(look(&[1, 2, 3], &[3, 1, 1]).1, [(1, 2), (2, 0)]);
    }
}
