//! The walkers of memory skip a block's own memmap, wherever in the block it lies: its mark, order and references stay
//! as they are, and it is never handed out. Runs of it are planted at odd places for this.
#![cfg(not(miri))]

use std::collections::BTreeSet;

use hotmap_emulator::layout;
use hotmap_emulator::rig::{GIB, MIB, Rig, Shape, range};
use hotmap_mm::error::{BlockError, BlockIs, BlockNeeds, Error, PageError};
use hotmap_mm::frame::Mobility;
use hotmap_mm::frame::block::BlockState;
use hotmap_mm::frame::page::PageKind;
use hotmap_mm::frame::zone::ZoneKind;
use hotmap_mm::granule::Granule;
use hotmap_mm::hotplug::home::MemmapHome;
use hotmap_mm::hotplug::offline::Offlined;
use hotmap_mm::pfn::{Pfn, PfnRange};
use hotmap_testkit::snapshot::Snapshot;

const AT: u64 = 0x8000_0000;

/// Two self-hosted blocks in `zone`, with memmap planted in the second.
fn planted(g: Granule, zone: ZoneKind) -> (Rig, Vec<(Pfn, u32)>) {
    let mut rig = Rig::boot(g, &Shape::one("1 GiB", 0x4000_0000, GIB));
    rig.plug(AT, Rig::blocks(g, 2), MemmapHome::SelfHosted);
    rig.online(AT, Rig::blocks(g, 2), zone);
    let runs = plant(&mut rig);
    (rig, runs)
}

/// The second block: pages that are in no way special, a run in the middle, and the very last page.
fn places(g: Granule) -> Vec<(Pfn, u32)> {
    let block = second(g);
    let (half, len) = (g.section_pages / 2, g.section_pages);
    vec![(block + 1037, 0), (block + half, 3), (block + half + 9, 0), (block + (len - 1), 0)]
}

fn plant(rig: &mut Rig) -> Vec<(Pfn, u32)> {
    let g = rig.granule();
    let runs = places(g);
    for (i, (pfn, order)) in runs.iter().enumerate() {
        rig.mm.host_memmap(*pfn, *order).expect("free");
        rig.mm.frames().pages().get(*pfn).set_refs(7 + u32::try_from(i).expect("few"));
    }
    runs
}

fn second(g: Granule) -> Pfn {
    Rig::pfn(g, AT + Rig::blocks(g, 1))
}

fn both(g: Granule) -> PfnRange {
    PfnRange::inside(g, range(AT, Rig::blocks(g, 2)))
}

fn count(runs: &[(Pfn, u32)]) -> u64 {
    runs.iter().map(|(_, order)| 1 << order).sum()
}

/// The planted runs and the blocks' first pages say what they said.
fn intact(rig: &Rig, runs: &[(Pfn, u32)], when: &str) {
    let g = rig.granule();
    if !rig.mm.frames().blocks().any(|block| matches!(block.state, BlockState::GoingOffline(_))) {
        rig.assert_clean(when);
    }
    for (i, (pfn, order)) in runs.iter().enumerate() {
        let page = rig.mm.frames().pages().get(*pfn);
        let says = (page.kind(), page.order(), page.refs());
        assert_eq!(says, (PageKind::MemmapSelf, *order, 7 + u32::try_from(i).expect("few")), "{when}: {pfn}");
    }
    for block in [Rig::pfn(g, AT), second(g)] {
        own_memmap_is_marked(rig, block, when);
    }
}

/// 2 MiB, 512 KiB, 512 KiB: one head each.
fn own_memmap_is_marked(rig: &Rig, block: Pfn, when: &str) {
    let g = rig.granule();
    let order = match g.page_size {
        0x1000 => 9,
        0x4000 => 5,
        _ => 3,
    };
    let head = rig.mm.frames().pages().get(block);
    assert_eq!((head.kind(), head.order(), head.refs()), (PageKind::MemmapSelf, order, 1), "{when}: {block}");
    let tails = (1..1 << order).all(|i| rig.mm.frames().pages().get(block + i).kind() == PageKind::Tail);
    assert!(tails, "{when}: {block}");
}

/// The frames that the machine's tables show to be tenants', in order.
fn tenants_frames(rig: &Rig) -> Vec<u64> {
    let g = rig.granule();
    let all = rig.machine.everything();
    let leaves = all.leaves.iter().filter(|l| layout::TENANTS.contains(&l.va));
    let frames: BTreeSet<u64> = leaves.map(|l| l.leaf.pa / g.page_size).collect();
    frames.into_iter().collect()
}

fn isolating_passes_over_it(g: Granule) {
    let (mut rig, runs) = planted(g, ZoneKind::Movable);
    let before = Snapshot::exact(&rig);
    assert_eq!(rig.mm.frames_mut().start_isolate(both(g)), Ok(both(g)));
    intact(&rig, &runs, "isolated");
    assert_eq!(rig.mm.frames().test_isolated(both(g)), None, "nothing but memmap and free pages");
    let going = BlockState::GoingOffline(ZoneKind::Movable);
    assert!(rig.mm.frames().block_of(second(g)).is_some_and(|b| b.state == going));
    // What is asked for meanwhile comes from elsewhere.
    let id = rig.mm.tenant_new(40).expect("boot memory has room");
    assert!(tenants_frames(&rig).iter().all(|f| !both(g).contains(Pfn::new(*f))));
    rig.mm.tenant_drop(id).expect("not held");
    rig.mm.frames_mut().undo_isolate(both(g));
    intact(&rig, &runs, "isolation undone");
    before.assert_same(&Snapshot::exact(&rig), "isolation undone");
}

fn testing_names_the_first_page_in_use(g: Granule) {
    let (mut rig, runs) = planted(g, ZoneKind::Movable);
    let pinned = runs[1].0 + 8;
    rig.mm.pin(pinned).expect("free, right behind planted memmap");
    rig.mm.tenant_new(3).expect("room");
    let first = Pfn::new(tenants_frames(&rig)[0]);
    rig.mm.frames_mut().start_isolate(both(g)).expect("online");
    assert_eq!(rig.mm.frames().test_isolated(both(g)), Some(first.min(pinned)));
    let behind = PfnRange { start: first.max(pinned) + 1, end: both(g).end };
    let rest = tenants_frames(&rig).into_iter().map(Pfn::new).chain([pinned]).filter(|p| behind.contains(*p));
    assert_eq!(rig.mm.frames().test_isolated(behind), rest.min());
    rig.mm.frames_mut().undo_isolate(both(g));
    intact(&rig, &runs, "tested");
}

fn isolating_is_all_or_nothing(g: Granule) {
    let (mut rig, _) = planted(g, ZoneKind::Movable);
    let one = PfnRange::new(second(g), g.section_pages);
    rig.mm.frames_mut().start_isolate(one).expect("online");
    let (before, address) = (Snapshot::exact(&rig), second(g).address(g));
    let again = Error::Block(BlockError::State {
        block: address,
        is: BlockIs::GoingOffline,
        needs: BlockNeeds::Online,
    });
    assert_eq!(rig.mm.frames_mut().start_isolate(both(g)), Err(again));
    before.assert_same(&Snapshot::exact(&rig), "the first block is online, the second stays isolated");
    let beyond = PfnRange::new(second(g), 2 * g.section_pages);
    rig.mm.frames_mut().undo_isolate(one);
    let before = Snapshot::exact(&rig);
    assert!(matches!(rig.mm.frames_mut().start_isolate(beyond), Err(Error::Block(BlockError::Absent(_)))));
    before.assert_same(&Snapshot::exact(&rig), "nothing is isolated");
}

/// The scanner gives exactly what the tables show to be in use.
fn the_scanner_gives_what_is_in_use_and_no_memmap(g: Granule) {
    let (mut rig, runs) = planted(g, ZoneKind::Movable);
    // Past the first planted page, and into the other block.
    rig.mm.tenant_new(2000).expect("room");
    let expected: Vec<u64> =
        tenants_frames(&rig).into_iter().filter(|f| both(g).contains(Pfn::new(*f))).collect();
    assert!(expected.len() > 1500);
    let (mut found, mut rest) = (Vec::new(), both(g));
    while let Some(used) = rig.mm.frames().next_used(rest) {
        assert_eq!((used.kind, used.end), (PageKind::Tenant, used.pfn + 1));
        found.push(used.pfn.get());
        rest.start = used.end;
    }
    assert_eq!(found, expected);
    intact(&rig, &runs, "scanned");
}

fn offline_and_online_leave_it_alone(g: Granule) {
    for zone in ZoneKind::ALL {
        let (mut rig, runs) = planted(g, zone);
        let before = rig.mm.frames().counts();
        let id = rig.mm.tenant_new(1500).expect("room");
        let used = rig.mm.frames().block_of(second(g)).expect("present").tenant_pages;
        assert_eq!(used, 1500);
        assert_eq!(rig.mm.offline_block(second(g)), Ok(Offlined { migrated: 1500 }));
        intact(&rig, &runs, "offline");
        let offline = rig.mm.frames().counts();
        assert_eq!(offline.memmap_self, before.memmap_self, "it is in use while the block is present");
        assert!(offline.balance());
        assert_eq!(rig.mm.tenant_check(id), Ok(1500));
        rig.mm.tenant_drop(id).expect("not held");
        rig.mm.online_block(second(g), zone).expect("room");
        intact(&rig, &runs, "online again");
        assert_eq!(rig.mm.frames().counts(), before);
        let block = rig.mm.frames().block_of(second(g)).expect("present");
        assert_eq!(block.free.pages(), block.usable(g).len() - count(&runs));
        never_handed_out(&mut rig, &runs);
        for (pfn, _) in &runs {
            rig.mm.unhost_memmap(*pfn).expect("online");
        }
        rig.assert_clean("nothing planted any more");
    }
}

fn never_handed_out(rig: &mut Rig, runs: &[(Pfn, u32)]) {
    let planted: BTreeSet<u64> = runs.iter().flat_map(|(p, order)| p.get()..p.get() + (1 << order)).collect();
    let mut taken = Vec::new();
    while let Ok(pfn) = rig.mm.frames_mut().alloc(0, PageKind::Pinned, Mobility::Movable) {
        assert!(!planted.contains(&pfn.get()), "{pfn} was handed out");
        taken.push(pfn);
    }
    intact(rig, runs, "everything taken");
    taken.into_iter().for_each(|pfn| rig.mm.frames_mut().free(pfn));
    intact(rig, runs, "everything free again");
}

/// It goes with its block; what is added there afterwards is initialised from nothing, its own memmap marked.
fn teardown_takes_it_along_and_initialisation_marks_anew(g: Granule) {
    let mut rig = Rig::boot(g, &Shape::one("1 GiB", 0x4000_0000, GIB));
    let (start, len) = (Snapshot::exact(&rig), Rig::blocks(g, 2));
    rig.plug(AT, len, MemmapHome::SelfHosted);
    own_memmap_is_marked(&rig, second(g), "initialised");
    rig.online(AT, len, ZoneKind::Movable);
    let runs = plant(&mut rig);
    // A neighbour comes and goes without touching it.
    rig.plug(AT + len, len, MemmapHome::SelfHosted);
    intact(&rig, &runs, "a neighbour came");
    rig.unplug(AT + len, len);
    intact(&rig, &runs, "a neighbour went");
    rig.unplug(AT, len);
    start.assert_same(&Snapshot::exact(&rig), "gone with its block");
    rig.plug(AT, len, MemmapHome::SelfHosted);
    for (pfn, _) in runs {
        assert_eq!(rig.mm.frames().pages().get(pfn).kind(), PageKind::Tail, "{pfn} has no head");
    }
    own_memmap_is_marked(&rig, second(g), "initialised anew");
    rig.online(AT, len, ZoneKind::Movable);
    rig.assert_clean("added anew");
}

/// Only a whole, aligned part of a free run becomes memmap, and only such a run of an online block becomes free again.
fn what_is_no_run_is_refused_and_changes_nothing(g: Granule) {
    let (mut rig, runs) = planted(g, ZoneKind::Normal);
    let (block, (in_the_middle, order)) = (second(g), runs[1]);
    let tenant = rig.mm.frames_mut().alloc(3, PageKind::Kernel, Mobility::Unmovable).expect("room");
    let before = Snapshot::exact(&rig);
    let refused = |result: Result<(), Error>| matches!(result, Err(Error::Page(PageError::State { .. })));
    // Not aligned; in a run that is smaller; in use; memmap already; without a struct page.
    assert!(refused(rig.mm.host_memmap(block + (g.section_pages / 4 + 1), 1)));
    assert!(refused(rig.mm.host_memmap(block + 1036, 1)), "1037 is memmap");
    assert!(refused(rig.mm.host_memmap(tenant, 0)));
    assert!(refused(rig.mm.host_memmap(in_the_middle, order)));
    let absent = Rig::pfn(g, 64 * GIB);
    assert_eq!(rig.mm.host_memmap(absent, 0), Err(Error::Page(PageError::NotPresent(absent))));
    // Not its first page; the memmap that the block came with; free.
    assert!(refused(rig.mm.unhost_memmap(in_the_middle + 1)));
    assert!(refused(rig.mm.unhost_memmap(block)));
    assert!(refused(rig.mm.unhost_memmap(block + 2000)));
    before.assert_same(&Snapshot::exact(&rig), "refusals");
    // The block is offline.
    rig.mm.frames_mut().free(tenant);
    rig.mm.offline_pages(both(g)).expect("all is free");
    let offline = Snapshot::exact(&rig);
    assert!(refused(rig.mm.unhost_memmap(in_the_middle)));
    offline.assert_same(&Snapshot::exact(&rig), "a refusal while offline");
}

/// Compaction neither moves it nor makes a run over it.
fn compaction_goes_around_it(g: Granule) {
    let (mut rig, runs) = planted(g, ZoneKind::Normal);
    let order = ((2 * MIB) >> g.page_shift).trailing_zeros();
    let mut held = Vec::new();
    // Runs of order, of which nothing is free but in the second block: there each has a page in use.
    while let Ok(pfn) = rig.mm.frames_mut().alloc(order, PageKind::Kernel, Mobility::Unmovable) {
        held.push(pfn);
    }
    let block = PfnRange::new(second(g), g.section_pages);
    let mine: Vec<Pfn> = held.into_iter().filter(|p| block.contains(*p)).collect();
    assert!(mine.len() > 8);
    for pfn in &mine {
        rig.mm.frames_mut().free(*pfn);
        let other = rig.mm.frames().use_of(*pfn).expect("present").0;
        assert_eq!(other, PageKind::Free);
        rig.mm.host_memmap(*pfn + ((1 << order) - 1), 0).expect("free");
    }
    assert_eq!(rig.mm.compact(order), Err(Error::Out(hotmap_mm::error::Resource::Frames { order })));
    intact(&rig, &runs, "no run could be made");
    // One of them without: a tenant's page alone is in its way.
    let last = *mine.last().expect("many");
    rig.mm.unhost_memmap(last + ((1 << order) - 1)).expect("online");
    let run = rig.mm.compact(order).expect("it is free");
    assert_eq!((run.run, run.moved), (last, 0));
    intact(&rig, &runs, "compacted");
}

hotmap_testkit::at_each_granule!(
    isolating_passes_over_it,
    testing_names_the_first_page_in_use,
    isolating_is_all_or_nothing,
    the_scanner_gives_what_is_in_use_and_no_memmap,
    offline_and_online_leave_it_alone,
    teardown_takes_it_along_and_initialisation_marks_anew,
    what_is_no_run_is_refused_and_changes_nothing,
    compaction_goes_around_it,
);
