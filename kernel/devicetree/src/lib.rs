//! What the device tree blob says, as plain data.
//!
//! ```text
//!   blob (&[u8])                                                 MachineDescription (.bss)
//!   +----------+
//!   | header   |--> header: magic, totalsize, block bounds
//!   | reserve  |--> reserved ------------------------------------> reserved[]
//!   | structure|--> structure: token walk, depth <= 15
//!   |          |         `-> the `fdt` crate reads nodes and properties, once, in order:
//!   |          |             facts (one node's properties) -> bus (cells, ranges)
//!   |          |               -> memory, reserved, chosen, devices -> memory[], gic, psci, ...
//!   | strings  |         `-> stdout: the node that /chosen's stdout-path names -> console
//!   +----------+
//! ```
//!
//! The blob comes from outside and may say anything. The `fdt` crate panics where a header's offset and
//! size add up past 32 bits, takes a tree that breaks off for one that ends there, and stops in silence
//! below sixteen levels; so the modules `header` and `structure` look at all of that first, and after
//! them no input panics, loops or is read in part.
//!
//! The code runs before the MMU is on: no atomics, no unaligned access, little stack, and a result
//! without pointers that is still right when the kernel has moved to its high addresses. That holds for
//! [`DtError`] too.
//!
//! Source for the format: Devicetree Specification v0.4, chapters 2, 3 and 5.
#![no_std]
#![forbid(unsafe_code)]

mod bus;
mod chosen;
mod console;
mod description;
mod devices;
mod error;
mod facts;
mod header;
mod interrupt;
mod memory;
mod message;
mod name;
mod property;
mod region;
mod reserved;
mod scan;
mod stdout;
mod structure;
mod value;
mod virtio;

pub use console::{Console, Spacing, Uart};
pub use description::{
    BOOTARGS_CAPACITY, COMPATIBLE_CAPACITY, COMPLAINT_CAPACITY, CPU_CAPACITY, FLASH_CAPACITY,
    MEMORY_CAPACITY, PCI_INTERRUPT_CAPACITY, PMEM_CAPACITY, REDISTRIBUTOR_CAPACITY, RESERVED_CAPACITY,
    VIRTIO_MMIO_CAPACITY,
};
pub use description::{
    Cpu, EnableMethod, Gic, Held, MachineDescription, MemoryRegion, Pci, PciInterrupt, PciWindow, PmemRegion,
    Psci, PsciConduit, PsciVersion, Reservation, VirtioMmio,
};
pub use error::{Block, DtError, List};
pub use header::{HEADER_SIZE, total_size, used_size};
pub use interrupt::{Interrupt, InterruptKind};
pub use name::NAME_CAPACITY;
pub use property::Property;
pub use region::Region;
pub use structure::MAX_DEPTH;

/// Reads the device tree in `blob` into `out`, whatever `out` held before.
///
/// `blob` may be longer than the tree; nothing behind the header's totalsize is read. On an error `out` is
/// incomplete and of no use.
///
/// # Errors
/// The first rule of the format, or of what a machine must say about itself, that the blob breaks.
pub fn parse(blob: &[u8], out: &mut MachineDescription) -> Result<(), DtError> {
    out.clear();
    let blocks = header::split(blob)?;
    structure::check(&blocks)?;
    reserved::read_map(&blocks, out)?;
    scan::scan(blocks.blob, out)?;
    memory::settle(out)
}
