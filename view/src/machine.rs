//! A machine, and what of it is to be looked at.

use std::ops::Range;
use std::str::FromStr;

use hotmap_client::state::{Device, State};

use crate::error::ViewError;
use crate::memory::Memory;
use crate::owner::Phase;
use crate::spec::{Spec, UPPER_HALF};
use crate::struct_pages::{BYTES, StructPages};
use crate::translation::Tables;

/// Memory that an operation adds or removes, seen between two of its steps: `state` says what it is before or after.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Transit {
    /// Physical addresses.
    pub range: Range<u64>,
    /// Whether the kernel has initialised its struct pages; until then what they say means nothing.
    pub initialised: bool,
}

/// A machine, seen from outside. The views are its methods.
pub struct Machine<'m> {
    pub(crate) state: &'m State,
    pub(crate) spec: &'static Spec,
    memory: &'m dyn Memory,
    root: u64,
    transit: Vec<Transit>,
}

impl<'m> Machine<'m> {
    /// The machine with this memory, whose kernel prints this `state`.
    ///
    /// # Errors
    /// `ViewError::Granule`; `ViewError::NoRoot` when the kernel is older than the key `root`; `ViewError::State` when there can
    /// be no such machine.
    pub fn new(memory: &'m dyn Memory, state: &'m State) -> Result<Self, ViewError> {
        let granule = state.granule().ok_or(ViewError::Granule(state.granule))?;
        let root = state.root.ok_or(ViewError::NoRoot)?;
        check(state).map_or(Ok(()), |what| Err(ViewError::State(what)))?;
        Ok(Self { state, spec: Spec::of(granule), memory, root, transit: Vec::new() })
    }

    /// The same machine in the middle of an operation.
    #[must_use]
    pub fn in_transit(mut self, transit: Vec<Transit>) -> Self {
        self.transit = transit;
        self
    }

    /// What the struct pages of the memory at `pa` may say.
    pub(crate) fn phase_at(&self, pa: u64, offline: bool) -> Phase {
        match self.transit.iter().find(|transit| transit.range.contains(&pa)) {
            Some(transit) if transit.initialised => Phase::Transit,
            Some(_) => Phase::Uninitialised,
            None if offline => Phase::Offline,
            None => Phase::Online,
        }
    }

    /// The translation tables.
    pub(crate) fn tables(&self) -> Tables<'m> {
        Tables::new(self.spec, self.memory, self.root)
    }
    /// The struct pages.
    pub(crate) fn pages<'t>(&self, tables: &'t Tables<'m>) -> StructPages<'t, 'm> {
        StructPages::new(tables, self.state.vmemmap)
    }
}

/// Physical addresses have at most as many bits.
const ADDRESS_BITS: u32 = 52;

/// What of `state` cannot be; the views rely on the rest.
fn check(state: &State) -> Option<&'static str> {
    let fits = |start: u64, size: u64| start >> ADDRESS_BITS == 0 && size >> ADDRESS_BITS == 0;
    let within = |at: u64, start: u64, size: u64| start <= at && at - start <= size;
    let mut ranges = state.devices.iter().flat_map(|device| &device.ranges);
    if state.vmemmap.page_bytes != BYTES as u64 {
        return Some("vmemmap.page_bytes");
    }
    if state.vmemmap.start < UPPER_HALF || state.vmemmap.first_pfn >> ADDRESS_BITS != 0 {
        return Some("vmemmap");
    }
    if !state.blocks.iter().all(|b| fits(b.start, b.size) && within(b.usable_start, b.start, b.size)) {
        return Some("blocks");
    }
    if !state.extents.iter().all(|extent| fits(extent.start, extent.size)) {
        return Some("extents");
    }
    let fit = |device: &Device| within(device.usable_start, device.start, device.size);
    if !ranges.all(|range| fits(range.start, range.size)) || !state.devices.iter().all(fit) {
        return Some("devices");
    }
    None
}

/// What a view is to be of, as the shell's commands write it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target {
    /// `addr:0x...`: a virtual or physical address.
    Address(u64),
    /// `pfn:0x...`: a page.
    Pfn(u64),
}

impl FromStr for Target {
    type Err = ViewError;
    fn from_str(text: &str) -> Result<Self, ViewError> {
        let number = |digits: &str| match digits.strip_prefix("0x") {
            Some(hex) => u64::from_str_radix(hex, 16),
            None => digits.parse(),
        };
        let found = match text.split_once(':') {
            Some(("addr", digits)) => number(digits).map(Self::Address),
            Some(("pfn", digits)) => number(digits).map(Self::Pfn),
            _ => return Err(ViewError::Target(text.to_owned())),
        };
        found.map_err(|_| ViewError::Target(text.to_owned()))
    }
}
