//! What the tables announce.

use crate::problem::Problem;

/// The address space of registers in memory (ACPI 6.5, 20.2.5.2, RegionSpace: SystemMemory).
const SYSTEM_MEMORY: u8 = 0;

/// An operation region. Its numbers are the table's, and may be any.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OpRegion {
    /// The address space; [`OpRegion::in_memory`].
    pub space: u8,
    /// Where it starts there.
    pub start: u64,
    /// How many bytes it has.
    pub bytes: u64,
}

impl OpRegion {
    /// Whether it is in physical memory.
    pub const fn in_memory(&self) -> bool {
        self.space == SYSTEM_MEMORY
    }
}

/// An extended interrupt descriptor (ACPI 6.5, 6.4.3.6).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Interrupt {
    /// The global system interrupt: on arm64 the INTID (ACPI 6.5, 5.2.12 "MADT", "GSIV").
    pub gsi: u32,
    /// Edge-triggered, else level-triggered.
    pub edge: bool,
}

/// The registers that were found. Where a name comes twice, the first one counts.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Announced {
    /// `HPMR` in `MHPD`: the memory slots.
    pub slots: Option<OpRegion>,
    /// `EREG` in `GED`: the Generic Event Device's event selector.
    pub events: Option<OpRegion>,
    /// The first interrupt in `GED`'s `_CRS`.
    pub interrupt: Option<Interrupt>,
    /// `NPIO` in `NVDR`'s method `NCAL`: the NVDIMM register.
    pub nvdimm: Option<OpRegion>,
    /// The first thing that could not be read.
    pub problem: Option<Problem>,
}

impl Announced {
    /// Nothing is found yet.
    pub const fn new() -> Self {
        Self { slots: None, events: None, interrupt: None, nvdimm: None, problem: None }
    }

    /// Whether there is nothing left to look for.
    pub(crate) fn is_complete(&self) -> bool {
        self.slots.is_some() && self.events.is_some() && self.interrupt.is_some() && self.nvdimm.is_some()
    }
}
