//! The devices of QEMU's virt machine that the kernel drives. Each constructor takes the virtual address of the registers
//! (with the MMU off: the physical one) and cites rule **M4** of [`crate::arch`].

pub mod acpi;
pub mod affinity;
pub mod console;
pub mod fw_cfg;
pub mod ged;
#[cfg(target_os = "none")]
pub mod gic;
mod mmio;
pub mod ns16550;
pub mod nvdimm;
pub mod pci;
pub mod pl011;
#[cfg(target_os = "none")]
pub mod platform;
#[cfg(not(target_os = "none"))]
#[path = "platform/hosted.rs"]
pub mod platform;
pub mod uart;
pub mod virtio;
pub mod windows;
