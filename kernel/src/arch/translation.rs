//! What the CPU answers when it is asked how it translates an address.

use core::fmt;

use hotmap_mm::addr::PhysAddr;

/// What the CPU answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Translation {
    /// The address is mapped, and the access allowed.
    Mapped {
        /// Where it leads.
        pa: PhysAddr,
        /// The memory's attributes, encoded as in a byte of MAIR_EL1.
        attributes: u8,
    },
    /// The access would fault, with this fault status code (as in ESR_EL1.DFSC).
    Fault(u8),
}

impl Translation {
    /// The fault status code of a translation fault at `level` ("DFSC", 0b0001LL): the entry there is invalid.
    pub const fn unmapped(level: u8) -> Self {
        Self::Fault(0b00_0100 | level)
    }
    /// The code of a permission fault at `level` (0b0011LL): the leaf there does not allow the access.
    pub const fn forbidden(level: u8) -> Self {
        Self::Fault(0b00_1100 | level)
    }
    /// Whether nothing is mapped: a translation fault at any level.
    pub const fn is_unmapped(self) -> bool {
        matches!(self, Self::Fault(code) if code & !0b11 == 0b00_0100)
    }
    /// Whether a mapping does not allow the access: a permission fault at any level.
    pub const fn is_forbidden(self) -> bool {
        matches!(self, Self::Fault(code) if code & !0b11 == 0b00_1100)
    }
    /// Where the address leads.
    pub const fn address(self) -> Option<PhysAddr> {
        match self {
            Self::Mapped { pa, .. } => Some(pa),
            Self::Fault(_) => None,
        }
    }
}

impl fmt::Display for Translation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mapped { pa, attributes } => write!(f, "{pa} with attributes {attributes:#04x}"),
            Self::Fault(code) => write!(f, "a fault with status {code:#04x}"),
        }
    }
}
