//! What a console is.

use crate::interrupt::Interrupt;
use crate::region::Region;

/// A console's registers and its interrupt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uart {
    /// The register window.
    pub region: Region,
    /// Its interrupt, if the node has one and it is a GIC's.
    pub interrupt: Option<Interrupt>,
}

/// What `stdout-path` names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Console {
    /// There is no `stdout-path`, or it names a node that is not for us (`status`, or not on our bus).
    #[default]
    Absent,
    /// Compatible with `arm,pl011`.
    Pl011(Uart),
    /// Compatible with `ns16550a` or `ns16550`.
    Ns16550(Uart, Spacing),
    /// Something else with registers, or a 16550 whose registers lie in no way that is known.
    Other(Uart),
}

impl Console {
    /// The registers and the interrupt of one that is known.
    #[must_use]
    pub const fn uart(&self) -> Option<Uart> {
        match self {
            Self::Pl011(uart) | Self::Ns16550(uart, _) => Some(*uart),
            Self::Absent | Self::Other(_) => None,
        }
    }
}

/// How the registers of a 16550 lie (Linux Documentation/devicetree/bindings/serial/8250.yaml).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spacing {
    /// log2 of the bytes from one register to the next, 0 to 4: `reg-shift`, 0 without it.
    pub shift: u8,
    /// The bytes of an access, 1, 2 or 4, and no more than there are to the next register: `reg-io-width`, 1 without it.
    pub width: u8,
}

impl Spacing {
    /// The registers of a 16550.
    const REGISTERS: u64 = 8;

    /// That of a node's properties, if it is one.
    pub(crate) fn of(shift: Option<u32>, width: Option<u32>) -> Option<Self> {
        let shift = u8::try_from(shift.unwrap_or(0)).ok().filter(|shift| *shift <= 4)?;
        let width = u8::try_from(width.unwrap_or(1)).ok()?;
        (matches!(width, 1 | 2 | 4) && width <= 1 << shift).then_some(Self { shift, width })
    }

    /// The bytes of all registers.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        Self::REGISTERS << self.shift
    }
}
