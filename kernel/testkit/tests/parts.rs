//! Memory blocks of which only a part is plugged. The machine withholds the rest: an access to it ends the test.
#![cfg(not(miri))]

use std::collections::BTreeSet;

use hotmap_mm::addr::PhysAddr;
use hotmap_mm::debug::faults::Plan;
use hotmap_mm::error::{BlockError, Error, PageError, PageNeeds, RangeError, Result};
use hotmap_mm::frame::Mobility;
use hotmap_mm::frame::block::{BlockState, MemoryBlock, Source};
use hotmap_mm::frame::counts::Counts;
use hotmap_mm::frame::page::PageKind;
use hotmap_mm::frame::zone::ZoneKind;
use hotmap_mm::granule::Granule;
use hotmap_mm::hotplug::home::MemmapHome;
use hotmap_mm::hotplug::range::HotRange;
use hotmap_mm::pfn::{Pfn, PfnRange};
use hotmap_testkit::rig::{MIB, Rig, Shape, range};
use hotmap_testkit::snapshot::{Detail, Snapshot};

/// The block that comes in parts.
const AT: u64 = 0x1_0000_0000;
/// What is plugged or not: a subsection.
const UNIT: u64 = 2 * MIB;
const HOMES: [MemmapHome; 3] = [MemmapHome::Ram, MemmapHome::SelfHosted, MemmapHome::Demand];

/// A machine, and which units of the block at [`AT`] have RAM.
struct Parts {
    rig: Rig,
    g: Granule,
    units: BTreeSet<u64>,
}

impl Parts {
    fn boot(g: Granule) -> Self {
        let rig = Rig::boot(g, &Shape::one("256 MiB", 0x4000_0000, 256 * MIB));
        Self { rig, g, units: BTreeSet::new() }
    }

    /// A machine with the first `units` units of a block in `zone`.
    fn with(g: Granule, home: MemmapHome, zone: ZoneKind, units: u64) -> Self {
        let mut parts = Self::boot(g);
        parts.ram(0..units);
        parts.come(home, zone, 0..units).unwrap_or_else(|e| panic!("{home:?}: {e}"));
        parts.check("a block in part");
        parts
    }

    /// How many units a block has.
    fn all(&self) -> u64 {
        self.g.section_size / UNIT
    }

    fn pages(&self, units: std::ops::Range<u64>) -> PfnRange {
        PfnRange::inside(self.g, range(AT + units.start * UNIT, (units.end - units.start) * UNIT))
    }

    fn block(&self) -> MemoryBlock {
        self.rig.mm.frames().block_of(Rig::pfn(self.g, AT)).expect("present")
    }

    /// There is RAM behind `units`.
    fn ram(&mut self, units: std::ops::Range<u64>) {
        if !self.rig.machine.memory().is_present(AT, UNIT) {
            self.rig.machine.plug(AT, self.g.section_size);
            self.rig.machine.memory().provide(AT, self.g.section_size, false);
        }
        for unit in units {
            self.rig.machine.memory().provide(AT + unit * UNIT, UNIT, true);
            self.units.insert(unit);
        }
    }

    /// There is none any more.
    fn no_ram(&mut self, units: std::ops::Range<u64>) {
        for unit in units.filter(|unit| self.units.remove(unit)) {
            self.rig.machine.memory().provide(AT + unit * UNIT, UNIT, false);
        }
    }

    fn hot(&self) -> HotRange {
        let hot = HotRange::new(&self.rig.mm, PhysAddr::new(AT), self.g.section_size, Source::VirtioMem(0));
        hot.expect("nothing is there").in_blocks()
    }

    fn come(&mut self, home: MemmapHome, zone: ZoneKind, units: std::ops::Range<u64>) -> Result<()> {
        let (hot, plugged) = (self.hot(), self.pages(units));
        self.rig.mm.plug_block_part(&hot, plugged, home, zone, |_, _| {})
    }

    fn plug(&mut self, units: std::ops::Range<u64>) {
        self.ram(units.clone());
        let pages = self.pages(units.clone());
        self.rig.mm.plug_part(pages).unwrap_or_else(|e| panic!("{units:?}: {e}"));
        self.check(&format!("plugged {units:?}"));
    }

    fn unplug(&mut self, units: std::ops::Range<u64>) -> u64 {
        let pages = self.pages(units.clone());
        let done = self.rig.mm.unplug_part(pages, &mut |_| false);
        let migrated = done.unwrap_or_else(|e| panic!("{units:?}: {e}")).migrated;
        self.no_ram(units.clone());
        self.check(&format!("unplugged {units:?}"));
        migrated
    }

    fn go(&mut self) {
        let len = self.g.section_size;
        self.rig.mm.unplug(range(AT, len)).expect("nothing has to stay");
        self.no_ram(0..self.all());
        self.rig.machine.unplug(AT);
        self.rig.assert_clean("gone");
    }

    /// The model says that the units with RAM, and no others, are plugged.
    fn check(&self, when: &str) {
        let (g, block) = (self.g, self.block());
        self.rig.assert_clean(when);
        let expected = (0..self.all()).partition::<Vec<_>, _>(|unit| self.units.contains(unit));
        let units = |part: PfnRange| {
            let unit = |pfn: Pfn| (pfn - block.start) / g.subsection_pages;
            unit(part.start)..unit(part.end)
        };
        let frames = self.rig.mm.frames();
        let plugged: Vec<u64> = frames.plugged_parts(block.start).flat_map(units).collect();
        let unplugged: Vec<u64> = frames.unplugged_parts(block.start + 1).flat_map(units).collect();
        assert_eq!((plugged, unplugged), expected, "{when}");
        assert_eq!(block.unplugged, expected.1.len() as u64 * g.subsection_pages, "{when}");
        assert_eq!(block.present, expected.0.len() as u64 * g.subsection_pages, "{when}");
        for unit in &expected.1 {
            let first = self.pages(*unit..unit + 1).start;
            for pfn in [first, first + (g.subsection_pages - 1)] {
                assert_eq!(frames.use_of(pfn).map(|u| u.0), Ok(PageKind::Unplugged), "{when}: {pfn}");
            }
        }
    }

    /// The counts, as if nothing were lent: what a block on demand lends depends on where its runs and lent pages are.
    fn without_lent(&self) -> Counts {
        let counts = self.rig.mm.frames().counts();
        let lent = self.block().memmap_inside;
        Counts { free: counts.free + lent, memmap_self: counts.memmap_self - lent, ..counts }
    }

    /// Takes all memory that there is, single pages; none of it is unplugged. The contents are written.
    fn take_all(&mut self) -> Vec<Pfn> {
        let mut taken = Vec::new();
        while let Ok(pfn) = self.rig.mm.frames_mut().alloc(0, PageKind::Pinned, Mobility::Movable) {
            taken.push(pfn);
        }
        for pfn in &taken {
            let at = pfn.address(self.g).get();
            if (AT..AT + self.g.section_size).contains(&at) {
                assert!(self.units.contains(&((at - AT) / UNIT)), "{pfn} is handed out");
            }
        }
        taken
    }

    fn free(&mut self, pages: Vec<Pfn>) {
        pages.into_iter().for_each(|pfn| self.rig.mm.frames_mut().free(pfn));
    }
}

fn a_block_comes_with_a_part_and_goes(g: Granule) {
    for home in HOMES {
        for zone in ZoneKind::ALL {
            let before = Snapshot::of(&Parts::boot(g).rig, Detail::WhereFramesMayDiffer);
            let counts = Parts::boot(g).rig.mm.frames().counts();
            let mut parts = Parts::with(g, home, zone, 3);
            let now = parts.rig.mm.frames().counts();
            assert_eq!(now.present, counts.present + 3 * g.subsection_pages, "{home:?}");
            assert_eq!(parts.block().source.to_string(), "virtio-mem0");
            assert_eq!(parts.rig.mm.frames().zone(zone).present % g.subsection_pages, 0);
            let lent_less = parts.without_lent();
            let taken = parts.take_all();
            parts.check("full");
            parts.free(taken);
            assert_eq!(parts.without_lent(), lent_less, "{home:?}: all is free again");
            parts.check("all is free again");
            parts.go();
            before.assert_same(&Snapshot::of(&parts.rig, Detail::WhereFramesMayDiffer), "gone");
        }
    }
}

/// With its memmap in system RAM the plugged part can be anywhere in the block.
fn a_part_in_the_middle(g: Granule) {
    let mut parts = Parts::boot(g);
    parts.ram(5..9);
    parts.come(MemmapHome::Ram, ZoneKind::Movable, 5..9).expect("room");
    parts.check("in the middle");
    parts.plug(2..5);
    parts.plug(9..10);
    let taken = parts.take_all();
    parts.free(taken);
    parts.unplug(6..8);
    parts.plug(7..8);
    let tenant = parts.rig.mm.tenant_new(300).expect("room");
    assert_eq!(parts.rig.mm.tenant_check(tenant), Ok(300));
    parts.rig.mm.tenant_drop(tenant).expect("not held");
    parts.unplug(2..6);
    parts.unplug(7..10);
    assert_eq!(parts.block().present, 0, "a block without a plugged part stays until it is removed");
    parts.go();
}

fn plugging_part_after_part_ends_as_if_the_block_had_come_whole(g: Granule) {
    for home in HOMES {
        let mut whole = Parts::boot(g);
        whole.ram(0..whole.all());
        let hot = whole.hot();
        whole.rig.mm.plug(&hot, home, ZoneKind::Movable, |_, _| {}).expect("room");
        whole.check("whole");
        let mut parts = Parts::with(g, home, ZoneKind::Movable, 1);
        (1..parts.all()).for_each(|unit| parts.plug(unit..unit + 1));
        Snapshot::exact(&whole.rig).assert_same(&Snapshot::exact(&parts.rig), &format!("{home:?}"));
        assert_eq!(parts.rig.mm.frames().extents().len(), usize::from(home == MemmapHome::Demand));
        // And in one piece.
        let mut parts = Parts::with(g, home, ZoneKind::Movable, 3);
        parts.plug(3..parts.all());
        Snapshot::exact(&whole.rig).assert_same(&Snapshot::exact(&parts.rig), &format!("{home:?}"));
    }
}

/// From the top, unit after unit, down to the first, which keeps the memmap; and back in another order.
fn unplugging_part_after_part_lends_no_more_than_there_is(g: Granule) {
    for home in HOMES {
        let mut parts = Parts::with(g, home, ZoneKind::Movable, 1);
        parts.plug(1..parts.all());
        (1..parts.all()).rev().for_each(|unit| assert_eq!(parts.unplug(unit..unit + 1), 0));
        assert_eq!(parts.block().present, g.subsection_pages);
        let taken = parts.take_all();
        parts.check("full");
        parts.free(taken);
        (1..parts.all()).step_by(2).for_each(|unit| parts.plug(unit..unit + 1));
        (2..parts.all()).step_by(2).for_each(|unit| parts.plug(unit..unit + 1));
        parts.go();
    }
}

/// A full block: each page that goes moves to boot memory with its contents.
fn pages_in_use_migrate_out_of_the_part(g: Granule) {
    for home in HOMES {
        for units in [9..12, 2..3] {
            let mut parts = Parts::with(g, home, ZoneKind::Movable, 12);
            let pages = parts.block().free.pages();
            let tenant = parts.rig.mm.tenant_new(pages).expect("room");
            let inside = parts.block().tenant_pages;
            assert!(inside + g.subsection_pages >= pages, "{inside} of {pages}");
            let migrated = parts.unplug(units.clone());
            assert!(migrated != 0 && parts.block().tenant_pages == inside - migrated);
            assert_eq!(parts.rig.mm.tenant_check(tenant), Ok(pages));
            parts.plug(units);
            parts.rig.mm.tenant_drop(tenant).expect("not held");
            parts.check("empty");
            parts.go();
        }
    }
}

/// Nothing is free elsewhere: the pages move within the block, and none of them to where it has to leave again.
fn pages_in_use_move_within_the_block_if_no_other_has_room(g: Granule) {
    for home in HOMES {
        let mut parts = Parts::with(g, home, ZoneKind::Movable, 12);
        let free = parts.block().free.pages();
        let left = 4 * g.subsection_pages + g.subsection_pages / 2;
        let tenant = parts.rig.mm.tenant_new(free - left).expect("room");
        // All that is not movable is in use: boot memory.
        while parts.rig.mm.frames_mut().alloc(0, PageKind::Kernel, Mobility::Unmovable).is_ok() {}
        // From the top down, as a device asks for it: each unit is in use to a part.
        let mut migrated = 0;
        for unit in (8..12).rev() {
            let used = parts.block().tenant_pages;
            migrated += parts.unplug(unit..unit + 1);
            assert_eq!(parts.block().tenant_pages, used, "{home:?}");
        }
        assert!(migrated != 0);
        let free = parts.rig.mm.frames().counts().free;
        assert!(free <= g.subsection_pages, "{free}");
        // One more does not fit: it stays as it is, but for what has moved.
        let what = Snapshot::of(&parts.rig, Detail::WherePagesMayHaveMoved);
        let refused = parts.rig.mm.unplug_part(parts.pages(7..8), &mut |_| false);
        let last = parts.pages(7..8);
        assert!(
            matches!(refused, Err(Error::Page(PageError::Stays { pfn, .. })) if last.contains(pfn)),
            "{refused:?}"
        );
        parts.check("one that does not fit");
        what.assert_same(&Snapshot::of(&parts.rig, Detail::WherePagesMayHaveMoved), "one that does not fit");
        assert!(parts.rig.mm.tenant_check(tenant).is_ok());
        parts.rig.mm.tenant_drop(tenant).expect("not held");
        parts.check("empty");
    }
}

fn huge_pages_are_dissolved(g: Granule) {
    for home in HOMES {
        let mut parts = Parts::with(g, home, ZoneKind::Normal, 16);
        let orders: Vec<u32> = parts.rig.mm.hugetlb.pools().map(|pool| pool.order()).collect();
        let order = orders.into_iter().filter(|o| 1 << o <= 4 * g.subsection_pages).max().expect("a size");
        parts.rig.mm.hugetlb.hvo = false;
        let _ = parts.rig.mm.hugetlb_resize(order, 10_000);
        let before = parts.rig.mm.hugetlb.pool(order).expect("a size").total();
        parts.check("huge pages");
        parts.unplug(12..16);
        assert!(parts.rig.mm.hugetlb.pool(order).expect("a size").total() < before, "{home:?}");
        parts.rig.mm.hugetlb_resize(order, 0).expect("free");
        parts.check("none");
        parts.go();
    }
}

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

/// The marks stay while the block is offline; parts come and go meanwhile; poison and pages of all kinds beside them.
fn a_block_in_part_goes_offline_and_online(g: Granule) {
    for home in HOMES {
        let mut parts = Parts::boot(g);
        let (hot, block) = (parts.hot(), Rig::pfn(g, AT));
        parts.ram(0..4);
        let plugged = parts.pages(0..4);
        parts.rig.mm.add_block_part(&hot, plugged, home, |_, _| {}).expect("room");
        assert_eq!(parts.block().state, BlockState::Offline);
        parts.check("offline");
        parts.rig.mm.online_block(block, ZoneKind::Movable).expect("offline");
        parts.check("online");
        let (online, free) = (parts.without_lent(), parts.block().free.pages());
        let poisoned = parts.pages(2..3).start + 7;
        parts.rig.mm.poison(poisoned).expect("free");
        let tenant = parts.rig.mm.tenant_new(free / 2).expect("room");
        for zone in [ZoneKind::Normal, ZoneKind::Movable] {
            parts.rig.mm.offline_block(block).expect("all of it can move");
            parts.check("offline");
            let refused = parts.rig.mm.unplug_part(parts.pages(2..3), &mut |_| false);
            assert_eq!(refused, Err(Error::Page(PageError::Poisoned(poisoned))));
            parts.plug(4..7);
            parts.plug(parts.all() - 1..parts.all());
            assert_eq!(parts.unplug(3..5), 0);
            parts.plug(3..4);
            parts.unplug(parts.all() - 1..parts.all());
            parts.unplug(5..7);
            parts.rig.mm.online_block(block, zone).expect("offline");
            parts.check("online");
        }
        parts.rig.mm.unpoison(poisoned).expect("poisoned");
        assert_eq!(parts.rig.mm.tenant_check(tenant), Ok(free / 2));
        parts.rig.mm.tenant_drop(tenant).expect("not held");
        assert_eq!(parts.without_lent(), online, "{home:?}");
        parts.rig.mm.offline_block(block).expect("empty");
        parts.rig.mm.remove_memory(range(AT, g.section_size)).expect("offline");
        parts.no_ram(0..parts.all());
        parts.rig.assert_clean("gone");
    }
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

/// Asked between two batches.
fn it_stops_when_it_is_told_to(g: Granule) {
    let mut parts = Parts::with(g, MemmapHome::Demand, ZoneKind::Movable, 12);
    let pages = parts.block().free.pages();
    let tenant = parts.rig.mm.tenant_new(pages).expect("room");
    let refused = parts.rig.mm.unplug_part(parts.pages(4..12), &mut |migrated| migrated != 0);
    let Err(Error::Block(BlockError::Interrupted { migrated })) = refused else { panic!("{refused:?}") };
    assert!(migrated != 0);
    parts.check("stopped");
    assert!(parts.unplug(4..12) != 0);
    assert_eq!(parts.rig.mm.tenant_check(tenant), Ok(pages));
}

/// A range that was added at once goes block by block, if it was asked to.
fn a_range_in_blocks_goes_block_by_block(g: Granule) {
    // Whole entries of the level above: 1 GiB at 4K, or runs of contiguous blocks.
    let (start, blocks) = (64 << 30, 32);
    let len = Rig::blocks(g, blocks);
    for in_blocks in [false, true] {
        let mut rig = Rig::boot(g, &Shape::one("256 MiB", 0x4000_0000, 256 * MIB));
        rig.machine.plug(start, len);
        let hot = HotRange::new(&rig.mm, PhysAddr::new(start), len, Source::VirtioMem(0)).expect("free");
        let hot = if in_blocks { hot.in_blocks() } else { hot };
        rig.mm.plug(&hot, MemmapHome::Demand, ZoneKind::Movable, |_, _| {}).expect("room");
        let fifth = range(start + Rig::blocks(g, 5), Rig::blocks(g, 1));
        let gone = rig.mm.unplug(fifth);
        assert_eq!(gone.is_ok(), in_blocks, "{}: {gone:?}", g.kind);
        rig.assert_clean("without its fifth block");
        if in_blocks {
            for i in (0..blocks).filter(|i| *i != 5) {
                rig.mm.unplug(range(start + Rig::blocks(g, i), Rig::blocks(g, 1))).expect("alone");
            }
            rig.assert_clean("gone");
        }
    }
}

hotmap_testkit::at_each_granule!(
    a_block_comes_with_a_part_and_goes,
    a_part_in_the_middle,
    plugging_part_after_part_ends_as_if_the_block_had_come_whole,
    unplugging_part_after_part_lends_no_more_than_there_is,
    pages_in_use_migrate_out_of_the_part,
    pages_in_use_move_within_the_block_if_no_other_has_room,
    huge_pages_are_dissolved,
    what_cannot_be_is_refused_by_name,
    a_block_without_its_memmaps_pages_is_refused,
    a_block_in_part_goes_offline_and_online,
    what_fails_half_way_is_undone,
    it_stops_when_it_is_told_to,
    a_range_in_blocks_goes_block_by_block,
);
