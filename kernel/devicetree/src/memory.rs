//! RAM and persistent memory: kept in ascending order while they come in, checked against each other, and at
//! the end cut so that no byte is in two regions.
//!
//! ```text
//!   memory@40000000               |==================================|      plain
//!   ram@60000000 hotpluggable              |#######|                        lies inside: allowed
//!   pmem-region@70000000                              |%%%%|
//!   settle()                      |========|#######|==|    |=========|      memory[]
//! ```
//!
//! Two plain regions that overlap contradict each other, and so do two of the special ones: refused.
use crate::bus::Buses;
use crate::description::{MEMORY_CAPACITY, MachineDescription, MemoryRegion, PMEM_CAPACITY, PmemRegion};
use crate::error::{DtError, List};
use crate::facts::Facts;
use crate::region::Region;

const TOO_MANY: DtError = DtError::TooMany { list: List::Memory, capacity: MEMORY_CAPACITY };

/// Takes a node with `device_type = "memory"` (Devicetree Specification 3.4).
pub(crate) fn read_memory(
    buses: &Buses<'_>,
    depth: usize,
    facts: &Facts<'_>,
    out: &mut MachineDescription,
) -> Result<(), DtError> {
    buses.each_region(depth, facts, usize::MAX, |region| {
        let memory = &mut out.memory;
        for other in memory.iter().filter(|other| other.hotpluggable == facts.hotpluggable) {
            refuse_overlap(region, other.region)?;
        }
        let at = memory.partition_point(|other| other.region.start < region.start);
        let entry = MemoryRegion { region, hotpluggable: facts.hotpluggable, numa_node: facts.numa_node };
        memory.insert(at, entry).map_err(|_| TOO_MANY)
    })?;
    Ok(())
}

/// Takes a `pmem-region` node.
pub(crate) fn read_pmem(
    buses: &Buses<'_>,
    depth: usize,
    facts: &Facts<'_>,
    out: &mut MachineDescription,
) -> Result<(), DtError> {
    buses.each_region(depth, facts, usize::MAX, |region| {
        for other in &out.pmem {
            refuse_overlap(region, other.region)?;
        }
        let at = out.pmem.partition_point(|other| other.region.start < region.start);
        let too_many = DtError::TooMany { list: List::Pmem, capacity: PMEM_CAPACITY };
        let entry = PmemRegion { region, volatile: facts.volatile, numa_node: facts.numa_node };
        out.pmem.insert(at, entry).map_err(|_| too_many)
    })?;
    Ok(())
}

/// Cuts the special regions out of the plain ones, when all are known, and checks that there is RAM to boot in.
pub(crate) fn settle(out: &mut MachineDescription) -> Result<(), DtError> {
    for index in 0..out.pmem.len() {
        let pmem = out.pmem[index].region;
        for memory in out.memory.iter().filter(|memory| memory.hotpluggable) {
            refuse_overlap(pmem, memory.region)?;
        }
        cut(out, pmem)?;
    }
    // By address and not by index: cutting moves what follows.
    let mut from = 0;
    while let Some(hot) = next_hotpluggable(out, from) {
        cut(out, hot)?;
        from = hot.end();
    }
    if out.memory.iter().all(|memory| memory.hotpluggable) { Err(DtError::NoMemory) } else { Ok(()) }
}

/// The lowest hotpluggable region at `from` or above.
fn next_hotpluggable(out: &MachineDescription, from: u64) -> Option<Region> {
    out.memory
        .iter()
        .find(|memory| memory.hotpluggable && memory.region.start >= from)
        .map(|memory| memory.region)
}

/// Removes `hole` from the plain regions. They do not overlap, so that they stay in order.
fn cut(out: &mut MachineDescription, hole: Region) -> Result<(), DtError> {
    let mut index = 0;
    while let Some(entry) = out.memory.get(index).copied() {
        index += 1;
        if entry.hotpluggable || !entry.region.overlaps(hole) {
            continue;
        }
        index -= 1;
        out.memory.remove(index);
        for part in [below(entry.region, hole), above(entry.region, hole)].into_iter().flatten() {
            let at = out.memory.partition_point(|other| other.region.start < part.start);
            out.memory.insert(at, MemoryRegion { region: part, ..entry }).map_err(|_| TOO_MANY)?;
        }
    }
    Ok(())
}

/// What of `region` lies below `hole`.
fn below(region: Region, hole: Region) -> Option<Region> {
    (region.start < hole.start).then(|| Region { start: region.start, size: hole.start - region.start })
}

/// What of `region` lies above `hole`.
fn above(region: Region, hole: Region) -> Option<Region> {
    (hole.end() < region.end()).then(|| Region { start: hole.end(), size: region.end() - hole.end() })
}

fn refuse_overlap(a: Region, b: Region) -> Result<(), DtError> {
    if !a.overlaps(b) {
        return Ok(());
    }
    let (first, second) = if a.start <= b.start { (a, b) } else { (b, a) };
    Err(DtError::Overlap { first, second })
}
