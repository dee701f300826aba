//! Where the memmap of memory is asked to be; what is resolved from it is [`Backing`](crate::frame::section::Backing).

use crate::frame::altmap::Altmap;

/// Where the memmap of memory goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum MemmapHome {
    /// Into the memory itself: the first pages of each memory block, or of a device.
    #[default]
    SelfHosted,
    /// Into system RAM (`--map mem` of a device).
    Ram,
    /// Into the memory itself, all of it at the start of the range (`--map dev` of a device): memory goes as one range then.
    SelfRange {
        /// The pages at the start that the driver keeps.
        reserve: u64,
    },
    /// Nowhere, while the memory is free: what has to be written finds a page in the memory itself. Memory only, no devices.
    Demand,
    /// Into an altmap of the driver's, at the start of the range.
    Given(Altmap),
}
