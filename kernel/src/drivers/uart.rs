//! The console's UART, of the kinds that the kernel drives.
#![expect(unsafe_code, reason = "the registers' address comes from outside; rule M4")]

#[cfg(not(target_os = "none"))]
pub mod hosted;

use hotmap_devicetree::Spacing;

use crate::drivers::ns16550::Ns16550;
use crate::drivers::pl011::Pl011;

/// Which kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Model {
    /// Arm's PL011.
    Pl011,
    /// One of the 16550 family, whose registers lie so.
    Ns16550(Spacing),
}

#[cfg(not(target_os = "none"))]
pub use hosted::take_printed;

/// A UART, or none yet, which drops what is sent (on the host: keeps it).
#[repr(u8)] // all zeros is `Absent`: it belongs in .bss
pub enum Uart {
    /// There is none.
    Absent = 0,
    /// A PL011.
    Pl011(Pl011),
    /// A 16550.
    Ns16550(Ns16550),
}

impl Uart {
    /// The driver for the registers at `base`. Touches nothing.
    ///
    /// # Safety
    /// M4: they are those of such a UART.
    pub unsafe fn new(model: Model, base: usize) -> Self {
        // SAFETY: M4, which the caller promises.
        unsafe {
            match model {
                Model::Pl011 => Self::Pl011(Pl011::new(base)),
                Model::Ns16550(spacing) => Self::Ns16550(Ns16550::new(base, spacing)),
            }
        }
    }

    /// Whether there is one.
    pub const fn is_present(&self) -> bool {
        !matches!(self, Self::Absent)
    }

    /// Lets it send and receive, with its interrupts off.
    pub fn enable(&mut self) {
        match self {
            Self::Absent => {}
            Self::Pl011(uart) => uart.enable(),
            Self::Ns16550(uart) => uart.enable(),
        }
    }

    /// Sends bytes.
    pub fn write_bytes(&mut self, bytes: &[u8]) {
        match self {
            #[cfg(target_os = "none")]
            Self::Absent => {}
            #[cfg(not(target_os = "none"))]
            Self::Absent => hosted::write_bytes(bytes),
            Self::Pl011(uart) => uart.write_bytes(bytes),
            Self::Ns16550(uart) => uart.write_bytes(bytes),
        }
    }

    /// The next received byte, if there is one.
    pub fn try_read_byte(&mut self) -> Option<u8> {
        match self {
            Self::Absent => None,
            Self::Pl011(uart) => uart.try_read_byte(),
            Self::Ns16550(uart) => uart.try_read_byte(),
        }
    }

    /// Raises the interrupt when bytes arrive.
    pub fn enable_receive_interrupt(&mut self) {
        match self {
            Self::Absent => {}
            Self::Pl011(uart) => uart.enable_receive_interrupt(),
            Self::Ns16550(uart) => uart.enable_receive_interrupt(),
        }
    }

    /// Takes the receive interrupts back; a 16550's ends when its bytes are read.
    pub fn clear_receive_interrupt(&mut self) {
        if let Self::Pl011(uart) = self {
            uart.clear_receive_interrupt();
        }
    }
}
