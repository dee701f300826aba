//! Blocks on demand that are taken as a whole, for a huge page.

use crate::error::Result;
use crate::frame::Frames;
use crate::machine::Machine;
use crate::pfn::PfnRange;

impl<M: Machine> Frames<M> {
    /// The blocks of `run`, online and each in an extent, are no longer free. The caller has their entries lead to what says
    /// so.
    ///
    /// # Errors
    /// `Out` when the heap has no room; nothing has changed then.
    pub(crate) fn take_images(&mut self, run: PfnRange) -> Result<()> {
        let g = self.granule();
        for start in run.blocks(g) {
            if let Err(error) = self.unfold(start) {
                PfnRange { start: run.start, end: start }.blocks(g).for_each(|start| self.fold(start));
                return Err(error);
            }
        }
        for start in run.blocks(g) {
            let Some(block) = self.blocks.get_mut(start.get()) else { continue };
            block.free.forget();
            if let Some(zone) = block.state.zone() {
                self.zones[zone as usize].free -= g.section_pages;
            }
        }
        Ok(())
    }

    /// The inverse of [`Self::take_images`]: the blocks map the image again.
    pub(crate) fn put_images(&mut self, run: PfnRange) {
        let g = self.granule();
        for start in run.blocks(g) {
            if let Some(zone) = self.blocks.get(start.get()).and_then(|block| block.state.zone()) {
                self.zones[zone as usize].free += g.section_pages;
                self.zones[zone as usize].note_freed();
            }
            self.fold(start);
        }
    }
}
