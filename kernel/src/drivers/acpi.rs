//! The registers that ACPI announces, for the devices that are in no device tree: memory slots, their events, NVDIMMs.
//!
//! Boot reads the tables (hotmap-acpi), checks what they say, and maps the registers. Only then does a driver touch them.

use core::fmt;

use heapless::Vec;
use hotmap_acpi::{Announced, Interrupt, OpRegion, Problem};
use hotmap_devicetree::MachineDescription;
use hotmap_mm::addr::PhysRange;

use super::virtio::found;
use super::windows::{self, BadWindow, Device, Loaded, Occupant, Window};

/// As many refusals as there can be: one problem, and one of each device and the interrupt.
const REFUSALS: usize = 5;

/// The interrupt IDs of shared peripheral interrupts (IHI 0069, 2.2). A GSI is an ID (ACPI 6.5, 5.2.12.14).
pub const SPIS: core::ops::Range<u32> = 32..1020;

/// Why something that ACPI announces is not used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// Tables that could not be read to their end.
    Tables(Problem),
    /// Registers in another space than physical memory.
    Space {
        /// Whose.
        device: Device,
        /// The space (ACPI 6.5, 20.2.5.2).
        space: u8,
    },
    /// Registers where none can be.
    Window(BadWindow),
    /// Memory slots without an event selector.
    NoEvents(PhysRange),
    /// An interrupt that is no SPI.
    Interrupt(u32),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tables(problem) => write!(f, "{problem}"),
            Self::Space { device, space } => {
                write!(
                    f,
                    "acpi: {} registers in address space {space}, not in memory; not used",
                    device.name()
                )
            }
            Self::Window(bad) => write!(f, "acpi: {bad}; not used"),
            Self::NoEvents(slots) => {
                write!(f, "acpi: memory slots at {slots} without an event selector; not used")
            }
            Self::Interrupt(gsi) => {
                write!(f, "acpi: interrupt {gsi} of the events is none of a device; they are polled")
            }
        }
    }
}

/// The memory slots and their events.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Slots {
    /// The slot registers.
    pub slots: PhysRange,
    /// The event selector.
    pub events: PhysRange,
    /// The events' interrupt, an SPI; `None`: they are polled.
    pub interrupt: Option<Interrupt>,
}

/// What boot found. No two ranges overlap, and nothing else is where they are.
#[derive(Debug)]
pub struct Found {
    /// The memory slots.
    pub slots: Option<Slots>,
    /// The NVDIMM register.
    pub nvdimm: Option<PhysRange>,
    /// What is not used.
    pub refusals: Vec<Refusal, REFUSALS>,
}

impl Found {
    /// Nothing.
    pub const fn new() -> Self {
        Self { slots: None, nvdimm: None, refusals: Vec::new() }
    }

    /// Takes what the tables announce, where nothing of the device tree's and of the virtio devices' is.
    pub fn take(
        &mut self,
        announced: &Announced,
        machine: &MachineDescription,
        loaded: &Loaded,
        virtio: &found::Found,
    ) {
        if let Some(problem) = announced.problem {
            self.refuse(Refusal::Tables(problem));
        }
        let mut taken: Vec<Window, 3> = Vec::new();
        let mut place = |device, region: Option<OpRegion>| {
            let window = region.map(|region| {
                let others = virtio.ranges().map(|range| (Occupant::Virtio, range));
                check(device, region, machine, loaded, others.chain(windows::registers(&taken)))
            });
            match window? {
                Ok(window) => {
                    // There are no more than three.
                    let _ = taken.push(window);
                    Some(window.range)
                }
                Err(refusal) => {
                    self.refuse(refusal);
                    None
                }
            }
        };
        let events = place(Device::EventSelector, announced.events);
        let slots = place(Device::MemorySlots, announced.slots);
        self.nvdimm = place(Device::Nvdimm, announced.nvdimm);
        self.slots = match (slots, events) {
            (Some(slots), Some(events)) => {
                let interrupt = announced.interrupt.filter(|interrupt| self.is_spi(*interrupt));
                Some(Slots { slots, events, interrupt })
            }
            (Some(slots), None) => {
                self.refuse(Refusal::NoEvents(slots));
                None
            }
            _ => None,
        };
    }

    fn is_spi(&mut self, interrupt: Interrupt) -> bool {
        let is_spi = SPIS.contains(&interrupt.gsi);
        if !is_spi {
            self.refuse(Refusal::Interrupt(interrupt.gsi));
        }
        is_spi
    }

    fn refuse(&mut self, refusal: Refusal) {
        let _ = self.refusals.push(refusal);
    }

    /// All registers, to be mapped.
    pub fn ranges(&self) -> impl Iterator<Item = PhysRange> + '_ {
        let slots = self.slots.iter().flat_map(|slots| [slots.slots, slots.events]);
        slots.chain(self.nvdimm)
    }
}

impl Default for Found {
    fn default() -> Self {
        Self::new()
    }
}

fn check(
    device: Device,
    region: OpRegion,
    machine: &MachineDescription,
    loaded: &Loaded,
    others: impl Iterator<Item = (Occupant, PhysRange)>,
) -> Result<Window, Refusal> {
    if !region.in_memory() {
        return Err(Refusal::Space { device, space: region.space });
    }
    let window = Window::at(device, region.start, region.bytes);
    windows::check_announced(machine, loaded, others, window).map_err(Refusal::Window)?;
    Ok(window)
}

#[cfg(test)]
mod tests;
