//! A huge page's memmap: optimised, all of it but the first page is one shared page and the rest is free memory; restored,
//! it is its own again. The witnesses are the specification's walker over the raw tables, numbers written down by hand, and
//! the emulated machine, which ends a test at the first change of a live entry that break-before-make forbids, at the first
//! stale translation used, and at the first touch of vmemmap inside a window.
#![cfg(not(miri))]

use hotmap_emulator::rig::{GIB, MIB, Rig, Shape};
use hotmap_mm::debug::bugs::Bug;
use hotmap_mm::debug::faults::Plan;
use hotmap_mm::error::BbmRule;
use hotmap_mm::error::HvoRule;
use hotmap_mm::error::{Error, HugeError, PageError, PageNeeds, SpaceError};
use hotmap_mm::frame::Mobility;
use hotmap_mm::frame::page::PageKind;
use hotmap_mm::frame::zone::ZoneKind;
use hotmap_mm::granule::{Granule, GranuleKind};
use hotmap_mm::hotplug::home::MemmapHome;
use hotmap_mm::hugetlb::pool::{Resized, Use};
use hotmap_mm::pfn::Pfn;
use hotmap_testkit::snapshot::{Detail, Snapshot};

const AT: u64 = 0x8000_0000;

/// The size that optimising is worth it for, and how many pages its memmap has: 64 bytes for each page, in pages.
fn worth(g: Granule) -> (u64, u64) {
    match g.kind {
        GranuleKind::K4 => (2 << 20, 8),
        GranuleKind::K16 => (32 << 20, 8),
        GranuleKind::K64 => (512 << 20, 8),
    }
}

fn order(g: Granule) -> u32 {
    (worth(g).0 / g.page_size).trailing_zeros()
}

/// Boot memory, and blocks of Normal memory beside it whose memmap is in system RAM.
fn boot(g: Granule, hvo: bool) -> Rig {
    boot_on(g, hvo, false)
}

fn boot_on(g: Granule, hvo: bool, bbm_level_2: bool) -> Rig {
    let mut rig = Rig::boot(g, &Shape::one("256 MiB", 0x4000_0000, 256 * MIB));
    if bbm_level_2 {
        rig.machine.support_bbm_level_2();
    }
    rig.mm.hugetlb.hvo = hvo;
    let len = Rig::blocks(g, 2).max(GIB);
    rig.plug(AT, len, MemmapHome::Ram);
    rig.online(AT, len, ZoneKind::Normal);
    rig
}

/// A pool of `count`; what comes out of it lies in the DIMM at 64K, where no block of boot memory is free.
fn pool(rig: &mut Rig, count: u64) -> Vec<Pfn> {
    let g = rig.granule();
    let resized = rig.mm.hugetlb_resize(order(g), count);
    assert_eq!(resized, Ok(Resized { total: count, stopped: None }));
    rig.mm.hugetlb.pool(order(g)).expect("a size").heads(rig.mm.frames(), Use::Free).collect()
}

/// What the specification's walker finds behind the memmap of `head`: the frame of each page of it, and whether it is
/// writable.
fn memmap(rig: &Rig, head: Pfn) -> Vec<(u64, bool)> {
    let g = rig.granule();
    let start = rig.mm.space().layout().page_address(head).get();
    let len = 64 * (worth(g).0 / g.page_size);
    let leaves = rig.machine.everything().leaves;
    (start..start + len)
        .step_by(usize::try_from(g.page_size).expect("a page"))
        .map(|va| {
            let leaf = leaves.iter().find(|l| l.va <= va && va < l.va + l.size).expect("mapped");
            (leaf.leaf.pa + (va - leaf.va), leaf.leaf.writable)
        })
        .collect()
}

/// Every page of `head` leads to it, by the rule that is written on the struct page alone.
fn leads_to_its_head(rig: &Rig, head: Pfn) {
    let g = rig.granule();
    for i in 0..1 << order(g) {
        assert_eq!(rig.mm.frames().use_of(head + i), Ok((PageKind::HugeTlb, head)), "{:?}", head + i);
    }
}

fn all_but_the_first_page_of_memmap_are_one(g: Granule) {
    let mut rig = boot(g, false);
    let heads = pool(&mut rig, 2);
    let counts = rig.mm.frames().counts();
    let before: Vec<_> = memmap(&rig, heads[0]);
    assert!(before.iter().all(|(_, writable)| *writable));
    for head in &heads {
        rig.mm.optimise(*head).expect("worth it");
        rig.assert_clean("optimised");
        leads_to_its_head(&rig, *head);
    }
    let (first, second) = (memmap(&rig, heads[0]), memmap(&rig, heads[1]));
    assert_eq!(u64::try_from(first.len()), Ok(worth(g).1));
    assert_eq!(first[0], before[0], "the head's page stays");
    assert!(first[1..].iter().all(|page| *page == first[1]), "{first:x?}");
    assert_eq!(first[1..], second[1..], "one for both");
    assert_ne!(first[0], second[0]);
    assert!(!first[1].1, "read-only");
    // 7 of 8 pages of each come back, less the shared one, and what tables a split costs (both may be in one section).
    let now = rig.mm.frames().counts();
    let tables = now.tables - counts.tables;
    assert_eq!(counts.memmap_ram - now.memmap_ram, 2 * 7 - 1);
    assert_eq!(now.free - counts.free, 2 * 7 - 1 - tables);
    assert!(
        if g.page_size == Granule::K4.page_size { (1..=2).contains(&tables) } else { tables == 0 },
        "{tables}"
    );
    let tails = rig.mm.hugetlb.tails().as_flattened();
    assert_eq!(tails.iter().map(|t| t.mappings).sum::<u64>(), 14);
    for head in &heads {
        rig.mm.restore(*head).expect("room");
        rig.assert_clean("restored");
        leads_to_its_head(&rig, *head);
        let restored = memmap(&rig, *head);
        let mut frames: Vec<_> = restored.iter().map(|(frame, _)| *frame).collect();
        frames.sort_unstable();
        frames.dedup();
        assert_eq!(frames.len(), restored.len(), "each its own");
        assert!(restored.iter().all(|(_, writable)| *writable));
    }
    assert_eq!(rig.mm.frames().counts(), counts, "joined again, and as many of each");
    assert!(rig.mm.hugetlb.tails().as_flattened().iter().all(|t| t.frame.is_none() && t.mappings == 0));
}

/// The pool optimises what enters it, and restores what leaves it: the start's counts and leaves.
fn a_pool_comes_and_goes(g: Granule) {
    for bbm_level_2 in [false, true] {
        let mut rig = boot_on(g, true, bbm_level_2);
        let before = Snapshot::of(&rig, Detail::WhereFramesMayDiffer);
        let heads = pool(&mut rig, 2);
        rig.assert_clean("a pool");
        assert_eq!(rig.mm.hugetlb.pool(order(g)).map(|p| p.optimised()), Some(2));
        heads.iter().for_each(|head| leads_to_its_head(&rig, *head));
        pool(&mut rig, 1);
        rig.assert_clean("one less");
        pool(&mut rig, 0);
        rig.assert_clean("no pool");
        before.assert_same(&Snapshot::of(&rig, Detail::WhereFramesMayDiffer), "no pool");
    }
}

fn what_is_not_worth_it_is_refused(g: Granule) {
    let mut rig = boot(g, false);
    let small = rig.mm.hugetlb.pools().next().expect("some").order();
    let pages = (64 << small) / g.page_size;
    assert!(pages <= 2);
    rig.mm.hugetlb_resize(small, 1).expect("room");
    let head = rig.mm.hugetlb_take(small).expect("one");
    let before = Snapshot::exact(&rig);
    let rule = HvoRule::Memmap { pages: pages.max(1) };
    assert_eq!(rig.mm.optimise(head), Err(Error::Huge(HugeError::NotOptimisable { pfn: head, rule })));
    assert!(matches!(
        rig.mm.restore(head),
        Err(Error::Page(PageError::State { needs: PageNeeds::Optimised, .. }))
    ));
    assert!(matches!(rig.mm.optimise(head + 1), Err(Error::Page(PageError::State { .. }))));
    before.assert_same(&Snapshot::exact(&rig), "refused");
    rig.mm.hugetlb_put(head).expect("taken");
}

fn optimised_twice_is_refused(g: Granule) {
    let mut rig = boot(g, true);
    let head = pool(&mut rig, 1)[0];
    let before = Snapshot::exact(&rig);
    assert!(matches!(rig.mm.optimise(head), Err(Error::Page(PageError::State { .. }))));
    before.assert_same(&Snapshot::exact(&rig), "refused");
}

/// A section whose memmap is its own altmap's.
fn self_hosted_memmap_is_refused(g: Granule) {
    let mut rig = Rig::boot(g, &Shape::one("256 MiB", 0x4000_0000, 256 * MIB));
    if g.page_size == 1 << 16 {
        // No 512 MiB page fits beside the memmap of its own block.
        return;
    }
    let len = Rig::blocks(g, 1);
    rig.mm.hugetlb.hvo = false;
    // Boot memory's are used up first.
    let boot = rig.mm.hugetlb_resize(order(g), 1000).expect("free").total;
    rig.plug(AT, len, MemmapHome::SelfHosted);
    rig.online(AT, len, ZoneKind::Normal);
    let head = pool(&mut rig, boot + 1)[0];
    assert!(head >= Rig::pfn(g, AT));
    let before = Snapshot::exact(&rig);
    let rule = HvoRule::Altmap;
    assert_eq!(rig.mm.optimise(head), Err(Error::Huge(HugeError::NotOptimisable { pfn: head, rule })));
    before.assert_same(&Snapshot::exact(&rig), "refused");
    // It is in the pool all the same.
    rig.mm.hugetlb.hvo = true;
    pool(&mut rig, boot);
    pool(&mut rig, boot + 1);
    assert_eq!(rig.mm.hugetlb.pool(order(g)).map(|p| p.optimised()), Some(0));
    rig.assert_clean("not optimised");
}

/// Every allocation of optimising and of restoring, each by itself and with all later ones; the second time with other pages
/// where the memmap was, so that it needs a run to be a block again.
fn what_runs_out_changes_nothing(g: Granule) {
    let mut rig = boot(g, false);
    let head = pool(&mut rig, 1)[0];
    for (plan, moves) in [(Plan::Nth as fn(u64) -> Plan, false), (Plan::From, true)] {
        let mut failures = 0;
        for n in 1.. {
            let before = Snapshot::exact(&rig);
            rig.mm.frames_mut().faults.arm(plan(n));
            let result = rig.mm.optimise(head);
            let fired = rig.mm.frames().faults.fired();
            rig.mm.frames_mut().faults.arm(Plan::Off);
            rig.assert_clean("optimise");
            if !fired {
                assert_eq!(result, Ok(()));
                break;
            }
            assert!(matches!(result, Err(Error::Out(_))), "{result:?}");
            failures += 1;
            before.assert_same(&Snapshot::exact(&rig), "optimise ran out");
        }
        // The shared page, and the table of a split.
        assert_eq!(failures, if g.page_size == Granule::K4.page_size { 2 } else { 1 });
        let taken = if moves { worth(g).1 - 1 } else { 0 };
        let mut take = || rig.mm.frames_mut().alloc(0, PageKind::Kernel, Mobility::Unmovable).expect("room");
        let taken: Vec<_> = (0..taken).map(|_| take()).collect();
        let mut failures = 0;
        for n in 1.. {
            let before = Snapshot::exact(&rig);
            rig.mm.frames_mut().faults.arm(plan(n));
            let result = rig.mm.restore(head);
            let fired = rig.mm.frames().faults.fired();
            rig.mm.frames_mut().faults.arm(Plan::Off);
            rig.assert_clean("restore");
            if result.is_ok() {
                // The last that can fail is the run for a block: without it the memmap stays split, which is no error.
                assert_eq!(fired, moves && g.page_size == Granule::K4.page_size);
                break;
            }
            assert!(matches!(result, Err(Error::Out(_))), "{result:?}");
            assert!(rig.mm.frames().pages().get(head).as_huge_head().is_optimised());
            leads_to_its_head(&rig, head);
            failures += 1;
            before.assert_same(&Snapshot::exact(&rig), "restore ran out");
        }
        assert_eq!(failures, worth(g).1 - 1);
        leads_to_its_head(&rig, head);
        taken.into_iter().for_each(|pfn| rig.mm.frames_mut().free(pfn));
        rig.mm.optimise(head).expect("once more");
        rig.mm.restore(head).expect("with the fault gone");
        rig.assert_clean("with the fault gone");
    }
}

/// Every allocation of a pool that grows, in turn: what it has then is whole, optimised or not, and all of it goes again.
fn a_pool_in_which_an_allocation_fails_is_sound(g: Granule) {
    for plan in [Plan::Nth as fn(u64) -> Plan, Plan::From] {
        let mut seen = Vec::new();
        for n in 1.. {
            let mut rig = boot(g, true);
            let before = Snapshot::of(&rig, Detail::WhereFramesMayDiffer);
            rig.mm.frames_mut().faults.arm(plan(n));
            let resized = rig.mm.hugetlb_resize(order(g), 2).expect("nothing in use");
            let fired = rig.mm.frames().faults.fired();
            rig.mm.frames_mut().faults.arm(Plan::Off);
            rig.assert_clean("a fault");
            let optimised = rig.mm.hugetlb.pool(order(g)).expect("a size").optimised();
            seen.push((resized.total, optimised));
            assert_eq!(resized.stopped.is_some(), resized.total < 2);
            pool(&mut rig, 0);
            rig.assert_clean("no pool");
            before.assert_same(&Snapshot::of(&rig, Detail::WhereFramesMayDiffer), "no pool");
            if !fired {
                break;
            }
        }
        assert_eq!((seen.first(), seen.last()), (Some(&(0, 0)), Some(&(2, 2))), "{seen:?}");
        assert!(seen.iter().any(|(total, optimised)| optimised < total), "{seen:?}");
    }
}

/// Demoting a page whose memmap cannot be restored leaves it as it was.
fn demoting_without_frames_changes_nothing(g: Granule) {
    let mut rig = boot(g, true);
    let small = rig.mm.hugetlb.pools().next().expect("some").order();
    let head = pool(&mut rig, 1)[0];
    for n in 1..worth(g).1 {
        let before = Snapshot::exact(&rig);
        rig.mm.frames_mut().faults.arm(Plan::Nth(n));
        assert!(matches!(rig.mm.hugetlb_demote(head, small), Err(Error::Out(_))));
        rig.mm.frames_mut().faults.arm(Plan::Off);
        rig.assert_clean("a fault");
        before.assert_same(&Snapshot::exact(&rig), "a fault");
    }
    rig.mm.hugetlb_demote(head, small).expect("with the fault gone");
    rig.assert_clean("demoted");
    let parts = 1 << (order(g) - small);
    assert_eq!(rig.mm.hugetlb.pool(small).map(|p| (p.total(), p.optimised())), Some((parts, 0)));
}

/// Really no memory: restoring says so, and the page is as it was; a pool that shrinks stops there.
fn restoring_under_pressure_fails_cleanly(g: Granule) {
    let mut rig = boot(g, true);
    let head = pool(&mut rig, 1)[0];
    let mut taken = Vec::new();
    while let Ok(pfn) = rig.mm.frames_mut().alloc(0, PageKind::Pinned, Mobility::Unmovable) {
        taken.push(pfn);
    }
    let before = Snapshot::exact(&rig);
    assert!(matches!(rig.mm.restore(head), Err(Error::Out(_))));
    assert!(matches!(rig.mm.hugetlb_dissolve(head), Err(Error::Out(_))));
    let resized = rig.mm.hugetlb_resize(order(g), 0).expect("free");
    assert!(matches!(resized, Resized { total: 1, stopped: Some(Error::Out(_)) }));
    before.assert_same(&Snapshot::exact(&rig), "no memory");
    rig.assert_clean("no memory");
    // Six pages are not enough, seven are.
    for pfn in taken.drain(..6) {
        rig.mm.frames_mut().free(pfn);
    }
    assert!(matches!(rig.mm.restore(head), Err(Error::Out(_))));
    rig.mm.frames_mut().free(taken.pop().expect("many"));
    rig.mm.restore(head).expect("seven");
    rig.assert_clean("seven");
    taken.into_iter().for_each(|pfn| rig.mm.frames_mut().free(pfn));
    // The next that is restored in the section finds a run.
    rig.mm.optimise(head).expect("room");
    rig.mm.restore(head).expect("room");
    rig.assert_clean("room");
    let leaves = rig.machine.everything().leaves;
    let va = rig.mm.space().layout().page_address(head.align_down(g.section_order)).get();
    let size = leaves.iter().find(|l| l.va == va).expect("mapped").size;
    assert_eq!(size, if g.page_size == Granule::K4.page_size { 2 * MIB } else { g.page_size });
}

/// The block of a DIMM with optimised pages goes: they are restored and dissolved, and its memmap goes, whatever maps it.
fn a_dimm_with_optimised_pages_goes(g: Granule) {
    for join in [true, false] {
        let mut rig = Rig::boot(g, &Shape::one("1 GiB", 0x4000_0000, GIB));
        let before = Snapshot::of(&rig, Detail::WhereFramesMayDiffer);
        let len = Rig::blocks(g, 2);
        rig.mm.hugetlb.hvo = false;
        let boot = rig.mm.hugetlb_resize(order(g), 1000).expect("free").total;
        rig.plug(AT, len, MemmapHome::Ram);
        rig.online(AT, len, ZoneKind::Normal);
        rig.mm.hugetlb.hvo = true;
        let added = 2;
        let heads = pool(&mut rig, boot + added);
        let mine: Vec<_> = heads.into_iter().filter(|h| *h >= Rig::pfn(g, AT)).collect();
        assert_eq!(mine.len() as u64, added);
        assert_eq!(rig.mm.hugetlb.pool(order(g)).map(|p| p.optimised()), Some(added));
        // Room to restore into, outside of what goes.
        pool_shrink(&mut rig, boot, added);
        if !join {
            // No run for a block is free: only single pages are.
            take_runs(&mut rig);
        }
        rig.assert_clean("before it goes");
        rig.unplug(AT, len);
        rig.assert_clean("gone");
        for pfn in kept(&rig) {
            rig.mm.frames_mut().free(pfn);
        }
        assert_eq!(rig.mm.hugetlb_resize(order(g), 0), Ok(Resized { total: 0, stopped: None }));
        rig.assert_clean("all gone");
        before.assert_same(&Snapshot::of(&rig, Detail::WhereFramesMayDiffer), "all gone");
    }
}

/// One page of boot memory's leaves the pool.
fn pool_shrink(rig: &mut Rig, boot: u64, added: u64) {
    let g = rig.granule();
    let pool = *rig.mm.hugetlb.pool(order(g)).expect("a size");
    let one = pool.heads(rig.mm.frames(), Use::Free).find(|h| *h < Rig::pfn(g, AT));
    if let Some(head) = one {
        rig.mm.hugetlb_dissolve(head).expect("free");
        assert_eq!(rig.mm.hugetlb.pool(order(g)).map(|p| p.total()), Some(boot + added - 1));
    }
}

/// Take every run of 2 MiB, and give back every other page of one.
fn take_runs(rig: &mut Rig) {
    let g = rig.granule();
    let order = (2 * MIB / g.page_size).trailing_zeros();
    let dimm = Rig::pfn(g, AT);
    let mut runs = Vec::new();
    while let Ok(pfn) = rig.mm.frames_mut().alloc(order, PageKind::Kernel, Mobility::Unmovable) {
        runs.push(pfn);
    }
    // What the DIMM has must be free for it to go.
    runs.iter().filter(|pfn| **pfn >= dimm).for_each(|pfn| rig.mm.frames_mut().free(*pfn));
    let boot = runs.into_iter().filter(|pfn| *pfn < dimm);
    for run in boot.take(1) {
        rig.mm.frames_mut().free(run);
        let pages: Vec<_> = (0..1 << order).map(|i| run + i).collect();
        pages.iter().step_by(2).for_each(|pfn| rig.mm.pin(*pfn).expect("free"));
    }
}

/// What was taken and not given back.
fn kept(rig: &Rig) -> Vec<Pfn> {
    let g = rig.granule();
    let pages = rig.mm.frames().pages();
    let mut kept = Vec::new();
    for block in rig.mm.frames().blocks() {
        let (mut at, end) = (block.start, block.start + g.section_pages);
        while at < end {
            let page = pages.get(at);
            if matches!(page.kind(), PageKind::Kernel | PageKind::Pinned) {
                kept.push(at);
            }
            at = at + (1 << page.order());
        }
    }
    kept
}

/// A page that is larger than a section's memmap is shared with all of its sections.
fn the_largest_size_keeps_one_page(g: Granule) {
    let (bytes, memmap) = match g.kind {
        GranuleKind::K4 => (GIB, 4096),
        GranuleKind::K16 => (GIB, 256),
        GranuleKind::K64 => (16 * GIB, 256),
    };
    for bbm_level_2 in [false, true] {
        let mut rig = Rig::boot(g, &Shape::one("256 MiB", 0x4000_0000, 256 * MIB));
        if bbm_level_2 {
            rig.machine.support_bbm_level_2();
        }
        rig.plug(16 * GIB, bytes, MemmapHome::Ram);
        rig.online(16 * GIB, bytes, ZoneKind::Movable);
        let before = Snapshot::of(&rig, Detail::WhereFramesMayDiffer);
        let counts = rig.mm.frames().counts();
        let order = (bytes / g.page_size).trailing_zeros();
        assert_eq!(rig.mm.hugetlb_resize(order, 1), Ok(Resized { total: 1, stopped: None }));
        rig.assert_clean("optimised");
        let now = rig.mm.frames().counts();
        assert_eq!(counts.memmap_ram - now.memmap_ram, memmap - 2, "one is the head's, one is shared");
        assert_eq!(now.tables - counts.tables, if g.page_size == Granule::K4.page_size { 8 } else { 0 });
        let head = Rig::pfn(g, 16 * GIB);
        for i in (0..1u64 << order).step_by(61).chain([1, (1 << order) - 1]) {
            assert_eq!(rig.mm.frames().use_of(head + i), Ok((PageKind::HugeTlb, head)));
        }
        let small = rig.mm.hugetlb.pools().rev_nth(1);
        rig.mm.hugetlb_demote(head, small).expect("free");
        rig.assert_clean("demoted");
        assert_eq!(rig.mm.hugetlb_resize(small, 0), Ok(Resized { total: 0, stopped: None }));
        rig.assert_clean("gone");
        before.assert_same(&Snapshot::of(&rig, Detail::WhereFramesMayDiffer), "gone");
    }
}

trait Smaller {
    fn rev_nth(self, n: usize) -> u32;
}
impl<'a, I: Iterator<Item = &'a hotmap_mm::hugetlb::pool::Pool>> Smaller for I {
    /// The order of the n-th pool from the end.
    fn rev_nth(self, n: usize) -> u32 {
        let orders: Vec<_> = self.map(|p| p.order()).collect();
        orders[orders.len() - 1 - n]
    }
}

/// The break-before-make check refuses an optimising that skips the rules, names the rule, and nothing has changed.
fn without_break_before_make_it_is_refused(g: Granule) {
    for bbm_level_2 in [false, true] {
        let mut rig = boot_on(g, false, bbm_level_2);
        let head = pool(&mut rig, 1)[0];
        let before = Snapshot::exact(&rig);
        rig.mm.set_bug(Some(Bug::NoBbm));
        let refused = rig.mm.optimise(head);
        rig.mm.set_bug(None);
        // Without level 2 the split is refused; where there is nothing to split, or with it, the new address is.
        let split = g.page_size == Granule::K4.page_size && !bbm_level_2;
        let rule = if split { BbmRule::BlockSize } else { BbmRule::AddressWhileWritable };
        assert!(
            matches!(refused, Err(Error::Space(SpaceError::BreakBeforeMake { rule: found, .. })) if found == rule),
            "{refused:?}"
        );
        rig.assert_clean("refused");
        before.assert_same(&Snapshot::exact(&rig), "refused");
        rig.mm.optimise(head).expect("by the rules");
        // Restoring: the join in one step is refused, so the memmap stays mapped by pages; the rest is right.
        rig.mm.set_bug(Some(Bug::NoBbm));
        rig.mm.restore(head).expect("the rest is legal");
        rig.mm.set_bug(None);
        rig.assert_clean("restored");
        leads_to_its_head(&rig, head);
    }
}

/// A write to a tail is found before anything is shared: the last tail of all, so that all pages are looked at.
fn a_tail_that_says_something_is_refused_and_nothing_has_changed(g: Granule) {
    let mut rig = boot(g, false);
    let head = pool(&mut rig, 1)[0];
    let last = memmap(&rig, head).last().expect("pages").0 + g.page_size - 64;
    rig.machine.memory().poke(last + 16, 1);
    let before = Snapshot::exact(&rig);
    let at = rig.mm.space().layout().page_address(head) + (64 * (worth(g).0 / g.page_size) - g.page_size);
    let rule = BbmRule::AddressWithOtherContents;
    assert_eq!(rig.mm.optimise(head), Err(Error::Space(SpaceError::BreakBeforeMake { at, rule })));
    before.assert_same(&Snapshot::exact(&rig), "a tail says something");
    rig.assert_clean("a tail says something");
    rig.machine.memory().poke(last + 16, 0);
    rig.mm.optimise(head).expect("nothing is left of it");
}

/// A shared page that was written to is not what the new frames say, so no entry may change to them: the frames are free
/// again.
fn a_refused_restore_gives_its_frames_back(g: Granule) {
    let mut rig = boot(g, true);
    let head = pool(&mut rig, 1)[0];
    let word = memmap(&rig, head)[1].0 + 5 * 64 + 16;
    rig.machine.memory().poke(word, 1);
    let before = Snapshot::exact(&rig);
    let at = rig.mm.space().layout().page_address(head) + g.page_size;
    let rule = BbmRule::AddressWithOtherContents;
    for _ in 0..2 {
        assert_eq!(rig.mm.restore(head), Err(Error::Space(SpaceError::BreakBeforeMake { at, rule })));
        before.assert_same(&Snapshot::exact(&rig), "refused");
    }
    rig.machine.memory().poke(word, 0);
    rig.assert_clean("refused");
    rig.mm.restore(head).expect("as it was");
    rig.assert_clean("restored");
}

/// What an auditor must find: a shared page that was written to, a count that is wrong, a shared page that can be written to.
fn what_is_wrong_with_a_shared_page_is_found(g: Granule) {
    let mut rig = boot(g, true);
    let head = pool(&mut rig, 1)[0];
    let found = |rig: &Rig| {
        let mut said = Vec::new();
        rig.mm.audit(&mut |finding| said.push(finding.to_string()));
        said.join("\n")
    };
    assert_eq!(found(&rig), "");
    let frame = memmap(&rig, head)[1].0;
    let word = frame + 5 * 64 + 16;
    rig.machine.memory().poke(word, 1);
    assert!(found(&rig).contains("I3: a shared page of memmap was written to"), "{}", found(&rig));
    rig.machine.memory().poke(word, 0);
    assert_eq!(found(&rig), "");
    // The entry of a page of tails, found by the specification's walker, made writable behind the model's back.
    let va = rig.mm.space().layout().page_address(head).get() + g.page_size;
    let spec = rig.machine.spec();
    let walk = hotmap_emulator::arch::walker::walk(spec, rig.machine.memory(), rig.machine.root(), va);
    let read = walk.expect("mapped").reads[3].expect("a page");
    rig.machine.memory().poke(read.at, read.raw & !(1 << 7));
    assert!(found(&rig).contains("I3: a frame that many entries share can be written"), "{}", found(&rig));
    rig.machine.memory().poke(read.at, read.raw & !(1 << 56));
    let said = found(&rig);
    assert!(said.contains("I3: entries that map a shared page of memmap"), "{said}");
    rig.machine.memory().poke(read.at, read.raw);
    assert_eq!(found(&rig), "");
}

/// Tenants' pages beside, blocks that come and go, and huge pages optimised, restored, taken, demoted, in an order that a
/// generator picks: the start's counts at the end.
fn in_any_order(g: Granule) {
    for seed in 1..=6u64 {
        let mut rig = boot_on(g, true, seed % 2 == 0);
        let tenant = rig.mm.tenant_new(40).expect("room");
        let before = Snapshot::of(&rig, Detail::WhereFramesMayDiffer);
        let (mut state, order) = (seed, order(g));
        for _ in 0..60 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let dice = state >> 33;
            let heads: Vec<_> = {
                let pool = *rig.mm.hugetlb.pool(order).expect("a size");
                pool.heads(rig.mm.frames(), Use::Free)
                    .chain(pool.heads(rig.mm.frames(), Use::Taken))
                    .collect()
            };
            let some = heads.get(usize::try_from(dice / 16).expect("small") % heads.len().max(1)).copied();
            match (dice % 8, some) {
                (0 | 1, _) => drop(rig.mm.hugetlb_resize(order, dice / 8 % 3)),
                (2, Some(head)) => drop(rig.mm.optimise(head)),
                (3, Some(head)) => drop(rig.mm.restore(head)),
                (4, Some(head)) => drop(rig.mm.hugetlb_put(head)),
                (5, _) => drop(rig.mm.hugetlb_take(order)),
                (6, _) => rig.mm.hugetlb.hvo = !rig.mm.hugetlb.hvo,
                _ => {
                    // Blocks of the DIMM go and come, with what is free in them.
                    let block = Rig::pfn(g, AT);
                    if rig.mm.offline_block(block).is_ok() {
                        rig.mm.online_block(block, ZoneKind::Normal).expect("offline");
                    }
                }
            }
            rig.assert_clean("a step");
        }
        assert_eq!(rig.mm.tenant_check(tenant), Ok(40));
        while let Some(head) =
            { rig.mm.hugetlb.pool(order).and_then(|p| p.heads(rig.mm.frames(), Use::Taken).next()) }
        {
            rig.mm.hugetlb_put(head).expect("taken");
        }
        assert_eq!(rig.mm.hugetlb_resize(order, 0), Ok(Resized { total: 0, stopped: None }));
        before.assert_same(&Snapshot::of(&rig, Detail::WhereFramesMayDiffer), &format!("seed {seed}"));
        rig.unplug(AT, Rig::blocks(g, 2).max(GIB));
        rig.assert_clean("the DIMM is gone");
    }
}

hotmap_testkit::at_each_granule!(
    a_refused_restore_gives_its_frames_back,
    all_but_the_first_page_of_memmap_are_one,
    a_pool_comes_and_goes,
    what_is_not_worth_it_is_refused,
    optimised_twice_is_refused,
    self_hosted_memmap_is_refused,
    what_runs_out_changes_nothing,
    a_pool_in_which_an_allocation_fails_is_sound,
    demoting_without_frames_changes_nothing,
    restoring_under_pressure_fails_cleanly,
    a_dimm_with_optimised_pages_goes,
    the_largest_size_keeps_one_page,
    without_break_before_make_it_is_refused,
    a_tail_that_says_something_is_refused_and_nothing_has_changed,
    what_is_wrong_with_a_shared_page_is_found,
    in_any_order,
);
