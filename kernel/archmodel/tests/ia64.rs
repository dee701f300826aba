//! Host model of ia64: golden values from the Itanium manual's page entry and Linux's rules, computed by hand.

mod support;

use hotmap_archmodel::host::Host;
use hotmap_archmodel::ia64::{Ia64, UNSUPPORTED};
use hotmap_archmodel::{Architecture, free, populate};
use support::*;

/// Sections at 4 GiB (16 KiB pages); their struct pages are from 0xa000_4000_0100_0000 on, 4 MiB each.
const DEVICE: u64 = 0x4_0000;
const SECTION: u64 = 0x1_0000;

fn machine(ram: u64) -> (Ia64, Host) {
    let mut host = Host::new(Ia64::GEOMETRY, pages(RAM, ram));
    let ia64 = Ia64::new(&mut host).expect("RAM for the root");
    (ia64, host)
}

#[test]
fn a_section_is_256_base_pages_of_ram() {
    let (mut ia64, mut host) = machine(0x1000);
    populate(&mut ia64, &mut host, pages(DEVICE, SECTION)).expect("room");
    let taken = taken(&host);
    assert_eq!(taken[..3], [table(0x1001, 1), table(0x1002, 1), from_ram(0x1003, 1)]);
    assert_eq!((taken.len(), taken[257]), (258, from_ram(0x1102, 1)));
    // PGD entry 1024, PMD entry 0, PTEs 1024 to 1279.
    let entries = wrote(&host);
    assert_eq!(entries[..2], [(0x0400_2000, 0x0400_4000), (0x0400_4000, 0x0400_8000)]);
    assert_eq!(entries[2], (0x0400_a000, 0x0010_0000_0400_c661));
    assert_eq!(entries[257], (0x0400_a7f8, 0x0010_0000_0440_8661));
}

#[test]
fn an_altmap_is_warned_of_once_and_ram_is_taken_instead() {
    let (mut ia64, mut host) = machine(0x1000);
    host.plug(pages(DEVICE, 2 * SECTION), 0, 512).expect("a device");
    for section in [DEVICE, DEVICE + SECTION] {
        populate(&mut ia64, &mut host, pages(section, SECTION)).expect("room");
        assert_eq!(host.warnings(), [UNSUPPORTED]);
    }
    assert_eq!(UNSUPPORTED, "host model: ia64: altmap unsupported, the memmap comes from RAM");
    assert_eq!((account(&host, DEVICE), host.ram().free_pages()), ((0, 0), 0x1000 - 3 - 512));
}

#[test]
fn without_an_altmap_nothing_is_warned_of() {
    let (mut ia64, mut host) = machine(0x1000);
    populate(&mut ia64, &mut host, pages(DEVICE, SECTION)).expect("room");
    assert!(host.warnings().is_empty());
}

#[test]
fn out_of_ram_is_an_error_even_with_room_in_the_altmap_and_all_is_undone() {
    let (mut ia64, mut host) = machine(3 + 255);
    host.plug(pages(DEVICE, SECTION), 0, 512).expect("a device");
    let before = snapshot(&ia64, &host, pages(RAM, 258), &[DEVICE]);
    assert_eq!(populate(&mut ia64, &mut host, pages(DEVICE, SECTION)), Err(out_of_ram(0)));
    assert_eq!(snapshot(&ia64, &host, pages(RAM, 258), &[DEVICE]), before);
}

#[test]
fn free_gives_pages_and_empty_tables_back_to_ram() {
    let (mut ia64, mut host) = machine(0x1000);
    host.plug(pages(DEVICE, SECTION), 0, 512).expect("a device");
    let before = snapshot(&ia64, &host, pages(RAM, 0x1000), &[DEVICE]);
    populate(&mut ia64, &mut host, pages(DEVICE, SECTION)).expect("room");
    free(&mut ia64, &mut host, pages(DEVICE, SECTION)).expect("present");
    let given = given(&host);
    assert_eq!(given[..2], [from_ram(0x1003, 1), from_ram(0x1004, 1)]);
    assert_eq!(given[256..], [table(0x1002, 1), table(0x1001, 1)]);
    assert_eq!(snapshot(&ia64, &host, pages(RAM, 0x1000), &[DEVICE]), before);
}
