//! One message to a virtio console. Without VIRTIO_CONSOLE_F_MULTIPORT queue 0 receives, which is left unused, and queue 1
//! transmits (virtio 1.2, 5.3.2).
#![expect(unsafe_code, reason = "a queue takes a buffer; rule M8")]

use virtio_drivers::queue::VirtQueue;
use virtio_drivers::transport::{DeviceStatus, Transport};
use virtio_drivers::{Hal, PAGE_SIZE};

use super::refusal::Refusal;

/// The queue that transmits, and how many descriptors it has.
const TRANSMIT: u16 = 1;
const DESCRIPTORS: usize = 2;
/// The unit of the old layout's addresses, the crate's.
const GUEST_PAGE: u32 = 0x1000;
const _: () = assert!(GUEST_PAGE as usize == PAGE_SIZE);
/// The feature without which a device has the layout of before virtio 1.0.
const VERSION_1: u64 = 1 << 32;

/// Sets up a console that was reset, and gives it `message`. `wait` waits for a bounded time until what it is given is true.
///
/// # Errors
/// A device that does not take the features, the queue or the message.
pub fn transmit<T: Transport, H: Hal>(
    transport: &mut T,
    message: &'static [u8],
    wait: impl Fn(&dyn Fn() -> bool) -> bool,
) -> Result<(), Refusal> {
    begin(transport)?;
    let queue = VirtQueue::<H, DESCRIPTORS>::new(transport, TRANSMIT, false, false);
    let mut queue = queue.map_err(Refusal::Queue)?;
    transport.finish_init();
    // SAFETY: M8: the message lives for ever.
    unsafe { queue.add(&[message], &mut []) }.map_err(Refusal::Queue)?;
    transport.notify(TRANSMIT);
    if wait(&|| queue.can_pop()) { Ok(()) } else { Err(Refusal::Silent) }
}

/// Initializes the device up to its queues (virtio 1.2, 3.1.1).
fn begin(transport: &mut impl Transport) -> Result<(), Refusal> {
    let status = DeviceStatus::ACKNOWLEDGE | DeviceStatus::DRIVER;
    transport.set_status(status);
    let features = transport.read_device_features() & VERSION_1;
    transport.write_driver_features(features);
    transport.set_guest_page_size(GUEST_PAGE);
    if transport.requires_legacy_layout() {
        return Ok(());
    }
    transport.set_status(status | DeviceStatus::FEATURES_OK);
    let taken = transport.get_status().contains(DeviceStatus::FEATURES_OK);
    if taken { Ok(()) } else { Err(Refusal::Features(features)) }
}

#[cfg(test)]
mod tests;
