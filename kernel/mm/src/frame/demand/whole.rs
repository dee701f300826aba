//! Blocks on demand that are taken as a whole, for a huge page.

use crate::frame::Frames;
use crate::machine::Machine;
use crate::pfn::PfnRange;

impl<M: Machine> Frames<M> {
    /// The blocks of `run`, each of which maps the image and is online, are no longer free. The caller has their entries lead
    /// to what says so.
    pub(crate) fn take_images(&mut self, run: PfnRange) {
        let g = self.granule();
        for start in run.blocks(g) {
            let Some(block) = self.blocks.get_mut(start.get()) else { continue };
            block.free.forget();
            if let Some(zone) = block.state.zone() {
                self.zones[zone as usize].free -= g.section_pages;
            }
        }
    }

    /// The inverse of [`Self::take_images`]: the blocks map the image again.
    pub(crate) fn put_images(&mut self, run: PfnRange) {
        let g = self.granule();
        for start in run.blocks(g) {
            let Some(block) = self.blocks.get_mut(start.get()) else { continue };
            block.free.set_whole(g.section_order);
            if let Some(zone) = block.state.zone() {
                self.zones[zone as usize].free += g.section_pages;
                self.zones[zone as usize].note_freed();
            }
        }
    }
}
