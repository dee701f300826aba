//! Devices that a VMM has and a driver sees: memory slots, and virtio memory. They give RAM to the emulated machine, and take it
//! away.

pub mod slots;
pub mod virtio_mem;

/// Registers of a device.
pub trait Registers {
    /// What a load of `bytes` bytes at `offset` gives.
    fn load(&mut self, offset: usize, bytes: usize) -> u64;
    /// A store of `bytes` bytes at `offset`.
    fn store(&mut self, offset: usize, bytes: usize, value: u64);
}
