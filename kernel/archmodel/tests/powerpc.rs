//! Host model of powerpc: golden values of the backing list, computed by hand from Linux's rules and structure.

mod support;

use hotmap_archmodel::error::Error;
use hotmap_archmodel::host::Host;
use hotmap_archmodel::log::{Frames, Source, Use};
use hotmap_archmodel::powerpc::Powerpc;
use hotmap_archmodel::{Architecture, free, populate};
use hotmap_mm::pfn::Pfn;
use support::*;

/// What one 16 MiB block describes: 16 GiB of 64 KiB pages, 1,024 sections.
const BLOCK: u64 = 0x4_0000;
/// A device at 1 TiB; its struct pages are from 0xf000_0000_4000_0000 on.
const DEVICE: u64 = 0x100_0000;
/// RAM that is added, without an altmap, at 2 TiB.
const ADDED: u64 = 0x200_0000;

fn machine() -> (Powerpc, Host) {
    (Powerpc::new(), Host::new(Powerpc::GEOMETRY, pages(RAM, 0x1000)))
}
fn tracking_from_altmap(device: u64, first: u64) -> Frames {
    frames(Use::Tracking, Source::Altmap(Pfn::new(device)), first, 1)
}
fn tracking_from_ram(first: u64) -> Frames {
    frames(Use::Tracking, Source::Ram, first, 1)
}

#[test]
fn blocks_and_the_page_that_records_them_come_from_the_altmap() {
    let (mut powerpc, mut host) = machine();
    host.plug(pages(DEVICE, 2 * BLOCK), 0, 1024).expect("a device");
    populate(&mut powerpc, &mut host, pages(DEVICE, 2 * BLOCK)).expect("room");
    let order = [
        from_altmap(DEVICE, 0x100_0000, 256),
        tracking_from_altmap(DEVICE, 0x100_0100),
        from_altmap(DEVICE, 0x100_0200, 256),
    ];
    assert_eq!(taken(&host), order);
    // Each entry: phys, virt_addr, list (the one before).
    let entries = [
        (0x0100_0100_0008, 0x0100_0000_0000),
        (0x0100_0100_0010, 0xf000_0000_4000_0000),
        (0x0100_0100_0000, 0),
        (0x0100_0100_0020, 0x0100_0200_0000),
        (0x0100_0100_0028, 0xf000_0000_4100_0000),
        (0x0100_0100_0018, 0x0100_0100_0000),
    ];
    assert_eq!(wrote(&host), entries);
    assert_eq!(powerpc.list().get(), 0x0100_0100_0018);
    // The page after the first block costs the second 255 pages of padding.
    assert_eq!(account(&host, DEVICE), (513, 255));
    assert_eq!(host.ram().free_pages(), 0x1000);
}

#[test]
fn a_block_that_a_neighbour_needs_is_looked_for_first_and_shared() {
    let (mut powerpc, mut host) = machine();
    let (a, b) = (pages(DEVICE, BLOCK / 2), pages(DEVICE + BLOCK / 2, BLOCK / 2));
    for device in [a, b] {
        host.plug(device, 0, 512).expect("a device");
    }
    populate(&mut powerpc, &mut host, a).expect("room");
    populate(&mut powerpc, &mut host, b).expect("nothing to take");
    assert_eq!((taken(&host), wrote(&host)), (vec![], vec![]));
    assert_eq!((account(&host, DEVICE), account(&host, DEVICE + BLOCK / 2)), ((257, 0), (0, 0)));

    free(&mut powerpc, &mut host, a).expect("present");
    assert_eq!((given(&host), account(&host, DEVICE)), (vec![], (257, 0)));
    assert_eq!(host.unplug(a.start), Err(Error::InUse { device: a.start, alloc: 257 }));
    free(&mut powerpc, &mut host, b).expect("present");
    assert_eq!(
        given(&host),
        [tracking_from_altmap(DEVICE, 0x100_0100), from_altmap(DEVICE, 0x100_0000, 256)]
    );
    assert_eq!((account(&host, DEVICE), host.unplug(a.start)), ((0, 0), Ok(())));
}

#[test]
fn freed_entries_are_used_again_the_last_freed_first() {
    let (mut powerpc, mut host) = machine();
    let block = |i: u64| pages(ADDED + i * BLOCK, BLOCK);
    for i in 0..3 {
        populate(&mut powerpc, &mut host, block(i)).expect("room");
    }
    // The first page of RAM is aligned, so the first block has it, and its page is the next.
    let page = 0x1100 << 16;
    assert_eq!(powerpc.list().get(), page + 48);
    free(&mut powerpc, &mut host, block(0)).expect("present");
    free(&mut powerpc, &mut host, block(1)).expect("present");
    assert_eq!(powerpc.list().get(), page + 48);
    for (i, entry) in [(4, page + 24), (5, page), (6, page + 72)] {
        populate(&mut powerpc, &mut host, block(i)).expect("room");
        assert_eq!(powerpc.list().get(), entry);
        assert!(taken(&host).iter().all(|f| f.what == Use::Memmap), "no new page");
    }
}

#[test]
fn a_page_of_ram_stays_and_a_page_of_an_altmap_goes_with_its_last_entry() {
    let (mut powerpc, mut host) = machine();
    host.plug(pages(DEVICE, 2 * BLOCK), 0, 1024).expect("a device");
    populate(&mut powerpc, &mut host, pages(ADDED, BLOCK)).expect("room");
    assert_eq!(taken(&host), [from_ram(0x1000, 256), tracking_from_ram(0x1100)]);
    populate(&mut powerpc, &mut host, pages(DEVICE, 2 * BLOCK)).expect("room");
    free(&mut powerpc, &mut host, pages(ADDED, BLOCK)).expect("present");
    assert_eq!(given(&host), [from_ram(0x1000, 256)]);
    assert_eq!(host.ram().free_pages(), 0x1000 - 1);

    free(&mut powerpc, &mut host, pages(DEVICE, BLOCK)).expect("present");
    assert_eq!(
        (given(&host), account(&host, DEVICE)),
        (vec![from_altmap(DEVICE, 0x100_0000, 256)], (257, 255))
    );
    free(&mut powerpc, &mut host, pages(DEVICE + BLOCK, BLOCK)).expect("present");
    assert_eq!(
        given(&host),
        [tracking_from_altmap(DEVICE, 0x100_0100), from_altmap(DEVICE, 0x100_0200, 256)]
    );
    assert_eq!((account(&host, DEVICE), powerpc.leaves(&host)), ((0, 0), vec![]));
}

/// In the RFC any freed entry serves: then the list would lead into a device that is gone.
#[test]
fn an_entry_in_an_altmap_records_blocks_of_that_altmap_only() {
    let (mut powerpc, mut host) = machine();
    let other = DEVICE + 4 * BLOCK;
    host.plug(pages(DEVICE, 2 * BLOCK), 0, 1024).expect("a device");
    host.plug(pages(other, BLOCK), 0, 512).expect("a device");
    populate(&mut powerpc, &mut host, pages(DEVICE, 2 * BLOCK)).expect("room");
    free(&mut powerpc, &mut host, pages(DEVICE, BLOCK)).expect("present");
    populate(&mut powerpc, &mut host, pages(other, BLOCK)).expect("room");
    assert_eq!(taken(&host)[1], tracking_from_altmap(other, other + 256));
    populate(&mut powerpc, &mut host, pages(ADDED, BLOCK)).expect("room");
    assert_eq!(taken(&host)[1], tracking_from_ram(0x1100));
    free(&mut powerpc, &mut host, pages(DEVICE + BLOCK, BLOCK)).expect("present");
    assert_eq!(host.unplug(Pfn::new(DEVICE)), Ok(()));
    let mapped: Vec<_> = powerpc.leaves(&host).iter().map(|leaf| leaf.va.get()).collect();
    assert_eq!(mapped, [0xf000_0000_4400_0000, 0xf000_0000_8000_0000]);
}

#[test]
fn out_of_altmap_for_a_block_or_for_its_page_is_an_error_and_all_is_undone() {
    // Room for: nothing, a block without its page, a block and its page but no second block.
    for (free, short) in [(255, 256), (256, 1), (257, 256), (512, 256)] {
        let (mut powerpc, mut host) = machine();
        host.plug(pages(DEVICE, 2 * BLOCK), 0, free).expect("a device");
        populate(&mut powerpc, &mut host, pages(ADDED, BLOCK)).expect("room");
        let before = snapshot(&powerpc, &host, pages(RAM, 0x1000), &[DEVICE]);
        let refused = populate(&mut powerpc, &mut host, pages(DEVICE, 2 * BLOCK));
        assert_eq!(refused, Err(out_of_altmap(short)), "{free} pages");
        assert_eq!(snapshot(&powerpc, &host, pages(RAM, 0x1000), &[DEVICE]), before, "{free} pages");
    }
}
