//! Addresses as types: a physical address is not a virtual one, and the difference of two addresses is a length.
//!
//! Overflow behaviour is in the name: `checked_` returns `None`; the operators are for arithmetic that validation has
//! already made safe, and panic in debug builds.

use core::fmt;
use core::ops::{Add, Sub};

macro_rules! address {
    ($name:ident, $range:ident, $what:literal) => {
        #[doc = concat!("A ", $what, " address, in bytes.")]
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        #[repr(transparent)]
        pub struct $name(u64);

        impl $name {
            /// The address `raw`, in bytes.
            pub const fn new(raw: u64) -> Self {
                Self(raw)
            }
            /// The address as a number of bytes from zero.
            pub const fn get(self) -> u64 {
                self.0
            }
            /// `self + len`, or `None` when that wraps.
            pub const fn checked_add(self, len: u64) -> Option<Self> {
                match self.0.checked_add(len) {
                    Some(raw) => Some(Self(raw)),
                    None => None,
                }
            }
            /// `self + len`, or the last address of all when that wraps.
            pub const fn saturating_add(self, len: u64) -> Self {
                Self(self.0.saturating_add(len))
            }
            /// Whether the address is a multiple of `align`, a power of two.
            pub const fn is_aligned(self, align: u64) -> bool {
                self.0 & (align - 1) == 0
            }
            /// The largest multiple of `align` (a power of two) that is not above the address.
            pub const fn align_down(self, align: u64) -> Self {
                Self(self.0 & !(align - 1))
            }
            /// The smallest multiple of `align` (a power of two) that is not below the address, or `None` when that wraps.
            pub const fn checked_align_up(self, align: u64) -> Option<Self> {
                match self.checked_add(align - 1) {
                    Some(up) => Some(up.align_down(align)),
                    None => None,
                }
            }
        }

        impl Add<u64> for $name {
            type Output = Self;
            fn add(self, len: u64) -> Self {
                Self(self.0 + len)
            }
        }
        impl Sub<$name> for $name {
            type Output = u64;
            fn sub(self, other: Self) -> u64 {
                self.0 - other.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:#x}", self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        #[doc = concat!("A half-open range of ", $what, " addresses: `start` is in it, `end` is not.")]
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
        pub struct $range {
            /// The first address of the range.
            pub start: $name,
            /// The first address after the range.
            pub end: $name,
        }

        impl $range {
            /// The range `start..start + len`, or `None` when its end wraps.
            pub const fn checked_new(start: $name, len: u64) -> Option<Self> {
                match start.checked_add(len) {
                    Some(end) => Some(Self { start, end }),
                    None => None,
                }
            }
            /// The length in bytes (zero for an inverted range).
            pub const fn len(&self) -> u64 {
                self.end.0.saturating_sub(self.start.0)
            }
            /// Whether no address is in the range.
            pub const fn is_empty(&self) -> bool {
                self.len() == 0
            }
            /// Whether `address` is in the range.
            pub fn contains(&self, address: $name) -> bool {
                self.start <= address && address < self.end
            }
            /// Whether all of `other` is in the range.
            pub fn covers(&self, other: &Self) -> bool {
                self.start <= other.start && other.end <= self.end
            }
            /// Whether the two ranges share an address.
            pub fn overlaps(&self, other: &Self) -> bool {
                self.start < other.end && other.start < self.end
            }
        }
        impl fmt::Display for $range {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}..{}", self.start, self.end)
            }
        }
        impl fmt::Debug for $range {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

address!(PhysAddr, PhysRange, "physical");
address!(VirtAddr, VirtRange, "virtual");

/// A number of bytes, displayed as people write it: `128 MiB`, `2 MiB`, `12 KiB`, `77 bytes`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(u32, &str); 4] = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
        for (shift, unit) in UNITS {
            if self.0 != 0 && self.0 & ((1 << shift) - 1) == 0 {
                return write!(f, "{} {unit}", self.0 >> shift);
            }
        }
        write!(f, "{} bytes", self.0)
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::string::ToString;

    #[test]
    fn alignment_rounds_to_multiples_and_reports_a_wrap() {
        let a = PhysAddr::new(0x1234_5678);
        assert_eq!(a.align_down(0x1000).get(), 0x1234_5000);
        assert_eq!(a.checked_align_up(0x1000), Some(PhysAddr::new(0x1234_6000)));
        assert_eq!(PhysAddr::new(u64::MAX).checked_align_up(0x1000), None);
        assert!(!a.is_aligned(0x1000) && a.is_aligned(8));
    }

    #[test]
    fn ranges_are_half_open() {
        let r = |s, e| PhysRange { start: PhysAddr::new(s), end: PhysAddr::new(e) };
        assert!(!r(0, 4).overlaps(&r(4, 8)) && r(0, 5).overlaps(&r(4, 8)));
        assert!(r(0, 8).covers(&r(4, 8)) && !r(0, 8).contains(PhysAddr::new(8)));
        assert_eq!(PhysRange::checked_new(PhysAddr::new(u64::MAX), 2), None);
    }

    #[test]
    fn sizes_read_as_people_write_them() {
        assert_eq!(Bytes(128 << 20).to_string(), "128 MiB");
        assert_eq!(Bytes(1 << 30).to_string(), "1 GiB");
        assert_eq!(Bytes((1 << 20) + 1).to_string(), "1048577 bytes");
    }
}
