//! Offlining tries a page that cannot move now again, as often as it says; a page that can never move ends the attempt before
//! anything moves.
#![cfg(not(miri))]

use hotmap_emulator::rig::{MIB, Rig, Shape};
use hotmap_mm::debug::faults::Plan;
use hotmap_mm::error::{Error, PageError, Resource};
use hotmap_mm::frame::Mobility;
use hotmap_mm::frame::page::PageKind;
use hotmap_mm::frame::zone::ZoneKind;
use hotmap_mm::granule::Granule;
use hotmap_mm::hotplug::home::MemmapHome;
use hotmap_mm::hotplug::offline::Offlined;
use hotmap_mm::pfn::Pfn;
use hotmap_testkit::snapshot::{Detail, Snapshot};
use hotmap_testkit::world::World;

const AT: u64 = 0x8000_0000;
/// How often a page is tried, written once more.
const TRIES: u32 = 10;
/// What a tenant's page needs.
const PAGE: Resource = Resource::Frames { order: 0 };

/// A block with a tenant of `pages`, and the frames that the tenant has, ascending.
fn in_use(g: Granule, pages: u64) -> (World, Vec<u64>) {
    let mut world = World::boot(g, &Shape::one("256 MiB", 0x4000_0000, 256 * MIB));
    world.add(AT, Rig::blocks(g, 1), MemmapHome::SelfHosted, Some(ZoneKind::Movable));
    world.tenant_new(pages);
    let mut frames: Vec<u64> = world.seen.tenants.values().copied().collect();
    frames.sort_unstable();
    assert!(frames.iter().all(|frame| world.reference.block_at(*frame) == AT));
    (world, frames)
}

/// Take the block offline with `plan` armed: the answer, and the allocations that were asked for.
fn offline(world: &mut World, plan: Plan) -> (Result<Offlined, Error>, u64) {
    let g = world.granule();
    world.rig.mm.frames_mut().faults.arm(plan);
    let result = world.rig.mm.offline_block(Rig::pfn(g, AT));
    let sites = world.rig.mm.frames().faults.sites();
    assert!(world.rig.mm.frames().faults.fired() || plan == Plan::Off, "{plan:?}");
    world.rig.mm.frames_mut().faults.arm(Plan::Off);
    if result.is_ok() {
        world.reference.offlined(AT);
    }
    world.seen = world.reference.check(&world.rig, &format!("{plan:?}"));
    world.rig.assert_clean(&format!("{plan:?}"));
    world.tenants_check();
    (result, sites)
}

fn here(world: &World) -> Vec<u64> {
    let here = |frame: &u64| world.reference.block_at(*frame) == AT;
    let mut frames: Vec<u64> = world.seen.tenants.values().copied().filter(here).collect();
    frames.sort_unstable();
    frames
}

/// Whichever page finds no place, the others move, and it moves in the second pass.
fn an_allocation_that_fails_once_does_not_keep_a_block(g: Granule) {
    for n in 1..=3 {
        let (mut world, _) = in_use(g, 3);
        assert_eq!(offline(&mut world, Plan::Nth(n)), (Ok(Offlined { migrated: 3 }), 4), "allocation {n}");
    }
}

/// The first pages move, all others are tried in each pass. What has moved stays moved; the rest moves when it can.
fn allocations_that_keep_failing_end_it_after_the_documented_tries(g: Granule) {
    for moves in 0..3 {
        let (mut world, frames) = in_use(g, 3);
        let before = Snapshot::of(&world.rig, Detail::WherePagesMayHaveMoved);
        let (refused, sites) = offline(&mut world, Plan::From(moves + 1));
        let first = frames[usize::try_from(moves).expect("few")];
        let stays = PageError::Stays { pfn: Pfn::new(first), tries: TRIES, out: PAGE };
        assert_eq!(refused, Err(Error::Page(stays)));
        assert_eq!(
            sites,
            moves + u64::from(TRIES) * (3 - moves),
            "each page that is left is tried in each pass"
        );
        let now = Snapshot::of(&world.rig, Detail::WherePagesMayHaveMoved);
        before.assert_same(&now, "the block is online as before");
        assert_eq!(here(&world), frames[frames.len() - here(&world).len()..], "no page came or moved inside");
        assert_eq!(here(&world).len() as u64, 3 - moves);
        assert_eq!(offline(&mut world, Plan::Off), (Ok(Offlined { migrated: 3 - moves }), 3 - moves));
    }
}

/// A page that is held ends it before the first of the others moves: nothing lets go of it while the offlining runs.
fn a_page_that_can_never_move_ends_it_before_anything_moves(g: Granule) {
    let (mut world, frames) = in_use(g, 3);
    let pinned = Rig::pfn(g, AT + Rig::blocks(g, 1) - g.page_size);
    world.pin(pinned.get());
    let before = Snapshot::exact(&world.rig);
    let (refused, sites) = offline(&mut world, Plan::Off);
    assert_eq!((refused, sites), (Err(Error::Page(PageError::Pinned { pfn: pinned, refs: 1 })), 0));
    before.assert_same(&Snapshot::exact(&world.rig), "nothing moved");
    assert_eq!(here(&world), frames);
    world.unpin(pinned.get());
    assert_eq!(offline(&mut world, Plan::Off).0, Ok(Offlined { migrated: 3 }));
}

/// When no page is free outside of the block after a pass, there is no second one.
fn without_a_free_page_it_is_not_tried_again(g: Granule) {
    let mut world = World::boot(g, &Shape::tiny());
    world.add(AT, Rig::blocks(g, 1), MemmapHome::SelfHosted, Some(ZoneKind::Movable));
    world.tenant_new(5);
    world.kernel_takes_all_but(2);
    let mut frames = here(&world);
    let (refused, sites) = offline(&mut world, Plan::Off);
    let stays = PageError::Stays { pfn: Pfn::new(frames.remove(2)), tries: 1, out: PAGE };
    assert_eq!((refused, sites), (Err(Error::Page(stays)), 5));
    assert_eq!(here(&world).len(), 3);
    assert_eq!(world.rig.mm.frames().zone(ZoneKind::Normal).free, 0);
    assert_eq!(
        stays.to_string(),
        format!(
            "{} cannot go: out of memory: no free run of 1 pages in system RAM; tries: 1",
            Pfn::new(here(&world)[0])
        )
    );
    assert_eq!(Error::Page(stays).errno().to_string(), "ENOMEM");
}

/// A free huge page needs the rest of its memmap before it is dissolved. Whichever frame fails, the next pass dissolves it.
fn a_free_huge_page_is_tried_again_as_well(g: Granule) {
    let order = match g.page_size {
        0x1000 => 9,
        0x4000 => 11,
        _ => 13,
    };
    for n in 1.. {
        let mut rig = Rig::boot(g, &Shape::one("256 MiB", 0x4000_0000, 256 * MIB));
        rig.plug(AT, Rig::blocks(g, 1), MemmapHome::Ram);
        rig.online(AT, Rig::blocks(g, 1), ZoneKind::Normal);
        // Boot memory is older, and serves first: nothing is free there while the pool grows.
        let mut taken = Vec::new();
        while let Ok(pfn) = rig.mm.frames_mut().alloc(order.min(6), PageKind::Kernel, Mobility::Unmovable) {
            if rig.mm.frames().block_of(pfn).is_some_and(|block| block.start == Rig::pfn(g, AT)) {
                rig.mm.frames_mut().free(pfn);
                break;
            }
            taken.push(pfn);
        }
        rig.mm.hugetlb_resize(order, 1).expect("room in the block");
        taken.into_iter().for_each(|pfn| rig.mm.frames_mut().free(pfn));
        rig.mm.frames_mut().faults.arm(Plan::Nth(n));
        let result = rig.mm.offline_block(Rig::pfn(g, AT));
        let fired = rig.mm.frames().faults.fired();
        rig.mm.frames_mut().faults.arm(Plan::Off);
        rig.assert_clean(&format!("allocation {n}"));
        assert_eq!(result, Ok(Offlined::default()), "allocation {n}");
        assert_eq!(rig.mm.hugetlb.pool(order).map(|pool| pool.total()), Some(0), "allocation {n}");
        if !fired {
            assert!(n > 7, "the memmap has 7 shared pages");
            break;
        }
    }
}

/// A tenant's page may go to zone Movable, so free pages there are a reason for a second pass.
fn free_pages_in_movable_help_a_tenants_page(g: Granule) {
    let (mut world, frames) = in_use(g, 3);
    world.add(AT + Rig::blocks(g, 1), Rig::blocks(g, 1), MemmapHome::SelfHosted, Some(ZoneKind::Movable));
    world.kernel_takes_all_but(0);
    assert_eq!(here(&world), frames);
    let (result, _) = offline(&mut world, Plan::Nth(1));
    assert_eq!(result, Ok(Offlined { migrated: 3 }));
}

/// The memmap of a huge page comes from zone Normal alone, so free pages in Movable are no reason for a second pass.
fn free_pages_in_movable_do_not_help_a_huge_page(g: Granule) {
    let order = match g.page_size {
        0x1000 => 9,
        0x4000 => 11,
        _ => 13,
    };
    let len = Rig::blocks(g, 1);
    let mut rig = Rig::boot(g, &Shape::one("256 MiB", 0x4000_0000, 256 * MIB));
    for (start, zone) in [(AT, ZoneKind::Normal), (AT + len, ZoneKind::Movable)] {
        rig.plug(start, len, MemmapHome::Ram);
        rig.online(start, len, zone);
    }
    let block = Rig::pfn(g, AT);
    let fill = |rig: &mut Rig| {
        // Boot memory is older, and serves first.
        let mut taken = Vec::new();
        while let Ok(pfn) = rig.mm.frames_mut().alloc(0, PageKind::Kernel, Mobility::Unmovable) {
            if rig.mm.frames().block_of(pfn).is_some_and(|b| b.start == block) {
                rig.mm.frames_mut().free(pfn);
                break;
            }
            taken.push(pfn);
        }
        taken
    };
    // Two pages stay: for the tails that huge pages share, and at 4K for a table. What sharing saves is taken as well.
    fill(&mut rig).into_iter().take(2).for_each(|pfn| rig.mm.frames_mut().free(pfn));
    rig.mm.hugetlb_resize(order, 1).expect("room in the block");
    assert!(!fill(&mut rig).is_empty());
    let before = Snapshot::exact(&rig);
    let refused = rig.mm.offline_block(block);
    assert!(
        matches!(refused, Err(Error::Page(PageError::Stays { tries: 1, out: Resource::Frames { .. }, .. }))),
        "{refused:?}"
    );
    rig.assert_clean("refused");
    before.assert_same(&Snapshot::exact(&rig), "the block is online as before");
}

hotmap_testkit::at_each_granule!(
    free_pages_in_movable_help_a_tenants_page,
    free_pages_in_movable_do_not_help_a_huge_page,
    an_allocation_that_fails_once_does_not_keep_a_block,
    allocations_that_keep_failing_end_it_after_the_documented_tries,
    a_page_that_can_never_move_ends_it_before_anything_moves,
    a_free_huge_page_is_tried_again_as_well,
    without_a_free_page_it_is_not_tried_again,
);
