//! Buses that a device is found on: PCI Express (`pci-host-ecam-generic`) and virtio over MMIO (`virtio,mmio`).
//!
//! A node of these that is wrong is left out, and its error kept: the machine works without it.
//!
//! Sources: Linux Documentation/devicetree/bindings, host-generic-pci.yaml and virtio/mmio.yaml; IEEE Std 1275, "PCI Bus
//! Binding", 2.2.1 (addresses); Devicetree Specification 2.4.3 (`interrupt-map`).
//!
//! ```text
//!   ranges         phys.hi phys.mid phys.lo   CPU address   size
//!                  `-- bits 25:24: 1 I/O, 2 32-bit memory, 3 64-bit memory
//!   interrupt-map  phys.hi phys.mid phys.lo   pin   phandle   (the controller's unit address)   specifier
//!                  `-- bits 15:8: device and function; only these and the pin are compared, under interrupt-map-mask
//! ```
use core::num::NonZeroU32;

use fdt::nodes::NodeName;

use crate::bus::Buses;
use crate::description::{
    MachineDescription, Pci, PciInterrupt, PciWindow, VIRTIO_MMIO_CAPACITY, VirtioMmio,
};
use crate::error::{DtError, List};
use crate::facts::{Facts, text};
use crate::property::Property;
use crate::region::Region;
use crate::stdout::{InterruptController, interrupt};
use crate::value::{CELL, number, u32_at};

/// Cells of a PCI address, and of a PCI size.
const ADDRESS_CELLS: u32 = 3;
const SIZE_CELLS: u32 = 2;
/// Bytes of an `interrupt-map` entry before the controller's unit address: a PCI address, a pin and a phandle.
const MAP_HEAD: usize = 5 * CELL;
/// Cells of a GIC's interrupt specifier.
const GIC_CELLS: u32 = 3;

/// What is settled after the pass, when the GIC is known, in whatever order the nodes come.
#[derive(Default)]
pub(crate) struct Wiring<'a> {
    /// The `interrupt-map` of the PCI host, with the node for messages.
    map: Option<(NodeName<'a>, &'a [u8])>,
    /// The interrupt controller of `timer`.
    timer: Option<u32>,
    /// The interrupt controller of each entry of `virtio_mmio`.
    parents: [Option<u32>; VIRTIO_MMIO_CAPACITY],
}

/// Keeps the error of a node that is left out; what does not fit is dropped.
fn complain(out: &mut MachineDescription, error: DtError) {
    let _ = out.complaints.push(error);
}

/// Takes the first PCI host.
pub(crate) fn read_pci<'a>(
    buses: &Buses<'a>,
    depth: usize,
    facts: &Facts<'a>,
    out: &mut MachineDescription,
    wiring: &mut Wiring<'a>,
) {
    if out.pci.ecam.is_some() {
        return;
    }
    match pci(buses, depth, facts, &mut out.pci) {
        Ok(()) if out.pci.ecam.is_some() => {
            wiring.map = facts.interrupt_map.filter(|map| !map.is_empty()).map(|map| (facts.name(), map));
        }
        Ok(()) => out.pci.clear(),
        Err(error) => {
            out.pci.clear();
            complain(out, error);
        }
    }
}

fn pci(buses: &Buses<'_>, depth: usize, facts: &Facts<'_>, pci: &mut Pci) -> Result<(), DtError> {
    pci.ecam = buses.regions(depth, facts)?.map(|[ecam]| ecam);
    pci.coherent = facts.dma_coherent;
    if let Some(range) = facts.bus_range {
        let [first, last] = [0, CELL].map(|at| u32_at(range, at).and_then(|bus| u8::try_from(bus).ok()));
        match (first, last) {
            (Some(first), Some(last)) if range.len() == 2 * CELL && first <= last => pci.first_bus = first,
            _ => return Err(facts.wrong_size(Property::BusRange, range, 2 * CELL)),
        }
    }
    if let Some(mask) = facts.interrupt_map_mask.filter(|mask| !mask.is_empty()) {
        match [0, 3 * CELL].map(|at| u32_at(mask, at)) {
            [Some(device), Some(pin)] if mask.len() == 4 * CELL => pci.interrupt_mask = (device, pin),
            _ => return Err(facts.wrong_size(Property::InterruptMapMask, mask, 4 * CELL)),
        }
    }
    if let Some(ranges) = facts.ranges.filter(|ranges| !ranges.is_empty()) {
        windows(buses, depth, facts, ranges, pci)?;
    }
    Ok(())
}

/// The first window of each kind.
fn windows(
    buses: &Buses<'_>,
    depth: usize,
    facts: &Facts<'_>,
    ranges: &[u8],
    pci: &mut Pci,
) -> Result<(), DtError> {
    for (property, have, need) in [
        (Property::AddressCells, facts.address_cells, ADDRESS_CELLS),
        (Property::SizeCells, facts.size_cells, SIZE_CELLS),
    ] {
        if have != Some(need) {
            return Err(DtError::PciCells { node: facts.text(), property, need });
        }
    }
    let parent = buses.address_cells(depth - 1)? * CELL;
    let head = ADDRESS_CELLS as usize * CELL;
    for entry in facts.entries(Property::Ranges, ranges, head + parent + SIZE_CELLS as usize * CELL)? {
        let (address, rest) = entry.split_at(head);
        let (start, size) = rest.split_at(parent);
        let (bus, size) = (number(&address[CELL..]), number(size));
        let region = Region { start: number(start), size };
        if size == 0 {
            continue;
        }
        if region.start.checked_add(size).is_none() || bus.checked_add(size).is_none() {
            return Err(DtError::Wraps { node: facts.text(), start: region.start, size });
        }
        let region = buses.on_the_cpus_bus(depth - 1, facts, region)?;
        let window = match u32_at(address, 0).unwrap_or(0) >> 24 & 3 {
            1 => &mut pci.io,
            2 => &mut pci.memory32,
            3 => &mut pci.memory64,
            _ => continue,
        };
        window.get_or_insert(PciWindow { bus, region });
    }
    Ok(())
}

/// Takes a virtio device; what does not fit is left out.
pub(crate) fn read_mmio<'a>(
    buses: &Buses<'a>,
    depth: usize,
    facts: &Facts<'a>,
    out: &mut MachineDescription,
    wiring: &mut Wiring<'a>,
) {
    let region = match buses.regions(depth, facts) {
        Ok(Some([region])) => region,
        Ok(None) => return,
        Err(error) => return complain(out, error),
    };
    let at = out.virtio_mmio.len();
    let Some(parent) = wiring.parents.get_mut(at) else {
        return complain(out, DtError::TooMany { list: List::VirtioMmio, capacity: VIRTIO_MMIO_CAPACITY });
    };
    *parent = buses.interrupt_parent(depth);
    let interrupt = facts.interrupts.and_then(interrupt);
    let device = VirtioMmio { region, interrupt, coherent: facts.dma_coherent };
    // It fits: `parents` has as many.
    let _ = out.virtio_mmio.push(device);
}

/// Settles what the interrupts of both are, by the GIC that the pass found.
#[inline(never)] // for the early stack's sake, as in `scan`
pub(crate) fn connect(wiring: &Wiring<'_>, gic: InterruptController, out: &mut MachineDescription) {
    for (device, parent) in out.virtio_mmio.iter_mut().zip(wiring.parents) {
        device.interrupt = device.interrupt.filter(|_| gic.takes(parent));
    }
    out.timer = out.timer.filter(|_| gic.takes(wiring.timer));
    let Some((node, map)) = wiring.map else { return };
    if let Err(error) = pci_interrupts(node, map, gic, &mut out.pci) {
        out.pci.interrupts.clear();
        complain(out, error);
    }
}

/// Takes the interrupt of the first generic timer's virtual timer: of the secure, the non-secure, the virtual and the
/// hypervisor's it is the third.
pub(crate) fn read_timer(
    buses: &Buses<'_>,
    depth: usize,
    facts: &Facts<'_>,
    out: &mut MachineDescription,
    wiring: &mut Wiring<'_>,
) {
    const VIRTUAL: usize = 2 * GIC_CELLS as usize * CELL;
    if out.timer.is_none() {
        let virtual_timer = facts.interrupts.and_then(|all| all.get(VIRTUAL..)).and_then(interrupt);
        out.timer = virtual_timer.and_then(|interrupt| NonZeroU32::new(interrupt.intid()));
        wiring.timer = buses.interrupt_parent(depth);
    }
}

fn pci_interrupts(
    node: NodeName<'_>,
    map: &[u8],
    gic: InterruptController,
    pci: &mut Pci,
) -> Result<(), DtError> {
    let unit = gic.address_cells.unwrap_or(0) as usize;
    let size = MAP_HEAD.saturating_add(unit.saturating_add(GIC_CELLS as usize).saturating_mul(CELL));
    if !map.len().is_multiple_of(size) {
        let property = Property::InterruptMap;
        return Err(DtError::PropertySize { node: text(node), property, size: map.len(), unit: size });
    }
    for entry in map.chunks_exact(size) {
        let [device, pin, parent] = [0, 3, 4].map(|cell| u32_at(entry, cell * CELL).unwrap_or(0));
        let specifier = interrupt(&entry[size - GIC_CELLS as usize * CELL..]);
        let Some(interrupt) = specifier.filter(|_| gic.takes(Some(parent))) else {
            return Err(DtError::InterruptMap { node: text(node), parent });
        };
        let too_many = DtError::TooMany { list: List::PciInterrupts, capacity: pci.interrupts.capacity() };
        pci.interrupts.push(PciInterrupt { device, pin, interrupt }).map_err(|_| too_many)?;
    }
    Ok(())
}
