//! Pages migrate in batches: to the frames that they would get one by one, whichever allocation fails; what a batch costs is
//! counted where it can be counted exactly.
#![cfg(not(miri))]

use hotmap_emulator::rig::{MIB, Rig, Shape, range};
use hotmap_mm::debug::bugs::Bug;
use hotmap_mm::debug::faults::Plan;
use hotmap_mm::error::{BlockError, Error, PageError, Resource, SpaceError};
use hotmap_mm::frame::Mobility;
use hotmap_mm::frame::buddy::Lists;
use hotmap_mm::frame::page::PageKind;
use hotmap_mm::frame::zone::ZoneKind;
use hotmap_mm::granule::Granule;
use hotmap_mm::hotplug::home::MemmapHome;
use hotmap_mm::hotplug::offline::Offlined;
use hotmap_mm::pfn::{Pfn, PfnRange};
use hotmap_testkit::snapshot::{Detail, Snapshot};
use hotmap_testkit::world::World;

const AT: u64 = 0x8000_0000;

/// Isolates `blocks` blocks of `zone` with 20 pages in use, lets each page be allocated outside and freed inside, and adds
/// up how many of the isolated blocks the searches look at, the first search not counted.
fn looked_at(g: Granule, zone: ZoneKind, blocks: u64) -> usize {
    let len = Rig::blocks(g, blocks);
    let mut rig = Rig::boot(g, &Shape::one("256 MiB", 0x4000_0000, 256 * MIB));
    rig.plug(AT, len, MemmapHome::SelfHosted);
    rig.online(AT, len, zone);
    let all = PfnRange::inside(g, range(AT, len));
    let page =
        |rig: &mut Rig| rig.mm.frames_mut().alloc(0, PageKind::Tenant, Mobility::Movable).expect("room");
    let inside: Vec<Pfn> = (0..20).map(|_| page(&mut rig)).collect();
    assert!(inside.iter().all(|pfn| all.contains(*pfn)));
    rig.mm.frames_mut().start_isolate(all).expect("online");
    let mut looked = 0;
    let mut outside = Vec::new();
    for pfn in inside {
        outside.push(page(&mut rig));
        rig.mm.frames_mut().free(pfn);
        let searched = rig.mm.frames().zone(zone).searched(Lists::Main);
        looked += searched.iter().filter(|block| all.contains(**block)).count();
    }
    assert!(outside.iter().all(|pfn| !all.contains(*pfn)));
    // All that is isolated serves again at once.
    rig.mm.frames_mut().undo_isolate(all);
    assert!(all.contains(page(&mut rig)), "the newest block is the first again");
    looked
}

/// However many blocks are isolated: they are passed over once, and a page that is freed in one of them is no reason to look
/// there again.
fn a_search_does_not_look_at_isolated_blocks_again(g: Granule) {
    for zone in ZoneKind::ALL {
        for blocks in [1, 8] {
            assert_eq!(looked_at(g, zone, blocks), 0, "{blocks} blocks of zone {zone}");
        }
    }
}

/// A block with tenants' pages side by side and scattered between free ones: of each triple of tenants with 1, 2 and 3 pages
/// the second is gone.
fn scattered(g: Granule) -> World {
    let mut world = World::boot(g, &Shape::one("128 MiB", 0x4000_0000, 128 * MIB));
    world.add(AT, Rig::blocks(g, 1), MemmapHome::SelfHosted, Some(ZoneKind::Movable));
    world.tenant_new(MANY);
    for triple in 0..TRIPLES {
        (1..=3).for_each(|pages| world.tenant_new(pages));
        world.tenant_drop(u32::try_from(3 + 3 * triple).expect("few"));
    }
    world.tenant_new(1);
    // Outside, single pages are free between those of the kernel.
    (0..12).for_each(|_| world.kernel_alloc(0));
    let single: Vec<u64> = world.reference.kernel.keys().copied().step_by(2).collect();
    world.kernel_free(&single);
    world
}

/// More pages than a batch has at any granule.
const MANY: u64 = 150;
const TRIPLES: u64 = 6;
/// The pages of [`scattered`].
const PAGES: u64 = MANY + TRIPLES * (1 + 3) + 1;

/// Where the tenants' pages are, ascending.
fn frames(world: &World) -> Vec<u64> {
    let mut frames: Vec<u64> = world.seen.tenants.values().copied().collect();
    frames.sort_unstable();
    frames
}

fn offline(world: &mut World, when: &str) -> Result<Offlined, Error> {
    let g = world.granule();
    let result = world.rig.mm.offline_block(Rig::pfn(g, AT));
    world.rig.mm.frames_mut().faults.arm(Plan::Off);
    if result.is_ok() {
        world.reference.offlined(AT);
    }
    world.seen = world.reference.check(&world.rig, when);
    world.rig.assert_clean(when);
    world.tenants_check();
    result
}

/// The oracle allocates the pages one by one.
fn a_batch_moves_to_the_frames_that_single_pages_would_get(g: Granule) {
    let (mut world, mut twin) = (scattered(g), scattered(g));
    assert_eq!(frames(&world).len() as u64, PAGES);
    let block = PfnRange::new(Rig::pfn(g, AT), g.section_pages);
    twin.rig.mm.frames_mut().start_isolate(block).expect("online");
    let page = |_| {
        let pfn = twin.rig.mm.frames_mut().alloc(0, PageKind::Tenant, Mobility::Movable).expect("room");
        pfn.get()
    };
    let mut expected: Vec<u64> = (0..PAGES).map(page).collect();
    expected.sort_unstable();
    assert_eq!(offline(&mut world, "scattered"), Ok(Offlined { migrated: PAGES }));
    assert_eq!(frames(&world), expected);
}

/// Whichever allocation fails, only that page waits for the second pass.
fn each_allocation_that_fails_keeps_back_one_page(g: Granule) {
    for n in (1..=PAGES).step_by(17) {
        let mut world = scattered(g);
        world.rig.mm.frames_mut().faults.arm(Plan::Nth(n));
        assert_eq!(offline(&mut world, &format!("allocation {n}")), Ok(Offlined { migrated: PAGES }));
    }
}

/// What there is memory for has moved, the rest stays, in order; the block is online, and all can go once there is memory.
fn what_finds_no_frame_stays(g: Granule) {
    for left in [0, 1, 7, 8, 63, 64, 65, PAGES - 1] {
        let mut world = scattered(g);
        let before = frames(&world);
        world.rig.mm.frames_mut().faults.arm(Plan::From(PAGES - left + 1));
        let result = offline(&mut world, &format!("{left} stay"));
        if left == 0 {
            assert_eq!(result, Ok(Offlined { migrated: PAGES }));
            continue;
        }
        let stay: Vec<u64> = before[before.len() - usize::try_from(left).expect("few")..].to_vec();
        let (pfn, out) = (Pfn::new(stay[0]), Resource::Frames { order: 0 });
        assert_eq!(result, Err(Error::Page(PageError::Stays { pfn, tries: 10, out })));
        let block = PfnRange::new(Rig::pfn(g, AT), g.section_pages);
        let here: Vec<u64> = frames(&world).into_iter().filter(|f| block.contains(Pfn::new(*f))).collect();
        assert_eq!(here, stay);
        assert_eq!(offline(&mut world, "then all"), Ok(Offlined { migrated: left }));
    }
}

/// The same without a plan: memory outside ends in the middle of a batch, in pieces.
fn the_last_free_pages_are_used_up(g: Granule) {
    for leave in [0, 1, 37, 100] {
        let mut world = scattered(g);
        let before = frames(&world);
        world.kernel_takes_all_but(leave);
        let (pfn, out) =
            (Pfn::new(before[usize::try_from(leave).expect("few")]), Resource::Frames { order: 0 });
        let result = offline(&mut world, &format!("{leave} free"));
        assert_eq!(result, Err(Error::Page(PageError::Stays { pfn, tries: 1, out })));
        assert_eq!(world.rig.mm.frames().zone(ZoneKind::Normal).free, 0);
    }
    // A page that was made to fail comes before those for which there is no memory.
    let mut world = scattered(g);
    let pfn = Pfn::new(frames(&world)[1]);
    world.kernel_takes_all_but(37);
    world.rig.mm.frames_mut().faults.arm(Plan::Nth(2));
    let out = Resource::Frames { order: 0 };
    let result = offline(&mut world, "both");
    assert_eq!(result, Err(Error::Page(PageError::Stays { pfn, tries: 1, out })));
}

/// One invalidation for a batch, however its pages lie.
fn a_broadcast_serves_eight_pages(g: Granule) {
    let mut world = World::boot(g, &Shape::one("256 MiB", 0x4000_0000, 256 * MIB));
    world.add(AT, Rig::blocks(g, 1), MemmapHome::SelfHosted, Some(ZoneKind::Movable));
    world.tenant_new(640);
    let before = world.rig.machine.broadcasts();
    assert_eq!(offline(&mut world, "640 pages"), Ok(Offlined { migrated: 640 }));
    let broadcasts = world.rig.machine.broadcasts() - before;
    assert!((1..=640 / 8).contains(&broadcasts), "{broadcasts} for 640 pages");
}

/// A live entry that changes its frame is refused, and the frames that were taken for the batch are free again.
fn a_batch_that_is_not_broken_first_changes_nothing(g: Granule) {
    let mut world = scattered(g);
    let before = Snapshot::exact(&world.rig);
    world.rig.mm.set_bug(Some(Bug::NoBbm));
    let refused = world.rig.mm.offline_block(Rig::pfn(g, AT));
    world.rig.mm.set_bug(None);
    assert!(matches!(refused, Err(Error::Space(SpaceError::BreakBeforeMake { .. }))), "{refused:?}");
    before.assert_same(&Snapshot::exact(&world.rig), "refused");
    assert_eq!(offline(&mut world, "without the fault"), Ok(Offlined { migrated: PAGES }));
}

/// From a block on demand into one on demand: what a batch takes and frees at once is populated and given back as it is for
/// single pages. All is as before once the tenants are gone.
fn blocks_on_demand_are_left_and_entered(g: Granule) {
    let (mut rig, len) = (Rig::boot(g, &Shape::one("256 MiB", 0x4000_0000, 256 * MIB)), Rig::blocks(g, 1));
    rig.plug(AT, 2 * len, MemmapHome::Demand);
    rig.online(AT, 2 * len, ZoneKind::Movable);
    let before = Snapshot::of(&rig, Detail::WhereFramesMayDiffer);
    let tenants: Vec<u32> =
        [MANY, 1, 70, 2, 3, 200, 1, 64, 9].map(|pages| rig.mm.tenant_new(pages).expect("room")).to_vec();
    for gone in tenants.iter().skip(1).step_by(2) {
        rig.mm.tenant_drop(*gone).expect("a tenant");
    }
    rig.assert_clean("scattered");
    let stay: Vec<u32> = tenants.iter().copied().step_by(2).collect();
    let pages = MANY + 70 + 3 + 1 + 9;
    for start in [AT + len, AT] {
        let block = Rig::pfn(g, start);
        assert_eq!(rig.mm.offline_block(block), Ok(Offlined { migrated: pages }), "{start:#x}");
        rig.assert_clean("offline");
        stay.iter().for_each(|id| assert!(rig.mm.tenant_check(*id).is_ok()));
        rig.mm.online_block(block, ZoneKind::Movable).expect("offline");
    }
    stay.iter().for_each(|id| rig.mm.tenant_drop(*id).expect("a tenant"));
    rig.assert_clean("gone");
    before.assert_same(&Snapshot::of(&rig, Detail::WhereFramesMayDiffer), "all is free again");
}

/// Stopped at each moment at which it asks: the block is online, each page is in one place, and the rest moves later.
fn an_offline_that_is_stopped_can_be_done_later(g: Granule) {
    let asked = |world: &mut World, at: usize| {
        let (mut heard, block) = (Vec::new(), Rig::pfn(g, AT));
        let result = world.rig.mm.offline_block_unless(block, &mut |migrated| {
            heard.push(migrated);
            heard.len() > at
        });
        (result, heard)
    };
    let (all, moments) = asked(&mut scattered(g), usize::MAX);
    assert_eq!(all, Ok(Offlined { migrated: PAGES }));
    assert!(moments.is_sorted() && moments.len() as u64 > PAGES / 64, "{moments:?}");
    for at in 0..moments.len() {
        let mut world = scattered(g);
        let before = Snapshot::of(&world.rig, Detail::WherePagesMayHaveMoved);
        let (stopped, heard) = asked(&mut world, at);
        assert_eq!(heard, moments[..=at]);
        let migrated = moments[at];
        assert_eq!(stopped, Err(Error::Block(BlockError::Interrupted { migrated })));
        world.seen = world.reference.check(&world.rig, "stopped");
        world.rig.assert_clean("stopped");
        before.assert_same(&Snapshot::of(&world.rig, Detail::WherePagesMayHaveMoved), "online as before");
        let block = PfnRange::new(Rig::pfn(g, AT), g.section_pages);
        let left = frames(&world).into_iter().filter(|frame| block.contains(Pfn::new(*frame))).count();
        assert_eq!(left as u64, PAGES - migrated);
        // The isolation is undone: the newest block serves first again.
        let page = world.rig.mm.frames_mut().alloc(0, PageKind::Kernel, Mobility::Movable).expect("room");
        assert!(block.contains(page));
        world.rig.mm.frames_mut().free(page);
        assert_eq!(offline(&mut world, "later"), Ok(Offlined { migrated: PAGES - migrated }));
    }
}

/// Asked between two blocks in use, before the first page has moved.
fn a_range_that_is_stopped_at_once_has_not_moved(g: Granule) {
    let mut world = scattered(g);
    let len = Rig::blocks(g, 1);
    world.add(AT + len, len, MemmapHome::SelfHosted, Some(ZoneKind::Movable));
    world.tenant_new(5);
    let (before, pages) = (Snapshot::exact(&world.rig), PfnRange::inside(g, range(AT, 2 * len)));
    let stopped = world.rig.mm.offline_pages_unless(pages, &mut |_| true);
    assert_eq!(stopped, Err(Error::Block(BlockError::Interrupted { migrated: 0 })));
    before.assert_same(&Snapshot::exact(&world.rig), "nothing moved");
    assert_eq!(world.rig.mm.offline_pages(pages), Ok(Offlined { migrated: PAGES + 5 }));
    world.rig.assert_clean("later");
}

hotmap_testkit::at_each_granule!(
    a_range_that_is_stopped_at_once_has_not_moved,
    an_offline_that_is_stopped_can_be_done_later,
    blocks_on_demand_are_left_and_entered,
    a_search_does_not_look_at_isolated_blocks_again,
    a_batch_moves_to_the_frames_that_single_pages_would_get,
    each_allocation_that_fails_keeps_back_one_page,
    what_finds_no_frame_stays,
    the_last_free_pages_are_used_up,
    a_broadcast_serves_eight_pages,
    a_batch_that_is_not_broken_first_changes_nothing,
);
