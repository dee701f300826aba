//! I6, from the books' side: zones and counts against blocks and struct pages.

use super::{Auditor, Offender};
use crate::granule::Granule;
use crate::hotplug::block::BlockState;
use crate::machine::Machine;
use crate::model::Counts;
use crate::page::PageKind;
use crate::zone::ZoneKind;

impl<G: Granule, M: Machine> Auditor<'_, G, M> {
    /// Every zone, then the counts.
    pub(super) fn zones(&mut self) {
        for zone in ZoneKind::ALL {
            self.zone(zone);
        }
        self.counts();
    }

    fn zone(&mut self, zone: ZoneKind) {
        let (mm, books) = (self.mm, self.mm.zone(zone));
        let (mut members, mut free, mut present) = (0, 0, 0);
        for block in mm.blocks().iter().filter(|b| b.state.zone() == Some(zone)) {
            members += 1;
            free += block.free.pages();
            present += block.present;
            let listed = books.blocks().iter().filter(|b| **b == block.start).count() as u64;
            let at = Offender::Block { block: block.start.address::<G>(), found: listed, expected: 1 };
            self.find_unless(listed == 1, 6, "how often a block is in its zone's list", at);
        }
        let mut check = |what, found, expected| {
            self.find_unless(found == expected, 6, what, Offender::Zone { zone, found, expected });
        };
        check("blocks of a zone", members, books.blocks().len() as u64);
        check("free pages of a zone", free, books.free);
        check("present pages of a zone", present, books.present);
    }

    fn counts(&mut self) {
        let (counts, marked) = (self.mm.counts(), self.marked);
        let present = |online: bool| {
            let blocks = self.mm.blocks().iter().filter(move |b| (b.state != BlockState::Offline) == online);
            blocks.map(|b| if online { b.present } else { b.memmap_pages }).sum::<u64>()
        };
        let of = |kinds: &[PageKind]| kinds.iter().map(|kind| marked.pages(*kind)).sum::<u64>();
        let found = Counts {
            present: present(true) + present(false),
            free: of(&[PageKind::Free]),
            allocated: of(&[PageKind::Kernel, PageKind::Tenant, PageKind::Pinned]),
            memmap_self: of(&[PageKind::MemmapSelf]),
            memmap_ram: of(&[PageKind::MemmapRam]),
            tables: of(&[PageKind::Table]),
            reserved: of(&[PageKind::Reserved, PageKind::Poisoned]),
        };
        let mut check = |what, found, expected| {
            self.find_unless(found == expected, 6, what, Offender::Count { found, expected });
        };
        check("present pages", found.present, counts.present);
        check("free pages", found.free, counts.free);
        check("allocated pages", found.allocated, counts.allocated);
        check("self-hosted memmap pages", found.memmap_self, counts.memmap_self);
        check("memmap pages in system RAM", found.memmap_ram, counts.memmap_ram);
        check("table pages", found.tables, counts.tables);
        check("reserved pages", found.reserved, counts.reserved);
        let sum = counts.free
            + counts.allocated
            + counts.memmap_self
            + counts.memmap_ram
            + counts.tables
            + counts.reserved;
        check("pages by use are not all that are present", sum, counts.present);
    }
}
