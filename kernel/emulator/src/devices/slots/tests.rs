//! The registers against the specification's numbers.

use super::*;
use crate::arch::spec::SPEC_4K;

const GIB: u64 = 1 << 30;

fn slots(count: u32) -> (Emulated, Slots) {
    let machine = Emulated::new(&SPEC_4K);
    let slots = Slots::new(&machine, count, 8 * GIB..16 * GIB);
    (machine, slots)
}

/// The words of a slot, by the offsets of docs/specs/acpi_mem_hotplug.rst.
fn words(slots: &Slots, slot: u64) -> [u64; 6] {
    let registers = slots.registers();
    let mut registers = registers.borrow_mut();
    registers.store(0, 4, slot);
    [0x00, 0x04, 0x08, 0x0c, 0x10, 0x14].map(|offset| registers.load(offset, 4))
}

fn control(slots: &Slots, slot: u64, value: u64) {
    let registers = slots.registers();
    let mut registers = registers.borrow_mut();
    registers.store(0, 4, slot);
    registers.store(0x14, 4, value);
}

#[test]
fn a_slot_reads_as_the_specification_says() {
    let (_, slots) = slots(3);
    slots.insert(Some(1), Some(9 * GIB), 5 * GIB, 7).expect("there is room");
    assert_eq!(words(&slots, 1), [0x4000_0000, 2, 0x4000_0000, 1, 7, 0b011]);
    assert_eq!(words(&slots, 0), [0; 6]);
    let registers = slots.registers();
    let mut reserved = |slot| {
        registers.borrow_mut().store(0, 4, slot);
        registers.borrow_mut().load(0x16, 2)
    };
    assert_eq!([0, 2, 3, 255].map(&mut reserved), [0xffff, 0xffff, 0, 0], "of slots that there are, ones");
}

#[test]
fn an_event_is_raised_once_and_flags_go_when_they_are_acknowledged() {
    let (machine, slots) = slots(2);
    let events = || slots.events().borrow_mut().load(0, 4);
    assert_eq!(events(), 0);
    slots.insert(None, None, GIB, 0).expect("there is room");
    assert_eq!((events(), events()), (1, 0));
    control(&slots, 0, 2);
    assert_eq!(words(&slots, 0)[5], 0b001);
    slots.request_removal(0).expect("there is a DIMM");
    assert_eq!((events(), words(&slots, 0)[5]), (1, 0b101));
    control(&slots, 0, 8);
    assert_eq!(words(&slots, 0)[5], 0b100, "the flag stays in the empty slot");
    assert_eq!(machine.memory().ranges(), []);
    assert_eq!(slots.take_told(), [Told::Deleted { slot: 0 }]);
    control(&slots, 0, 4);
    control(&slots, 0, 8);
    assert_eq!((words(&slots, 0), slots.take_told()), ([0; 6], vec![]), "there is nothing to eject");
}

#[test]
fn a_report_is_sent_with_its_status() {
    let (_, slots) = slots(2);
    let registers = slots.registers();
    for (offset, value) in [(0, 1), (4, 3), (8, 0x84), (8, 0x82)] {
        registers.borrow_mut().store(offset, 4, value);
    }
    let told = |status| Told::Ost { slot: 1, event: 3, status };
    assert_eq!(slots.take_told(), [told(0x84), told(0x82)]);
}

#[test]
fn a_dimm_goes_where_there_is_room_first() {
    let (_, slots) = slots(4);
    let at = |size, at| slots.insert(None, at, size, 0).map(|(slot, dimm)| (slot, dimm.address));
    assert_eq!(at(GIB, Some(9 * GIB)), Ok((0, 9 * GIB)));
    assert_eq!(at(GIB, None), Ok((1, 8 * GIB)), "below it");
    assert_eq!(at(6 * GIB, None), Ok((2, 10 * GIB)), "behind both");
    assert_eq!(at(2 << 20, None), Err(Refused::NoRoom(2 << 20)));
    assert_eq!(at(GIB, Some(8 * GIB)), Err(Refused::Address(8 * GIB)));
    assert_eq!(at(GIB, Some(0)), Err(Refused::Address(0)));
    assert_eq!((at(0, None), at(4096, None)), (Err(Refused::Size(0)), Err(Refused::Size(4096))));
    assert_eq!(slots.dimms().len(), 3);
}
