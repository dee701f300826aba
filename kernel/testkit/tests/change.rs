//! Changing live mappings: what the architecture allows in one step, and what goes through an invalid entry inside a window.
//! The judge is the emulated machine, which reads the memory itself and forgets nothing that a TLB may hold.
#![cfg(not(miri))]

use hotmap_emulator::machine::violation::Rule;
use hotmap_emulator::rig::{GIB, Rig, Shape};
use hotmap_mm::addr::{PhysAddr, VirtAddr, VirtRange};
use hotmap_mm::debug::bugs::Bug;
use hotmap_mm::debug::faults::Plan;
use hotmap_mm::entry::descriptor::Attributes;
use hotmap_mm::entry::live_update::Contents;
use hotmap_mm::error::BbmRule;
use hotmap_mm::error::{Error, SpaceError};
use hotmap_mm::frame::Mobility;
use hotmap_mm::frame::page::PageKind;
use hotmap_mm::frame::tables::TableFrames;
use hotmap_mm::granule::Granule;
use hotmap_mm::layout::TENANTS;
use hotmap_mm::machine::Machine;
use hotmap_mm::pfn::Pfn;
use hotmap_mm::space::request::{Gone, MapRequest};
use hotmap_mm::space::shared::SharedFrame;
use hotmap_testkit::snapshot::Snapshot;

/// RAM enough behind it for the largest block.
const FRAME: u64 = 0x6000_0000;

fn map(rig: &mut Rig, request: &MapRequest) -> hotmap_mm::error::Result<()> {
    let (space, frames) = rig.mm.parts_mut();
    space.map(frames, request)
}

fn boot(g: Granule) -> Rig {
    Rig::boot(g, &Shape::one("2 GiB", 0x4000_0000, 2 * GIB))
}

/// A block, and where it is.
fn with_block(g: Granule) -> (Rig, VirtAddr) {
    let mut rig = boot(g);
    let va = TENANTS.start + g.pmd_size;
    let range = VirtRange { start: va, end: va + g.pmd_size };
    let (pa, attributes) = (PhysAddr::new(FRAME), Attributes::DATA);
    let request = MapRequest { range, pa, attributes, max_leaf: g.pmd_size, contiguous: false };
    let machine = rig.machine.clone();
    map(&mut rig, &request).expect("room");
    machine.publish();
    (rig, va)
}

fn split(rig: &mut Rig, va: VirtAddr, bug: Option<Bug>) -> Result<(), Error> {
    let _machine = rig.machine.clone();
    let table = rig.mm.parts_mut().1.alloc_table().expect("room");
    let result = {
        rig.mm.set_bug(bug);
        let split = rig.mm.parts_mut().0.split_block(va, table);
        rig.mm.set_bug(None);
        split
    };
    if result.is_err() {
        rig.mm.parts_mut().1.free_table(table);
    }
    result
}

fn join(rig: &mut Rig, va: VirtAddr) -> Result<(), Error> {
    let _machine = rig.machine.clone();
    let table = rig.mm.parts_mut().0.join_block(va, 2)?;
    rig.mm.parts_mut().1.free_table(table);
    Ok(())
}

/// The leaves of a block's size from `va` on: how many, and whether they map what the block maps.
fn leaves(rig: &Rig, va: VirtAddr) -> (usize, bool) {
    let g = rig.granule();
    let all = rig.machine.everything().leaves;
    let (start, end) = (va.get(), va.get() + g.pmd_size);
    let mine: Vec<_> = all.iter().filter(|l| l.va >= start && l.va < end).collect();
    (mine.len(), mine.iter().all(|l| l.leaf.writable && l.leaf.pa - FRAME == l.va - start))
}

fn a_block_and_the_table_of_its_pages_replace_each_other(g: Granule) {
    for level_2 in [false, true] {
        let (mut rig, va) = with_block(g);
        if level_2 {
            rig.machine.support_bbm_level_2();
        }
        let before = Snapshot::exact(&rig);
        split(&mut rig, va, None).expect("legal");
        let pages = usize::try_from(g.pmd_size / g.page_size).expect("few");
        assert_eq!(
            (leaves(&rig, va), rig.machine.stale_entries()),
            ((pages, true), 0),
            "BBM level 2: {level_2}"
        );
        join(&mut rig, va).expect("legal");
        assert_eq!((leaves(&rig, va), rig.machine.stale_entries()), ((1, true), 0));
        assert!(!rig.machine.window_is_open());
        before.assert_same(&Snapshot::exact(&rig), "split and joined");
    }
}

fn without_bbm_support_a_split_in_one_step_is_refused_and_changes_nothing(g: Granule) {
    let (mut rig, va) = with_block(g);
    let before = Snapshot::exact(&rig);
    let rule = BbmRule::BlockSize;
    assert_eq!(
        split(&mut rig, va, Some(Bug::NoBbm)),
        Err(Error::Space(SpaceError::BreakBeforeMake { at: va, rule }))
    );
    before.assert_same(&Snapshot::exact(&rig), "a split that was refused");
}

fn a_table_that_makes_no_block_stays(g: Granule) {
    let (mut rig, va) = with_block(g);
    assert_eq!(join(&mut rig, va), Err(Error::Space(SpaceError::NotMapped(va))), "a block already");
    split(&mut rig, va, None).expect("legal");
    let machine = rig.machine.clone();
    let page = VirtRange { start: va + 3 * g.page_size, end: va + 4 * g.page_size };
    let read_only = rig.mm.parts_mut().0.rewrite(page, Contents::Same, &mut |_, d| d.read_only());
    read_only.expect("a permission").invalidate(&machine);
    let before = Snapshot::exact(&rig);
    assert_eq!(join(&mut rig, va), Err(Error::Space(SpaceError::NotMapped(va))), "one entry differs");
    before.assert_same(&Snapshot::exact(&rig), "a join that was refused");
}

fn a_page_has_no_pieces(g: Granule) {
    let (mut rig, va) = with_block(g);
    split(&mut rig, va, None).expect("legal");
    let before = Snapshot::exact(&rig);
    assert_eq!(split(&mut rig, va, None), Err(Error::Space(SpaceError::NotMapped(va))));
    before.assert_same(&Snapshot::exact(&rig), "a split of a page");
}

fn pages_of_memory_that_is_not_aligned_make_no_block(g: Granule) {
    let mut rig = boot(g);
    let va = TENANTS.start + g.pmd_size;
    let range = VirtRange { start: va, end: va + g.pmd_size };
    let (pa, attributes) = (PhysAddr::new(FRAME + g.page_size), Attributes::DATA);
    let request = MapRequest { range, pa, attributes, max_leaf: g.page_size, contiguous: false };
    map(&mut rig, &request).expect("room");
    rig.machine.publish();
    let before = Snapshot::exact(&rig);
    assert_eq!(join(&mut rig, va), Err(Error::Space(SpaceError::NotMapped(va))));
    before.assert_same(&Snapshot::exact(&rig), "a join that was refused");
}

/// A page of `va`'s block is switched to another frame: after it was made read-only or not, to the same contents or not.
fn switched(g: Granule, read_only_first: bool, same: bool) -> (Result<(), Error>, Vec<Rule>, VirtAddr) {
    let (mut rig, va) = with_block(g);
    split(&mut rig, va, None).expect("legal");
    let machine = rig.machine.clone();
    let to = rig.mm.frames_mut().alloc(0, PageKind::Kernel, Mobility::Unmovable).expect("room").address(g);
    rig.machine.memory().poke(FRAME, 7);
    rig.machine.memory().poke(to.get(), if same { 7 } else { 8 });
    let page = VirtRange { start: va, end: va + g.page_size };
    rig.machine.tolerate();
    if read_only_first {
        rig.mm
            .parts_mut()
            .0
            .rewrite(page, Contents::Same, &mut |_, d| d.read_only())
            .expect("legal")
            .invalidate(&machine);
    }
    let moved = rig.mm.parts_mut().0.rewrite(page, Contents::Same, &mut |_, d| d.moved_to(to, g));
    let result = moved.map(|debt| debt.invalidate(&machine));
    (result, rig.machine.take_violations().iter().map(|v| v.rule).collect(), va)
}

fn an_address_changes_only_between_read_only_pages_with_the_same_contents(g: Granule) {
    let (result, found, _) = switched(g, true, true);
    assert_eq!((result, found), (Ok(()), vec![]));
    let (result, found, va) = switched(g, false, true);
    let rule = BbmRule::AddressWhileWritable;
    assert_eq!((result, found), (Err(Error::Space(SpaceError::BreakBeforeMake { at: va, rule })), vec![]));
    // Who claims that contents are the same is not believed where there are debug checks.
    let (result, found, va) = switched(g, true, false);
    let rule = BbmRule::AddressWithOtherContents;
    assert_eq!((result, found), (Err(Error::Space(SpaceError::BreakBeforeMake { at: va, rule })), vec![]));
}

/// Where one frame is mapped over and over: it begins and ends in the middle of a table.
fn shared_range(g: Granule) -> VirtRange {
    let start = TENANTS.start + (g.pmd_size - 3 * g.page_size);
    VirtRange { start, end: start + (3 * g.pmd_size + 5 * g.page_size) }
}

fn share(rig: &mut Rig, shared: &mut SharedFrame) -> Result<(), Error> {
    let g = rig.granule();
    let machine = rig.machine.clone();
    let result = {
        let (space, frames) = rig.mm.parts_mut();
        space.map_shared(frames, shared_range(g), shared)
    };
    machine.publish();
    result
}

fn one_frame_is_mapped_over_and_over_by_as_few_tables_as_can_be(g: Granule) {
    let mut rig = boot(g);
    let before = Snapshot::exact(&rig);
    let frame = rig.mm.frames_mut().alloc(0, PageKind::Kernel, Mobility::Unmovable).expect("room");
    let mut shared = SharedFrame::new(frame.address(g));
    share(&mut rig, &mut shared).expect("room");

    let (range, all) = (shared_range(g), rig.machine.everything());
    let inside = |va: u64| va >= range.start.get() && va < range.end.get();
    let leaves: Vec<_> = all.leaves.iter().filter(|l| inside(l.va)).collect();
    assert_eq!(leaves.len() as u64, range.len() / g.page_size);
    assert!(leaves.iter().all(|l| l.leaf.pa == frame.address(g).get() && !l.leaf.writable));
    // The entries, each where it is: a table that several entries lead to has its own once.
    let bottom = all.tables.iter().filter(|t| {
        t.level == 3 && t.va + g.pmd_size > TENANTS.start.get() && inside(t.va.max(range.start.get()))
    });
    let mut tables: Vec<_> = bottom.map(|t| (t.pa, t.live)).collect();
    let spans = tables.len();
    tables.sort_unstable();
    tables.dedup();
    assert_eq!(shared.entries, tables.iter().map(|t| t.1).sum::<u64>());
    let (spans_expected, tables_expected) = if g.page_size == 0x1000 { (5, 3) } else { (5, 5) };
    assert_eq!((spans, tables.len()), (spans_expected, tables_expected));

    // Half of what a shared table serves cannot go; all of it can, and the table goes with the last.
    let machine = rig.machine.clone();
    let span = VirtRange { start: TENANTS.start + g.pmd_size, end: TENANTS.start + 2 * g.pmd_size };
    let half = VirtRange { start: span.start, end: span.start + g.pmd_size / 2 };
    let refused = rig.mm.space().refuse_split(half).is_err();
    assert_eq!(refused, g.page_size == 0x1000);
    let (mut gone, mut last) = (0, 0);
    for part in [span, range] {
        rig.mm.parts_mut().0.break_range(part, TENANTS, |_| false).expect("whole").invalidate(&machine);
        let mut tables = Vec::new();
        let reaped = rig.mm.parts_mut().0.reap(part, |what| match what {
            Gone::SharedLeaf { pa, entries, .. } => {
                assert_eq!(pa, shared.pa);
                gone += entries;
            }
            Gone::SharedTable { table, .. } => tables.push((table, true)),
            Gone::Table(table) => tables.push((table, false)),
            Gone::Leaves { .. } => panic!("every leaf is shared"),
        });
        reaped.expect("broken entries");
        for (table, shared) in tables {
            if !shared || rig.mm.parts_mut().1.unshare_table(table) {
                last += u64::from(shared);
                rig.mm.parts_mut().1.free_table(table);
            }
        }
    }
    let in_table = if g.page_size == 0x1000 { 512 } else { 0 };
    assert_eq!((gone + in_table * last, last), (shared.entries, u64::from(in_table != 0)));
    rig.mm.frames_mut().free(frame);
    before.assert_same(&Snapshot::exact(&rig), "shared and gone");
}

fn every_allocation_that_fails_leaves_nothing_behind(g: Granule) {
    let mut rig = boot(g);
    let frame = rig.mm.frames_mut().alloc(0, PageKind::Kernel, Mobility::Unmovable).expect("room");
    let before = Snapshot::exact(&rig);
    let mut failed = 0;
    for nth in 1.. {
        let mut shared = SharedFrame::new(frame.address(g));
        rig.mm.frames_mut().faults.arm(Plan::Nth(nth));
        let result = share(&mut rig, &mut shared);
        let fired = rig.mm.frames().faults.fired();
        rig.mm.frames_mut().faults.arm(Plan::Off);
        if !fired {
            result.expect("nothing failed");
            break;
        }
        assert!(matches!(result, Err(Error::Out(_))), "{result:?}");
        assert_eq!(shared, SharedFrame::new(frame.address(g)));
        before.assert_same(&Snapshot::exact(&rig), &format!("allocation {nth} failed"));
        failed = nth;
    }
    assert!(failed >= 3, "only {failed} tables were asked for");
}

fn what_is_in_the_way_stays_and_all_else_is_undone(g: Granule) {
    let mut rig = boot(g);
    let machine = rig.machine.clone();
    let at = VirtAddr::new(shared_range(g).end.get() - 2 * g.page_size);
    let range = VirtRange { start: at, end: at + g.page_size };
    let (pa, attributes) = (PhysAddr::new(FRAME), Attributes::DATA);
    let request = MapRequest { range, pa, attributes, max_leaf: g.page_size, contiguous: false };
    map(&mut rig, &request).expect("room");
    machine.publish();
    let before = Snapshot::exact(&rig);
    let mut shared = SharedFrame::new(Pfn::new(1).address(g));
    shared.pa = PhysAddr::new(FRAME + g.page_size);
    assert_eq!(share(&mut rig, &mut shared), Err(Error::Space(SpaceError::AlreadyMapped(at))));
    assert_eq!((shared.entries, shared.table), (0, None));
    before.assert_same(&Snapshot::exact(&rig), "something was in the way");
}

hotmap_testkit::at_each_granule!(
    a_block_and_the_table_of_its_pages_replace_each_other,
    without_bbm_support_a_split_in_one_step_is_refused_and_changes_nothing,
    a_table_that_makes_no_block_stays,
    a_page_has_no_pieces,
    pages_of_memory_that_is_not_aligned_make_no_block,
    an_address_changes_only_between_read_only_pages_with_the_same_contents,
    one_frame_is_mapped_over_and_over_by_as_few_tables_as_can_be,
    every_allocation_that_fails_leaves_nothing_behind,
    what_is_in_the_way_stays_and_all_else_is_undone
);
