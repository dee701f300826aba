//! What ACPI announces, against the map of QEMU's virt (hw/arm/virt.c, `base_memmap`): as it is, and with one lie each.
extern crate std;

use super::*;
use crate::drivers::virtio::found::{Device as VirtioDevice, Name, Registers};
use hotmap_acpi::What;
use hotmap_devicetree::{Console, MemoryRegion, Region, Uart};
use hotmap_mm::addr::PhysAddr;
use std::boxed::Box;
use std::string::{String, ToString};
use std::vec::Vec;
use virtio_drivers::transport::DeviceType;

const fn memory(start: u64, bytes: u64) -> Option<OpRegion> {
    Some(OpRegion { space: 0, start, bytes })
}

fn range(start: u64, bytes: u64) -> PhysRange {
    PhysRange { start: PhysAddr::new(start), end: PhysAddr::new(start + bytes) }
}

/// What QEMU announces.
fn announced() -> Announced {
    Announced {
        slots: memory(0x907_0000, 0x18),
        events: memory(0x908_0000, 4),
        interrupt: Some(Interrupt { gsi: 41, edge: true }),
        nvdimm: memory(0x909_0000, 4),
        problem: None,
    }
}

fn virt() -> Box<MachineDescription> {
    let mut machine = Box::new(MachineDescription::new());
    let ram = Region { start: 0x4000_0000, size: 0x4000_0000 };
    machine.memory.push(MemoryRegion { region: ram, hotpluggable: false, numa_node: None }).expect("it fits");
    machine.flash.push(Region { start: 0, size: 0x800_0000 }).expect("it fits");
    machine.console =
        Console::Pl011(Uart { region: Region { start: 0x900_0000, size: 0x1000 }, interrupt: None });
    machine.fw_cfg = Some(Region { start: 0x902_0000, size: 0x18 });
    machine
}

/// What is taken of virt's, with one thing of it changed, and the refusals.
fn take(change: impl FnOnce(&mut Announced)) -> (Found, Vec<String>) {
    let (image, blob) = (range(0x4040_0000, 0x10_0000), range(0x4000_0000, 0x10_0000));
    let mut virtio = found::Found::new();
    virtio.add(VirtioDevice {
        name: Name::Mmio(0xa00_0000),
        kind: DeviceType::Memory,
        interrupt: None,
        registers: Registers::Mmio(range(0xa00_0000, 0x200)),
    });
    let (mut announced, mut found) = (announced(), Found::new());
    change(&mut announced);
    found.take(&announced, &virt(), &Loaded { image, blob, flash: None }, &virtio);
    let refusals = found.refusals.iter().map(ToString::to_string).collect();
    (found, refusals)
}

/// The only refusal where the slot registers are announced there, and there are no slots; an NVDIMM can still be plugged.
fn refusal(slots: OpRegion) -> String {
    let (found, refusals) = take(|announced| announced.slots = Some(slots));
    assert!(found.slots.is_none() && found.nvdimm.is_some(), "{refusals:?}");
    let [refusal] = refusals.as_slice() else { panic!("one refusal, not {refusals:?}") };
    refusal.clone()
}

#[test]
fn what_qemu_announces_is_taken_and_mapped_as_large_as_it_is() {
    let (found, refusals) = take(|_| {});
    assert_eq!(refusals, Vec::<String>::new());
    let (slots, events) = (range(0x907_0000, 0x18), range(0x908_0000, 4));
    let interrupt = Some(Interrupt { gsi: 41, edge: true });
    assert_eq!(found.slots, Some(Slots { slots, events, interrupt }));
    assert_eq!(found.ranges().collect::<Vec<_>>(), [slots, events, range(0x909_0000, 4)]);
}

#[test]
fn nothing_is_assumed_of_a_machine_that_announces_nothing() {
    let (found, refusals) = take(|announced| *announced = Announced::new());
    assert!(found.ranges().next().is_none() && refusals.is_empty());
    let (found, refusals) = take(|announced| (announced.slots, announced.nvdimm) = (None, None));
    assert!(found.ranges().next().is_none() && refusals.is_empty(), "events alone, as without -m slots=");
}

#[test]
fn other_addresses_are_as_good() {
    let (found, refusals) = take(|announced| announced.slots = memory(0xb00_0004, 0x1000));
    assert_eq!((found.slots.map(|slots| slots.slots), refusals.len()), (Some(range(0xb00_0004, 0x18)), 0));
}

#[test]
fn registers_that_cannot_be_there_are_refused() {
    let at = |start, bytes| refusal(OpRegion { space: 0, start, bytes });
    let name = |start, bytes| std::format!("acpi: memory slots registers at {}", range(start, bytes));
    assert_eq!(
        at(0x907_0000, 0x17),
        name(0x907_0000, 0x17) + ": 0x17 bytes, and the driver uses 0x18; not used"
    );
    assert_eq!(at(0x907_0002, 0x18), name(0x907_0002, 0x18) + ": not aligned to 0x4; not used");
    for start in [0, (1 << 32) - 0x14, 1 << 32, u64::MAX, u64::MAX - 3] {
        assert!(
            at(start, 0x18).ends_with("devices lie above 0 and below 4 GiB; not used"),
            "{}",
            at(start, 0x18)
        );
    }
    assert!(at(0x907_0000, 0).contains("0x0 bytes"));
    let io = refusal(OpRegion { space: 1, start: 0xa00, bytes: 0x18 });
    assert_eq!(io, "acpi: memory slots registers in address space 1, not in memory; not used");
}

#[test]
fn registers_where_something_else_is_are_refused() {
    for (start, what) in [
        (0x5000_0000, "RAM at 0x40000000..0x80000000"),
        (0x4040_0000, "the image at 0x40400000..0x40500000"),
        (0x4000_0000, "the device tree at 0x40000000..0x40100000"),
        (0x7ff_ffec, "flash at 0x0..0x8000000"),
        (0x900_0ffc, "UART at 0x9000000..0x9001000"),
        (0x902_0000, "fw_cfg at 0x9020000..0x9020010"),
        (0xa00_0000, "a virtio device at 0xa000000..0xa000200"),
        (0x908_0000, "GED event selector at 0x9080000..0x9080004"),
        (0x907_fff0, "GED event selector at 0x9080000..0x9080004"),
    ] {
        let refusal = refusal(OpRegion { space: 0, start, bytes: 0x18 });
        assert!(refusal.ends_with(&std::format!("they overlap {what}; not used")), "{refusal}");
    }
    let (found, refusals) = take(|announced| announced.nvdimm = announced.events);
    assert!(found.nvdimm.is_none() && found.slots.is_some() && refusals.len() == 1, "{refusals:?}");
}

#[test]
fn slots_without_their_events_are_not_used() {
    let (found, refusals) = take(|announced| announced.events = None);
    let expected = "acpi: memory slots at 0x9070000..0x9070018 without an event selector; not used";
    assert_eq!((found.slots, refusals.as_slice()), (None, &[expected.to_string()][..]));
}

#[test]
fn an_interrupt_that_is_no_spi_is_not_used() {
    for gsi in [0, 31, 1020, u32::MAX] {
        let (found, refusals) = take(|announced| announced.interrupt = Some(Interrupt { gsi, edge: true }));
        assert_eq!(found.slots.expect("the slots are used").interrupt, None);
        let expected =
            std::format!("acpi: interrupt {gsi} of the events is none of a device; they are polled");
        assert_eq!(refusals, [expected]);
    }
}

#[test]
fn every_lie_at_once_has_a_refusal_of_its_own() {
    let (found, refusals) = take(|announced| {
        announced.problem = Some(Problem { at: 7, what: What::End });
        (announced.events, announced.nvdimm) = (memory(0, 4), memory(2, 4));
    });
    assert!(found.ranges().next().is_none());
    assert_eq!(refusals.len(), 4, "{refusals:?}");
    assert_eq!(refusals[0], "acpi: byte 0x7 of the tables: a term goes on behind the end of its package");
}
