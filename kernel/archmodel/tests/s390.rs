//! Host model of s390: golden values from the z/Architecture Principles of Operation and Linux's rules, computed by hand.

mod support;

use hotmap_archmodel::host::Host;
use hotmap_archmodel::log::Source;
use hotmap_archmodel::s390::{Machine, S390};
use hotmap_archmodel::{Architecture, free, populate};
use support::*;

/// A section at 4 GiB; its struct pages are the 4 MiB from 0x380_0400_0000 on.
const DEVICE: u64 = 0x10_0000;
const SECTION: u64 = 0x1_0000;

fn machine(machine: Machine, ram: u64) -> (S390, Host) {
    let mut host = Host::new(S390::GEOMETRY, pages(RAM, ram));
    let s390 = S390::new(&mut host, machine).expect("RAM for the root");
    (s390, host)
}
fn with_altmap(has: Machine, free: u64) -> (S390, Host) {
    let (s390, mut host) = machine(has, 0x1000);
    host.plug(pages(DEVICE, SECTION), 0, free).expect("a device");
    (s390, host)
}

#[test]
fn with_edat1_a_section_is_four_1_mib_frames_of_the_altmap() {
    let (mut s390, mut host) = with_altmap(Machine::WithEdat1, 1024);
    populate(&mut s390, &mut host, pages(DEVICE, SECTION)).expect("room");
    let order = [
        table(0x1004, 4),
        from_altmap(DEVICE, 0x10_0000, 256),
        from_altmap(DEVICE, 0x10_0100, 256),
        from_altmap(DEVICE, 0x10_0200, 256),
        from_altmap(DEVICE, 0x10_0300, 256),
    ];
    assert_eq!(taken(&host), order);
    // Region-third entry 1792, segment entries 64 to 67.
    let entries = [
        (0x0100_3800, 0x0100_4007),
        (0x0100_4200, 0x1_0000_3503),
        (0x0100_4208, 0x1_0010_3503),
        (0x0100_4210, 0x1_0020_3503),
        (0x0100_4218, 0x1_0030_3503),
    ];
    assert_eq!(wrote(&host), entries);
    assert_eq!(account(&host, DEVICE), (1024, 0));
}

/// The review's point: the RFC's first version took these from RAM.
#[test]
fn without_edat1_the_base_pages_come_from_the_altmap_too() {
    let (mut s390, mut host) = with_altmap(Machine::WithoutEdat1, 1024);
    populate(&mut s390, &mut host, pages(DEVICE, SECTION)).expect("room");
    let taken = taken(&host);
    assert_eq!(taken[..3], [table(0x1004, 4), table(0x1008, 1), from_altmap(DEVICE, 0x10_0000, 1)]);
    assert_eq!(
        taken[257..260],
        [from_altmap(DEVICE, 0x10_00ff, 1), table(0x1009, 1), from_altmap(DEVICE, 0x10_0100, 1)]
    );
    assert_eq!(taken.iter().filter(|f| f.from == Source::Ram).map(|f| f.pages).sum::<u64>(), 4 + 4);
    // A segment entry points to a page table, whose 256 entries map pages.
    assert_eq!(wrote(&host)[1..3], [(0x0100_4200, 0x0100_8000), (0x0100_8000, 0x1_0000_013d)]);
    assert_eq!(wrote(&host)[257], (0x0100_87f8, 0x1_000f_f13d));
    assert_eq!((account(&host, DEVICE), s390.leaves(&host).len()), ((1024, 0), 1024));
}

#[test]
fn tables_start_with_the_architectures_invalid_entries() {
    let (mut s390, mut host) = with_altmap(Machine::WithoutEdat1, 1024);
    populate(&mut s390, &mut host, pages(DEVICE, SECTION)).expect("room");
    let at = |pa: u64| host.read(hotmap_mm::addr::PhysAddr::new(pa));
    assert_eq!((at(0x0100_0000), at(0x0100_4000)), (0x24, 0x20));
    free(&mut s390, &mut host, pages(DEVICE, SECTION)).expect("present");
    assert!(wrote(&host).contains(&(0x0100_8000, 0x400)));
    assert!(wrote(&host).contains(&(0x0100_4200, 0x20)));
    assert!(wrote(&host).contains(&(0x0100_3800, 0x24)));
}

#[test]
fn out_of_altmap_is_an_error_without_fallback_and_all_is_undone() {
    for (has, free, pages_short) in [(Machine::WithEdat1, 1023, 256), (Machine::WithoutEdat1, 1023, 1)] {
        let (mut s390, mut host) = with_altmap(has, free);
        let before = snapshot(&s390, &host, pages(RAM, 0x1000), &[DEVICE]);
        let refused = populate(&mut s390, &mut host, pages(DEVICE, SECTION));
        assert_eq!(refused, Err(out_of_altmap(pages_short)), "{has:?}");
        assert_eq!(snapshot(&s390, &host, pages(RAM, 0x1000), &[DEVICE]), before, "{has:?}");
    }
}

#[test]
fn with_edat1_ram_without_1_mib_in_one_piece_is_out_of_memory() {
    // 0x1000..0x10ff has no aligned run of 256 pages; it would have room for nothing but tables.
    let (mut s390, mut host) = machine(Machine::WithEdat1, 0xff);
    let before = snapshot(&s390, &host, pages(RAM, 0xff), &[]);
    assert_eq!(populate(&mut s390, &mut host, pages(DEVICE, SECTION)), Err(out_of_ram(8)));
    assert_eq!(snapshot(&s390, &host, pages(RAM, 0xff), &[]), before);
}

#[test]
fn free_gives_frames_to_the_altmap_and_empty_tables_to_ram() {
    for (has, tables) in [
        (Machine::WithEdat1, vec![table(0x1004, 4)]),
        (
            Machine::WithoutEdat1,
            vec![table(0x1008, 1), table(0x1009, 1), table(0x100a, 1), table(0x100b, 1), table(0x1004, 4)],
        ),
    ] {
        let (mut s390, mut host) = with_altmap(has, 1024);
        let before = snapshot(&s390, &host, pages(RAM, 0x1000), &[DEVICE]);
        populate(&mut s390, &mut host, pages(DEVICE, SECTION)).expect("room");
        free(&mut s390, &mut host, pages(DEVICE, SECTION)).expect("present");
        let (memmap, ram): (Vec<_>, Vec<_>) = given(&host).into_iter().partition(|f| f.from != Source::Ram);
        assert_eq!((memmap.iter().map(|f| f.pages).sum::<u64>(), ram), (1024, tables), "{has:?}");
        assert_eq!(snapshot(&s390, &host, pages(RAM, 0x1000), &[DEVICE]), before, "{has:?}");
    }
}
