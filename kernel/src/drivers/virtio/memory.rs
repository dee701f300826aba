//! Virtio memory devices, as the kernel drives them.

use virtio_mem::{Fault, VirtioMem, Waiter};

use super::hal::KernelHal;
use super::transport::VirtioTransport;
use crate::arch::{counter, cpu};
use crate::meter::Spent;
use crate::vmems::Driven;

/// How long a device may take for one request, in seconds: it may have to get the memory first.
const PATIENCE: u64 = 60;

/// A virtio memory device.
pub type MemoryDevice = VirtioMem<KernelHal, VirtioTransport, Clock>;

/// Drives the device behind `transport`.
///
/// # Errors
/// What is wrong with it.
pub fn drive(transport: VirtioTransport) -> Result<MemoryDevice, Fault> {
    VirtioMem::new(transport, Clock::default())
}

/// Waits by the counter, and counts what that takes: how long it is depends on the host.
#[derive(Default)]
pub struct Clock {
    /// When the request was sent, in ticks.
    sent: u64,
    /// What had been spent when it was last looked.
    looked: Spent,
    /// What all waits have taken.
    spent: Spent,
}

impl Waiter for Clock {
    fn begin(&mut self) {
        (self.sent, self.looked) = (counter::ticks(), Spent::at_start());
    }
    fn wait(&mut self) -> bool {
        cpu::relax();
        let now = Spent::at_end();
        self.spent = self.spent + (now - self.looked);
        self.looked = now;
        counter::ticks().wrapping_sub(self.sent) < PATIENCE * counter::ticks_per_second()
    }
}

impl Driven for MemoryDevice {
    fn take_interrupt(&mut self) -> bool {
        self.take_interrupt()
    }
    fn restart(&mut self) -> Result<(), Fault> {
        self.restart()
    }
    fn waited(&self) -> Spent {
        self.waiter().spent
    }
}
