//! What is refused, and what is undone.

use hotmap_emulator::rig::Rig;
use hotmap_mm::addr::PhysAddr;
use hotmap_mm::debug::faults::Plan;
use hotmap_mm::error::{BlockError, Error, PageError, PageNeeds, RangeError, Result};
use hotmap_mm::frame::block::Source;
use hotmap_mm::frame::page::PageKind;
use hotmap_mm::frame::zone::ZoneKind;
use hotmap_mm::granule::Granule;
use hotmap_mm::hotplug::home::MemmapHome;
use hotmap_mm::hotplug::range::HotRange;
use hotmap_mm::pfn::PfnRange;
use hotmap_testkit::snapshot::{Detail, Snapshot};

use crate::machine::{AT, HOMES, Parts};

/// What is no part of a block that could come or go, and what in a part cannot go.
fn what_cannot_be_is_refused_by_name(g: Granule) {
    for home in HOMES {
        let mut parts = Parts::with(g, home, ZoneKind::Normal, 8);
        let (first, unit) = (Rig::pfn(g, AT), g.subsection_pages);
        let before = Snapshot::exact(&parts.rig);
        let boundary =
            PfnRange { start: first + (g.section_pages - unit), end: first + (g.section_pages + unit) };
        let half = PfnRange::new(first + unit, unit / 2);
        let nothing = PfnRange::new(first + 3 * unit, 0);
        let elsewhere = PfnRange::new(first + 8 * g.section_pages, unit);
        for (pages, expected) in [
            (
                boundary,
                Error::Range(RangeError::NotOneBlock { range: boundary.addresses(g), block: g.section_size }),
            ),
            (half, Error::Range(RangeError::NotSubsectionAligned(half.addresses(g)))),
            (nothing, Error::Range(RangeError::Empty(nothing.start.address(g)))),
            (elsewhere, Error::Block(BlockError::Absent(elsewhere.start.address(g)))),
        ] {
            assert_eq!(parts.rig.mm.plug_part(pages), Err(expected));
            assert_eq!(parts.rig.mm.unplug_part(pages, &mut |_| false), Err(expected));
        }
        let state = |pfn, is, needs| Error::Page(PageError::State { pfn, is, needs });
        let some = parts.pages(7..9);
        let free = parts.rig.mm.frames().use_of(some.start).expect("valid").0;
        assert_eq!(parts.rig.mm.plug_part(some), Err(state(some.start, free, PageNeeds::Unplugged)));
        let at = some.start + unit;
        let refused = parts.rig.mm.unplug_part(some, &mut |_| false);
        assert_eq!(refused, Err(state(at, PageKind::Unplugged, PageNeeds::Plugged)));
        for is in [parts.rig.mm.pin(at), parts.rig.mm.poison(at).map(drop), parts.rig.mm.unpoison(at)] {
            assert!(
                matches!(is, Err(Error::Page(PageError::State { is: PageKind::Unplugged, .. }))),
                "{is:?}"
            );
        }
        assert!(parts.rig.mm.host_memmap(at, 0).is_err());
        parts.rig.mm.frames_mut().free(at);
        assert_eq!(core::mem::take(&mut parts.rig.mm.frames_mut().warnings.bad_free), 1);
        before.assert_same(&Snapshot::exact(&parts.rig), "refused");
        // The memmap stays.
        let memmap = parts.rig.mm.unplug_part(parts.pages(0..1), &mut |_| false);
        match home {
            MemmapHome::SelfHosted => {
                let kind = PageKind::MemmapSelf;
                assert_eq!(memmap, Err(Error::Page(PageError::Unmovable { pfn: first, kind })));
            }
            MemmapHome::Demand => {
                let len = g.section_pages * 64 / g.page_size;
                let memmap_is = PfnRange::new(first, len).addresses(g);
                let error = BlockError::MemmapUnplugged { block: first.address(g), memmap: memmap_is };
                assert_eq!(memmap, Err(Error::Block(error)));
            }
            _ => {
                assert!(memmap.is_ok());
                parts.no_ram(0..1);
                parts.plug(0..1);
            }
        }
        before.assert_same(&Snapshot::exact(&parts.rig), "refused");
        // What is held, poisoned or the kernel's.
        let pfn = first + 5 * unit + 3;
        let unplug = |parts: &mut Parts| parts.rig.mm.unplug_part(parts.pages(4..6), &mut |_| false);
        parts.rig.mm.pin(pfn).expect("free");
        assert_eq!(unplug(&mut parts), Err(Error::Page(PageError::Pinned { pfn, refs: 1 })));
        parts.rig.mm.unpin(pfn).expect("pinned");
        parts.rig.mm.poison(pfn).expect("free");
        assert_eq!(unplug(&mut parts), Err(Error::Page(PageError::Poisoned(pfn))));
        parts.check("poisoned");
        parts.rig.mm.unpoison(pfn).expect("poisoned");
        before.assert_same(&Snapshot::exact(&parts.rig), "refused");
        assert_eq!(unplug(&mut parts).map(|o| o.migrated), Ok(0));
    }
}

/// Memmap in the block needs the first pages; a part of another block, or of two, is none.
fn a_block_without_its_memmaps_pages_is_refused(g: Granule) {
    for home in [MemmapHome::SelfHosted, MemmapHome::Demand, MemmapHome::SelfRange { reserve: 0 }] {
        let mut parts = Parts::boot(g);
        let before = Snapshot::exact(&parts.rig);
        parts.ram(1..4);
        let refused = parts.come(home, ZoneKind::Movable, 1..4);
        assert!(
            matches!(refused, Err(Error::Block(BlockError::MemmapUnplugged { block, .. })) if block.get() == AT),
            "{refused:?}"
        );
        before.assert_same(&Snapshot::exact(&parts.rig), "refused");
    }
    let mut parts = Parts::boot(g);
    let (hot, zone) = (parts.hot(), ZoneKind::Movable);
    let mm = &mut parts.rig.mm;
    let next = PfnRange::new(hot.pages().end, g.subsection_pages);
    let refused = mm.plug_block_part(&hot, next, MemmapHome::Ram, zone, |_, _| {});
    assert!(matches!(refused, Err(Error::Range(RangeError::NotOneBlock { .. }))), "{refused:?}");
    let two = HotRange::new(mm, PhysAddr::new(AT), 2 * g.section_size, Source::VirtioMem(0)).expect("free");
    let first = PfnRange::new(hot.pages().start, g.subsection_pages);
    let refused = mm.plug_block_part(&two, first, MemmapHome::Ram, zone, |_, _| {});
    assert!(matches!(refused, Err(Error::Range(RangeError::NotOneBlock { .. }))), "{refused:?}");
}

/// Fails the n-th allocation of `act`, for each n: the machine is as it was, up to what migrated. Returns how many failed.
fn fail_each(parts: &mut Parts, what: &str, act: impl Fn(&mut Parts) -> Result<()>) -> u64 {
    for n in 1.. {
        let before = Snapshot::of(&parts.rig, Detail::WherePagesMayHaveMoved);
        parts.rig.mm.frames_mut().faults.arm(Plan::Nth(n));
        let result = act(parts);
        let fired = parts.rig.mm.frames().faults.fired();
        parts.rig.mm.frames_mut().faults.arm(Plan::Off);
        let when = format!("{} {what}, allocation {n}: {result:?}", parts.g.kind);
        match result {
            Ok(()) if !fired => return n - 1,
            // An allocation that failed was tried again.
            Ok(()) => return n,
            Err(Error::Out(_) | Error::Page(PageError::Stays { .. })) => {}
            Err(other) => panic!("{when}: {other}"),
        }
        parts.rig.assert_clean(&when);
        before.assert_same(&Snapshot::of(&parts.rig, Detail::WherePagesMayHaveMoved), &when);
    }
    unreachable!("an operation makes an end")
}

fn what_fails_half_way_is_undone(g: Granule) {
    for home in HOMES {
        let mut parts = Parts::boot(g);
        parts.ram(0..5);
        let came = fail_each(&mut parts, "a block comes", |parts| parts.come(home, ZoneKind::Movable, 0..5));
        assert!(came >= 3, "{home:?}: {came}");
        parts.check("came");
        parts.ram(7..9);
        fail_each(&mut parts, "a part comes", |parts| parts.rig.mm.plug_part(parts.pages(7..9)));
        parts.check("a part came");
        let pages = parts.block().free.pages();
        let tenant = parts.rig.mm.tenant_new(pages).expect("room");
        fail_each(&mut parts, "a part goes", |parts| {
            parts.rig.mm.unplug_part(parts.pages(1..4), &mut |_| false).map(drop)
        });
        parts.no_ram(1..4);
        parts.check("a part went");
        assert_eq!(parts.rig.mm.tenant_check(tenant), Ok(pages));
        parts.rig.mm.tenant_drop(tenant).expect("not held");
        parts.check("empty");
        parts.go();
    }
}

hotmap_testkit::at_each_granule!(
    what_cannot_be_is_refused_by_name,
    a_block_without_its_memmaps_pages_is_refused,
    what_fails_half_way_is_undone,
);
