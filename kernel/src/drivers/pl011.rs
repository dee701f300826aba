//! The console's UART, an Arm PL011 (DDI 0183), by the `arm-pl011-uart` crate. Works with the MMU off as well as on.
#![expect(unsafe_code, reason = "the registers' address comes from outside; rule M4")]

use core::ptr::{NonNull, with_exposed_provenance_mut};

use arm_pl011_uart::{Interrupts, PL011Registers, Uart, UniqueMmioPointer};

use tock_registers::register_bitfields;

use super::mmio::{Register, Window};

register_bitfields![u32,
    /// DDI 0183, 3.3.8: the UART is on, it transmits, it receives.
    UARTCR [
        UARTEN OFFSET(0) NUMBITS(1) [],
        TXE OFFSET(8) NUMBITS(1) [],
        RXE OFFSET(9) NUMBITS(1) []
    ]
];

/// The control register, which the crate writes only together with the line's format.
const CONTROL: Register<u32, UARTCR::Register> = Register::at(0x30);
/// The bytes of its registers.
const WINDOW_BYTES: usize = 0x1000;

/// A PL011.
pub struct Pl011 {
    uart: Uart<'static>,
    control: Window,
}

impl Pl011 {
    /// The driver for the registers at `base`. Touches nothing.
    ///
    /// # Safety
    /// M4.
    pub unsafe fn new(base: usize) -> Self {
        let registers: *mut PL011Registers = with_exposed_provenance_mut(base);
        let registers = NonNull::new(registers).expect("a UART at address 0");
        // SAFETY: M4, which the caller promises; the crate's driver and `control` are used one at a time, by this one.
        unsafe {
            Self {
                uart: Uart::new(UniqueMmioPointer::new(registers)),
                control: Window::new(base, WINDOW_BYTES),
            }
        }
    }

    /// Transmitter and receiver on, all interrupts masked. The line's speed and format stay the firmware's, and so do the
    /// FIFOs: writing UARTLCR_H to turn them on empties them (DDI 0183, 3.3.7), and with them what was typed ahead.
    pub fn enable(&mut self) {
        self.uart.set_interrupt_masks(Interrupts::empty());
        self.control.write(CONTROL, UARTCR::UARTEN::SET + UARTCR::TXE::SET + UARTCR::RXE::SET);
    }

    /// Sends bytes, waiting while the FIFO is full.
    pub fn write_bytes(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            while self.uart.is_tx_fifo_full() {
                core::hint::spin_loop();
            }
            self.uart.write_word(byte);
        }
    }

    /// The next received byte. Bytes that came with a line error (break, parity, framing, overrun) are dropped.
    pub fn try_read_byte(&mut self) -> Option<u8> {
        loop {
            // An error takes its byte out of the FIFO, so this ends.
            if let Ok(word) = self.uart.read_word() {
                return word;
            }
        }
    }

    /// Raises the interrupt when bytes arrive: the FIFO reached its level, or holds bytes that were not read for 32 bit
    /// times (DDI 0183, UARTRXINTR and UARTRTINTR).
    pub fn enable_receive_interrupt(&mut self) {
        self.uart.set_interrupt_masks(Interrupts::RXI | Interrupts::RTI);
    }

    /// Takes both receive interrupts back.
    pub fn clear_receive_interrupt(&mut self) {
        self.uart.clear_interrupts(Interrupts::RXI | Interrupts::RTI);
    }
}
