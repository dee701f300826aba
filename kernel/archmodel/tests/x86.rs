//! Host model of x86: golden values from the Intel SDM's entry formats and Linux's rules, computed by hand.

mod support;

use hotmap_archmodel::error::Error;
use hotmap_archmodel::host::Host;
use hotmap_archmodel::x86::{Cpu, FALLBACK, X86};
use hotmap_archmodel::{Architecture, free, populate};
use support::*;

/// A device of two sections at 4 GiB; their struct pages are from 0xffff_ea00_0400_0000 on.
const DEVICE: u64 = 0x10_0000;
const SECTION: u64 = 0x8000;

fn machine(cpu: Cpu, ram: u64) -> (X86, Host) {
    let mut host = Host::new(X86::GEOMETRY, pages(RAM, ram));
    let x86 = X86::new(&mut host, cpu).expect("RAM for the root");
    (x86, host)
}
fn with_altmap(reserve: u64, free: u64) -> (X86, Host) {
    let (x86, mut host) = machine(Cpu::WithPse, 0x1000);
    host.plug(pages(DEVICE, 2 * SECTION), reserve, free).expect("a device");
    (x86, host)
}

#[test]
fn each_section_is_one_2_mib_block_of_the_altmap() {
    let (mut x86, mut host) = with_altmap(0, 1024);
    populate(&mut x86, &mut host, pages(DEVICE, 2 * SECTION)).expect("room");
    let order = [
        table(0x1001, 1),
        table(0x1002, 1),
        from_altmap(DEVICE, 0x10_0000, 512),
        from_altmap(DEVICE, 0x10_0200, 512),
    ];
    assert_eq!(taken(&host), order);
    // PML4 entry 468, PDPT entry 0, PD entries 32 and 33.
    let entries = [
        (0x0100_0ea0, 0x0100_1067),
        (0x0100_1000, 0x0100_2067),
        (0x0100_2100, 0x8000_0001_0000_01e3),
        (0x0100_2108, 0x8000_0001_0020_01e3),
    ];
    assert_eq!(wrote(&host), entries);
    assert_eq!(account(&host, DEVICE), (1024, 0));
}

#[test]
fn the_padding_before_an_unaligned_altmaps_first_block_is_accounted() {
    let (mut x86, mut host) = with_altmap(1, 1023);
    populate(&mut x86, &mut host, pages(DEVICE, SECTION)).expect("room");
    assert_eq!(taken(&host)[2], from_altmap(DEVICE, 0x10_0200, 512));
    assert_eq!(account(&host, DEVICE), (512, 511));
}

#[test]
fn out_of_altmap_is_an_error_without_fallback_and_all_is_undone() {
    let (mut x86, mut host) = with_altmap(0, 1023);
    let before = snapshot(&x86, &host, pages(RAM, 0x1000), &[DEVICE]);
    let refused = populate(&mut x86, &mut host, pages(DEVICE, 2 * SECTION));
    assert_eq!(refused, Err(out_of_altmap(512)));
    assert_eq!(snapshot(&x86, &host, pages(RAM, 0x1000), &[DEVICE]), before);
    assert!(host.warnings().is_empty(), "no fallback, so no warning of one");
    populate(&mut x86, &mut host, pages(DEVICE, SECTION)).expect("one section still fits");
}

#[test]
fn without_pse_an_altmap_is_refused_and_ram_gives_base_pages() {
    let (mut x86, mut host) = machine(Cpu::WithoutPse, 0x1000);
    host.plug(pages(DEVICE, SECTION), 0, 1024).expect("a device");
    let before = snapshot(&x86, &host, pages(RAM, 0x1000), &[DEVICE]);
    assert_eq!(populate(&mut x86, &mut host, pages(DEVICE, SECTION)), Err(Error::NoPse));
    assert_eq!(snapshot(&x86, &host, pages(RAM, 0x1000), &[DEVICE]), before);
    assert_eq!(
        Error::NoPse.to_string(),
        "host model: x86 without PSE has no 2 MiB pages, so it cannot use an altmap"
    );

    populate(&mut x86, &mut host, pages(0x20_0000, SECTION)).expect("RAM");
    assert_eq!(
        taken(&host)[..4],
        [table(0x1001, 1), table(0x1002, 1), table(0x1003, 1), from_ram(0x1004, 1)]
    );
    // Struct pages from 0xffff_ea00_0800_0000 on: PD entry 64, then 512 PTEs.
    assert_eq!(wrote(&host)[2..4], [(0x0100_2200, 0x0100_3067), (0x0100_3000, 0x8000_0000_0100_4163)]);
    assert_eq!(wrote(&host)[514], (0x0100_3ff8, 0x8000_0000_0120_3163));
    assert_eq!((x86.leaves(&host).len(), account(&host, DEVICE)), (512, (0, 0)));
    assert!(host.warnings().is_empty());
}

#[test]
fn ram_without_2_mib_in_one_piece_gives_base_pages_with_one_warning() {
    // 0x1000..0x13ff: the table pages leave no aligned run of 512.
    let (mut x86, mut host) = machine(Cpu::WithPse, 0x3ff);
    populate(&mut x86, &mut host, pages(DEVICE, SECTION)).expect("base pages");
    assert_eq!(host.warnings(), [FALLBACK]);
    assert_eq!(wrote(&host)[2..4], [(0x0100_2100, 0x0100_3067), (0x0100_3000, 0x8000_0000_0100_4163)]);
    let before = snapshot(&x86, &host, pages(RAM, 0x3ff), &[]);
    assert_eq!(populate(&mut x86, &mut host, pages(DEVICE + SECTION, SECTION)), Err(out_of_ram(0)));
    assert_eq!(snapshot(&x86, &host, pages(RAM, 0x3ff), &[]), before);
    assert_eq!(host.warnings().len(), 1);
}

#[test]
fn free_gives_blocks_to_the_altmap_and_empty_tables_to_ram_but_keeps_the_pdpt() {
    let (mut x86, mut host) = with_altmap(0, 1024);
    populate(&mut x86, &mut host, pages(DEVICE, 2 * SECTION)).expect("room");
    free(&mut x86, &mut host, pages(DEVICE, SECTION)).expect("present");
    assert_eq!(given(&host), [from_altmap(DEVICE, 0x10_0000, 512)]);
    assert_eq!(account(&host, DEVICE), (512, 0));
    free(&mut x86, &mut host, pages(DEVICE + SECTION, SECTION)).expect("present");
    assert_eq!(given(&host), [from_altmap(DEVICE, 0x10_0200, 512), table(0x1002, 1)]);
    assert_eq!(wrote(&host), [(0x0100_2108, 0), (0x0100_1000, 0)]);
    assert_eq!((account(&host, DEVICE), host.ram().free_pages()), ((0, 0), 0x1000 - 2));
    populate(&mut x86, &mut host, pages(DEVICE, SECTION)).expect("room");
    assert_eq!(taken(&host), [table(0x1002, 1), from_altmap(DEVICE, 0x10_0000, 512)]);
}
