//! Groups of free blocks share one table: which groups do, the history says; which table each has, the second walker reads.

use std::collections::BTreeSet;

use hotmap_emulator::arch::walker::{self, Memory};
use hotmap_emulator::layout;
use hotmap_emulator::rig::{MIB, Rig, Shape, range, spec_of};
use hotmap_mm::addr::PhysAddr;
use hotmap_mm::debug::faults::Plan;
use hotmap_mm::error::{Error, Result};
use hotmap_mm::frame::Mobility;
use hotmap_mm::frame::page::PageKind;
use hotmap_mm::frame::zone::ZoneKind;
use hotmap_mm::granule::Granule;
use hotmap_mm::hotplug::home::MemmapHome;
use hotmap_mm::pfn::{Pfn, PfnRange};
use hotmap_testkit::snapshot::{Detail, Snapshot};

const RAM: u64 = 0x4000_0000;

/// The start of a group: vmemmap begins with one, and with the struct pages of the first memory.
fn at(g: Granule) -> u64 {
    layout::base(spec_of(g), RAM) + 16 * (512 << 30)
}

/// By hand: what one entry covers above the entries that lead to the image. 64 GiB at 4K (level 1, 512 blocks of 128 MiB),
/// 8 GiB at 16K (level 2, 64 of 128 MiB), 512 GiB at 64K (level 2, 1,024 of 512 MiB).
fn group(g: Granule) -> u64 {
    match g.page_size {
        0x1000 => 64 << 30,
        0x4000 => 8 << 30,
        _ => 512 << 30,
    }
}

fn boot(g: Granule) -> Rig {
    Rig::boot(g, &Shape::one("64 MiB", RAM, 64 * MIB))
}

fn pages(g: Granule, start: u64, len: u64) -> PfnRange {
    PfnRange::inside(g, range(start, len))
}

fn online(rig: &mut Rig, start: u64, len: u64, zone: ZoneKind) {
    let pages = pages(rig.granule(), start, len);
    rig.mm.online_pages(pages, zone, |_, _| {}).expect("offline");
}

/// A machine with `len` bytes on demand, online in `zone`.
fn with(g: Granule, len: u64, zone: ZoneKind) -> Rig {
    let mut rig = boot(g);
    rig.plug(at(g), len, MemmapHome::Demand);
    online(&mut rig, at(g), len, zone);
    rig
}

/// Where the entries are that lead to the memmap of the block at `block`: that of its group, and its own.
fn entries(rig: &Rig, block: u64) -> [u64; 2] {
    let spec = rig.machine.spec();
    let first =
        layout::vmemmap(spec).start + (block - layout::base(spec, RAM)) / spec.page * layout::STRUCT_PAGE;
    let walk = walker::walk(spec, rig.machine.memory(), rig.machine.root(), first).expect("mapped");
    let level = if spec.page == 0x1000 { 2 } else { 3 };
    [level - 1, level].map(|level| walk.reads[level].expect("down to the image").at)
}

/// The table with the entries of the memmap of the block at `block`.
fn table(rig: &Rig, block: u64) -> u64 {
    entries(rig, block)[1] / rig.machine.spec().page * rig.machine.spec().page
}

/// The table of each group of `len` bytes.
fn tables(rig: &Rig, len: u64) -> Vec<u64> {
    let g = rig.granule();
    (at(g)..at(g) + len)
        .step_by(usize::try_from(group(g)).expect("64 bits"))
        .map(|at| table(rig, at))
        .collect()
}

fn different(tables: &[u64]) -> usize {
    tables.iter().collect::<BTreeSet<_>>().len()
}

fn take(rig: &mut Rig) -> Result<Pfn> {
    rig.mm.frames_mut().alloc(0, PageKind::Kernel, Mobility::Movable)
}

fn free_groups_share_one_table(g: Granule) {
    let rig = with(g, 3 * group(g), ZoneKind::Movable);
    rig.assert_clean("three groups");
    assert_eq!(different(&tables(&rig, 3 * group(g))), 1);
    // Every memmap page of the last one is the image's, through the one table.
    let (first, last) = (at(g), at(g) + 3 * group(g) - layout::block(rig.machine.spec()));
    assert_eq!(table(&rig, first), table(&rig, last));
}

fn a_part_of_a_group_has_a_table_of_its_own(g: Granule) {
    let half = group(g) / 2;
    let rig = with(g, 2 * group(g) + half, ZoneKind::Movable);
    rig.assert_clean("two groups and a half");
    let [one, two, three] = tables(&rig, 2 * group(g) + half)[..] else { panic!("three") };
    assert!(one == two && two != three, "{one:#x} {two:#x} {three:#x}");
}

/// Of three groups the last serves the page; then of the only one.
fn a_group_has_a_table_while_a_page_of_it_is_in_use(g: Granule) {
    for groups in [3, 1] {
        let mut rig = with(g, groups * group(g), ZoneKind::Movable);
        let before = (Snapshot::exact(&rig), tables(&rig, groups * group(g)));
        let page = take(&mut rig).expect("free memory");
        rig.assert_clean("a page is in use");
        let now = tables(&rig, groups * group(g));
        let (last, others) = now.split_last().expect("groups");
        assert!(!others.contains(last), "{now:x?}");
        assert!(others.is_empty() || others == &before.1[1..], "{now:x?}");
        rig.mm.frames_mut().free(page);
        rig.assert_clean("all is free");
        before.0.assert_same(&Snapshot::exact(&rig), "all is free");
        assert_eq!(different(&tables(&rig, groups * group(g))), 1);
    }
}

/// Tables come from Normal: its groups do not share, so that no table needs another first.
fn groups_of_normal_have_tables_of_their_own(g: Granule) {
    let len = 2 * group(g);
    let mut rig = with(g, len, ZoneKind::Normal);
    rig.assert_clean("online in Normal");
    assert_eq!(different(&tables(&rig, len)), 2);
    let page = rig.mm.frames_mut().alloc(g.section_order - 1, PageKind::Kernel, Mobility::Unmovable);
    rig.assert_clean("half a block is in use");
    rig.mm.frames_mut().free(page.expect("free memory"));
    assert_eq!(rig.mm.offline_pages(pages(g, at(g), len)).map(|o| o.migrated), Ok(0));
    rig.assert_clean("offline");
    online(&mut rig, at(g), len, ZoneKind::Movable);
    rig.assert_clean("online in Movable");
    assert_eq!(different(&tables(&rig, len)), 1);
    let straight = Snapshot::of(&with(g, len, ZoneKind::Movable), Detail::WhereFramesMayDiffer);
    straight.assert_same(&Snapshot::of(&rig, Detail::WhereFramesMayDiffer), "by way of Normal");
}

fn two_halves_share_once_both_are_online(g: Granule) {
    let (half, mut rig) = (group(g) / 2, with(g, group(g), ZoneKind::Movable));
    for start in [at(g) + group(g), at(g) + group(g) + half] {
        rig.plug(start, half, MemmapHome::Demand);
        rig.assert_clean("half a group");
        online(&mut rig, start, half, ZoneKind::Movable);
        rig.assert_clean("half a group is online");
    }
    assert_eq!(different(&tables(&rig, 2 * group(g))), 1);
    Snapshot::exact(&with(g, 2 * group(g), ZoneKind::Movable))
        .assert_same(&Snapshot::exact(&rig), "by halves");
}

/// What stays of a group that goes in part keeps its struct pages.
fn a_part_of_a_group_goes(g: Granule) {
    let (len, half) = (2 * group(g), group(g) / 2);
    for start in [at(g) + half, at(g), at(g) + group(g) + half] {
        let mut rig = with(g, len, ZoneKind::Movable);
        let gone = range(start, group(g).min(at(g) + len - start));
        rig.mm.unplug(gone).expect("free");
        rig.assert_clean("a part is gone");
        let rest = (at(g)..at(g) + len).step_by(usize::try_from(half).expect("64 bits"));
        for piece in rest.filter(|piece| !gone.contains(PhysAddr::new(*piece))) {
            table(&rig, piece);
            rig.mm.unplug(range(piece, half)).expect("free");
            rig.assert_clean("the rest goes");
        }
        let none = rig.mm.frames().demand();
        assert_eq!((none.blocks(), none.image()), (0, None));
        let empty = boot(g);
        empty.machine.plug(at(g), len);
        Snapshot::exact(&empty).assert_same(&Snapshot::exact(&rig), "all is gone");
    }
}

/// Fails each allocation of `act` in turn, each time on another machine. Returns how many failed.
fn fail_each(what: &str, new: impl Fn() -> Rig, act: impl Fn(&mut Rig) -> Result<()>) -> u64 {
    let mut failed = 0;
    for n in 1.. {
        let mut rig = new();
        let before = (Snapshot::exact(&rig), rig.mm.frames().extents().to_vec());
        rig.mm.frames_mut().faults.arm(Plan::Nth(n));
        let result = act(&mut rig);
        let fired = rig.mm.frames().faults.fired();
        rig.mm.frames_mut().faults.arm(Plan::Off);
        rig.assert_clean(what);
        match result {
            Ok(()) => {}
            Err(Error::Out(_)) => {
                failed += 1;
                before.0.assert_same(&Snapshot::exact(&rig), &format!("{what}, allocation {n}"));
                assert_eq!(before.1, rig.mm.frames().extents(), "{what}, allocation {n}");
            }
            Err(other) => panic!("{what}, allocation {n}: {other}"),
        }
        if !fired {
            break;
        }
    }
    failed
}

fn what_groups_need_undoes_itself(g: Granule) {
    let (len, movable) = (2 * group(g), ZoneKind::Movable);
    let page = Rig::pfn(g, at(g) + g.section_size + g.page_size);
    let count = fail_each("pin", || with(g, len, movable), |rig| rig.mm.pin(page));
    assert_eq!(count, 2, "{}: the block's record, the group's table", g.kind);
    let middle = range(at(g) + group(g) / 2, group(g));
    let count =
        fail_each("half of two groups", || with(g, len, movable), |rig| rig.mm.unplug(middle).map(drop));
    assert_eq!(count, 3, "{}: the records at the ends, two tables for later", g.kind);
    let offline = || {
        let mut rig = boot(g);
        rig.plug(at(g), len, MemmapHome::Demand);
        rig
    };
    let all = pages(g, at(g), len);
    let count = fail_each("online", offline, |rig| rig.mm.online_pages(all, ZoneKind::Normal, |_, _| {}));
    assert_eq!(count, 2, "{}: a table, the list of the zone", g.kind);
    let plugged = || {
        let rig = boot(g);
        rig.machine.plug(at(g), len);
        rig
    };
    let count = fail_each("add", plugged, |rig| rig.add(at(g), len, MemmapHome::Demand));
    assert!(count >= 5, "{}: {count}: a record, two frames, the groups' table, one above it", g.kind);
}

/// Halves of three groups go online, in either zone, and offline, and pages of them are in use meanwhile. A group has a table of
/// its own if a page of it is in use or tables come from it; it shares if all of it is free in Movable.
fn random_lives(g: Granule) {
    let half = group(g) / 2;
    let mut rig = boot(g);
    rig.plug(at(g), 6 * half, MemmapHome::Demand);
    let (mut zones, mut used, mut seed) = ([None; 6], Vec::<Pfn>::new(), 0x9e37_79b9_7f4a_7c15 ^ g.page_size);
    let mut below = |limit: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        usize::try_from(seed >> 11).expect("64 bits") % limit
    };
    let half_of = |pfn: Pfn| usize::try_from((pfn.get() * g.page_size).wrapping_sub(at(g)) / half);
    let mut seen = [0; 2];
    for step in 0..300 {
        let which = below(6);
        let piece = pages(g, at(g) + which as u64 * half, half);
        match (below(8), zones[which]) {
            (0..4, None) => {
                let zone = if below(12) == 0 { ZoneKind::Normal } else { ZoneKind::Movable };
                rig.mm.online_pages(piece, zone, |_, _| {}).expect("offline");
                zones[which] = Some(zone);
            }
            (0, Some(_)) if used.iter().all(|pfn| half_of(*pfn) != Ok(which)) => {
                rig.mm.offline_pages(piece).expect("free");
                zones[which] = None;
            }
            (4, _) if used.len() < 3 => used.extend(take(&mut rig)),
            (5, Some(_)) if rig.mm.pin(piece.start).is_ok() => rig.mm.unpin(piece.start).expect("pinned"),
            _ if !used.is_empty() => rig.mm.frames_mut().free(used.swap_remove(below(used.len()))),
            _ => {}
        }
        rig.assert_clean(&format!("step {step}"));
        let tables = tables(&rig, 6 * half);
        let mut free = Vec::new();
        let in_use = |n: usize| used.iter().any(|pfn| half_of(*pfn).is_ok_and(|half| half / 2 == n));
        for n in 0..3 {
            let zones = &zones[2 * n..2 * n + 2];
            let (normal, movable) = (Some(ZoneKind::Normal), Some(ZoneKind::Movable));
            if in_use(n) || zones.contains(&normal) {
                seen[0] += 1;
                let same = tables.iter().filter(|table| **table == tables[n]).count();
                assert_eq!(same, 1, "step {step}: group {n}, {tables:x?}");
            } else if zones == [movable; 2] {
                free.push(tables[n]);
            }
        }
        seen[1] += usize::from(free.len() > 1);
        assert!(different(&free) <= 1, "step {step}: {free:x?} of {tables:x?}");
    }
    assert!(seen.iter().all(|times| *times > 10), "{seen:?}");
}

/// A part of two groups goes while a page of one of them is in use: the page moves, and its group is free on the way.
fn a_part_goes_whose_group_becomes_free_meanwhile(g: Granule) {
    let half = group(g) / 2;
    let mut rig = boot(g);
    rig.plug(at(g), 6 * half, MemmapHome::Demand);
    online(&mut rig, at(g), 2 * half, ZoneKind::Movable);
    let tenant = rig.mm.tenant_new(1).expect("free memory");
    online(&mut rig, at(g) + 2 * half, 4 * half, ZoneKind::Movable);
    rig.assert_clean("a page of the first group is in use");
    rig.mm.unplug(range(at(g) + half, half)).expect("its page moves");
    rig.assert_clean("half of the first group is gone");
    table(&rig, at(g) + 3 * half);
    rig.mm.tenant_check(tenant).expect("whole");
}

/// The page that is in the way is pinned: all that goes stays, and once it is free its group shares again.
fn a_part_stays(g: Granule) {
    let (len, half) = (2 * group(g), group(g) / 2);
    let mut rig = with(g, len, ZoneKind::Movable);
    let before = Snapshot::exact(&rig);
    let page = Rig::pfn(g, at(g) + half);
    rig.mm.pin(page).expect("free");
    let pinned = (Snapshot::exact(&rig), rig.mm.frames().extents().to_vec());
    assert!(rig.mm.unplug(range(at(g) + half, half)).is_err());
    rig.assert_clean("nothing went");
    pinned.0.assert_same(&Snapshot::exact(&rig), "nothing went");
    assert_eq!(pinned.1, rig.mm.frames().extents());
    rig.mm.unpin(page).expect("pinned");
    before.assert_same(&Snapshot::exact(&rig), "all is free");
}

/// What the auditor is there to find, done to the raw tables.
fn the_auditor_finds_what_is_wrong_with_groups(g: Granule) {
    let len = 2 * group(g);
    let rig = with(g, len, ZoneKind::Movable);
    let memory = rig.machine.memory();
    let found = || {
        let mut found = Vec::new();
        rig.mm.audit(&mut |finding| found.push((finding.invariant, finding.what)));
        found
    };
    let [group, entry] = entries(&rig, at(g));
    let [at_group, at_entry] = [group, entry].map(|at| memory.read(at));
    // A group that does not share, all of whose blocks are free: its count is one too many then, too.
    memory.poke(group, at_group & !(1 << 56));
    assert!(found().contains(&(7, "a group of free blocks has a table of its own")), "{:?}", found());
    memory.poke(group, at_group);
    // The table itself.
    memory.poke(entry, 0);
    assert!(found().contains(&(3, "the image was written to")), "{:?}", found());
    memory.poke(entry, at_entry);
    assert_eq!(found(), []);
    // One in Normal, whose first entry leads elsewhere.
    let rig = with(g, len, ZoneKind::Normal);
    let [own, other] = [at(g), at(g) + g.section_size].map(|block| entries(&rig, block)[1]);
    assert_ne!(own, other);
    let raw = rig.machine.memory().read(other);
    rig.machine.memory().poke(other, raw + g.page_size);
    let mut wrong = Vec::new();
    rig.mm.audit(&mut |finding| wrong.push((finding.invariant, finding.what)));
    assert!(wrong.contains(&(3, "an entry of a free block leads elsewhere than to its image")), "{wrong:?}");
}

hotmap_testkit::at_each_granule!(
    the_auditor_finds_what_is_wrong_with_groups,
    a_part_goes_whose_group_becomes_free_meanwhile,
    a_part_stays,
    random_lives,
    free_groups_share_one_table,
    a_part_of_a_group_has_a_table_of_its_own,
    a_group_has_a_table_while_a_page_of_it_is_in_use,
    groups_of_normal_have_tables_of_their_own,
    two_halves_share_once_both_are_online,
    a_part_of_a_group_goes,
    what_groups_need_undoes_itself
);
