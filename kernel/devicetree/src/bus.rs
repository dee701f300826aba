//! Addresses on nested buses: how many cells they have, and what they are for the CPU.
//!
//! ```text
//!   level 0   /                      #address-cells 2, #size-cells 2      CPU addresses
//!   level 1   /soc@10000000          ranges <0x0  0x0 0x10000000  0x1000000>
//!   level 2   /soc@10000000/uart@100 reg <0x100 0x10>    --> 0x10000100
//! ```
//!
//! Devicetree Specification 2.3.5 (cells), 2.3.6 (reg), 2.3.8 (ranges).
use fdt::nodes::NodeName;

use crate::error::DtError;
use crate::facts::{Facts, text};
use crate::property::Property;
use crate::region::Region;
use crate::structure::MAX_DEPTH;
use crate::value::{CELL, number};

/// What a node says about its children's addresses.
#[derive(Clone, Copy)]
struct Bus<'a> {
    name: NodeName<'a>,
    address_cells: u32,
    size_cells: u32,
    /// `None`: the children are not on the CPU's bus. Empty: their addresses are the parent's.
    ranges: Option<&'a [u8]>,
    /// Where interrupts go, for a node that does not say so itself.
    interrupt_parent: Option<u32>,
}

/// The cells of one bus, checked.
#[derive(Clone, Copy)]
struct Cells {
    address: usize,
    size: usize,
}

/// The chain of open nodes; index 0 is the root.
pub(crate) struct Buses<'a> {
    levels: [Bus<'a>; MAX_DEPTH + 1],
}

impl<'a> Buses<'a> {
    pub(crate) fn new() -> Self {
        let name = NodeName::new("", None);
        let bus = Bus { name, address_cells: 2, size_cells: 1, ranges: None, interrupt_parent: None };
        Self { levels: [bus; MAX_DEPTH + 1] }
    }

    /// Enters the node at `depth`. Cells that it does not name are 2 and 1; they are not inherited.
    pub(crate) fn enter(&mut self, depth: usize, facts: &Facts<'a>) {
        let inherited = depth.checked_sub(1).and_then(|parent| self.levels[parent].interrupt_parent);
        self.levels[depth] = Bus {
            name: facts.name(),
            address_cells: facts.address_cells.unwrap_or(2),
            size_cells: facts.size_cells.unwrap_or(1),
            ranges: facts.ranges,
            interrupt_parent: facts.interrupt_parent.or(inherited),
        };
    }

    /// The phandle of the interrupt controller of the node at `depth`, which has been entered: its own or the
    /// nearest one above (Devicetree Specification 2.4.1).
    pub(crate) fn interrupt_parent(&self, depth: usize) -> Option<u32> {
        self.levels[depth].interrupt_parent
    }

    /// Takes the addresses of the children of `depth` for the parent's, where the node has no `ranges`.
    pub(crate) fn assume_identity(&mut self, depth: usize) {
        self.levels[depth].ranges.get_or_insert(&[]);
    }

    /// The first `limit` regions of the node `facts` at `depth`, on the CPU's bus, in their order, one by one to
    /// `take`; empty ones do not count. Returns how many there were, `None` for a node that is not on that bus.
    ///
    /// The limit keeps the work small whatever the blob says: each region costs a walk over the `ranges` above it.
    pub(crate) fn each_region(
        &self,
        depth: usize,
        facts: &Facts<'a>,
        limit: usize,
        mut take: impl FnMut(Region) -> Result<(), DtError>,
    ) -> Result<Option<usize>, DtError> {
        let parent = depth - 1;
        if !self.reaches_cpu(parent) {
            return Ok(None);
        }
        let reg = facts.reg.ok_or_else(|| facts.missing(Property::Reg))?;
        let cells = self.cells(parent)?;
        let mut taken = 0;
        for entry in facts.entries(Property::Reg, reg, (cells.address + cells.size) * CELL)? {
            let (start, size) = entry.split_at(cells.address * CELL);
            if let Some(region) = region(facts, number(start), number(size))? {
                take(self.translate(parent, facts, region)?)?;
                taken += 1;
            }
            if taken == limit {
                break;
            }
        }
        Ok(Some(taken))
    }

    /// The first `N` regions of a node that must have them; `None` when it is not on the CPU's bus.
    pub(crate) fn regions<const N: usize>(
        &self,
        depth: usize,
        facts: &Facts<'a>,
    ) -> Result<Option<[Region; N]>, DtError> {
        let mut regions = [Region::default(); N];
        let mut slots = regions.iter_mut();
        let have = self.each_region(depth, facts, N, |region| {
            if let Some(slot) = slots.next() {
                *slot = region;
            }
            Ok(())
        })?;
        match have {
            Some(have) if have < N => Err(DtError::RegEntries { node: facts.text(), have, need: N }),
            have => Ok(have.map(|_| regions)),
        }
    }

    /// The numbers in `reg` of a node whose addresses are names and not places (a CPU).
    pub(crate) fn identifiers(
        &self,
        depth: usize,
        facts: &Facts<'a>,
    ) -> Result<impl Iterator<Item = u64> + use<'a>, DtError> {
        let reg = facts.reg.ok_or_else(|| facts.missing(Property::Reg))?;
        let size = self.address_cells(depth - 1)? * CELL;
        Ok(facts.entries(Property::Reg, reg, size)?.map(number))
    }

    pub(crate) fn address_cells(&self, depth: usize) -> Result<usize, DtError> {
        let bus = &self.levels[depth];
        supported(bus.name, Property::AddressCells, bus.address_cells)
    }

    fn cells(&self, depth: usize) -> Result<Cells, DtError> {
        let bus = &self.levels[depth];
        let size = supported(bus.name, Property::SizeCells, bus.size_cells)?;
        Ok(Cells { address: self.address_cells(depth)?, size })
    }

    /// Whether every bus from the children of `depth` up to the root says how it maps.
    fn reaches_cpu(&self, depth: usize) -> bool {
        self.levels[1..=depth].iter().all(|bus| bus.ranges.is_some())
    }

    /// `region`, an address for the children of `depth`, whose buses all say how they map, for the CPU.
    pub(crate) fn on_the_cpus_bus(
        &self,
        depth: usize,
        facts: &Facts<'a>,
        region: Region,
    ) -> Result<Region, DtError> {
        self.translate(depth, facts, region)
    }

    /// `region`, an address for the children of `depth`, for the children of the root.
    fn translate(&self, depth: usize, facts: &Facts<'a>, mut region: Region) -> Result<Region, DtError> {
        for level in (1..=depth).rev() {
            let ranges = self.levels[level].ranges.unwrap_or_default();
            if !ranges.is_empty() {
                region.start = self.parent_address(level, ranges, facts, region)?;
            }
        }
        Ok(region)
    }

    /// Where the bus at `level` puts `region` on its parent's bus.
    fn parent_address(
        &self,
        level: usize,
        ranges: &[u8],
        facts: &Facts<'a>,
        region: Region,
    ) -> Result<u64, DtError> {
        let child = self.cells(level)?;
        let parent = self.address_cells(level - 1)?;
        let entry_size = (child.address + parent + child.size) * CELL;
        for entry in facts.entries(Property::Ranges, ranges, entry_size)? {
            let (from, rest) = entry.split_at(child.address * CELL);
            let (to, size) = rest.split_at(parent * CELL);
            let window = Region { start: number(from), size: number(size) };
            if region.start >= window.start && region.end() <= window.end() {
                let mapped = number(to).checked_add(region.start - window.start);
                let mapped = mapped.filter(|start| start.checked_add(region.size).is_some());
                return mapped.ok_or_else(|| wraps(facts, number(to), window.size));
            }
        }
        Err(DtError::Unmapped { node: facts.text(), region })
    }
}

/// A `reg` entry as a region; `None` for an empty one.
fn region(facts: &Facts<'_>, start: u64, size: u64) -> Result<Option<Region>, DtError> {
    match (size, start.checked_add(size)) {
        (0, _) => Ok(None),
        (_, Some(_)) => Ok(Some(Region { start, size })),
        (_, None) => Err(wraps(facts, start, size)),
    }
}

#[cold]
fn wraps(facts: &Facts<'_>, start: u64, size: u64) -> DtError {
    DtError::Wraps { node: facts.text(), start, size }
}

/// A number of cells that fits into a `u64`, and is some.
fn supported(bus: NodeName<'_>, property: Property, value: u32) -> Result<usize, DtError> {
    match value {
        1 => Ok(1),
        2 => Ok(2),
        _ => Err(DtError::Cells { bus: text(bus), property, value }),
    }
}
