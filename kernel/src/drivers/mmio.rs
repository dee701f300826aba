//! Volatile accesses of one width to one device window: the only place where these drivers dereference an address.
#![expect(unsafe_code, reason = "device registers are raw addresses; rule M4")]

use core::ptr::{NonNull, with_exposed_provenance_mut};

/// A device's register window.
#[derive(Debug)]
pub(super) struct Window {
    base: NonNull<u8>,
    bytes: usize,
}

// SAFETY: M4; the window is owned by one driver, whose methods take `&mut self`.
unsafe impl Send for Window {}

impl Window {
    /// The `bytes` bytes of registers at `base`.
    ///
    /// # Safety
    /// M4, and every aligned access of 1, 2, 4 or 8 bytes in the window is allowed (it may have effects, but not on
    /// memory that Rust knows of).
    pub(super) unsafe fn new(base: usize, bytes: usize) -> Self {
        let base = NonNull::new(with_exposed_provenance_mut(base));
        Self { base: base.expect("a device at address 0"), bytes }
    }

    fn register<T>(&self, offset: usize) -> *mut T {
        assert!(offset.is_multiple_of(size_of::<T>()) && offset + size_of::<T>() <= self.bytes);
        // SAFETY: M4; the assertion keeps the pointer inside the window and aligned.
        unsafe { self.base.as_ptr().add(offset).cast() }
    }

    /// Reads the register at `offset` bytes, a multiple of its width.
    pub(super) fn read<T: Copy>(&mut self, offset: usize) -> T {
        // SAFETY: M4; `register` gave an aligned address inside the window.
        unsafe { self.register::<T>(offset).read_volatile() }
    }

    /// Writes the register at `offset` bytes, a multiple of its width.
    pub(super) fn write<T: Copy>(&mut self, offset: usize, value: T) {
        // SAFETY: M4; `register` gave an aligned address inside the window.
        unsafe { self.register::<T>(offset).write_volatile(value) };
    }
}
