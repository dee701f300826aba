//! The states of blocks, DIMMs, NVDIMMs and regions, in the words of `state` and the commands.

use hotmap_mm::frame::block::MemoryBlock;
use hotmap_mm::frame::section::Backing;

use crate::dimms::Dimm;
use crate::kernel::Kernel;
use crate::nvdimms::NvdimmRange;
use crate::plug;
use crate::regions::Region;

impl Kernel {
    /// Where a block's memmap is: `boot`, `ram`, `self` or `demand`.
    pub fn memmap_of(&self, block: &MemoryBlock) -> &'static str {
        match self.mm.frames().section_of(block.start).map(|s| s.backing) {
            Some(Backing::Altmap(_)) => "self",
            Some(Backing::Boot) => "boot",
            Some(Backing::Demand) => "demand",
            _ => "ram",
        }
    }

    /// The state of an NVDIMM: how a device uses it, or `waiting`.
    pub fn nvdimm_state(&self, nvdimm: &NvdimmRange) -> &'static str {
        self.device_use(nvdimm.range).unwrap_or("waiting")
    }

    /// The state of a DIMM: `online`, `offline`, `mixed` or `refused`.
    pub fn dimm_state(&self, dimm: &Dimm) -> &'static str {
        if dimm.refused || !plug::is_present(&self.mm, dimm.range) {
            return "refused";
        }
        plug::state_of(&self.mm, dimm.range)
    }

    /// The state of a region of the device tree: how a device uses it, or `waiting`, `partial`, `memory`, `refused`.
    pub fn region_state(&self, region: &Region) -> &'static str {
        self.device_use(region.range).unwrap_or(region.state_name())
    }
}
