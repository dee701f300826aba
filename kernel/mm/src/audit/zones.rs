//! I6, from the books' side: zones and counts against blocks and struct pages.

use super::{Auditor, Offender};
use crate::frame::zone::ZoneKind;
use crate::machine::Machine;

impl<M: Machine> Auditor<'_, M> {
    /// Every zone, then the counts.
    pub(super) fn zones(&mut self) {
        for zone in ZoneKind::ALL {
            self.zone(zone);
        }
        let mm = self.mm;
        self.ledger.counts(mm.blocks(), &mm.counts());
    }

    fn zone(&mut self, zone: ZoneKind) {
        let g = self.mm.granule();
        let (mm, books) = (self.mm, self.mm.zone(zone));
        let (mut members, mut free, mut present) = (0, 0, 0);
        for block in mm.blocks().iter().filter(|b| b.state.zone() == Some(zone)) {
            members += 1;
            free += block.free.pages();
            present += block.present;
            let listed = books.blocks().iter().filter(|b| **b == block.start).count() as u64;
            let at = Offender::Block { block: block.start.address(g), found: listed, expected: 1 };
            self.find_unless(listed == 1, 6, "how often a block is in its zone's list", at);
        }
        let mut check = |what, found, expected| {
            self.find_unless(found == expected, 6, what, Offender::Zone { zone, found, expected });
        };
        check("blocks of a zone", members, books.blocks().len() as u64);
        check("free pages of a zone", free, books.free);
        check("present pages of a zone", present, books.present);
    }
}
