//! The crate's transports, bounded: what waits or panics in them at a device's word does not here.
//!
//! - `PciTransport::notify` panics at an offset outside the notification structure: here such a notification is left out,
//!   and the driver's wait for its queue ends.
//! - Both reset their device when they are dropped, and wait for it without a bound: here the wait ends.
//!
//! `read_config_space` panics for a type that is aligned to more than 4 bytes: read a `u64` as two `u32`.
#![expect(unsafe_code, reason = "hands register addresses to the crate's transports; rule M4")]

use core::mem::ManuallyDrop;
use core::sync::atomic::{Ordering, fence};

use hotmap_mm::addr::PhysRange;
use virtio_drivers::transport::mmio::MmioTransport;
use virtio_drivers::transport::pci::PciTransport;
use virtio_drivers::transport::pci::bus::{DeviceFunction, PciRoot};
use virtio_drivers::transport::{DeviceStatus, DeviceType, InterruptStatus, SomeTransport, Transport};
use virtio_drivers::{Hal, PhysAddr, Result};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::found::{Device, Name, Registers};
use super::refusal::Refusal;
use crate::drivers::mmio::{Register, Window};
use crate::drivers::pci::snapshot::Snapshot;

/// How often a reset's end is looked for.
const PATIENCE: u32 = 100_000;

/// Of the common structure (virtio 1.2, 4.1.4.3): the queue that the others are about, and where its notification goes.
const QUEUE_SELECT: Register<u16> = Register::at(0x16);
const QUEUE_NOTIFY_OFF: Register<u16> = Register::at(0x1e);
const COMMON_BYTES: usize = 0x38;

/// A virtio device's transport, over MMIO or PCI.
pub struct VirtioTransport {
    /// Never dropped: `drop` below does what its would, with a bound.
    inner: ManuallyDrop<SomeTransport<'static>>,
    /// Over PCI, what [`Transport::notify`] needs.
    notify: Option<Notify>,
}

/// The registers of PCI's notifications.
struct Notify {
    common: Window,
    registers: Window,
    bytes: usize,
    multiplier: usize,
}

/// The registers at `range`, mapped by `H`.
fn map<H: Hal>(range: PhysRange) -> (usize, usize) {
    let bytes = range.len().try_into().expect("a 64-bit address space");
    // SAFETY: M4: boot has mapped the registers of what it found.
    let at = unsafe { H::mmio_phys_to_virt(range.start.get(), bytes) };
    (at.as_ptr().expose_provenance(), bytes)
}

impl VirtioTransport {
    /// The transport of `device`, whose registers `H` maps.
    ///
    /// # Errors
    /// A device whose registers are not what they should be.
    ///
    /// # Safety
    /// M4, for all of [`Device::ranges`].
    pub unsafe fn open<H: Hal>(device: &Device) -> core::result::Result<Self, Refusal> {
        let (inner, notify) = match &device.registers {
            Registers::Mmio(range) => {
                let bytes = range.len().try_into().expect("a 64-bit address space");
                // SAFETY: M4, which the caller promises.
                let inner = unsafe {
                    let header = H::mmio_phys_to_virt(range.start.get(), bytes).cast();
                    MmioTransport::new(header, bytes).map_err(Refusal::Mmio)?
                };
                (SomeTransport::Mmio(inner), None)
            }
            Registers::Pci(snapshot) => {
                let Name::Pci(at) = device.name else { return Err(Refusal::Silent) };
                let inner = Self::over_pci::<H>(&mut PciRoot::new(snapshot.clone()), at)?;
                let [common, registers, ..] = snapshot.structures().map(map::<H>);
                let (base, bytes) = registers;
                let multiplier = snapshot.multiplier() as usize;
                // SAFETY: M4, which the caller promises; the crate's transport and these are used one at a time, by this one.
                let notify = unsafe {
                    let (common, registers) = (Window::new(common.0, COMMON_BYTES), Window::new(base, bytes));
                    Notify { common, registers, bytes, multiplier }
                };
                (SomeTransport::Pci(inner), Some(notify))
            }
        };
        Ok(Self { inner: ManuallyDrop::new(inner), notify })
    }

    fn over_pci<H: Hal>(
        root: &mut PciRoot<Snapshot>,
        at: DeviceFunction,
    ) -> core::result::Result<PciTransport, Refusal> {
        PciTransport::new::<H, _>(root, at).map_err(Refusal::Pci)
    }

    /// Resets the device, and waits for a bounded time until it has done so.
    ///
    /// # Errors
    /// [`Refusal::Reset`].
    pub fn reset(&mut self) -> core::result::Result<(), Refusal> {
        self.set_status(DeviceStatus::empty());
        let is_reset = |_: &u32| self.get_status() == DeviceStatus::empty();
        (0..PATIENCE).find(is_reset).map(|_| ()).ok_or(Refusal::Reset)
    }
}

impl Drop for VirtioTransport {
    fn drop(&mut self) {
        // A device that does not end its reset is left as it is.
        let _ = self.reset();
    }
}

impl Transport for VirtioTransport {
    fn device_type(&self) -> DeviceType {
        self.inner.device_type()
    }

    fn read_device_features(&mut self) -> u64 {
        self.inner.read_device_features()
    }

    fn write_driver_features(&mut self, driver_features: u64) {
        self.inner.write_driver_features(driver_features);
    }

    fn max_queue_size(&mut self, queue: u16) -> u32 {
        self.inner.max_queue_size(queue)
    }

    fn notify(&mut self, queue: u16) {
        // The queue is in memory before the device looks at it.
        fence(Ordering::SeqCst);
        let Some(Notify { common, registers, bytes, multiplier }) = &mut self.notify else {
            return self.inner.notify(queue);
        };
        common.set(QUEUE_SELECT, queue);
        let offset = usize::from(common.get(QUEUE_NOTIFY_OFF)).saturating_mul(*multiplier);
        if offset.saturating_add(size_of::<u16>()) <= *bytes && offset.is_multiple_of(size_of::<u16>()) {
            registers.set(Register::<u16>::at(offset), queue);
        }
    }

    fn get_status(&self) -> DeviceStatus {
        self.inner.get_status()
    }

    fn set_status(&mut self, status: DeviceStatus) {
        self.inner.set_status(status);
    }

    fn set_guest_page_size(&mut self, guest_page_size: u32) {
        self.inner.set_guest_page_size(guest_page_size);
    }

    fn requires_legacy_layout(&self) -> bool {
        self.inner.requires_legacy_layout()
    }

    fn queue_set(
        &mut self,
        queue: u16,
        size: u32,
        descriptors: PhysAddr,
        driver_area: PhysAddr,
        device_area: PhysAddr,
    ) {
        self.inner.queue_set(queue, size, descriptors, driver_area, device_area);
    }

    fn queue_unset(&mut self, _queue: u16) {
        // The crate waits for the device without a bound; a reset unsets all queues.
    }

    fn queue_used(&mut self, queue: u16) -> bool {
        self.inner.queue_used(queue)
    }

    fn ack_interrupt(&mut self) -> InterruptStatus {
        self.inner.ack_interrupt()
    }

    fn read_config_generation(&self) -> u32 {
        self.inner.read_config_generation()
    }

    fn read_config_space<T: FromBytes + IntoBytes>(&self, offset: usize) -> Result<T> {
        self.inner.read_config_space(offset)
    }

    fn write_config_space<T: IntoBytes + Immutable>(&mut self, offset: usize, value: T) -> Result<()> {
        self.inner.write_config_space(offset, value)
    }
}
