//! NVDIMMs: which ranges of persistent memory have come. They come at boot or later, and never go: QEMU refuses to unplug one.
//!
//! ```text
//!  at boot, and at each NVDIMM event:  read the FIT -> what is not listed yet is new -> it waits
//! ```
//!
//! Their slots are the DIMMs' (one number for both), but the slot registers do not tell of them, and nobody wants a report.

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
    /// The NVDIMM's number: its slot, as QEMU's `info memory-devices` has it.
    pub number: u32,
    /// Its memory.
    pub range: PhysRange,
    /// Its NUMA node, if the FIT has one.
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
}

impl Nvdimms {
    /// None.
    pub const fn new() -> Self {
        Self { present: Vec::new() }
    }
    /// All of them, by number.
    pub fn all(&self) -> &[NvdimmRange] {
        &self.present
    }

    /// Asks the machine which NVDIMMs there are, and lists and returns those that are new, by number (QEMU's own order is
    /// nobody's). What cannot be read or listed is said, and changes nothing.
    pub fn look<P: Port>(&mut self, device: &mut Nvdimm<P>) -> Vec<NvdimmRange> {
        match device.regions().and_then(|found| self.add(found).map_err(NvdimmError::from)) {
            Ok(new) => new,
            Err(error) => {
                kprintln!("nvdimm: {error}");
                Vec::new()
            }
        }
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
