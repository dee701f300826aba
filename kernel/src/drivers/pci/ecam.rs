//! Configuration space in memory (PCI Express Base Specification 4.0, 7.2.2): 4 KiB for each function.
#![expect(unsafe_code, reason = "configuration space is a raw address; rule M4")]

use virtio_drivers::transport::pci::bus::{ConfigurationAccess, DeviceFunction};

use crate::arch::probe::probe_read32;
use crate::drivers::mmio::{Register, Window};

/// Bytes of a bus.
pub const BUS_BYTES: u64 = 1 << 20;

/// The configuration space of one bus.
pub struct Ecam {
    base: usize,
    bytes: usize,
}

impl Ecam {
    /// The bus whose configuration space is at `base`, of which `bytes` are there.
    ///
    /// # Safety
    /// M4, except that nothing need answer there.
    pub unsafe fn new(base: usize, bytes: usize) -> Self {
        Self { base, bytes }
    }

    fn offset(&self, at: DeviceFunction, register: u8) -> Option<usize> {
        let function = usize::from(at.device) << 3 | usize::from(at.function);
        let offset = function << 12 | usize::from(register);
        (offset < self.bytes).then_some(offset)
    }

    /// Whether something answers at all.
    pub fn answers(&self) -> bool {
        // SAFETY: M4; reading the ID of the first function changes nothing.
        unsafe { probe_read32(self.base) }.is_some()
    }
}

impl ConfigurationAccess for Ecam {
    /// All ones where nothing answers.
    fn read_word(&self, at: DeviceFunction, register: u8) -> u32 {
        let Some(offset) = self.offset(at, register) else { return u32::MAX };
        // SAFETY: M4; the words that are read are the identity, the base addresses and the capabilities, without effects.
        unsafe { probe_read32(self.base + offset) }.unwrap_or(u32::MAX)
    }

    fn write_word(&mut self, at: DeviceFunction, register: u8, data: u32) {
        let Some(offset) = self.offset(at, register) else { return };
        // SAFETY: M4: the function has answered, and this is its only driver.
        let mut window = unsafe { Window::new(self.base, self.bytes) };
        window.set(Register::<u32>::at(offset), data);
    }

    unsafe fn unsafe_clone(&self) -> Self {
        Self { base: self.base, bytes: self.bytes }
    }
}
