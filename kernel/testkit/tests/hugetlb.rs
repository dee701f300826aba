//! The pools of huge pages: sizes and orders are the granule's, pages come from free memory and go back to it, what is in use
//! stays, and every page of a huge page leads to its head.
#![cfg(not(miri))]

use hotmap_emulator::rig::{GIB, MIB, Rig, Shape, range};
use hotmap_mm::debug::faults::Plan;
use hotmap_mm::error::{Error, HugeError, PageError, Resource};
use hotmap_mm::frame::page::PageKind;
use hotmap_mm::frame::zone::ZoneKind;
use hotmap_mm::granule::{Granule, GranuleKind};
use hotmap_mm::hotplug::home::MemmapHome;
use hotmap_mm::hugetlb::pool::{Resized, Use};
use hotmap_mm::pfn::Pfn;
use hotmap_testkit::snapshot::Snapshot;

const AT: u64 = 0x8000_0000;

/// Bytes and pages of every size, written down from the architecture's tables.
fn sizes(g: Granule) -> &'static [(u64, u64)] {
    match g.kind {
        GranuleKind::K4 => &[(64 << 10, 16), (2 << 20, 512), (32 << 20, 8192), (1 << 30, 262_144)],
        GranuleKind::K16 => &[(2 << 20, 128), (32 << 20, 2048), (1 << 30, 65536)],
        GranuleKind::K64 => &[(2 << 20, 32), (512 << 20, 8192), (16 << 30, 262_144)],
    }
}

/// The smaller sizes: 2 MiB, and the next (32, 32, 512 MiB).
fn two_sizes(g: Granule) -> [u32; 2] {
    let at = |bytes| order(g, bytes);
    [at(2 << 20), at(if g.page_size == 1 << 16 { 512 << 20 } else { 32 << 20 })]
}

/// The order of a size, by arithmetic.
fn order(g: Granule, bytes: u64) -> u32 {
    (bytes / g.page_size).trailing_zeros()
}

/// Without sharing of memmap.
fn boot(g: Granule, memory: u64) -> Rig {
    let mut rig = Rig::boot(g, &Shape::one("RAM", 0x4000_0000, memory));
    rig.mm.hugetlb.hvo = false;
    rig
}

fn done(total: u64) -> Result<Resized, Error> {
    Ok(Resized { total, stopped: None })
}

fn sizes_are_the_granules(g: Granule) {
    let rig = boot(g, 256 * MIB);
    let found: Vec<_> =
        rig.mm.hugetlb.pools().map(|p| (g.page_size << p.order(), 1u64 << p.order())).collect();
    assert_eq!(found, sizes(g));
    let mut rig = rig;
    for (bytes, pages) in sizes(g) {
        assert_eq!(rig.mm.hugetlb.order_of(*bytes).map(|order| 1 << order), Ok(*pages));
    }
    assert_eq!(rig.mm.hugetlb.order_of(1 << 20), Err(Error::Huge(HugeError::Size { bytes: 1 << 20 })));
    for wrong in [0, 1, 63, 64, u32::MAX] {
        assert!(
            matches!(rig.mm.hugetlb_resize(wrong, 1), Err(Error::Huge(HugeError::Size { .. }))),
            "{wrong}"
        );
        assert!(matches!(rig.mm.hugetlb_take(wrong), Err(Error::Huge(HugeError::Size { .. }))), "{wrong}");
    }
}

fn a_pool_grows_and_shrinks_and_leaves_nothing(g: Granule) {
    let mut rig = boot(g, 2 * GIB);
    for order in two_sizes(g) {
        let before = Snapshot::exact(&rig);
        let counts = rig.mm.frames().counts();
        assert_eq!(rig.mm.hugetlb_resize(order, 2), done(2));
        rig.assert_clean("grown");
        let now = rig.mm.frames().counts();
        assert_eq!(now.allocated - counts.allocated, 2 << order);
        assert_eq!(counts.free - now.free, 2 << order);
        let pool = *rig.mm.hugetlb.pool(order).expect("a size");
        assert_eq!((pool.total(), pool.free(), pool.optimised()), (2, 2, 0));
        assert_eq!(rig.mm.hugetlb_resize(order, 1), done(1));
        rig.assert_clean("shrunk");
        assert_eq!(rig.mm.hugetlb_resize(order, 0), done(0));
        rig.assert_clean("empty");
        before.assert_same(&Snapshot::exact(&rig), "a pool that came and went");
    }
}

/// Every page's head, from its own struct page: the pfn rounded down, computed here.
fn every_page_leads_to_its_head(g: Granule) {
    let mut rig = boot(g, 2 * GIB);
    for order in two_sizes(g) {
        assert_eq!(rig.mm.hugetlb_resize(order, 1), done(1));
        let head = rig.mm.hugetlb_take(order).expect("one is free");
        assert_eq!(head.get() % (1 << order), 0);
        for i in 0..1 << order {
            let pfn = head + i;
            assert_eq!(rig.mm.frames().use_of(pfn), Ok((PageKind::HugeTlb, head)), "{pfn}");
            let page = rig.mm.frames().pages().get(pfn);
            let kind = if i == 0 { PageKind::HugeTlb } else { PageKind::Tail };
            assert_eq!((page.kind(), page.order()), (kind, order), "{pfn}");
        }
        rig.mm.hugetlb_put(head).expect("in use");
        assert_eq!(rig.mm.hugetlb_resize(order, 0), done(0));
        for i in 0..1 << order {
            let page = rig.mm.frames().pages().get(head + i);
            let zeroed = (page.kind(), page.order(), page.refs(), page.private(), page.links());
            let free = page.kind() == PageKind::Free;
            assert!(free || zeroed == (PageKind::Tail, 0, 0, 0, (0, 0)), "{:?} {zeroed:?}", head + i);
        }
    }
}

fn what_is_taken_stays(g: Granule) {
    let mut rig = boot(g, 256 * MIB);
    let [order, _] = two_sizes(g);
    assert_eq!(rig.mm.hugetlb_resize(order, 3), done(3));
    let taken = [rig.mm.hugetlb_take(order), rig.mm.hugetlb_take(order)].map(|p| p.expect("free"));
    assert_ne!(taken[0], taken[1]);
    rig.assert_clean("taken");
    let before = Snapshot::exact(&rig);
    let refused = Err(Error::Huge(HugeError::InUse { bytes: 2 << 20, used: 2, asked: 1 }));
    assert_eq!(rig.mm.hugetlb_resize(order, 1), refused);
    assert_eq!(rig.mm.hugetlb_dissolve(taken[0]), Err(Error::Huge(HugeError::Taken(taken[0]))));
    before.assert_same(&Snapshot::exact(&rig), "refused");
    assert_eq!(rig.mm.hugetlb_resize(order, 2), done(2));
    let none = Err(Error::Out(Resource::HugePages { bytes: 2 << 20 }));
    assert_eq!(rig.mm.hugetlb_take(order), none);
    // Neither a tail, nor a page that is free, nor one that is no huge page can be put back.
    assert!(matches!(rig.mm.hugetlb_put(taken[0] + 1), Err(Error::Page(PageError::State { .. }))));
    assert!(matches!(rig.mm.hugetlb_put(Pfn::new(7)), Err(Error::Page(PageError::NotPresent(_)))));
    rig.mm.hugetlb_put(taken[0]).expect("taken");
    assert!(matches!(rig.mm.hugetlb_put(taken[0]), Err(Error::Page(PageError::State { .. }))));
    assert_eq!(rig.mm.hugetlb_take(order), Ok(taken[0]), "the last that came");
    // The allocator's own front does not free it.
    let warnings = rig.mm.frames().warnings;
    rig.mm.frames_mut().free(taken[0]);
    assert_eq!(rig.mm.frames().warnings.bad_free, warnings.bad_free + 1);
    rig.mm.frames_mut().warnings = warnings;
    assert!(matches!(
        rig.mm.pin(taken[0] + 3),
        Err(Error::Page(PageError::State { is: PageKind::HugeTlb, .. }))
    ));
    for pfn in taken {
        rig.mm.hugetlb_put(pfn).expect("taken");
    }
    rig.assert_clean("put back");
}

/// A pool that cannot grow so far keeps what it got.
fn a_pool_that_runs_out_keeps_what_it_got(g: Granule) {
    let mut rig = boot(g, 256 * MIB);
    let [order, _] = two_sizes(g);
    let before = Snapshot::exact(&rig);
    let Ok(Resized { total, stopped }) = rig.mm.hugetlb_resize(order, 1000) else { panic!("refused") };
    assert_eq!(stopped, Some(Error::Out(Resource::Frames { order })));
    rig.assert_clean("all of memory");
    assert_eq!(rig.mm.hugetlb.pool(order).map(|p| p.total()), Some(total));
    // The image, the device tree, the memmap and the tables take some: at least half of it comes.
    assert!((64..128).contains(&total), "{total}");
    assert_eq!(rig.mm.hugetlb_resize(order, 0), done(0));
    before.assert_same(&Snapshot::exact(&rig), "empty");
    for n in 1..5 {
        rig.mm.frames_mut().faults.arm(Plan::Nth(n));
        let resized = rig.mm.hugetlb_resize(order, 4).expect("nothing in use");
        rig.mm.frames_mut().faults.arm(Plan::Off);
        assert_eq!(resized, Resized { total: n - 1, stopped: Some(Error::Out(Resource::Frames { order })) });
        rig.assert_clean("stopped");
        assert_eq!(rig.mm.hugetlb_resize(order, 0), done(0));
        before.assert_same(&Snapshot::exact(&rig), "stopped, and empty");
    }
}

/// Where every run is interrupted by a tenant's page, they are moved.
fn memory_in_pieces_is_compacted(g: Granule) {
    let mut rig = boot(g, 64 * MIB);
    let [order, _] = two_sizes(g);
    let first = rig.mm.tenant_new(1).expect("room");
    let mut runs = Vec::new();
    while let Ok(pfn) =
        rig.mm.frames_mut().alloc(order, PageKind::Kernel, hotmap_mm::frame::Mobility::Unmovable)
    {
        runs.push(pfn);
    }
    let mut rest = Vec::new();
    while let Ok(pfn) = rig.mm.frames_mut().alloc(0, PageKind::Kernel, hotmap_mm::frame::Mobility::Unmovable)
    {
        rest.push(pfn);
    }
    let mut tenants = Vec::new();
    for run in &runs {
        rig.mm.frames_mut().free(*run);
        tenants.push(rig.mm.tenant_new(2).expect("room"));
        while let Ok(pfn) =
            rig.mm.frames_mut().alloc(0, PageKind::Kernel, hotmap_mm::frame::Mobility::Unmovable)
        {
            rest.push(pfn);
        }
    }
    rest.into_iter().for_each(|pfn| rig.mm.frames_mut().free(pfn));
    rig.mm.tenant_drop(first).expect("not held");
    assert_eq!(rig.mm.hugetlb_resize(order, 3), done(3));
    rig.assert_clean("compacted");
    for id in tenants {
        assert_eq!(rig.mm.tenant_check(id), Ok(2));
    }
}

/// The largest size is larger than a block, and comes from whole blocks side by side.
fn the_largest_size_is_made_of_blocks(g: Granule) {
    let (bytes, pages) = *sizes(g).last().expect("some");
    let order = order(g, bytes);
    assert!(order > g.section_order);
    let mut rig = boot(g, 256 * MIB);
    let none = Resized { total: 0, stopped: Some(Error::Out(Resource::FreeBlocks { bytes })) };
    assert_eq!(rig.mm.hugetlb_resize(order, 1), Ok(none));
    let at = 16 * GIB;
    for (home, zone) in [
        (MemmapHome::SelfHosted, ZoneKind::Movable),
        (MemmapHome::Ram, ZoneKind::Movable),
        (MemmapHome::Ram, ZoneKind::Normal),
    ] {
        let unplugged = Snapshot::exact(&rig);
        rig.plug(at, bytes + 2 * g.section_size, home);
        rig.online(at, bytes + 2 * g.section_size, zone);
        let before = Snapshot::exact(&rig);
        let resized = rig.mm.hugetlb_resize(order, 2).expect("nothing in use");
        rig.assert_clean("grown");
        if home == MemmapHome::SelfHosted {
            assert_eq!(resized, none, "a block that hosts its memmap is never whole");
            rig.unplug(at, bytes + 2 * g.section_size);
            continue;
        }
        assert_eq!((resized.total, resized.stopped), (1, none.stopped));
        let head = rig.mm.hugetlb_take(order).expect("one");
        assert_eq!(head, Rig::pfn(g, at));
        for i in (0..pages).step_by(97).chain([1, pages - 1]) {
            assert_eq!(rig.mm.frames().use_of(head + i), Ok((PageKind::HugeTlb, head)));
        }
        // None of its blocks can go, and the error names the page; the ones beside it can.
        let middle = Rig::pfn(g, at + bytes / 2);
        assert_eq!(rig.mm.offline_block(middle), Err(Error::Huge(HugeError::Taken(head))));
        assert_eq!(rig.mm.offline_block(head), Err(Error::Huge(HugeError::Taken(head))));
        rig.assert_clean("refused");
        rig.mm.hugetlb_put(head).expect("taken");
        let next = Rig::pfn(g, at + bytes);
        rig.mm.offline_block(next).expect("all free");
        rig.mm.online_block(next, zone).expect("offline");
        // A free one is dissolved, all of it, when one of its blocks goes.
        rig.mm.offline_block(middle).expect("the page is free");
        rig.assert_clean("dissolved");
        assert_eq!(rig.mm.hugetlb.pool(order).map(|p| p.total()), Some(0));
        rig.mm.online_block(middle, zone).expect("offline");
        drop(before);
        rig.unplug(at, bytes + 2 * g.section_size);
        unplugged.assert_same(&Snapshot::exact(&rig), "gone");
    }
}

/// A DIMM with free pool pages goes; with one in use it does not, and stays whole.
fn a_block_with_pool_pages_goes_unless_they_are_used(g: Granule) {
    let mut rig = boot(g, 256 * MIB);
    let [order, _] = two_sizes(g);
    let len = Rig::blocks(g, 2);
    // Boot memory is taken, so that the pool is in the DIMM.
    let Ok(Resized { total: boot, .. }) = rig.mm.hugetlb_resize(order, 1000) else { panic!("refused") };
    rig.plug(AT, len, MemmapHome::SelfHosted);
    rig.online(AT, len, ZoneKind::Normal);
    assert_eq!(rig.mm.hugetlb_resize(order, boot + 5), done(boot + 5));
    let inside = |rig: &Rig| {
        let pool = *rig.mm.hugetlb.pool(order).expect("a size");
        pool.heads(rig.mm.frames(), Use::Free).filter(|p| *p >= Rig::pfn(g, AT)).count()
    };
    assert_eq!(inside(&rig), 5);
    let taken = rig.mm.hugetlb_take(order).expect("free");
    assert!(taken >= Rig::pfn(g, AT), "the last that came is the first that goes");
    let refused = rig.mm.unplug(range(AT, len)).expect_err("it is in use");
    assert_eq!(refused, Error::Huge(HugeError::Taken(taken)));
    assert!(refused.to_string().ends_with("a huge page in use, which is not migrated (Linux migrates it)"));
    rig.assert_clean("refused");
    assert_eq!(inside(&rig), 4, "all or nothing: none was dissolved");
    assert_eq!(rig.mm.poison(taken + 1).err(), Some(Error::Huge(HugeError::Taken(taken))));
    rig.mm.hugetlb_put(taken).expect("taken");
    rig.unplug(AT, len);
    rig.assert_clean("gone");
    assert_eq!(rig.mm.hugetlb.pool(order).map(|p| (p.total(), p.free())), Some((boot, boot)));
}

fn a_free_page_is_dissolved_for_a_poisoned_one(g: Granule) {
    let mut rig = boot(g, 256 * MIB);
    let [order, _] = two_sizes(g);
    let before = Snapshot::exact(&rig);
    assert_eq!(rig.mm.hugetlb_resize(order, 2), done(2));
    let head = rig.mm.hugetlb_take(order).expect("free");
    rig.mm.hugetlb_put(head).expect("taken");
    assert_eq!(rig.mm.poison(head + 3), Ok(None));
    rig.assert_clean("poisoned");
    assert_eq!(rig.mm.frames().use_of(head + 3), Ok((PageKind::Poisoned, head + 3)));
    assert_eq!(rig.mm.hugetlb.pool(order).map(|p| p.total()), Some(1));
    rig.mm.unpoison(head + 3).expect("poisoned");
    assert_eq!(rig.mm.hugetlb_resize(order, 0), done(0));
    drop(before);
    rig.assert_clean("good again");
}

fn a_page_is_demoted_to_any_smaller_size(g: Granule) {
    let mut rig = boot(g, 2 * GIB);
    let [small, large] = two_sizes(g);
    let before = Snapshot::exact(&rig);
    assert_eq!(rig.mm.hugetlb_resize(large, 1), done(1));
    let head = rig.mm.hugetlb_take(large).expect("free");
    assert_eq!(rig.mm.hugetlb_demote(head, small), Err(Error::Huge(HugeError::Taken(head))));
    rig.mm.hugetlb_put(head).expect("taken");
    assert!(matches!(rig.mm.hugetlb_demote(head, large), Err(Error::Huge(HugeError::Size { .. }))));
    assert!(matches!(rig.mm.hugetlb_demote(head, 1), Err(Error::Huge(HugeError::Size { .. }))));
    assert!(matches!(rig.mm.hugetlb_demote(head + 1, small), Err(Error::Page(PageError::State { .. }))));
    assert_eq!(rig.mm.hugetlb_demote(head, small), Ok(()));
    rig.assert_clean("demoted");
    let parts = 1 << (large - small);
    assert_eq!(rig.mm.hugetlb.pool(large).map(|p| p.total()), Some(0));
    assert_eq!(rig.mm.hugetlb.pool(small).map(|p| (p.total(), p.free())), Some((parts, parts)));
    for i in 0..1 << large {
        let part = Pfn::new(head.get() + (i >> small << small));
        assert_eq!(rig.mm.frames().use_of(head + i), Ok((PageKind::HugeTlb, part)));
    }
    assert_eq!(rig.mm.hugetlb_resize(small, 0), done(0));
    before.assert_same(&Snapshot::exact(&rig), "gone");
}

/// The auditor sees a tail that leads elsewhere, and a head that is on no list.
fn what_is_wrong_with_a_huge_page_is_found(g: Granule) {
    let mut rig = boot(g, 256 * MIB);
    let [order, _] = two_sizes(g);
    assert_eq!(rig.mm.hugetlb_resize(order, 1), done(1));
    let head = rig.mm.hugetlb_take(order).expect("free");
    let findings = |rig: &Rig| {
        let mut said = Vec::new();
        rig.mm.audit(&mut |finding| said.push(finding.to_string()));
        said
    };
    assert!(findings(&rig).is_empty());
    let last = head + ((1 << order) - 1);
    rig.mm.frames().pages().get(last).set_tail(order - 1);
    assert!(
        findings(&rig).iter().any(|f| f.starts_with("I6: a tail of a huge page")),
        "{:?}",
        findings(&rig)
    );
    rig.mm.frames().pages().get(last).set_tail(order);
    rig.mm.frames().pages().get(head).set_refs(0);
    assert!(findings(&rig).iter().any(|f| f.starts_with("I6: a page on the list of a pool")));
    rig.mm.frames().pages().get(head).set_refs(1);
    rig.mm.frames().pages().get(head).set_head(PageKind::Kernel, order);
    assert!(findings(&rig).iter().any(|f| f.contains("is marked kernel")));
    rig.mm.frames().pages().get(head).set_head(PageKind::HugeTlb, order);
    rig.assert_clean("right again");
}

hotmap_testkit::at_each_granule!(
    sizes_are_the_granules,
    a_pool_grows_and_shrinks_and_leaves_nothing,
    every_page_leads_to_its_head,
    what_is_taken_stays,
    a_pool_that_runs_out_keeps_what_it_got,
    memory_in_pieces_is_compacted,
    the_largest_size_is_made_of_blocks,
    a_block_with_pool_pages_goes_unless_they_are_used,
    a_free_page_is_dissolved_for_a_poisoned_one,
    a_page_is_demoted_to_any_smaller_size,
    what_is_wrong_with_a_huge_page_is_found,
);
