//! The scan against buses that are written down here, and against any bytes.
#![expect(unsafe_code, reason = "`ConfigurationAccess` has an unsafe method, which does nothing unsafe here")]
#![expect(clippy::cast_possible_truncation, reason = "the numbers are small")]
extern crate std;

use std::string::{String, ToString};
use std::vec::Vec;

use super::*;
use hotmap_devicetree::{Interrupt, InterruptKind, PciInterrupt, PciWindow};

/// A function of a fake bus: its words, and which bits of each base address register stick.
#[derive(Clone)]
struct Function {
    words: [u32; 64],
    sticky: [u32; 6],
}

/// A fake bus. What is in no slot reads as `empty`.
struct Bus {
    empty: u32,
    functions: Vec<(u8, u8, Function)>,
    reads: core::cell::Cell<usize>,
}

impl Bus {
    fn new(empty: u32) -> Self {
        Self { empty, functions: Vec::new(), reads: core::cell::Cell::new(0) }
    }

    fn with(mut self, device: u8, function: Function) -> Self {
        self.functions.push((device, 0, function));
        self
    }

    fn find(&self, at: DeviceFunction) -> Option<usize> {
        self.functions
            .iter()
            .position(|(device, function, _)| (*device, *function) == (at.device, at.function))
    }

    fn word(&self, slot: usize, offset: u8) -> u32 {
        self.functions[slot].2.words[usize::from(offset) / 4]
    }
}

impl ConfigurationAccess for Bus {
    fn read_word(&self, at: DeviceFunction, offset: u8) -> u32 {
        self.reads.set(self.reads.get() + 1);
        self.find(at).map_or(self.empty, |slot| self.word(slot, offset))
    }

    fn write_word(&mut self, at: DeviceFunction, offset: u8, data: u32) {
        let slot = self.find(at).expect("writes go to functions that answer");
        let function = &mut self.functions[slot].2;
        let word = &mut function.words[usize::from(offset) / 4];
        match usize::from(offset).checked_sub(0x10).map(|offset| offset / 4).filter(|bar| *bar < 6) {
            Some(bar) => *word = data & function.sticky[bar] | *word & !function.sticky[bar] & 0xf,
            None if offset == COMMAND => *word = *word & !0xffff | data & 0xffff,
            None => *word = data,
        }
    }

    unsafe fn unsafe_clone(&self) -> Self {
        panic!("there is one")
    }
}

/// A modern virtio device of type `kind` as QEMU makes them: BAR 1 for MSI-X, BARs 4 and 5 with the structures.
fn virtio(kind: u32) -> Function {
    let mut words = [0; 64];
    words[0] = (0x1040 + kind) << 16 | 0x1af4;
    words[1] = 1 << 20; // a list of capabilities
    words[8] = 0b1100; // BAR 4: 64 bits, prefetchable
    words[13] = 0x40;
    words[15] = 1 << 8; // INTA
    let structures: [(u32, u32, u32); 4] =
        [(1, 0, 0x1000), (3, 0x1000, 0x1000), (4, 0x2000, 0x1000), (2, 0x3000, 0x1000)];
    for (at, (kind, offset, length)) in structures.into_iter().enumerate() {
        let place = 16 + 6 * at;
        let next = if at == 3 { 0 } else { 4 * (place as u32 + 6) };
        words[place..place + 5].copy_from_slice(&[
            kind << 24 | 20 << 16 | next << 8 | 9,
            4,
            offset,
            length,
            4,
        ]);
    }
    Function { words, sticky: [0, 0xffff_f000, 0, 0, 0xffff_c000, 0xffff_ffff] }
}

/// QEMU's host, with INTA of device n at SPI 3 + n % 4.
fn host() -> Pci {
    let window = |start, size| Some(PciWindow { bus: start, region: Region { start, size } });
    let interrupt = |number| Interrupt { kind: InterruptKind::Spi, number, flags: 4 };
    let entry = |n: u32| PciInterrupt { device: n << 11, pin: 1, interrupt: interrupt(3 + n) };
    Pci {
        ecam: Some(Region { start: 0x40_1000_0000, size: 0x1000_0000 }),
        coherent: true,
        memory32: window(0x1000_0000, 0x2eff_0000),
        memory64: window(0x80_0000_0000, 0x80_0000_0000),
        interrupts: (0..4).map(entry).collect(),
        interrupt_mask: (0x1800, 7),
        ..Pci::new()
    }
}

const REACH: u64 = 1 << 40;

fn scan(bus: &mut Bus, host: &Pci, reach: u64) -> Found {
    let mut found = Found::new();
    super::scan(bus, host, reach, |_| Ok(()), &mut found);
    found
}

fn refusals(found: &Found) -> Vec<String> {
    found.refusals.iter().map(|(name, refusal)| std::format!("{name}: {refusal}")).collect()
}

/// The one refusal of a bus with one virtio device, changed.
fn refusal(change: impl FnOnce(&mut Function), host: &Pci) -> String {
    let mut function = virtio(24);
    change(&mut function);
    let found = scan(&mut Bus::new(!0).with(2, function), host, REACH);
    assert!(found.devices.is_empty());
    let [one] = &refusals(&found)[..] else { panic!("{:?}", found.refusals) };
    one.strip_prefix("pci 0:2.0: ").expect("it names the device").to_string()
}

#[test]
fn a_bus_of_all_ones_or_all_zeros_has_no_device() {
    for empty in [0, !0] {
        let mut bus = Bus::new(empty);
        let found = scan(&mut bus, &host(), REACH);
        assert!(found.devices.is_empty() && found.refusals.is_empty());
        assert_eq!(bus.reads.get(), 32, "one read for each place");
    }
}

#[test]
fn a_device_gets_its_registers_and_its_interrupt() {
    let mut bus = Bus::new(!0).with(2, virtio(24)).with(3, virtio(1)).with(5, virtio(3)).with(6, virtio(24));
    let found = scan(&mut bus, &host(), REACH);
    assert!(found.refusals.is_empty(), "{:?}", refusals(&found));
    let seen: Vec<_> =
        found.devices.iter().map(|d| (d.name.to_string(), d.kind, d.interrupt.map(|i| i.number))).collect();
    let memory = DeviceType::Memory;
    let expected = [
        ("pci 0:2.0".to_string(), memory, Some(5)),
        ("pci 0:5.0".to_string(), DeviceType::Console, Some(4)),
        ("pci 0:6.0".to_string(), memory, Some(5)),
    ];
    assert_eq!(seen, expected, "the network card is not wanted");
    for (at, (device, slot)) in found.devices.iter().zip([0, 2, 3]).enumerate() {
        let base = 0x80_0000_0000 + 0x4000 * at as u64;
        let ranges: Vec<_> = device.ranges().map(|range| (range.start.get() - base, range.len())).collect();
        assert_eq!(ranges, [(0, 0x38), (0x3000, 0x1000), (0x1000, 1), (0x2000, 0x1000)]);
        assert_eq!(bus.word(slot, 0x20) & !0xf, base as u32);
        assert_eq!(bus.word(slot, 0x24), 0x80);
        assert_eq!(bus.word(slot, 0x14), 0x1000_0000 + 0x1000 * at as u32, "MSI-X, not used but decoded");
        assert_eq!(bus.word(slot, 0x04) & 0xffff, 6, "memory space, bus master");
    }
    assert_eq!(bus.word(1, 0x20), 0b1100, "what is not wanted is left alone");
}

#[test]
fn registers_that_have_a_place_keep_it_and_nothing_else_goes_there() {
    let placed = |address: u64| {
        let mut function = virtio(24);
        let [low, high] = bars::halves(address);
        (function.words[8], function.words[9]) = (low | 0b1100, high);
        function
    };
    let mut other = placed(0x80_0001_0000);
    other.words[0] = 0x1041_1af4;
    other.words[1] |= 2; // it decodes
    let mut bus = Bus::new(!0).with(1, other).with(2, placed(0x80_0000_8000)).with(3, virtio(24));
    let found = scan(&mut bus, &host(), REACH);
    let starts: Vec<_> =
        found.devices.iter().map(|d| d.ranges().next().expect("common").start.get()).collect();
    assert_eq!(starts, [0x80_0000_8000, 0x80_0001_4000]);
}

/// Without a window for 64 bits, or one that the CPU cannot address, the one for 32 takes all.
#[test]
fn wide_registers_go_where_there_is_room() {
    let narrow = Pci { memory64: None, ..host() };
    for (host, reach) in [(&narrow, REACH), (&host(), 1 << 39), (&host(), 1 << 36)] {
        let found = scan(&mut Bus::new(!0).with(2, virtio(24)), host, reach);
        let range = found.devices[0].ranges().next().expect("common");
        assert_eq!(range.start.get(), 0x1000_4000);
    }
}

#[test]
fn functions_beyond_the_first_are_looked_for_where_there_are_any() {
    let mut bus = Bus::new(!0);
    let mut first = virtio(1);
    for multifunction in [false, true] {
        first.words[3] = u32::from(multifunction) << 23;
        bus.functions = std::vec![(4, 0, first.clone()), (4, 7, virtio(24))];
        let names: Vec<_> =
            scan(&mut bus, &host(), REACH).devices.iter().map(|d| d.name.to_string()).collect();
        assert_eq!(names, ["pci 0:4.7"; 1][..usize::from(multifunction)]);
    }
    let mut bridge = virtio(24);
    bridge.words[3] = 1 << 16;
    assert!(scan(&mut Bus::new(!0).with(1, bridge), &host(), REACH).devices.is_empty(), "a bridge is none");
}

#[test]
fn what_a_device_cannot_have_is_named() {
    let host = host();
    let no_windows = Pci { memory32: None, memory64: None, ..host.clone() };
    let incoherent = Pci { coherent: false, ..host.clone() };
    assert!(refusal(|_| {}, &incoherent).starts_with("the device tree does not call its DMA coherent"));
    assert_eq!(refusal(|_| {}, &no_windows), "BAR 1 of 0x1000 bytes fits into no window of the PCI host");
    assert_eq!(
        refusal(|f| (f.sticky[4], f.sticky[5]) = (0, 0xffff_ff00), &host),
        "BAR 4 of 0x10000000000 bytes fits into no window of the PCI host"
    );
    assert_eq!(refusal(|f| f.sticky[1] = 0xffff_5000, &host), "BAR 1 has an impossible size, 0xb000");
    assert_eq!(
        refusal(|f| (f.words[8], f.words[9]) = (0, 0b100), &host),
        "BAR 5 has an impossible size, 0x0"
    );
    assert_eq!(refusal(|f| f.words[1] = 0, &host), "it has no capabilities");
    assert_eq!(refusal(|f| f.words[13] = 4, &host), "a capability at 0x4, where none can be");
    assert_eq!(refusal(|f| f.words[16] |= 0xff00, &host), "a capability at 0xff, where none can be");
    assert_eq!(refusal(|f| f.words[34] |= 0x4000, &host), "its list of capabilities has no end");
    assert_eq!(refusal(|f| f.words[13] = 0x58, &host), "it has no structure of type 1");
    for change in [(17, 6), (17, 2), (18, 0x4000), (18, !0), (19, 0), (19, 0x4001), (19, !0)] {
        let expected = "the structure of its capability at 0x40 is outside its BARs";
        assert_eq!(refusal(|f| f.words[change.0] = change.1, &host), expected, "{change:x?}");
    }
}

/// Words that mean something in configuration space, and any words: the scan ends, names what it refuses, and gives out only
/// registers inside the windows.
#[test]
fn any_configuration_space_is_survived() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        u32::from_le_bytes(state.to_le_bytes()[2..6].try_into().expect("four"))
    };
    let (mut taken, mut refused) = (0, 0);
    for _ in 0..20_000 {
        let mut bus = Bus::new(!0);
        for _ in 0..3 {
            let mut function = virtio(24);
            for _ in 0..random() % 6 {
                let at = (random() % 64) as usize;
                let edges = [0, 1, 9, 0x40, 0xfc, !0, 1 << (random() % 32), random()];
                function.words[at] = match random() % 3 {
                    0 => function.words[at] ^ 1 << (random() % 32),
                    _ => edges[(random() % 8) as usize],
                };
                if random() % 8 == 0 {
                    function.sticky[at % 6] = random();
                }
            }
            if random() % 16 == 0 {
                function.words.fill_with(&mut random);
                function.words[0] = 0x1058_1af4;
            }
            bus = bus.with((random() % 32) as u8, function);
        }
        let found = scan(&mut bus, &host(), REACH);
        for device in &found.devices {
            for range in device.ranges() {
                let inside = |low, high| low <= range.start.get() && range.end.get() <= high;
                assert!(
                    inside(0x1000_0000, 0x3eff_0000) || inside(0x80_0000_0000, 0x100_0000_0000),
                    "{range}"
                );
            }
        }
        for text in refusals(&found) {
            assert!(text.starts_with("pci 0:") && text.len() > 20, "{text}");
        }
        (taken, refused) = (taken + found.devices.len(), refused + found.refusals.len());
    }
    assert!(taken > 10_000 && refused > 10_000, "{taken} taken, {refused} refused");
}
