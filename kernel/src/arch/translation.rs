//! What the CPU answers when it is asked how it translates an address.
//!
//! Arm ARM (DDI 0487), "AT S1E1R", "AT S1E1W" and "PAR_EL1". The instruction walks the tables in force for a load or a
//! store at EL1, and never faults: the answer is in PAR_EL1.
//!
//! ```text
//!  F = 0   63..56 ATTR, as in MAIR   47..12 PA          8..7 SH      0
//!  F = 1                                       6..1 fault status    1
//! ```

use core::fmt;

use hotmap_mm::addr::PhysAddr;
#[cfg(target_os = "none")]
use hotmap_mm::addr::VirtAddr;
#[cfg(target_os = "none")]
use tock_registers::register_bitfields;

#[cfg(target_os = "none")]
register_bitfields![u64,
    PAR [
        /// The access would fault.
        F OFFSET(0) NUMBITS(1) [],
        /// With F: the fault status.
        FST OFFSET(1) NUMBITS(6) [],
        /// Without F: the address, and the memory's attributes as in a byte of MAIR_EL1.
        PA OFFSET(12) NUMBITS(36) [],
        ATTR OFFSET(56) NUMBITS(8) []
    ]
];
#[cfg(target_os = "none")]
/// The bits of an address that translation does not change, for PAR_EL1.
const OFFSET: u64 = 0xfff;

/// The value of a field that has at most 8 bits.
#[cfg(target_os = "none")]
const fn byte(field: u64) -> u8 {
    field.to_le_bytes()[0]
}

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

    /// What PAR_EL1 says about `va`.
    #[cfg(target_os = "none")]
    pub(super) fn from_par(par: u64, va: VirtAddr) -> Self {
        if PAR::F.is_set(par) {
            return Self::Fault(byte(PAR::FST.read(par)));
        }
        let pa = PhysAddr::new(PAR::PA.val(PAR::PA.read(par)).value | va.get() & OFFSET);
        Self::Mapped { pa, attributes: byte(PAR::ATTR.read(par)) }
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
