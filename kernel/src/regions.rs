//! The regions that the device tree sets aside, which are not boot RAM. Hotpluggable memory waits for `add`, as a whole or by
//! blocks; persistent memory waits for `dax create`.
//!
//! ```text
//!   waiting --add--> partial, memory --remove--> waiting          hotpluggable
//!   waiting --------------> device                                persistent
//!   refused                                                       something lies in it that must not be lost
//! ```

use core::fmt;

use alloc::vec::Vec;

use hotmap_devicetree::{Held, MachineDescription};
use hotmap_mm::addr::{Bytes, PhysAddr, PhysRange};
use hotmap_mm::errno::Errno;
use hotmap_mm::error::{Error, RangeError, Resource, Result};
use hotmap_mm::frame::block::Source;
use hotmap_mm::list;
use hotmap_mm::machine::Machine;
use hotmap_mm::mm::Mm;

use crate::kprintln;
use crate::plug::{self, Name, Policy};

/// The kind of a region, from the device tree.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RegionKind {
    /// `device_type = "memory"` with `hotpluggable`.
    Hotpluggable,
    /// `pmem-region`.
    Pmem {
        /// Whether its contents are lost at power-off.
        volatile: bool,
    },
}

impl RegionKind {
    /// The word of `state`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hotpluggable => "hotpluggable",
            Self::Pmem { .. } => "pmem",
        }
    }
}

/// What a region is used for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RegionUse {
    /// The parts of it that are memory, ascending; without any, it waits.
    Memory(Vec<PhysRange>),
    /// It stays out of use, because this would be lost.
    Refused(Holding),
}

/// Something that lies in a region.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Holding {
    /// What it is.
    what: &'static str,
    /// Where.
    range: PhysRange,
}

impl fmt::Display for Holding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.what, self.range)
    }
}

/// A region that the device tree sets aside.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Region {
    /// Its range.
    pub range: PhysRange,
    /// What it is.
    pub kind: RegionKind,
    /// Its NUMA node, if the device tree names one.
    pub node: Option<u32>,
    /// What it is used for.
    pub usage: RegionUse,
}

impl Region {
    /// What it is used for as memory: `waiting`, `partial`, `memory` or `refused`.
    pub fn state_name(&self) -> &'static str {
        match &self.usage {
            RegionUse::Memory(parts) if parts.is_empty() => "waiting",
            RegionUse::Memory(parts) if parts.iter().map(PhysRange::len).sum::<u64>() < self.range.len() => {
                "partial"
            }
            RegionUse::Memory(_) => "memory",
            RegionUse::Refused(_) => "refused",
        }
    }

    /// The parts that are memory, each as it was added.
    pub fn parts(&self) -> &[PhysRange] {
        match &self.usage {
            RegionUse::Memory(parts) => parts,
            _ => &[],
        }
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}  {}  {}", self.range, Bytes(self.range.len()), self.kind.name())?;
        if self.kind == (RegionKind::Pmem { volatile: true }) {
            f.write_str(" (volatile)")?;
        }
        if let Some(node) = self.node {
            write!(f, ", node {node}")?;
        }
        Ok(())
    }
}

/// Why a region cannot be used so. A refusal has changed nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// The device tree does not set this address aside.
    NoRegion(PhysAddr),
    /// An address in a region, without a size.
    NotStart {
        /// The address.
        at: PhysAddr,
        /// The region.
        region: PhysRange,
    },
    /// A range that leaves its region.
    Outside {
        /// The range.
        range: PhysRange,
        /// The region.
        region: PhysRange,
    },
    /// A region that is persistent memory.
    NotHotpluggable(PhysRange),
    /// Something that must not be lost lies in the region.
    Holds {
        /// The region.
        region: PhysRange,
        /// What lies there.
        holding: Holding,
    },
    /// Nothing was added at this address.
    NotAdded(PhysAddr),
    /// The model refused.
    Model(Error),
}

impl Refusal {
    /// Linux's error number for it, or the nearest if Linux has no such request.
    pub const fn errno(&self) -> Errno {
        match self {
            Self::NoRegion(_) => Errno::ENXIO,
            Self::NotStart { .. } | Self::Outside { .. } | Self::NotHotpluggable(_) => Errno::EINVAL,
            Self::Holds { .. } => Errno::EBUSY,
            Self::NotAdded(_) => Errno::ENOENT,
            Self::Model(error) => error.errno(),
        }
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Model(error)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRegion(at) => {
                write!(f, "{at} is in no region that the device tree sets aside (layout lists them)")
            }
            Self::NotStart { at, region } => {
                write!(f, "{at} is not the start of the region {region}: a part of it wants a size")
            }
            Self::Outside { range, region } => write!(f, "{range} is not inside of the region {region}"),
            Self::NotHotpluggable(region) => {
                write!(f, "the region {region} is persistent memory, not hotpluggable")
            }
            Self::Holds { region, holding } => {
                write!(f, "the region {region} stays out of use: it holds {holding}")
            }
            Self::NotAdded(at) => write!(f, "no part of a region was added at {at} (layout lists them)"),
            Self::Model(error) => write!(f, "{error}"),
        }
    }
}

/// The regions, hotpluggable ones first.
#[derive(Default)]
pub struct Regions {
    list: Vec<Region>,
}

impl Regions {
    /// None.
    pub const fn new() -> Self {
        Self { list: Vec::new() }
    }

    /// All of them.
    pub fn all(&self) -> &[Region] {
        &self.list
    }

    /// Lists the regions of the device tree; `dtb` is the range of the blob. A region that holds something is reported and
    /// refused.
    ///
    /// # Errors
    /// `Out` if the heap has no room; the list is empty then.
    pub fn read(&mut self, machine: &MachineDescription, dtb: PhysRange) -> Result<()> {
        let hotpluggable = machine.memory.iter().filter(|m| m.hotpluggable);
        let hotpluggable = hotpluggable.map(|m| (m.region, RegionKind::Hotpluggable, m.numa_node));
        let pmem = machine.pmem.iter();
        let pmem = pmem.map(|p| (p.region, RegionKind::Pmem { volatile: p.volatile }, p.numa_node));
        let found = hotpluggable.chain(pmem);
        list::reserve(&mut self.list, found.clone().count())?;
        for (region, kind, node) in found {
            let range = range_of(region);
            let usage = match holding(machine, region, dtb) {
                Some(holding) => {
                    kprintln!("warning: {}", Refusal::Holds { region: range, holding });
                    RegionUse::Refused(holding)
                }
                None => RegionUse::Memory(Vec::new()),
            };
            self.list.push(Region { range, kind, node, usage });
        }
        Ok(())
    }

    /// Adds every hotpluggable region that waits; a refusal is reported.
    pub fn add_all<M: Machine>(&mut self, mm: &mut Mm<M>, policy: Policy) {
        for region in &mut self.list {
            if region.kind == RegionKind::Hotpluggable
                && let RegionUse::Memory(parts) = &mut region.usage
                && let Err(error) =
                    add_part(mm, parts, name_at(region.range.start, region.node), region.range.len(), policy)
            {
                kprintln!("{}: refused: {error}", name_at(region.range.start, region.node));
            }
        }
    }

    /// Adds the hotpluggable region that starts at `start`, or `len` bytes of one at `start`.
    ///
    /// # Errors
    /// Why it cannot be added; everything is as it was.
    pub fn add<M: Machine>(
        &mut self,
        mm: &mut Mm<M>,
        start: PhysAddr,
        len: Option<u64>,
        policy: Policy,
    ) -> core::result::Result<(), Refusal> {
        let region = self.list.iter_mut().find(|region| region.range.contains(start));
        let region = region.ok_or(Refusal::NoRegion(start))?;
        let whole = region.range;
        let len = match len {
            None if start != whole.start => return Err(Refusal::NotStart { at: start, region: whole }),
            None => whole.len(),
            Some(len) => {
                let range = PhysRange::checked_new(start, len)
                    .ok_or(Error::Range(RangeError::Wraps { start, len }))?;
                if !whole.covers(&range) {
                    return Err(Refusal::Outside { range, region: whole });
                }
                len
            }
        };
        match (&mut region.usage, region.kind) {
            (RegionUse::Refused(holding), _) => Err(Refusal::Holds { region: whole, holding: *holding }),
            (RegionUse::Memory(parts), RegionKind::Hotpluggable) => {
                Ok(add_part(mm, parts, name_at(start, region.node), len, policy)?)
            }
            _ => Err(Refusal::NotHotpluggable(whole)),
        }
    }

    /// Removes what was added at `start`.
    ///
    /// # Errors
    /// Why it cannot be removed; it is as it was, but for pages that have migrated.
    pub fn remove<M: Machine>(
        &mut self,
        mm: &mut Mm<M>,
        start: PhysAddr,
    ) -> core::result::Result<(), Refusal> {
        let lists = self.list.iter_mut().filter_map(|region| match &mut region.usage {
            RegionUse::Memory(parts) => Some(parts),
            _ => None,
        });
        let mut found = lists.filter_map(|parts| Some((parts.iter().position(|p| p.start == start)?, parts)));
        let (at, parts) = found.next().ok_or(Refusal::NotAdded(start))?;
        let (name, range) = (name_at(start, None), parts[at]);
        plug::take_away(mm, name, range)?;
        parts.remove(at);
        list::shrink(parts);
        Ok(())
    }
}

/// Reserves room in the list first, so that memory that was added is listed. A refusal leaves the list as it was.
fn add_part<M: Machine>(
    mm: &mut Mm<M>,
    parts: &mut Vec<PhysRange>,
    name: Name,
    len: u64,
    policy: Policy,
) -> Result<()> {
    mm.frames_mut().may_fail(Resource::Heap { bytes: size_of::<PhysRange>() })?;
    list::reserve(parts, 1)?;
    let start = name.start;
    if let Err(error) = plug::bring_in(mm, name, len, policy) {
        list::shrink(parts);
        return Err(error);
    }
    let range = PhysRange { start, end: start + len };
    parts.insert(parts.partition_point(|part| part.start < start), range);
    Ok(())
}

fn name_at(start: PhysAddr, node: Option<u32>) -> Name {
    Name { source: Source::DeviceTree, start, node: node.unwrap_or(0) }
}

/// What in `region` must not be lost. The image is not checked: boot refuses a region over it.
fn holding(
    machine: &MachineDescription,
    region: hotmap_devicetree::Region,
    dtb: PhysRange,
) -> Option<Holding> {
    if dtb.overlaps(&range_of(region)) {
        return Some(Holding { what: "the device tree", range: dtb });
    }
    let (held, by) = machine.held_in(region)?;
    let what = match held {
        Held::Reservation => "reserved memory",
        Held::Initrd => "the initrd",
    };
    Some(Holding { what, range: range_of(by) })
}

/// The range in the model's type.
fn range_of(region: hotmap_devicetree::Region) -> PhysRange {
    PhysRange { start: PhysAddr::new(region.start), end: PhysAddr::new(region.end()) }
}

#[cfg(test)]
mod tests;
