//! Huge pages in blocks on demand: their memmap is shared by construction.
#![cfg(not(miri))]

use hotmap_emulator::arch::walker::Memory;
use hotmap_emulator::rig::{GIB, MIB, Rig, Shape, range};
use hotmap_mm::debug::faults::Plan;
use hotmap_mm::error::{Error, HugeError};
use hotmap_mm::frame::Mobility;
use hotmap_mm::frame::counts::Counts;
use hotmap_mm::frame::page::PageKind;
use hotmap_mm::frame::zone::ZoneKind;
use hotmap_mm::granule::Granule;
use hotmap_mm::hotplug::home::MemmapHome;
use hotmap_mm::pfn::Pfn;
use hotmap_testkit::snapshot::Snapshot;

/// Aligned for the largest huge page that is tried.
const AT: u64 = 64 * GIB;

/// The smallest huge page of at least a block, by hand: 1 GiB are eight blocks at 4K and 16K; 512 MiB are one at 64K.
fn large(g: Granule) -> (u64, u32) {
    match g.page_size {
        0x1000 => (GIB, 18),
        0x4000 => (GIB, 16),
        _ => (512 * MIB, 13),
    }
}

fn rig(g: Granule, len: u64, zone: ZoneKind) -> Rig {
    let mut rig = Rig::boot(g, &Shape::one("512 MiB", 0x4000_0000, 512 * MIB));
    rig.plug(AT, len, MemmapHome::Demand);
    rig.online(AT, len, zone);
    rig.assert_clean("online");
    rig
}

/// Kind and order of the struct page of `pfn`, read behind the model's back: the specification's walker, then memory.
fn says(rig: &Rig, pfn: Pfn) -> (u64, u64) {
    let va = rig.mm.space().layout().page_address(pfn);
    let word = rig.machine.memory().read(rig.machine.walk(va.get()).expect("mapped"));
    (word & 0xff, word >> 8 & 0xff)
}

fn resize(rig: &mut Rig, order: u32, count: u64) {
    let resized = rig.mm.hugetlb_resize(order, count).expect("a size");
    assert_eq!((resized.total, resized.stopped), (count, None));
    rig.assert_clean("resized");
}

/// One frame holds all that is said of it alone; what its tails share is one frame for all, and at 4K one table.
fn a_huge_page_of_blocks_costs_a_frame(g: Granule) {
    for zone in ZoneKind::ALL {
        let (size, order) = large(g);
        let mut rig = rig(g, 3 * size, zone);
        let (snapshot, before) = (Snapshot::exact(&rig), rig.mm.frames().counts());
        let tables = u64::from(g.page_size == 0x1000);
        for pages in 1..=3 {
            resize(&mut rig, order, pages);
            let (memmap, tables) = (pages + 1, tables * (pages + u64::from(size > g.section_size)));
            let expected = Counts {
                free: before.free - pages * (size / g.page_size) - memmap - tables,
                allocated: before.allocated + pages * (size / g.page_size),
                memmap_ram: before.memmap_ram + memmap,
                tables: before.tables + tables,
                ..before
            };
            assert_eq!(rig.mm.frames().counts(), expected, "{pages} pages");
        }
        let head = rig.mm.hugetlb_take(order).expect("three are free");
        rig.assert_clean("taken");
        assert_eq!(says(&rig, head), (PageKind::HugeTlb as u64, u64::from(order)));
        let every = (size / g.page_size / 4096).max(1);
        for i in (1..size / g.page_size).filter(|i| i % every == 0 || i % 64 < 2) {
            assert_eq!(says(&rig, head + i), (0, u64::from(order)), "tail {i}");
        }
        rig.mm.hugetlb_put(head).expect("taken");
        resize(&mut rig, order, 0);
        assert_eq!(rig.mm.frames().counts(), before);
        snapshot.assert_same(&Snapshot::exact(&rig), "without huge pages");
    }
}

fn every_allocation_of_a_huge_page_of_blocks_fails_in_turn(g: Granule) {
    let (size, order) = large(g);
    let mut rig = rig(g, size, ZoneKind::Movable);
    let before = Snapshot::exact(&rig);
    let mut failures = 0;
    for n in 1.. {
        rig.mm.frames_mut().faults.arm(Plan::Nth(n));
        let resized = rig.mm.hugetlb_resize(order, 1).expect("a size");
        let fired = rig.mm.frames().faults.fired();
        rig.mm.frames_mut().faults.arm(Plan::Off);
        rig.assert_clean("one failed");
        if !fired {
            assert_eq!(resized.stopped, None);
            break;
        }
        assert!(matches!(resized.stopped, Some(Error::Out(_))), "{resized:?}");
        before.assert_same(&Snapshot::exact(&rig), "a huge page that was not made");
        failures += 1;
    }
    // A frame and the page of tails, at 4K a table for each; and for each block the heap.
    let (pages, blocks) = (if g.page_size == 0x1000 { 4 } else { 2 }, size / g.section_size);
    assert_eq!(failures, pages + blocks);
}

/// A block goes with what is free of it, a page in use keeps it, and the parts of a page have no memmap.
fn a_huge_page_of_blocks_is_dissolved_poisoned_and_not_demoted(g: Granule) {
    let (size, order) = large(g);
    let mut rig = rig(g, size, ZoneKind::Movable);
    let (first, counts) = (Rig::pfn(g, AT), rig.mm.frames().counts());
    resize(&mut rig, order, 1);
    let smaller = rig.mm.hugetlb.pools().next().map_or(0, |pool| pool.order());
    assert_eq!(rig.mm.hugetlb_demote(first, smaller), Err(HugeError::NotDemotable(first).into()));
    let head = rig.mm.hugetlb_take(order).expect("free");
    assert_eq!(rig.mm.offline_block(first).map(drop), Err(HugeError::Taken(first).into()));
    rig.mm.hugetlb_put(head).expect("taken");
    rig.mm.offline_block(first).expect("free pages are dissolved");
    rig.assert_clean("offline");
    rig.mm.online_block(first, ZoneKind::Movable).expect("offline");
    assert_eq!(rig.mm.frames().counts(), counts);
    resize(&mut rig, order, 1);
    rig.mm.poison(first + 5).expect("a free huge page");
    rig.assert_clean("poisoned");
    rig.mm.unpoison(first + 5).expect("poisoned");
    rig.assert_clean("good again");
    assert_eq!(rig.mm.frames().counts(), counts);
}

/// A huge page smaller than a block takes what its split takes, and nothing for its tails.
fn a_smaller_huge_page_has_zeroed_tails(g: Granule) {
    let mut rig = rig(g, g.section_size, ZoneKind::Normal);
    // The only free memory of zone Normal that is a run of this size is on demand.
    let order = g.section_order - 2;
    let sizes: Vec<u32> = rig.mm.hugetlb.pools().map(|pool| pool.order()).filter(|o| *o < order).collect();
    let whole = rig.mm.frames().counts();
    for order in sizes {
        let mut heads = Vec::new();
        let resized = rig.mm.hugetlb_resize(order, 1 << 20).expect("a size");
        rig.assert_clean("as many as there are");
        while let Ok(head) = rig.mm.hugetlb_take(order) {
            heads.push(head);
        }
        assert_eq!(heads.len() as u64, resized.total);
        let inside = heads.iter().filter(|head| head.address(g).get() >= AT);
        for head in inside.clone() {
            assert_eq!(says(&rig, *head), (PageKind::HugeTlb as u64, u64::from(order)));
            assert_eq!(says(&rig, *head + 1), (0, 0));
        }
        // Lent: a frame for each memmap page in which a run begins, and at 4K a table.
        let each = g.page_size / 64;
        let lent = g.section_pages / each.max(1 << order) + u64::from(g.page_size == 0x1000);
        let lost = (g.section_pages >> order) - inside.count() as u64;
        assert_eq!(lost, lent.div_ceil(1 << order), "order {order}");
        heads.into_iter().for_each(|head| rig.mm.hugetlb_put(head).expect("taken"));
        resize(&mut rig, order, 0);
    }
    assert_eq!(rig.mm.frames().counts(), whole);
}

fn demoting_populates_the_parts(g: Granule) {
    let mut rig = rig(g, g.section_size, ZoneKind::Normal);
    let sizes: Vec<u32> =
        rig.mm.hugetlb.pools().map(|pool| pool.order()).filter(|o| *o < g.section_order).collect();
    let [.., small, large] = sizes[..] else { return };
    let whole = rig.mm.frames().counts();
    let resized = rig.mm.hugetlb_resize(large, 1 << 20).expect("a size");
    let heads: Vec<Pfn> = (0..resized.total).map(|_| rig.mm.hugetlb_take(large).expect("free")).collect();
    let head = *heads.iter().find(|head| head.address(g).get() >= AT).expect("the block has one");
    heads.iter().for_each(|head| rig.mm.hugetlb_put(*head).expect("taken"));
    for n in 1.. {
        rig.mm.frames_mut().faults.arm(Plan::Nth(n));
        let demoted = rig.mm.hugetlb_demote(head, small);
        let fired = rig.mm.frames().faults.fired();
        rig.mm.frames_mut().faults.arm(Plan::Off);
        rig.assert_clean("demoted, or not");
        if !fired {
            demoted.expect("room");
            break;
        }
        assert!(matches!(demoted, Err(Error::Out(_))), "{demoted:?}");
        assert_eq!(rig.mm.hugetlb.pool(large).map(|pool| pool.free()), Some(resized.total));
    }
    for order in [small, large] {
        resize(&mut rig, order, 0);
    }
    assert_eq!(rig.mm.frames().counts(), whole);
}

/// Boot RAM is full, so that the memmap of its huge page, as it is restored and joined into a block leaf, lies in a block on
/// demand: each page of it is a run of its own there until the leaf is one.
#[test]
fn the_memmap_of_another_huge_page_lies_in_a_block_on_demand() {
    let g = Granule::K4;
    let order = 9;
    let mut rig = Rig::boot(g, &Shape::one("512 MiB", 0x4000_0000, 512 * MIB));
    resize(&mut rig, order, 1);
    let head = rig.mm.hugetlb_take(order).expect("one is free");
    rig.plug(AT, g.section_size, MemmapHome::Demand);
    rig.online(AT, g.section_size, ZoneKind::Normal);
    let whole = rig.mm.frames().counts();
    let mut taken = Vec::new();
    loop {
        let page = rig.mm.frames_mut().alloc(0, PageKind::Kernel, Mobility::Unmovable).expect("room");
        if page >= Rig::pfn(g, AT) {
            rig.mm.frames_mut().free(page);
            break;
        }
        taken.push(page);
    }
    for turn in 0..2 {
        rig.mm.restore(head).expect("room in the block on demand");
        rig.assert_clean(&format!("restored, turn {turn}"));
        let memmap = rig.mm.space().translate(rig.mm.space().layout().page_address(head)).expect("mapped");
        assert!(memmap.get() >= AT, "the memmap is at {memmap}");
        rig.mm.optimise(head).expect("restored");
        rig.assert_clean(&format!("optimised, turn {turn}"));
    }
    taken.into_iter().for_each(|page| rig.mm.frames_mut().free(page));
    rig.mm.hugetlb_put(head).expect("taken");
    resize(&mut rig, order, 0);
    rig.mm.unplug(range(AT, g.section_size)).expect_err("memmap of boot RAM is in it");
    rig.assert_clean("at the end");
    assert!(rig.mm.frames().counts().free > whole.free, "the huge page is free");
}

hotmap_testkit::at_each_granule!(
    a_huge_page_of_blocks_costs_a_frame,
    every_allocation_of_a_huge_page_of_blocks_fails_in_turn,
    a_huge_page_of_blocks_is_dissolved_poisoned_and_not_demoted,
    a_smaller_huge_page_has_zeroed_tails,
    demoting_populates_the_parts,
);
