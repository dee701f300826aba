//! A copy of a virtio function's configuration space, checked before anything follows it: [`PciTransport`] takes what it
//! reads for the truth, follows the list of capabilities for ever if it is a ring, and adds offsets without a check.
//!
//! Source: virtio 1.2, 4.1.4 "Virtio Structure PCI Capabilities".
//!
//! [`PciTransport`]: virtio_drivers::transport::pci::PciTransport
#![expect(unsafe_code, reason = "`ConfigurationAccess` has an unsafe method, which does nothing unsafe here")]

use hotmap_mm::addr::{PhysAddr, PhysRange};
use virtio_drivers::transport::pci::bus::{ConfigurationAccess, DeviceFunction, PCI_CAP_ID_VNDR};
use virtio_drivers::transport::pci::{
    VIRTIO_PCI_CAP_COMMON_CFG, VIRTIO_PCI_CAP_DEVICE_CFG, VIRTIO_PCI_CAP_ISR_CFG, VIRTIO_PCI_CAP_NOTIFY_CFG,
};

use super::bars::{COUNT, Placed, halves, register};
use crate::drivers::virtio::refusal::Refusal;

/// Words of configuration space without the extended part.
const WORDS: usize = 64;
/// The status word's bit for a list of capabilities, and where the list starts.
const CAPABILITIES: u32 = 1 << 20;
const STATUS: u8 = 0x04;
const LIST: u8 = 0x34;
/// The first and the last place of a capability.
const FIRST_PLACE: u8 = 0x40;
/// The bytes of a structure's capability, and of the notification one, which has a multiplier behind it.
const BYTES: u8 = 16;
const NOTIFY_BYTES: u8 = 20;
/// The register of 64 bits.
const WIDE: u32 = 0b100;

/// The structures, in this order.
const KINDS: [u8; 4] =
    [VIRTIO_PCI_CAP_COMMON_CFG, VIRTIO_PCI_CAP_NOTIFY_CFG, VIRTIO_PCI_CAP_ISR_CFG, VIRTIO_PCI_CAP_DEVICE_CFG];
/// Bytes of each that are used: the common structure (4.1.4.3), one notification register for each queue, the ISR, and more
/// than what any device's configuration has that is driven here.
const MOST: [u32; 4] = [0x38, 0x1_0000, 1, 0x1000];
/// The structure that a device may be without.
const DEVICE: usize = 3;

/// The copy. As [`ConfigurationAccess`] it is the function's configuration space with the registers placed.
#[derive(Clone, Debug)]
pub struct Snapshot {
    words: [u32; WORDS],
    bars: [Placed; COUNT],
    structures: [PhysRange; 4],
    /// Bytes between two queues' notification registers, if their offsets differ by one.
    multiplier: u32,
}

impl Snapshot {
    /// Copies the configuration space of `at`, whose registers are `bars`.
    ///
    /// # Errors
    /// Capabilities that lead nowhere, or structures outside the registers.
    pub fn take<C: ConfigurationAccess>(
        config: &C,
        at: DeviceFunction,
        bars: &[Placed; COUNT],
    ) -> Result<Self, Refusal> {
        let words = core::array::from_fn(|word| config.read_word(at, (4 * word).to_le_bytes()[0]));
        let none = PhysRange { start: PhysAddr::new(0), end: PhysAddr::new(0) };
        let mut snapshot = Self { words, bars: *bars, structures: [none; 4], multiplier: 0 };
        snapshot.check()?;
        for (number, bar) in bars.iter().enumerate().filter(|(_, bar)| bar.size > 0) {
            let [low, high] = halves(bar.address);
            let flags = snapshot.word(register(number)) & WIDE;
            snapshot.set(register(number), low | flags);
            if flags & WIDE != 0 {
                snapshot.set(register(number + 1), high);
            }
        }
        Ok(snapshot)
    }

    /// Where the structures are, in the order common, notification, ISR, device; an empty range for a device's that is not
    /// there.
    pub const fn structures(&self) -> &[PhysRange; 4] {
        &self.structures
    }

    /// Bytes between two queues' notification registers, if their offsets differ by one.
    pub const fn multiplier(&self) -> u32 {
        self.multiplier
    }

    fn word(&self, offset: u8) -> u32 {
        self.words[usize::from(offset / 4)]
    }

    fn set(&mut self, offset: u8, word: u32) {
        self.words[usize::from(offset / 4)] = word;
    }

    /// Follows the list of capabilities, and takes the first structure of each kind.
    fn check(&mut self) -> Result<(), Refusal> {
        if self.word(STATUS) & CAPABILITIES == 0 {
            return Err(Refusal::Missing(0));
        }
        let mut place = self.word(LIST).to_le_bytes()[0] & !3;
        // No list is longer than there are words.
        for _ in 0..WORDS {
            if place < FIRST_PLACE {
                return Err(Refusal::Capability(place));
            }
            let [id, next, length, kind] = self.word(place).to_le_bytes();
            if id == PCI_CAP_ID_VNDR && length >= BYTES {
                if place > u8::MAX - (BYTES - 1) {
                    return Err(Refusal::Capability(place));
                }
                if let Some(at) = KINDS.iter().position(|k| *k == kind) {
                    self.structure(at, place, length)?;
                }
            }
            match next {
                0 => return self.complete(),
                next if next < FIRST_PLACE || next & 3 != 0 => return Err(Refusal::Capability(next)),
                next => place = next,
            }
        }
        Err(Refusal::CapabilityRing)
    }

    /// Takes structure `at` from the capability in `place`, no more of it than is used.
    fn structure(&mut self, at: usize, place: u8, bytes: u8) -> Result<(), Refusal> {
        if !self.structures[at].is_empty() {
            return Ok(());
        }
        let bad = || Refusal::Structure(place);
        if KINDS[at] == VIRTIO_PCI_CAP_NOTIFY_CFG {
            if bytes < NOTIFY_BYTES || place > u8::MAX - (NOTIFY_BYTES - 1) {
                return Err(bad());
            }
            self.multiplier = self.word(place + BYTES);
        }
        let [bar, ..] = self.word(place + 4).to_le_bytes();
        let (offset, length) = (self.word(place + 8), self.word(place + 12));
        let registers = self.bars.get(usize::from(bar)).filter(|bar| bar.size > 0).ok_or_else(bad)?;
        let end = offset.checked_add(length).ok_or_else(bad)?;
        if length == 0 || u64::from(end) > registers.size {
            return Err(bad());
        }
        let length = length.min(MOST[at]);
        let start = PhysAddr::new(registers.address + u64::from(offset));
        self.structures[at] = PhysRange { start, end: start + u64::from(length) };
        self.set(place + 12, length);
        Ok(())
    }

    fn complete(&self) -> Result<(), Refusal> {
        match self.structures.iter().position(PhysRange::is_empty) {
            None | Some(DEVICE) => Ok(()),
            Some(at) => Err(Refusal::Missing(KINDS[at])),
        }
    }
}

/// The sizes of registers are asked for by writing all ones.
impl ConfigurationAccess for Snapshot {
    fn read_word(&self, _at: DeviceFunction, offset: u8) -> u32 {
        self.word(offset)
    }

    fn write_word(&mut self, _at: DeviceFunction, offset: u8, data: u32) {
        let number = usize::from(offset.wrapping_sub(register(0)) / 4);
        if number >= COUNT {
            return;
        }
        let low = self.bars[number].size;
        let high = number.checked_sub(1).map_or(0, |low| self.bars[low].size);
        let stuck = if low > 0 {
            halves(low.wrapping_neg())[0] | self.word(offset) & WIDE
        } else if high > 0 {
            halves(high.wrapping_neg())[1]
        } else {
            0
        };
        self.set(offset, if data == !0 { stuck } else { data });
    }

    unsafe fn unsafe_clone(&self) -> Self {
        self.clone()
    }
}
