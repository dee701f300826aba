//! Devices in compound pages: how much of their memmap has memory of its own, who counts what is shared, and that it comes
//! and goes in any order. The oracles: numbers worked out by hand, the specification's walker over raw tables, snapshots.
#![cfg(not(miri))]

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use hotmap_emulator::arch::walker::{self, Memory};
use hotmap_emulator::machine::Emulated;
use hotmap_emulator::rig::{GIB, MIB, Rig, Shape, range, spec_of};
use hotmap_mm::addr::PhysAddr;
use hotmap_mm::debug::faults::Plan;
use hotmap_mm::debug::parts::undo_memremap_parts;
use hotmap_mm::device::compound::{Compound, Dedup, NoDedup, TailScope};
use hotmap_mm::device::holds::Teardown;
use hotmap_mm::device::pagemap::DeviceType;
use hotmap_mm::device::range::DeviceRange;
use hotmap_mm::error::{DeviceError, Error, PageError, RangeError, Resource, Result};
use hotmap_mm::frame::altmap::Altmap;
use hotmap_mm::frame::page::PageKind;
use hotmap_mm::frame::zone::ZoneKind;
use hotmap_mm::granule::Granule;
use hotmap_mm::hotplug::home::MemmapHome;
use hotmap_mm::mm::Mm;
use hotmap_mm::pfn::{Pfn, PfnRange};
use hotmap_testkit::snapshot::Snapshot;

/// Where no table is shared with boot memory.
const FAR: u64 = 8 << 40;
const SCOPES: [TailScope; 2] = [TailScope::Page, TailScope::Device];

fn boot(g: Granule) -> Rig {
    Rig::boot(g, &Shape::one("256 MiB", 0x4000_0000, 256 * MIB))
}

/// What a device shall be.
#[derive(Clone, Copy, Debug)]
struct Wish {
    start: u64,
    len: u64,
    kind: DeviceType,
    memmap: MemmapHome,
    size: u64,
    tails: TailScope,
}

impl Wish {
    fn new(start: u64, len: u64, size: u64) -> Self {
        let (kind, memmap, tails) = (DeviceType::Generic, MemmapHome::Ram, TailScope::Page);
        Self { start, len, kind, memmap, size, tails }
    }
    fn private(self) -> Self {
        Self { kind: DeviceType::Private, ..self }
    }
    fn on_device(self, reserve: u64) -> Self {
        Self { memmap: MemmapHome::SelfRange { reserve }, ..self }
    }
    fn tails(self, tails: TailScope) -> Self {
        Self { tails, ..self }
    }
    fn range(&self, rig: &Rig) -> Result<DeviceRange> {
        let g = rig.granule();
        let compound = Compound::new(g, self.size, self.tails)?;
        rig.mm.compound_device_range(
            &[(PhysAddr::new(self.start), self.len)],
            self.kind,
            self.memmap,
            compound,
        )
    }
    fn create(&self, rig: &mut Rig) -> Result<()> {
        let device = self.range(rig)?;
        rig.mm.memremap_pages(&device, |_, _| {})
    }
}

fn destroy(rig: &mut Rig, start: u64) {
    let g = rig.granule();
    assert_eq!(rig.mm.memunmap_pages(Rig::pfn(g, start)), Ok(Teardown::Gone), "{start:#x}");
}

/// Sizes of compound pages that share: PMD, the contiguous size above it, and PUD.
const SIZES: [[u64; 3]; 3] =
    [[2 * MIB, 32 * MIB, GIB], [32 * MIB, GIB, 64 * GIB], [512 * MIB, 16 * GIB, 4096 * GIB]];

fn create(g: Granule, wish: Wish) -> Rig {
    let mut rig = boot(g);
    if wish.kind != DeviceType::Private {
        rig.machine.plug(wish.start, wish.len);
    }
    wish.create(&mut rig).unwrap_or_else(|error| panic!("{wish:x?}: {error}"));
    rig
}

type Model = Mm<Emulated>;

/// What the specification's walker finds under a page of memmap.
struct Mapped {
    /// The frame's address.
    frame: u64,
    writable: bool,
    /// The address of the last entry that was read: a shared table's is the same each time.
    entry: u64,
    /// The address of the entry before, and of the table that it leads to.
    table: (u64, u64),
}

fn mapped(g: Granule, mm: &Model, va: u64) -> Option<Mapped> {
    let walk =
        walker::walk(spec_of(g), mm.space().machine().memory(), mm.space().machine().root(), va).ok()?;
    let reads: Vec<_> = walk.reads.iter().flatten().collect();
    let [.., above, last] = reads[..] else { panic!("a walk has more than one step") };
    let table = (above.at, last.at / g.page_size * g.page_size);
    assert_eq!(walk.size, g.page_size, "{va:#x} is mapped by a page");
    Some(Mapped { frame: walk.leaf.pa, writable: walk.leaf.writable, entry: last.at, table })
}

/// Frames, and the different entries that lead to each.
type Users = BTreeMap<u64, BTreeSet<u64>>;

/// What a device's memmap is mapped to.
#[derive(Default)]
struct Seen {
    /// Frames with one user, a head's page each.
    own: BTreeSet<u64>,
    /// Pages of tails, and the entries that map them.
    tails: Users,
    /// Tables that more than one entry leads to, or that hold nothing but tails; and the entries.
    tables: Users,
}

/// Look at the memmap of every compound page of `wish` from `usable` on, of which `is_here` says what must be mapped.
fn look(g: Granule, mm: &Model, wish: &Wish, usable: u64, is_here: impl Fn(u64) -> bool) -> Seen {
    let (mut seen, mut leads): (Seen, Users) = Default::default();
    // A page of memmap describes this much memory.
    let span = g.page_size / 64 * g.page_size;
    for head in (usable..wish.start + wish.len).step_by(usize::try_from(wish.size).expect("64 bits")) {
        for at in (head..head + wish.size).step_by(usize::try_from(span).expect("64 bits")) {
            let va = mm.space().layout().page_address(Rig::pfn(g, at)).get();
            let Some(page) = mapped(g, mm, va) else {
                assert!(!is_here(at), "the memmap of {at:#x} is not mapped");
                continue;
            };
            assert!(is_here(at), "the memmap of {at:#x} is still mapped");
            assert_eq!(page.writable, at == head, "{at:#x}");
            leads.entry(page.table.1).or_default().insert(page.table.0);
            if at == head {
                assert!(seen.own.insert(page.frame), "two heads in one frame");
            } else {
                seen.tails.entry(page.frame).or_default().insert(page.entry);
            }
        }
    }
    assert!(seen.own.iter().all(|frame| !seen.tails.contains_key(frame)), "a head among shared tails");
    seen.tables = leads.into_iter().filter(|(_, entries)| entries.len() > 1).collect();
    seen
}

/// The 64-bit word at `pa`.
fn word(mm: &Model, pa: u64) -> u64 {
    mm.space().machine().memory().read(pa)
}

/// Every page of tails counts its entries and says what tails say: kind 0, the order, and nothing else.
fn tails_are_right(g: Granule, mm: &Model, wish: &Wish, seen: &Seen) {
    let order = (wish.size / g.page_size).ilog2();
    for (frame, entries) in &seen.tails {
        assert_eq!(word(mm, frame + 16), entries.len() as u64, "the count of the tails at {frame:#x}");
        for i in 0..g.page_size / 64 {
            let words: Vec<_> = (0..8).map(|w| word(mm, frame + i * 64 + w * 8)).collect();
            let count = if i == 0 { entries.len() as u64 } else { 0 };
            assert_eq!(words, [u64::from(order) << 8, 0, count, 0, 0, 0, 0, 0], "tail {i} at {frame:#x}");
        }
    }
    for (table, entries) in &seen.tables {
        let refs = mm.frames().pages().get(Rig::pfn(g, *table)).refs();
        assert_eq!(u64::from(refs), entries.len() as u64, "the count of the table at {table:#x}");
    }
}

/// The tables of two compound pages each of `SIZES`, with a page of tails each and with one for both. vmemmap begins with
/// 1 GiB (at 64K: 0), so that the memmap of `FAR` begins 16 MiB before a multiple of a GiB at 4K, 4 MiB at 16K. A table of
/// pages holds 2 MiB of it, 32 MiB, 512 MiB; above them are new: one of level 1 and one for each GiB at 4K, one at 16K.
const TABLES: [[[u64; 2]; 3]; 3] =
    [[[3, 3], [3, 3], [7, 6]], [[2, 2], [3, 3], [18, 18]], [[1, 1], [1, 1], [16, 16]]];

fn two_pages_of_each_compound_page_have_memory(g: Granule) {
    for (size, tables) in SIZES[g.kind as usize].into_iter().zip(TABLES[g.kind as usize]) {
        for (tails, tables) in SCOPES.into_iter().zip(tables) {
            let before = boot(g).mm.frames().counts();
            let wish = Wish::new(FAR, 2 * size, size).private().tails(tails);
            let rig = create(g, wish);
            let now = rig.mm.frames().counts();
            let memmap = if tails == TailScope::Page { 4 } else { 3 };
            assert_eq!(now.memmap_ram - before.memmap_ram, memmap, "{wish:x?}");
            assert_eq!(now.tables - before.tables, tables, "tables: {wish:x?}");
            let seen = look(g, &rig.mm, &wish, FAR, |_| true);
            assert_eq!((seen.own.len(), seen.tails.len() as u64), (2, memmap - 2));
            tails_are_right(g, &rig.mm, &wish, &seen);
            // Whole tables of tails are shared where a table serves one section: 7 of a GiB's 8 at 4K.
            let shared: Vec<_> = seen.tables.values().map(BTreeSet::len).collect();
            let expected = match (g.page_size, size, tails) {
                (0x1000, GIB, TailScope::Page) => vec![7, 7],
                (0x1000, GIB, TailScope::Device) => vec![14],
                _ => vec![],
            };
            assert_eq!(shared, expected);
            rig.assert_clean("made");
        }
    }
}

fn a_compound_device_comes_and_goes_without_a_trace(g: Granule) {
    for size in SIZES[g.kind as usize] {
        for tails in SCOPES {
            let mut rig = boot(g);
            let before = Snapshot::exact(&rig);
            let wish = Wish::new(FAR, 2 * size, size).private().tails(tails);
            wish.create(&mut rig).expect("room");
            assert_eq!(rig.mm.devices()[0].dedup(), Dedup::Shared);
            destroy(&mut rig, FAR);
            rig.assert_clean("gone");
            before.assert_same(&Snapshot::exact(&rig), "after a device's life");
            assert_eq!(rig.mm.frames().warnings.total(), 0);
        }
    }
}

/// `compound_head` of every page, and the kind and order of what it finds.
fn every_tail_finds_its_head(g: Granule) {
    for size in SIZES[g.kind as usize] {
        let wish = Wish::new(FAR, 2 * size, size).private().tails(TailScope::Device);
        let rig = create(g, wish);
        let order = (size / g.page_size).ilog2();
        for head in [FAR, FAR + size].map(|pa| Rig::pfn(g, pa)) {
            // All of the first two pages of memmap and of the last, and some between.
            let per_page = g.page_size / 64;
            let all = 1 << order;
            let some = (0..2 * per_page).chain(all - per_page..all).chain((0..all).step_by(997));
            for pfn in some.map(|i| head + i) {
                assert_eq!(rig.mm.frames().use_of(pfn), Ok((PageKind::Device, head)), "{pfn}");
            }
            assert_eq!(rig.mm.frames().pages().get(head).order(), order);
        }
    }
}

/// The frames that an altmap hands out for `aside`, by the specification's numbers: 64 bytes for each page, a section's in
/// one block at 4K, at a multiple of a block; what describes others too is not the altmap's.
fn taken_aside(g: Granule, aside: Range<u64>, reserve: u64) -> u64 {
    let (section, span) = (Rig::blocks(g, 1), g.page_size / 64 * g.page_size);
    let (first, mut next) = (aside.start / g.page_size, aside.start / g.page_size + reserve);
    let mut at = aside.start;
    while at < aside.end {
        let end = (at / section * section + section).min(aside.end);
        if end - at == section && g.page_size == 0x1000 {
            next = next.next_multiple_of(512) + 512;
        } else {
            next += (end / span).saturating_sub(at.div_ceil(span));
        }
        at = end;
    }
    next - first - reserve
}

/// Compound pages, and how many of them a device has; the emulated machine has no more than some GiB.
const ALTMAP_CASES: [[(u64, u64); 5]; 3] = [
    [(2 * MIB, 2), (2 * MIB, 40), (2 * MIB, 700), (32 * MIB, 9), (GIB, 3)],
    [(32 * MIB, 2), (32 * MIB, 40), (32 * MIB, 200), (GIB, 2), (GIB, 5)],
    [(512 * MIB, 2), (512 * MIB, 3), (512 * MIB, 5), (512 * MIB, 8), (512 * MIB, 13)],
];

/// The oracle tries every start of the compound pages, from the first on.
fn an_altmap_is_as_large_as_what_populating_takes(g: Granule) {
    for (size, count) in ALTMAP_CASES[g.kind as usize] {
        for (reserve, early) in [(0, 0), (2, 0), (7, 2 * MIB), (0, 6 * MIB), (1000, 0)] {
            for tails in SCOPES {
                let (start, end) = (FAR - early, FAR + count * size);
                let fits = |usable: &u64| {
                    let compounds = (end - usable) / size;
                    let shared = if tails == TailScope::Page { 2 * compounds } else { compounds + 1 };
                    start + (reserve + taken_aside(g, start..*usable, reserve) + shared) * g.page_size
                        <= *usable
                };
                let first = (start + reserve * g.page_size).next_multiple_of(size);
                let usable = (first..end).step_by(usize::try_from(size).expect("64 bits")).find(fits);
                let wish = Wish::new(start, end - start, size).on_device(reserve).tails(tails);
                let mut rig = boot(g);
                let Some(usable) = usable else {
                    let range = range(start, end - start);
                    let refused = wish.range(&rig).map(drop);
                    assert_eq!(
                        refused,
                        Err(Error::Device(DeviceError::NoCompoundLeft { range, size })),
                        "{wish:x?}"
                    );
                    continue;
                };
                rig.machine.plug(start, end - start);
                let before = rig.mm.frames().counts();
                wish.create(&mut rig).unwrap_or_else(|error| panic!("{wish:x?}: {error}"));
                let device = &rig.mm.devices()[0];
                let altmap = *rig.mm.frames().altmap(device.start()).expect("one");
                assert_eq!(device.usable_start(), Rig::pfn(g, usable), "{wish:x?}");
                assert_eq!(altmap.alloc() + altmap.align(), altmap.free(), "nothing is left over: {wish:x?}");
                let seen = look(g, &rig.mm, &wish, usable, |_| true);
                tails_are_right(g, &rig.mm, &wish, &seen);
                let frames: BTreeSet<_> = seen.own.iter().chain(seen.tails.keys()).collect();
                assert!(frames.iter().all(|frame| (start..usable).contains(*frame)), "in the altmap");
                let own = frames.len() as u64;
                assert_eq!(altmap.free(), taken_aside(g, start..usable, reserve) + own, "{wish:x?}");
                // A page at the edge that describes others too is system RAM's.
                let edge = u64::from(!start.is_multiple_of(g.page_size / 64 * g.page_size));
                assert_eq!(rig.mm.frames().counts().memmap_ram - before.memmap_ram, edge);
                rig.assert_clean("made");
                destroy(&mut rig, start);
                rig.assert_clean("gone");
            }
        }
    }
}

fn one_page_less_is_out_of_memory_and_everything_is_undone(g: Granule) {
    let size = SIZES[g.kind as usize][0];
    for tails in SCOPES {
        let wish = Wish::new(FAR, 4 * size, size).on_device(0).tails(tails);
        let mut rig = boot(g);
        rig.machine.plug(FAR, wish.len);
        let altmap = wish.range(&rig).expect("free").altmap().expect("one");
        let short = Altmap::new(altmap.base_pfn(), 0, altmap.free() - 1);
        let before = Snapshot::exact(&rig);
        let given = Wish { memmap: MemmapHome::Given(short), ..wish };
        let result = given.create(&mut rig);
        assert!(matches!(result, Err(Error::Out(Resource::Altmap { .. }))), "{result:?}");
        before.assert_same(&Snapshot::exact(&rig), "no fallback to system RAM");
        rig.assert_clean("refused");
    }
}

/// Orders in which `count` parts go: forwards, backwards, every second one first, and as a generator has it.
fn orders(count: usize) -> Vec<Vec<usize>> {
    let (all, mut seed) = ((0..count).collect::<Vec<_>>(), 0x9e37_79b9_u64);
    let mut shuffled = all.clone();
    for i in (1..count).rev() {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        shuffled.swap(i, usize::try_from(seed >> 33).expect("64 bits") % (i + 1));
    }
    let halves = all.iter().filter(|i| *i % 2 == 0).chain(all.iter().filter(|i| *i % 2 == 1));
    vec![all.clone(), all.iter().rev().copied().collect(), halves.copied().collect(), shuffled]
}

/// The different frames that hold memmap of `bytes`, blocks page by page.
fn frames_under(g: Granule, mm: &Model, bytes: Range<u64>) -> BTreeSet<u64> {
    let [start, end] =
        [bytes.start, bytes.end].map(|at| mm.space().layout().page_address(Rig::pfn(g, at)).get());
    let (machine, step) = (mm.space().machine(), usize::try_from(g.page_size).expect("64 bits"));
    let pages = (start / g.page_size * g.page_size..end).step_by(step);
    pages.filter_map(|va| machine.walk(va)).collect()
}

/// I2, I3, I7: whatever section goes, the memmap of the others stays and no more, every count is right after each, and frames
/// go back with their last user.
fn sections_go_in_any_order(g: Granule) {
    let [small, medium, _] = SIZES[g.kind as usize];
    let section = Rig::blocks(g, 1);
    let large = if g.page_size == 0x1000 { GIB } else { medium };
    for (size, len) in [(small, 4 * section), (large, 2 * large)] {
        for tails in SCOPES {
            let wish = Wish::new(FAR, len, size).tails(tails);
            parts_of(g, &wish.private(), section);
            // The first compound page is set aside.
            if size < 16 * GIB {
                parts_of(g, &Wish { len: len + size.max(section), ..wish }.on_device(0), section);
            }
        }
    }
}

fn parts_of(g: Granule, wish: &Wish, section: u64) {
    let count = usize::try_from(wish.len / section).expect("64 bits");
    for order in orders(count) {
        let mut rig = boot(g);
        if wish.kind != DeviceType::Private {
            rig.machine.plug(wish.start, wish.len);
        }
        let (before, ram) = (Snapshot::exact(&rig), rig.mm.frames().counts().memmap_ram);
        wish.create(&mut rig).expect("room");
        let device = rig.mm.devices()[0].clone();
        let usable = device.usable_start().address(g).get();
        let part =
            |i: usize| PfnRange::new(Rig::pfn(g, wish.start + i as u64 * section), section / g.page_size);
        let parts: Vec<_> = order.into_iter().map(part).collect();
        let mut gone = 0;
        undo_memremap_parts(&mut rig.mm, device.start(), &parts, |mm, _| {
            gone += 1;
            let is_here = |at: u64| parts[gone..].iter().any(|part| part.contains(Rig::pfn(g, at)));
            let seen = look(g, mm, wish, usable, is_here);
            tails_are_right(g, mm, wish, &seen);
            let frames = frames_under(g, mm, wish.start..wish.start + wish.len).len() as u64;
            let altmap = mm.frames().altmap(mm.devices()[0].start()).map_or(0, Altmap::alloc);
            assert_eq!(
                mm.frames().counts().memmap_ram - ram + altmap,
                frames,
                "after {gone} parts: {wish:x?}"
            );
        })
        .expect("whole sections");
        rig.assert_clean("all parts are gone");
        before.assert_same(&Snapshot::exact(&rig), "all parts are gone");
        assert_eq!(rig.mm.frames().warnings.total(), 0);
    }
}

fn every_allocation_fails_in_turn(g: Granule) {
    let size = SIZES[g.kind as usize][0];
    let large = if g.page_size == 0x1000 { GIB } else { size };
    let wishes = [
        Wish::new(FAR, 3 * size, size).private(),
        Wish::new(FAR, 2 * large, large).private().tails(TailScope::Device),
        Wish::new(FAR, 5 * size, size).on_device(3),
        Wish::new(FAR, 5 * size, size).on_device(0).tails(TailScope::Device),
    ];
    for wish in wishes {
        for plan in [Plan::Nth as fn(u64) -> Plan, Plan::From] {
            let (mut rig, mut failures) = (boot(g), 0);
            if wish.kind != DeviceType::Private {
                rig.machine.plug(FAR, wish.len);
            }
            let before = Snapshot::exact(&rig);
            for n in 1.. {
                rig.mm.frames_mut().faults.arm(plan(n));
                let result = wish.create(&mut rig);
                let fired = rig.mm.frames().faults.fired();
                rig.mm.frames_mut().faults.arm(Plan::Off);
                let when = format!("{wish:x?} {:?}: {result:?}", plan(n));
                rig.assert_clean(&when);
                match result {
                    Ok(()) => destroy(&mut rig, FAR),
                    Err(Error::Out(_)) => failures += 1,
                    Err(other) => panic!("{when}: {other}"),
                }
                before.assert_same(&Snapshot::exact(&rig), &when);
                if !fired {
                    break;
                }
            }
            assert!(failures > 5, "{wish:x?}: {failures} allocations were failed");
        }
    }
}

fn what_is_no_compound_page_is_refused_by_the_rule(g: Granule) {
    let rig = boot(g);
    let [small, medium, _] = SIZES[g.kind as usize];
    let refused = |wish: Wish| wish.range(&rig).map(drop);
    for size in [0, 3 * MIB, 4 * MIB, small + g.page_size, 1 << 63] {
        let error = Error::Device(DeviceError::CompoundSize { size, granule: g.kind });
        assert_eq!(refused(Wish::new(FAR, 4 * small, size)), Err(error));
        let said = error.to_string();
        let list = [
            "4 KiB, 64 KiB, 2 MiB, 32 MiB, 1 GiB",
            "16 KiB, 2 MiB, 32 MiB, 1 GiB, 64 GiB",
            "64 KiB, 2 MiB, 512 MiB, 16 GiB, 4 TiB",
        ];
        assert!(said.ends_with(list[g.kind as usize]), "{said}");
    }
    for (start, len) in [(FAR + 2 * MIB, medium), (FAR, medium + 2 * MIB), (FAR, small)] {
        let error = Error::Range(RangeError::NotCompoundAligned { range: range(start, len), size: medium });
        assert_eq!(refused(Wish::new(start, len, medium)), Err(error));
    }
    // In its own memory a device may begin anywhere, but has to end with a compound page.
    assert_eq!(refused(Wish::new(FAR + 2 * MIB, 2 * medium - 2 * MIB, medium).on_device(0)), Ok(()));
    let (start, len) = (FAR, 2 * medium + 2 * MIB);
    let error = Error::Range(RangeError::NotCompoundAligned { range: range(start, len), size: medium });
    assert_eq!(refused(Wish::new(start, len, medium).on_device(0)), Err(error));
    let error = Error::Device(DeviceError::NoCompoundLeft { range: range(FAR, medium), size: medium });
    assert_eq!(refused(Wish::new(FAR, medium, medium).on_device(0)), Err(error));
    assert!(error.to_string().contains("leaves no compound page of"), "{error}");
}

fn a_hold_is_on_the_head_and_the_device_waits_for_it(g: Granule) {
    let size = SIZES[g.kind as usize][0];
    let mut rig = boot(g);
    let before = Snapshot::exact(&rig);
    let wish = Wish::new(FAR, 4 * size, size).private();
    wish.create(&mut rig).expect("room");
    let head = Rig::pfn(g, FAR + 2 * size);
    let last = Pfn::new(Rig::pfn(g, FAR + 3 * size).get() - 1);
    for pfn in [head, last, last] {
        rig.mm.pin(pfn).expect("a usable page");
    }
    assert_eq!(rig.mm.frames().pages().get(head).refs(), 3);
    tails_are_right(g, &rig.mm, &wish, &look(g, &rig.mm, &wish, FAR, |_| true));
    rig.assert_clean("held");
    assert_eq!(rig.mm.memunmap_pages(Rig::pfn(g, FAR)), Ok(Teardown::Waits { pfn: head, holds: 3 }));
    for pfn in [last, head] {
        rig.mm.unpin(pfn).expect("held");
    }
    assert_eq!(rig.mm.memunmap_pages(Rig::pfn(g, FAR)), Ok(Teardown::Waits { pfn: head, holds: 1 }));
    let other = Rig::pfn(g, FAR);
    assert!(
        matches!(rig.mm.unpin(other), Err(Error::Page(PageError::State { .. }))),
        "another compound page"
    );
    rig.mm.unpin(last).expect("held");
    before.assert_same(&Snapshot::exact(&rig), "gone with the last hold");
}

/// Single pages, compound pages with a memmap of two pages or less, and what is in a boot section: described as ever, with a
/// head for each compound page.
fn what_does_not_share_says_why(g: Granule) {
    let small = if g.page_size == 0x1000 { 64 << 10 } else { 2 * MIB };
    for (size, why) in [(g.page_size, NoDedup::PageGeometry), (small, NoDedup::SmallMemmap)] {
        for wish in [Wish::new(FAR, 64 * MIB, size), Wish::new(FAR, 64 * MIB, size).on_device(1)] {
            let mut rig = boot(g);
            rig.machine.plug(FAR, wish.len);
            let before = Snapshot::exact(&rig);
            wish.create(&mut rig).expect("room");
            rig.assert_clean("made");
            let device = &rig.mm.devices()[0];
            assert_eq!((device.dedup(), device.tail_pages()), (Dedup::No(why), 0), "{wish:x?}");
            let (usable, order) = (device.usable_start(), (size / g.page_size).ilog2());
            assert!(usable.is_aligned(order));
            for i in [0, 1, (1 << order) - 1, 1 << order].into_iter().filter(|_| order > 0) {
                let head = (usable + i).align_down(order);
                assert_eq!(rig.mm.frames().use_of(usable + i), Ok((PageKind::Device, head)));
                assert_eq!(rig.mm.frames().pages().get(head).order(), order);
            }
            destroy(&mut rig, FAR);
            before.assert_same(&Snapshot::exact(&rig), "after a device's life");
        }
    }
}

/// A hole in a boot section has had its memmap since boot, of which nothing is given back (2 MiB pages: only 4K shares them).
fn a_hole_of_boot_memory_shares_nothing(g: Granule) {
    let ram = [(0x4000_0000, 40 * MIB), (0x4400_0000 - 0x40_0000, 16 * MIB)];
    let mut rig = Rig::boot(g, &Shape::many("a hole", &ram));
    let (start, len) = (0x4300_0000, 4 * MIB);
    rig.machine.plug(start, len);
    let (before, counts) = (Snapshot::exact(&rig), rig.mm.frames().counts());
    Wish::new(start, len, 2 * MIB).create(&mut rig).expect("room");
    rig.assert_clean("made");
    let why = if g.page_size == 0x1000 { NoDedup::BootSection } else { NoDedup::SmallMemmap };
    assert_eq!(rig.mm.devices()[0].dedup(), Dedup::No(why));
    assert_eq!(rig.mm.frames().counts().memmap_ram, counts.memmap_ram);
    let second = Rig::pfn(g, start + 2 * MIB);
    assert_eq!(rig.mm.frames().use_of(second + 7), Ok((PageKind::Device, second)));
    destroy(&mut rig, start);
    rig.assert_clean("gone");
    before.assert_same(&Snapshot::exact(&rig), "the hole is as it was");
}

/// Given to the system and back: the compound pages are there again.
fn a_compound_device_is_given_to_the_system_and_comes_back(g: Granule) {
    let (size, block) = (SIZES[g.kind as usize][0], Rig::blocks(g, 1));
    let wish = Wish::new(FAR, 4 * block, size).on_device(0);
    let mut rig = create(g, wish);
    let (start, before) = (Rig::pfn(g, FAR), Snapshot::exact(&rig));
    let memory =
        rig.mm.device_to_memory(start, MemmapHome::SelfHosted, ZoneKind::Movable).expect("whole blocks");
    assert_eq!(memory.len() * g.page_size, 4 * block);
    rig.assert_clean("given");
    rig.mm.memory_to_device(start).expect("it is not in use");
    rig.assert_clean("back");
    before.assert_same(&Snapshot::exact(&rig), "the same device");
}

/// What an audit finds when a count or a tail is wrong.
fn an_audit_sees_a_wrong_count_and_a_wrong_tail(g: Granule) {
    let [small, _, large] = SIZES[g.kind as usize];
    let size = if g.page_size == 0x1000 { large } else { small };
    let wish = Wish::new(FAR, 2 * size, size).private();
    let rig = create(g, wish);
    let seen = look(g, &rig.mm, &wish, FAR, |_| true);
    let tail = *seen.tails.keys().next().expect("two");
    let finds = |pa: u64, by: u64, invariant: u8, what: &str| {
        let old = word(&rig.mm, pa);
        rig.machine.memory().poke(pa, old.wrapping_add(by));
        let mut found = Vec::new();
        rig.mm.audit(&mut |finding| found.push((finding.invariant, finding.what)));
        assert!(found.contains(&(invariant, what)), "{what}: {found:?}");
        rig.machine.memory().poke(pa, old);
        rig.assert_clean("unbroken");
    };
    finds(tail + 16, 1, 3, "entries that map a page of tails, and its count");
    finds(tail + 64, 1 << 8, 1, "a page of tails does not say what tails say");
    for table in seen.tables.keys() {
        let va = rig.mm.space().layout().page_address(Rig::pfn(g, *table)).get();
        let page = rig.machine.walk(va).expect("a frame of RAM");
        // The references are the upper half of the first word.
        finds(page, 1 << 32, 3, "entries that lead to a shared table, and its count");
    }
    // AP[2] of the first entry that maps the tails.
    let entry = *seen.tails[&tail].iter().next().expect("mapped");
    finds(entry, (1_u64 << 7).wrapping_neg(), 3, "a frame that many entries share can be written");
    assert_eq!(seen.tables.len(), if g.page_size == 0x1000 { 2 } else { 0 });
}

/// 64 GiB at 4K: half a MiB of struct pages instead of a GiB, and half a MiB of tables and a few. (A boot test has a TiB.)
#[test]
fn sixty_four_gibibytes_take_half_a_mebibyte_of_struct_pages() {
    let g = Granule::K4;
    for (tails, memmap, tables) in [(TailScope::Page, 128, 128), (TailScope::Device, 65, 65)] {
        let mut rig = boot(g);
        let (before, counts) = (Snapshot::exact(&rig), rig.mm.frames().counts());
        Wish::new(FAR, 64 * GIB, GIB).private().tails(tails).create(&mut rig).expect("room");
        let now = rig.mm.frames().counts();
        assert_eq!(now.memmap_ram - counts.memmap_ram, memmap);
        // A GiB of addresses that does not begin with one: two tables of level 2, in one of level 1.
        assert_eq!(now.tables - counts.tables, tables + 3);
        rig.assert_clean("made");
        destroy(&mut rig, FAR);
        before.assert_same(&Snapshot::exact(&rig), "after a device's life");
    }
}

hotmap_testkit::at_each_granule!(
    two_pages_of_each_compound_page_have_memory,
    a_compound_device_comes_and_goes_without_a_trace,
    every_tail_finds_its_head,
    an_altmap_is_as_large_as_what_populating_takes,
    one_page_less_is_out_of_memory_and_everything_is_undone,
    sections_go_in_any_order,
    every_allocation_fails_in_turn,
    what_is_no_compound_page_is_refused_by_the_rule,
    a_hold_is_on_the_head_and_the_device_waits_for_it,
    what_does_not_share_says_why,
    a_hole_of_boot_memory_shares_nothing,
    a_compound_device_is_given_to_the_system_and_comes_back,
    an_audit_sees_a_wrong_count_and_a_wrong_tail,
);
