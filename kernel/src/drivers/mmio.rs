//! Accesses to one device window: the only place where these drivers dereference an address. By safe-mmio, whose loads and
//! stores are single instructions without write-back: a hypervisor that emulates a device is told of others too little to
//! do what they do (Arm ARM, "ISS encoding for an exception from a Data Abort", ISV). `read_volatile` may become such a one
//! (rust-lang/rust#131894).
//!
//! A [`Register`] is an offset with a width and, by `register_bitfields!`, fields: each access has the register's width, and
//! a field of another register does not compile.
#![expect(unsafe_code, reason = "device registers are raw addresses; rule M4")]

#[cfg(not(target_os = "none"))]
pub(crate) mod hosted;

use core::marker::PhantomData;
use core::ptr::{NonNull, with_exposed_provenance_mut};

use safe_mmio::UniqueMmioPointer;
use safe_mmio::fields::ReadWrite;
use tock_registers::fields::FieldValue;
use tock_registers::{RegisterLongName, UIntLike};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// What a register holds: 8, 16, 32 or 64 bits.
pub(super) trait Word: UIntLike + FromBytes + IntoBytes + Immutable {}

impl<T: UIntLike + FromBytes + IntoBytes + Immutable> Word for T {}

/// A register of type `T` with the fields of `R`.
pub(super) struct Register<T, R = ()> {
    offset: usize,
    fields: PhantomData<(T, R)>,
}

impl<T, R> Clone for Register<T, R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T, R> Copy for Register<T, R> {}

impl<T, R> Register<T, R> {
    /// The register at `offset` bytes from its window's start, a multiple of its width.
    pub(super) const fn at(offset: usize) -> Self {
        Self { offset, fields: PhantomData }
    }
    /// The register `n` places behind this one, in an array of equal ones.
    #[cfg(target_os = "none")]
    pub(super) const fn nth(self, n: usize) -> Self {
        Self::at(self.offset + n * size_of::<T>())
    }
}

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

    fn pointer<T, R>(&mut self, register: Register<T, R>) -> UniqueMmioPointer<'_, ReadWrite<T>> {
        let offset = register.offset;
        assert!(offset.is_multiple_of(size_of::<T>()) && offset + size_of::<T>() <= self.bytes);
        // SAFETY: M4; the assertion keeps the pointer inside the window and aligned, and the window is borrowed for it.
        unsafe { UniqueMmioPointer::new(self.base.add(offset).cast()) }
    }

    /// Reads a register's value.
    pub(super) fn get<T: Word, R>(&mut self, register: Register<T, R>) -> T {
        #[cfg(not(target_os = "none"))]
        if let Some(value) = hosted::load(self.base.addr().get() + register.offset, size_of::<T>()) {
            return T::read_from_prefix(&value.to_le_bytes())
                .map_or(<T as UIntLike>::zero(), |(value, _)| value);
        }
        self.pointer(register).read()
    }

    /// Writes a register's value.
    pub(super) fn set<T: Word, R>(&mut self, register: Register<T, R>, value: T) {
        #[cfg(not(target_os = "none"))]
        {
            let mut word = [0; 8];
            word[..size_of::<T>()].copy_from_slice(value.as_bytes());
            let at = self.base.addr().get() + register.offset;
            if hosted::store(at, size_of::<T>(), u64::from_le_bytes(word)) {
                return;
            }
        }
        self.pointer(register).write(value);
    }

    /// Writes a register: these fields, and zeros elsewhere.
    pub(super) fn write<T: Word, R: RegisterLongName>(
        &mut self,
        register: Register<T, R>,
        fields: FieldValue<T, R>,
    ) {
        self.set(register, fields.value);
    }
}
