//! The console's UART, an Arm PL011 (DDI 0183), by the `arm-pl011-uart` crate. Works with the MMU off as well as on.
#![expect(unsafe_code, reason = "the registers' address comes from outside; rule M4")]

use core::ptr::{NonNull, with_exposed_provenance_mut};

use arm_pl011_uart::{
    DataBits, Interrupts, LineConfig, PL011Registers, Parity, StopBits, Uart, UniqueMmioPointer,
};

/// QEMU ignores the line's speed; a real PL011 on a 24 MHz clock (what QEMU's device tree says) would use this one.
const BAUD_RATE: u32 = 115_200;
/// Hz, the `apb-pclk` node of QEMU's device tree (`hw/arm/virt.c`, `create_fdt`).
const CLOCK: u32 = 24_000_000;

/// A PL011.
pub struct Pl011 {
    uart: Uart<'static>,
}

impl Pl011 {
    /// The driver for the registers at `base`. Touches nothing.
    ///
    /// # Safety
    /// M4.
    pub unsafe fn new(base: usize) -> Self {
        let registers: *mut PL011Registers = with_exposed_provenance_mut(base);
        let registers = NonNull::new(registers).expect("a UART at address 0");
        // SAFETY: M4, which the caller promises.
        Self { uart: Uart::new(unsafe { UniqueMmioPointer::new(registers) }) }
    }

    /// Eight data bits, no parity, one stop bit, FIFOs on, all interrupts masked. Turning the FIFOs on empties them, so the
    /// byte that somebody typed before, if any, is read first and returned.
    pub fn enable(&mut self) -> Option<u8> {
        let early = self.try_read_byte();
        self.uart.set_interrupt_masks(Interrupts::empty());
        let line = LineConfig { data_bits: DataBits::Bits8, parity: Parity::None, stop_bits: StopBits::One };
        // Only a speed that the clock cannot make is an error, and these two constants can.
        let _ = self.uart.enable(line, BAUD_RATE, CLOCK);
        early
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

    /// Raises the interrupt when bytes arrive: the FIFO reached its level, or holds something that nobody read for 32 bit
    /// times (DDI 0183, UARTRXINTR and UARTRTINTR).
    pub fn enable_receive_interrupt(&mut self) {
        self.uart.set_interrupt_masks(Interrupts::RXI | Interrupts::RTI);
    }

    /// Takes both receive interrupts back.
    pub fn clear_receive_interrupt(&mut self) {
        self.uart.clear_interrupts(Interrupts::RXI | Interrupts::RTI);
    }
}
