//! Base address registers (PCI 3.0, 6.2.5): how many bytes each wants, and where they are. QEMU leaves them all at zero
//! without firmware; other VMMs place them, and a place that is inside a window of the host stays.

use hotmap_devicetree::{Pci, PciWindow, Region};
use virtio_drivers::transport::pci::bus::{Command, ConfigurationAccess, DeviceFunction};

use crate::drivers::virtio::refusal::Refusal;

/// The command, in the low half of its word; the status is the upper half.
pub(super) const COMMAND: u8 = 0x04;
/// How many a function has.
pub const COUNT: usize = 6;
const FIRST: u8 = 0x10;

/// In a register: I/O ports; and for memory, the type in bits 2:1, of which 2 is an address of 64 bits.
const IO: u32 = 1;
const TYPE: u32 = 0b110;
const WIDE: u32 = 0b100;
/// Bits that are not the address's.
const FLAGS: u64 = 0xf;

/// One of memory.
#[derive(Clone, Copy, Default, Debug)]
struct Bar {
    /// 0: there is none, or it is for I/O ports, which stay off.
    size: u64,
    /// Where it is on the PCI bus.
    address: u64,
    /// The address has 64 bits.
    wide: bool,
}

/// What a function wants.
#[derive(Clone, Debug, Default)]
pub struct Bars([Bar; COUNT]);

/// Where a register is for the CPU, and its size; both 0 where there is none of memory.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Placed {
    /// For the CPU.
    pub address: u64,
    /// In bytes, a power of two.
    pub size: u64,
}

impl Bars {
    /// Sizes the registers of `at`, which does not answer to them meanwhile.
    ///
    /// # Errors
    /// [`Refusal::Bar`] for a size that none can have.
    pub fn read<C: ConfigurationAccess>(config: &mut C, at: DeviceFunction) -> Result<Self, Refusal> {
        let command = config.read_word(at, COMMAND) & 0xffff;
        let decode = u32::from((Command::MEMORY_SPACE | Command::IO_SPACE).bits());
        config.write_word(at, COMMAND, command & !decode);
        let mut bars = Self::default();
        let mut number = 0;
        let mut result = Ok(());
        while number < COUNT && result.is_ok() {
            let bar = size(config, at, number);
            result = bar.map(|bar| bars.0[number] = bar);
            number += if bars.0[number].wide { 2 } else { 1 };
        }
        config.write_word(at, COMMAND, command);
        result.map(|()| bars)
    }

    /// Keeps others out of what has a place already.
    pub fn occupy(&self, rooms: &mut Rooms) {
        for bar in self.0.iter().filter(|bar| bar.size > 0 && bar.address > 0) {
            for room in [&mut rooms.memory32, &mut rooms.memory64] {
                if room.holds(bar.address, bar.size) {
                    room.next = room.next.max(bar.address + bar.size);
                }
            }
        }
    }

    /// Places what has no place, and says where all are.
    ///
    /// # Errors
    /// [`Refusal::NoRoom`].
    pub fn place<C: ConfigurationAccess>(
        &self,
        config: &mut C,
        at: DeviceFunction,
        rooms: &mut Rooms,
    ) -> Result<[Placed; COUNT], Refusal> {
        let mut placed = [Placed::default(); COUNT];
        for (number, bar) in self.0.iter().enumerate().filter(|(_, bar)| bar.size > 0) {
            let (address, cpu) = rooms.place(bar).ok_or(Refusal::NoRoom { bar: number, size: bar.size })?;
            let [low, high] = halves(address);
            config.write_word(at, register(number), low);
            if bar.wide {
                config.write_word(at, register(number + 1), high);
            }
            placed[number] = Placed { address: cpu, size: bar.size };
        }
        Ok(placed)
    }
}

/// The offset of register `number`, at most 5.
pub(super) fn register(number: usize) -> u8 {
    FIRST + 4 * number.to_le_bytes()[0]
}

/// The low and the high half.
pub(super) const fn halves(address: u64) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = address.to_le_bytes();
    [u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h])]
}

/// Sizes one register: of all ones, those stick that are the address's.
fn size<C: ConfigurationAccess>(config: &mut C, at: DeviceFunction, number: usize) -> Result<Bar, Refusal> {
    let original = config.read_word(at, register(number));
    if original & IO != 0 {
        return Ok(Bar::default());
    }
    let wide = original & TYPE == WIDE;
    if wide && number + 1 == COUNT {
        return Err(Refusal::Bar { bar: number, size: 0 });
    }
    let (mut address, mut mask) = probe(config, at, number, original);
    if wide {
        let high = config.read_word(at, register(number + 1));
        let (high_address, high_mask) = probe(config, at, number + 1, high);
        (address, mask) = (address | high_address << 32, mask | high_mask << 32);
    } else {
        mask |= !0 << 32;
    }
    // Nothing stuck: there is no such register.
    if mask & !FLAGS & !(!0 << 32) == 0 && (!wide || mask >> 32 == 0) {
        return Ok(Bar { wide, ..Bar::default() });
    }
    let size = (mask & !FLAGS).wrapping_neg();
    if !size.is_power_of_two() {
        return Err(Refusal::Bar { bar: number, size });
    }
    Ok(Bar { size, address: address & !FLAGS, wide })
}

/// What is in a register, and what is left in it of all ones.
fn probe<C: ConfigurationAccess>(
    config: &mut C,
    at: DeviceFunction,
    number: usize,
    original: u32,
) -> (u64, u64) {
    config.write_word(at, register(number), !0);
    let mask = config.read_word(at, register(number));
    config.write_word(at, register(number), original);
    (original.into(), mask.into())
}

/// A window of the host, of which `next` is the first address on the bus that nothing has.
struct Room {
    window: Option<PciWindow>,
    next: u64,
}

impl Room {
    /// The part of `window` that the CPU can address.
    fn new(window: Option<PciWindow>, reach: u64) -> Self {
        let window = window.and_then(|mut window| {
            window.region.size = window.region.size.min(reach.checked_sub(window.region.start)?);
            Some(window)
        });
        // An address of 0 is what a register has that was not placed.
        Self { window, next: window.map_or(0, |window| window.bus.max(1)) }
    }

    fn holds(&self, address: u64, size: u64) -> bool {
        let Some(PciWindow { bus, region }) = self.window else { return false };
        let end = address.checked_add(size);
        address >= bus && end.is_some_and(|end| end - bus <= region.size) && address.is_multiple_of(size)
    }

    /// Where `address` of the window is for the CPU.
    fn cpu(&self, address: u64) -> u64 {
        self.window.map_or(0, |window| window.region.start + (address - window.bus))
    }

    /// The place of `bar`: its own, or the next free one.
    fn place(&mut self, bar: &Bar) -> Option<(u64, u64)> {
        let own = Some(bar.address).filter(|address| *address > 0 && self.holds(*address, bar.size));
        let address = match own {
            Some(address) => address,
            None => self.next.checked_next_multiple_of(bar.size).filter(|a| self.holds(*a, bar.size))?,
        };
        let cpu = self.cpu(address);
        let fits = bar.wide || (address + bar.size - 1).max(cpu + bar.size - 1) <= u32::MAX.into();
        if !fits {
            return None;
        }
        self.next = self.next.max(address + bar.size);
        Some((address, cpu))
    }
}

/// The host's windows for memory.
pub struct Rooms {
    memory32: Room,
    memory64: Room,
}

impl Rooms {
    /// Those of `host`, as far as the CPU can address them: below `reach`.
    pub fn new(host: &Pci, reach: u64) -> Self {
        Self { memory32: Room::new(host.memory32, reach), memory64: Room::new(host.memory64, reach) }
    }

    /// Gives up the windows that `is_free` does not let pass.
    ///
    /// # Errors
    /// What it says of the last of them.
    pub fn keep_free(&mut self, is_free: impl Fn(Region) -> Result<(), Refusal>) -> Result<(), Refusal> {
        let mut result = Ok(());
        for room in [&mut self.memory32, &mut self.memory64] {
            if let Some(window) = room.window
                && let Err(refusal) = is_free(window.region)
            {
                room.window = None;
                result = Err(refusal);
            }
        }
        result
    }

    /// Wide registers go into the window for them first.
    fn place(&mut self, bar: &Bar) -> Option<(u64, u64)> {
        let wide = if bar.wide { self.memory64.place(bar) } else { None };
        wide.or_else(|| self.memory32.place(bar))
    }
}
