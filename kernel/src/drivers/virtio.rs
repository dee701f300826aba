//! Virtio devices, over PCI and over MMIO: which there are, and the transport that a driver talks through. Transports and
//! queues are the crate `virtio-drivers`'; what a device answers is checked before the crate takes it for the truth.
//!
//! ```text
//!   boot, MMU off     find      Found: where devices of a wanted type are (pci.rs, mmio.rs), or why one is not used
//!   boot              map       the pages of their registers
//!   kernel            open      VirtioDevice: a transport with its name and its interrupt
//! ```
//!
//! Source: Virtual I/O Device (VIRTIO) Version 1.2.

#[cfg(target_os = "none")]
pub mod console;
#[cfg(target_os = "none")]
pub mod find;
pub mod found;
#[cfg(target_os = "none")]
pub mod hal;
#[cfg(target_os = "none")]
pub mod memory;
pub mod message;
pub mod mmio;
pub mod refusal;
pub mod transport;
