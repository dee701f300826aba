//! A driver for the virtio memory device (virtio 1.3, section 5.15 "Memory Device"), on the transports and queues of
//! `virtio-drivers`. It knows nothing of the kernel around it.
//!
//! ```text
//!   region     |P|P|P|P|P|P|u|u|u|u|u|u|u|u|             |      P plugged, u unplugged: device blocks of block_size
//!              addr                         usable_region_size  region_size
//!   request    24 bytes: what, and which blocks        ->  response 10 bytes: an answer, and for STATE the blocks' state
//! ```
//! The device says in its configuration how much of the region is to be plugged (`requested_size`), and the driver asks for
//! blocks to be plugged and unplugged until as much is. Memory of a block that is not plugged is not to be accessed.
//!
//! [`Device`] is what a policy needs of a device, and [`VirtioMem`] is the device behind a transport. Whatever a hostile
//! device answers ends in a [`Fault`], which says the value.
#![no_std]

mod config;
mod driver;
mod fault;
mod rule;
mod wire;

use core::ops::Range;

pub use config::Config;
pub use driver::{VirtioMem, Waiter};
pub use fault::Fault;
pub use rule::ConfigRule;
pub use wire::{Answer, BlockState, Request};

/// What a policy needs of a device. Addresses and lengths are in bytes; each range is of whole device blocks.
pub trait Device {
    /// The configuration now.
    ///
    /// # Errors
    /// [`Fault::Config`] when it breaks a rule; [`Fault::Torn`] when it does not stand still.
    fn config(&mut self) -> Result<Config, Fault>;

    /// Asks for all of `blocks`, none of which is plugged, to be plugged.
    ///
    /// # Errors
    /// A [`Fault`] when there was no answer, or no valid one.
    fn plug(&mut self, blocks: Range<u64>) -> Result<Answer, Fault>;

    /// Asks for all of `blocks`, each of which is plugged, to be unplugged.
    ///
    /// # Errors
    /// As [`Self::plug`].
    fn unplug(&mut self, blocks: Range<u64>) -> Result<Answer, Fault>;

    /// Asks for every block to be unplugged, and for the usable region to be made as small as `requested_size` wants it.
    ///
    /// # Errors
    /// As [`Self::plug`].
    fn unplug_all(&mut self) -> Result<Answer, Fault>;

    /// Whether `blocks` are plugged.
    ///
    /// # Errors
    /// As [`Self::plug`]; [`Fault::Answered`] when the device does not know.
    fn state(&mut self, blocks: Range<u64>) -> Result<BlockState, Fault>;
}
