//! The register protocol against numbers written down from `acpi_mem_hotplug.rst`. The windows are plain memory here, so
//! these tests see what is written where; what the device makes of it is for the boot tests.
extern crate std;

use super::*;
use std::string::ToString;

/// A device of plain words, which does not tell slots apart.
fn ged(events: &mut [u32; 1], slots: &mut [u32; 6]) -> Ged {
    let (events, slots) = (events.as_mut_ptr().expose_provenance(), slots.as_mut_ptr().expose_provenance());
    // SAFETY: M4; both arrays outlive the driver in every test, and are looked at only after it is done.
    let (events, slots) = unsafe { (Window::new(events, EVENTS_BYTES), Window::new(slots, SLOTS_BYTES)) };
    Ged { events, slots, count: MAX_SLOTS }
}

/// QEMU's answers for a machine with `count` slots, `flags` in each.
fn machine(count: u32, flags: u32) -> impl FnMut(u32) -> (u32, u16) {
    move |slot| if slot < count { (flags, 0xffff) } else { (0, 0) }
}

#[test]
fn slots_are_counted_by_their_reserved_bytes() {
    for count in [1, 2, 8, 255, 256] {
        for flags in 0..8 {
            assert_eq!(count_slots(machine(count, flags)), Ok(count));
        }
    }
}

#[test]
fn a_bus_that_answers_every_read_with_the_same_has_no_slots() {
    assert_eq!(count_slots(|_| (0, 0)), Err(NotSlots::NoSlots), "zeros");
    assert_eq!(count_slots(|_| (u32::MAX, 0xffff)), Err(NotSlots::Flags(u32::MAX)), "ones");
    for bit in 3..32 {
        assert_eq!(count_slots(|_| (1 << bit, 0xffff)), Err(NotSlots::Flags(1 << bit)));
    }
    assert_eq!(count_slots(|_| (5, 0xffff)), Err(NotSlots::TooMany), "slots without an end");
    for (error, end) in [
        (NotSlots::NoSlots, "it has no slot 0"),
        (NotSlots::Flags(0xffff_ffff), "the flags of slot 0 are 0xffffffff, of which bits 0 to 2 are used"),
        (NotSlots::TooMany, "it has a slot 256; the most slots are 256"),
    ] {
        assert_eq!(
            error.to_string(),
            std::format!("dimms: what answers at the slot registers is none: {end}")
        );
    }
}

#[test]
fn plain_memory_is_no_device() {
    for fill in [0, u32::MAX] {
        let (mut events, mut slots) = ([fill], [fill; 6]);
        let (events, slots) =
            (events.as_mut_ptr().expose_provenance(), slots.as_mut_ptr().expose_provenance());
        // SAFETY: M4; both arrays outlive the driver.
        assert!(unsafe { Ged::new(events, slots) }.is_err());
    }
}

#[test]
fn a_slot_is_read_from_its_documented_offsets() {
    let (mut events, mut slots) = ([5], [0x8000_0000, 0x2, 0x4000_0000, 0x1, 3, 0b101]);
    let mut ged = ged(&mut events, &mut slots);
    let slot = ged.slot(0).expect("slot 0 exists").expect("it is enabled");
    // Selecting wrote the slot's number over the low address, as plain memory does.
    assert_eq!(
        slot,
        Slot { number: 0, address: 0x2_0000_0000, size: 0x1_4000_0000, node: 3, flags: Flags(5) }
    );
    assert!(slot.flags.enabled() && slot.flags.removing() && !slot.flags.inserting());
    assert!(ged.take_events().dimm() && Events(5).nvdimm() && !Events(4).dimm());
}

#[test]
fn an_empty_slot_is_none_and_a_missing_one_an_error() {
    let (mut events, mut slots) = ([0], [0, 0, 0, 0, 0, 0b010]);
    let mut ged = ged(&mut events, &mut slots);
    assert_eq!(ged.slot(7), Ok(None));
    assert_eq!(ged.slot(256), Err(NoSlot(256)));
    assert_eq!(ged.eject(u32::MAX), Err(NoSlot(u32::MAX)));
}

#[test]
fn acknowledging_and_ejecting_write_bits_1_2_and_3_of_the_control_register() {
    let (mut events, mut slots) = ([0], [0; 6]);
    for (bit, step) in [(2, Ged::ack_insert as fn(&mut Ged, u32) -> _), (4, Ged::ack_remove), (8, Ged::eject)]
    {
        step(&mut ged(&mut events, &mut slots), 9).expect("slot 9 exists");
        assert_eq!((slots[0], slots[5]), (9, bit));
    }
}

#[test]
fn a_report_writes_event_then_status_for_the_selected_slot() {
    let (mut events, mut slots) = ([0], [0; 6]);
    ged(&mut events, &mut slots).report(4, OstEvent::EjectRequest, OstStatus::Busy).expect("slot 4 exists");
    assert_eq!(slots[..3], [4, 3, 0x82]);
    ged(&mut events, &mut slots).report(5, OstEvent::DeviceCheck, OstStatus::Success).expect("slot 5 exists");
    assert_eq!(slots[..3], [5, 1, 0]);
}
