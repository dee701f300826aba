//! Where the memmap of memory is asked to be.

use crate::frame::altmap::Altmap;

/// Where the memmap of added memory goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum MemmapHome {
    /// Into the added memory itself: each block's first pages.
    #[default]
    SelfHosted,
    /// Into system RAM.
    Ram,
    /// Into the added memory, all of it at the start of the whole range: the range goes as one then.
    SelfRange,
    /// Into an altmap of the driver's, at the start of the whole range.
    Given(Altmap),
}
