//! NVDIMMs: the ranges of persistent memory that the FIT lists, at boot or later. QEMU refuses to unplug one.
//!
//! ```text
//!  at boot, and at each NVDIMM event:  read the FIT -> list each range that is not listed yet; the shell makes devices of it
//! ```
//!
//! An NVDIMM takes a slot number from the same supply as DIMMs, but the slot registers do not show it, and QEMU expects no
//! report.

use alloc::vec::Vec;

use hotmap_mm::addr::{Bytes, PhysRange};
use hotmap_mm::error::Result;
use hotmap_mm::list;

use crate::drivers::nvdimm::nfit::Region;
use crate::drivers::nvdimm::{Nvdimm, NvdimmError, Port};
use crate::{klog, kprintln};

/// A range of persistent memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NvdimmRange {
    /// The NVDIMM's slot, as in QEMU's `info memory-devices`.
    pub number: u32,
    /// Its memory.
    pub range: PhysRange,
    /// Its NUMA node, if the FIT names one.
    pub node: Option<u32>,
}

impl From<Region> for NvdimmRange {
    fn from(region: Region) -> Self {
        // QEMU's handle is the slot + 1, because 0 is the root's (`nvdimm_slot_to_handle`).
        Self { number: region.handle.saturating_sub(1), range: region.range, node: region.node }
    }
}

/// The NVDIMMs.
#[derive(Default)]
pub struct Nvdimms {
    present: Vec<NvdimmRange>,
    /// The last look found the heap full.
    pending: bool,
}

impl Nvdimms {
    /// Makes an empty list.
    pub const fn new() -> Self {
        Self { present: Vec::new(), pending: false }
    }
    /// All of them, by number.
    pub fn all(&self) -> &[NvdimmRange] {
        &self.present
    }

    /// Whether the last look found the heap full: [`Self::look`] again when there may be room.
    pub const fn is_pending(&self) -> bool {
        self.pending
    }

    /// Reads the FIT, lists the ranges that are new, and returns them by number. A FIT that cannot be read, or a range that
    /// cannot be listed, is reported and changes nothing; a full heap is reported once until there is room.
    pub fn look<P: Port>(&mut self, device: &mut Nvdimm<P>) -> Vec<NvdimmRange> {
        let looked = device.regions().and_then(|found| self.add(found).map_err(NvdimmError::from));
        self.settle(looked)
    }

    fn settle(&mut self, looked: core::result::Result<Vec<NvdimmRange>, NvdimmError>) -> Vec<NvdimmRange> {
        let full = matches!(looked, Err(NvdimmError::Heap(_)));
        let reported = core::mem::replace(&mut self.pending, full) && full;
        looked.unwrap_or_else(|error| {
            if !reported {
                kprintln!("nvdimm: {error}");
            }
            Vec::new()
        })
    }

    fn add(&mut self, found: Vec<Region>) -> Result<Vec<NvdimmRange>> {
        let mut new: Vec<NvdimmRange> = Vec::new();
        list::reserve(&mut new, found.len())?;
        for nvdimm in found.into_iter().map(NvdimmRange::from).filter(|found| !self.present.contains(found)) {
            new.insert(new.partition_point(|other| other.number <= nvdimm.number), nvdimm);
        }
        list::reserve(&mut self.present, new.len())?;
        for &nvdimm in &new {
            let at = self.present.partition_point(|listed| listed.number <= nvdimm.number);
            self.present.insert(at, nvdimm);
            klog!("nvdimm{}: {} ({}) is here", nvdimm.number, nvdimm.range, Bytes(nvdimm.range.len()));
        }
        Ok(new)
    }
}

#[cfg(test)]
mod tests;
