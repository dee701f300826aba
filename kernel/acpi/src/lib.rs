//! The registers that QEMU's ACPI tables announce, as plain data.
//!
//! ```text
//!   etc/acpi/tables (fw_cfg)                                                          Announced
//!   DSDT | FACP | APIC | ... | SSDT | ... | 0 0 0 ...
//!    |  `-> tables: signature and length, until bytes that are no table
//!    `-> aml: \_SB: MHPD: OperationRegion(HPMR, SystemMemory, start, bytes) --------> slots
//!                   GED:  OperationRegion(EREG, ...) --------------------------------> events
//!                         Name(_CRS, ResourceTemplate() { Interrupt(...) {41} }) ----> interrupt
//!                   NVDR: Method(NCAL) { ... OperationRegion(NPIO, ...) -------------> nvdimm
//! ```
//!
//! Nothing is executed: the reader walks declarations, and leaves a package out as a whole where it needs nothing of it. It
//! never goes back, so the tables are read from the device as a stream, and no copy of them is kept. Every byte may say
//! anything: what is no table or no term that the reader knows ends the table or the package, as a [`Problem`].
//!
//! The checksums are not checked: QEMU leaves them, and addresses between tables, to the firmware, which follows
//! etc/table-loader (hw/acpi/bios-linker-loader.c). In this file they are zero.
//!
//! The code runs before the MMU is on: no atomics, no unaligned access, little stack, a result without pointers.
//!
//! Sources: ACPI 6.5, 5.2.6 "System Description Table Header", chapter 20 "ACPI Machine Language Specification"; QEMU
//! hw/acpi/memory_hotplug.c, hw/acpi/generic_event_device.c, hw/acpi/nvdimm.c.
#![no_std]
#![forbid(unsafe_code)]

mod aml;
mod announced;
mod cursor;
mod name;
mod problem;
mod tables;

pub use announced::{Announced, Interrupt, OpRegion};
pub use cursor::Source;
pub use problem::{Problem, What};
pub use tables::read;
