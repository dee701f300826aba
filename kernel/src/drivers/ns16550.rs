//! A UART of the 16550 family (National Semiconductor PC16550D, "8.0 REGISTERS"): the device tree's `ns16550a` and `ns16550`.
//! Works with the MMU off as well as on.
//!
//! Own code: the crate `uart_16550` reaches registers by `read_volatile`, which may become an access with write-back that a
//! hypervisor cannot emulate (drivers/mmio.rs), and initialises the line, whose speed is the firmware's.
#![expect(unsafe_code, reason = "the registers' address comes from outside; rule M4")]

use hotmap_devicetree::Spacing;

use super::mmio::{Register, Window};

/// Where a byte is received, or one to send is stored; with DLAB clear, as firmware leaves it.
const DATA: usize = 0;
/// IER: bit 0, an interrupt for received bytes, also when they wait below the FIFO's level.
const INTERRUPT_ENABLE: usize = 1;
/// LSR.
const LINE_STATUS: usize = 5;
/// LSR: a byte waits.
const DATA_READY: u8 = 1 << 0;
/// LSR: overrun, parity, framing, break: the byte that waits is not one that was sent.
const LINE_ERRORS: u8 = 0b1_1110;
/// LSR: the transmitter takes a byte.
const TRANSMIT_EMPTY: u8 = 1 << 5;
/// LSR of a bus that nothing answers on: a real one has no error and no break beside an idle transmitter.
const NOTHING: u8 = 0xff;
/// How many registers there are.
const REGISTERS: usize = 8;
/// How often the transmitter is asked, for each byte: at 300 Bd a byte takes 33 ms, and a read of a register 100 ns or more.
const PATIENCE: u32 = 400_000;
/// How many bytes with an error are dropped in one read.
const ERRORS_AT_ONCE: u32 = 64;
/// A 16550.
pub struct Ns16550 {
    window: Window,
    spacing: Spacing,
    /// The transmitter did not take a byte in time: later ones are asked for once.
    is_stuck: bool,
}

impl Ns16550 {
    /// The driver for the registers at `base`. Touches nothing.
    ///
    /// # Safety
    /// M4.
    pub unsafe fn new(base: usize, spacing: Spacing) -> Self {
        // SAFETY: M4, which the caller promises.
        let window = unsafe { Window::new(base, REGISTERS << spacing.shift) };
        Self { window, spacing, is_stuck: false }
    }

    /// All interrupts off. The line's speed and format stay the firmware's.
    pub fn enable(&mut self) {
        self.set(INTERRUPT_ENABLE, 0);
    }

    /// Sends bytes, waiting for the transmitter, but not for ever: what it does not take is dropped.
    pub fn write_bytes(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if self.can_transmit() {
                self.set(DATA, byte);
            }
        }
    }

    fn can_transmit(&mut self) -> bool {
        let patience = if self.is_stuck { 1 } else { PATIENCE };
        let taken = (0..patience).any(|_| self.get(LINE_STATUS) & TRANSMIT_EMPTY != 0);
        self.is_stuck = !taken;
        taken
    }

    /// The next received byte. Bytes that came with a line error are dropped.
    pub fn try_read_byte(&mut self) -> Option<u8> {
        for _ in 0..ERRORS_AT_ONCE {
            let status = self.get(LINE_STATUS);
            if status == NOTHING || status & DATA_READY == 0 {
                return None;
            }
            let byte = self.get(DATA);
            if status & LINE_ERRORS == 0 {
                return Some(byte);
            }
        }
        None
    }

    /// Raises the interrupt while received bytes wait: reading them takes it back.
    pub fn enable_receive_interrupt(&mut self) {
        self.set(INTERRUPT_ENABLE, 1);
    }

    /// A register: the low byte of its word.
    fn get(&mut self, register: usize) -> u8 {
        let offset = register << self.spacing.shift;
        let word = match self.spacing.width {
            1 => return self.window.get(Register::<u8>::at(offset)),
            2 => self.window.get(Register::<u16>::at(offset)).into(),
            _ => self.window.get(Register::<u32>::at(offset)),
        };
        word.to_le_bytes()[0]
    }

    fn set(&mut self, register: usize, value: u8) {
        let offset = register << self.spacing.shift;
        match self.spacing.width {
            1 => self.window.set(Register::<u8>::at(offset), value),
            2 => self.window.set(Register::<u16>::at(offset), value.into()),
            _ => self.window.set(Register::<u32>::at(offset), value.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A driver over memory that answers as it was filled: registers of 4 bytes, 4 bytes apart.
    fn over(registers: &mut [u32; REGISTERS]) -> Ns16550 {
        // SAFETY: the array outlives the driver in each test, and is read through it and after it.
        unsafe { Ns16550::new(registers.as_mut_ptr().expose_provenance(), Spacing { shift: 2, width: 4 }) }
    }

    #[test]
    fn a_byte_is_sent_when_the_transmitter_is_empty() {
        let mut registers = [0, 0, 0, 0, 0, 0x60, 0, 0];
        let mut uart = over(&mut registers);
        uart.write_bytes(b"ab");
        uart.enable_receive_interrupt();
        assert_eq!(registers[..2], [u32::from(b'b'), 1]);
    }

    #[test]
    fn registers_of_a_byte_side_by_side() {
        let mut registers = [b'x', 0, 0, 0, 0, 0x61, 0, 0];
        // SAFETY: as in `over`.
        let mut uart = unsafe {
            Ns16550::new(registers.as_mut_ptr().expose_provenance(), Spacing { shift: 0, width: 1 })
        };
        assert_eq!(uart.try_read_byte(), Some(b'x'));
        uart.write_bytes(b"y");
        assert_eq!(registers[0], b'y');
    }

    #[test]
    fn all_ones_and_all_zeros_end() {
        let mut ones = [u32::MAX; REGISTERS];
        assert_eq!(over(&mut ones).try_read_byte(), None);
        over(&mut ones).write_bytes(&[0; 4096]);
        let mut zeros = [0; REGISTERS];
        let mut uart = over(&mut zeros);
        uart.write_bytes(&[1; 1 << 20]);
        assert_eq!(uart.try_read_byte(), None);
        assert_eq!(zeros, [0; REGISTERS], "nothing is sent that the transmitter does not take");
    }

    #[test]
    fn bytes_with_an_error_are_dropped_and_not_for_ever() {
        let mut registers = [u32::from(b'x'), 0, 0, 0, 0, 0x63, 0, 0];
        assert_eq!(over(&mut registers).try_read_byte(), None);
    }
}
