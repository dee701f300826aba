//! What a `state` line says about itself: the identities that hold at every quiet point, whatever the test is about.

use super::{Block, BlockState, State, ZoneName};
use crate::geometry::PAGE_STRUCT_BYTES;

impl super::Pages {
    /// I6: every page is somewhere, once.
    pub const fn somewhere(&self) -> u64 {
        self.free + self.allocated + self.memmap_self + self.memmap_ram + self.tables + self.reserved
    }
}

impl State {
    /// Every contradiction in this line, one sentence each; none in a sound one.
    pub fn contradictions(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut claim = |holds: bool, sentence: String| {
            if !holds {
                found.push(sentence);
            }
        };
        let (present, sum) = (self.pages.present, self.pages.somewhere());
        claim(present == sum, format!("I6: present is {present}, but the parts make {sum}"));
        claim(self.granule().is_some(), format!("granule {} is none", self.granule));
        let bytes = self.vmemmap.page_bytes;
        claim(bytes == PAGE_STRUCT_BYTES, format!("a struct page has {bytes} bytes"));
        let free: u64 = self.zones.iter().map(|zone| zone.free).sum();
        claim(
            free == self.pages.free,
            format!("zones have {free} free pages, pages.free is {}", self.pages.free),
        );
        for zone in &self.zones {
            claim(zone.free <= zone.present, format!("zone {} has more free than present pages", zone.name));
            claim(zone.start_pfn <= zone.end_pfn, format!("zone {} ends before it starts", zone.name));
        }
        for block in &self.blocks {
            claim(
                self.block_fits(block),
                format!("block {:#x} has an impossible size or usable_start", block.start),
            );
            let zoned = (block.zone == ZoneName::None) == (block.state == BlockState::Offline);
            claim(zoned, format!("block {:#x} is {:?} in zone {:?}", block.start, block.state, block.zone));
        }
        for pair in self.blocks.windows(2) {
            let [one, two] = pair else { continue };
            let apart = one.start + one.size <= two.start;
            claim(apart, format!("blocks {:#x} and {:#x} overlap or are out of order", one.start, two.start));
        }
        found
    }

    fn block_fits(&self, block: &Block) -> bool {
        let aligned = self.granule().is_some_and(|granule| block.size == granule.block());
        let usable = block.start <= block.usable_start && block.usable_start - block.start < block.size;
        aligned && block.start.is_multiple_of(block.size) && usable
    }
}
