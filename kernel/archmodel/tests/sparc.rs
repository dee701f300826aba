//! Host model of sparc: golden values from the TTE formats of sun4u and sun4v and Linux's rules, computed by hand.

mod support;

use hotmap_archmodel::host::Host;
use hotmap_archmodel::sparc::{Sparc, Tte};
use hotmap_archmodel::{Architecture, free, populate};
use hotmap_mm::addr::VirtAddr;
use support::*;

/// A section at 4 GiB (8 KiB pages); its struct pages are the 8 MiB from 0x600_0200_0000 on.
const DEVICE: u64 = 0x8_0000;
const SECTION: u64 = 0x2_0000;

fn machine(tte: Tte, ram: u64) -> (Sparc, Host) {
    let mut host = Host::new(Sparc::GEOMETRY, pages(RAM, ram));
    let sparc = Sparc::new(&mut host, tte).expect("RAM for the root");
    (sparc, host)
}

#[test]
fn a_section_is_one_8_mib_block_of_the_nodes_ram() {
    for (tte, entry) in [(Tte::Sun4u, 0xe100_0000_0280_0036), (Tte::Sun4v, 0x8100_0000_0280_0743)] {
        let (mut sparc, mut host) = machine(tte, 0x1000);
        populate(&mut sparc, &mut host, pages(DEVICE, SECTION)).expect("room");
        assert_eq!(taken(&host), [table(0x1001, 1), table(0x1002, 1), from_ram(0x1400, 1024)]);
        // PGD entry 0, PUD entry 768, PMD entry 4.
        assert_eq!(
            wrote(&host),
            [(0x0200_0000, 0x0200_2000), (0x0200_3800, 0x0200_4000), (0x0200_4020, entry)],
            "{tte:?}"
        );
    }
}

#[test]
fn an_altmap_gives_the_block_where_there_is_one() {
    for (tte, entry) in [(Tte::Sun4u, 0xe100_0001_0000_0036), (Tte::Sun4v, 0x8100_0001_0000_0743)] {
        let (mut sparc, mut host) = machine(tte, 0x1000);
        host.plug(pages(DEVICE, SECTION), 0, 1024).expect("a device");
        populate(&mut sparc, &mut host, pages(DEVICE, SECTION)).expect("room");
        assert_eq!(taken(&host)[2], from_altmap(DEVICE, 0x8_0000, 1024));
        assert_eq!(wrote(&host)[2], (0x0200_4020, entry), "{tte:?}");
        assert_eq!(account(&host, DEVICE), (1024, 0));
    }
}

#[test]
fn the_two_halves_of_a_block_are_two_4_mib_hardware_pages() {
    let entry = 0x8100_0001_0000_0743;
    let tte = |va| Sparc::hardware_tte(entry, VirtAddr::new(va));
    assert_eq!(tte(0x0600_023f_ffff), 0x8100_0001_0000_0743);
    assert_eq!(tte(0x0600_0240_0000), 0x8100_0001_0040_0743);
}

#[test]
fn there_are_no_base_pages_to_fall_back_to_and_all_is_undone() {
    // 0x1000..0x13ff has no aligned run of 1024 pages.
    let (mut sparc, mut host) = machine(Tte::Sun4v, 0x3ff);
    let before = snapshot(&sparc, &host, pages(RAM, 0x3ff), &[]);
    assert_eq!(populate(&mut sparc, &mut host, pages(DEVICE, SECTION)), Err(out_of_ram(10)));
    assert_eq!(snapshot(&sparc, &host, pages(RAM, 0x3ff), &[]), before);

    // And an altmap's room for one block does not make RAM give the second.
    let (mut sparc, mut host) = machine(Tte::Sun4v, 0x1000);
    host.plug(pages(DEVICE, 2 * SECTION), 0, 2047).expect("a device");
    let before = snapshot(&sparc, &host, pages(RAM, 0x1000), &[DEVICE]);
    assert_eq!(populate(&mut sparc, &mut host, pages(DEVICE, 2 * SECTION)), Err(out_of_altmap(1024)));
    assert_eq!(snapshot(&sparc, &host, pages(RAM, 0x1000), &[DEVICE]), before);
}

#[test]
fn free_gives_the_block_back_to_where_it_came_from() {
    let (mut sparc, mut host) = machine(Tte::Sun4u, 0x1000);
    host.plug(pages(DEVICE, SECTION), 0, 1024).expect("a device");
    let before = snapshot(&sparc, &host, pages(RAM, 0x1000), &[DEVICE]);
    let beside = pages(DEVICE + SECTION, SECTION);
    populate(&mut sparc, &mut host, pages(DEVICE, SECTION)).expect("room");
    populate(&mut sparc, &mut host, beside).expect("room");
    free(&mut sparc, &mut host, pages(DEVICE, SECTION)).expect("present");
    assert_eq!(given(&host), [from_altmap(DEVICE, 0x8_0000, 1024)]);
    free(&mut sparc, &mut host, beside).expect("present");
    assert_eq!(given(&host), [from_ram(0x1400, 1024), table(0x1002, 1), table(0x1001, 1)]);
    assert_eq!(snapshot(&sparc, &host, pages(RAM, 0x1000), &[DEVICE]), before);
}
