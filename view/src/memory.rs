//! Physical memory, as something outside of the machine sees it.

use crate::error::Unreadable;

/// Reads physical memory.
pub trait Memory {
    /// Fills `bytes` with what is at the physical address `pa`.
    ///
    /// # Errors
    /// `Unreadable` when not all of it is memory.
    fn read(&self, pa: u64, bytes: &mut [u8]) -> Result<(), Unreadable>;
}

impl<M: Memory + ?Sized> Memory for &M {
    fn read(&self, pa: u64, bytes: &mut [u8]) -> Result<(), Unreadable> {
        (**self).read(pa, bytes)
    }
}
