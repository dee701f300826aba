//! The states of blocks, DIMMs, NVDIMMs and regions, in the words of `state` and the commands.

use core::fmt;

use hotmap_mm::error::Error;
use hotmap_mm::frame::block::MemoryBlock;
use hotmap_mm::frame::section::Backing;
use hotmap_mm::pfn::PfnRange;

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
        if dimm.refusal.is_some() || !plug::is_present(&self.mm, dimm.range) {
            return "refused";
        }
        plug::state_of(&self.mm, dimm.range)
    }

    /// Why not all of a DIMM is online; `None` if it is.
    pub fn dimm_reason(&self, dimm: &Dimm) -> Option<DimmReason> {
        if let Some(error) = dimm.refusal {
            return Some(DimmReason::Refused(error));
        }
        let states = || self.mm.frames().states_of(PfnRange::inside(self.granule(), dimm.range));
        let (blocks, offline) = (states().count(), states().filter(|state| state.zone().is_none()).count());
        match (blocks, offline) {
            (0, _) => Some(DimmReason::Removed),
            (_, 0) => None,
            _ => Some(DimmReason::Offline { offline, blocks, manual: !self.info.args.online_auto }),
        }
    }

    /// The state of a region of the device tree: how a device uses it, or `waiting`, `partial`, `memory`, `refused`.
    pub fn region_state(&self, region: &Region) -> &'static str {
        self.device_use(region.range).unwrap_or(region.state_name())
    }
}

/// Why not all of a DIMM is online.
#[derive(Clone, Copy, Debug)]
pub enum DimmReason {
    /// Its memory could not be added.
    Refused(Error),
    /// Its memory was removed and could not be added again: `bench` and the self-tests do that when memory is short.
    Removed,
    /// Memory blocks of it are offline.
    Offline {
        /// How many.
        offline: usize,
        /// Of how many.
        blocks: usize,
        /// Whether added memory stays offline (`online=manual`).
        manual: bool,
    },
}

impl fmt::Display for DimmReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(error) => write!(f, "{error} ({})", error.errno()),
            Self::Removed => f.write_str("its memory was removed, and could not be added again"),
            Self::Offline { offline, blocks, manual } => {
                write!(f, "{offline} of {blocks} blocks are offline")?;
                if *manual { f.write_str(" (online=manual)") } else { Ok(()) }
            }
        }
    }
}
