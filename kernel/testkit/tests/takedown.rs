//! Runs of pages are taken down in bulk: entry for entry as one by one, by the raw words of the tables, and given back as runs.
#![cfg(not(miri))]

use hotmap_emulator::arch::walker::Memory;
use hotmap_emulator::rig::{GIB, Rig, Shape, spec_of};
use hotmap_mm::addr::{PhysAddr, VirtAddr, VirtRange};
use hotmap_mm::entry::descriptor::Attributes;
use hotmap_mm::frame::tables::TableFrames;
use hotmap_mm::frame::{Mobility, page::PageKind};
use hotmap_mm::granule::Granule;
use hotmap_mm::layout::TENANTS;
use hotmap_mm::space::request::{Gone, MapRequest};
use hotmap_mm::space::shared::SharedFrame;
use hotmap_testkit::snapshot::Snapshot;

/// RAM behind it; nothing is accessed through these mappings.
const FRAME: u64 = 0x4000_0000;

/// Pages from the first on: which, the first frame, and whether they share that frame.
type Part = (std::ops::Range<u64>, u64, bool);

/// The pages start in the middle of one table and end in that of the third: runs with holes between them, one whose frames
/// do not follow each other, one that shares a frame, and one over a table's end.
fn parts(g: Granule) -> Vec<Part> {
    let entries = g.pmd_size / g.page_size;
    vec![
        (0..9, 100, false),
        (9..10, 300, false),
        (10..13, 301, false),
        (15..21, 40, true),
        (21..24, 40, false),
        (entries - 8..entries + 8, 500, false),
        (2 * entries - 5..2 * entries - 1, 700, false),
    ]
}

fn start(g: Granule) -> VirtAddr {
    TENANTS.start + (g.pmd_size - 4 * g.page_size)
}

fn pages(g: Granule, pages: &std::ops::Range<u64>) -> VirtRange {
    VirtRange { start: start(g) + pages.start * g.page_size, end: start(g) + pages.end * g.page_size }
}

fn all(g: Granule) -> VirtRange {
    pages(g, &(0..2 * (g.pmd_size / g.page_size) - 1))
}

fn boot(g: Granule) -> Rig {
    let mut rig = Rig::boot(g, &Shape::one("1 GiB", FRAME, GIB));
    for (which, frame, shares) in parts(g) {
        let (range, pa) = (pages(g, &which), PhysAddr::new(FRAME + frame * g.page_size));
        let (space, frames) = rig.mm.parts_mut();
        if shares {
            space.map_shared(frames, range, &mut SharedFrame::new(pa)).expect("room");
        } else {
            let attributes = Attributes::DATA;
            let request = MapRequest { range, pa, attributes, max_leaf: g.page_size, contiguous: false };
            space.map(frames, &request).expect("room");
        }
        space.publish();
    }
    rig
}

/// The entries of the lowest tables of [`all`]: the address that each maps, and the word.
fn words(rig: &Rig) -> Vec<(u64, u64)> {
    let (g, range) = (rig.granule(), all(rig.granule()));
    let entries = spec_of(g).levels[3].entries();
    let tables = rig.machine.everything().tables;
    let lowest = tables.iter().filter(|t| {
        t.level == 3 && t.va < range.end.get() && t.va + entries * g.page_size > range.start.get()
    });
    let mut words: Vec<_> = lowest
        .flat_map(|t| (0..entries).map(|i| (t.va + i * g.page_size, t.pa + i * 8)))
        .map(|(va, at)| (va, rig.machine.memory().read(at)))
        .collect();
    words.sort_unstable();
    words
}

/// What a page that was mapped by `word` gives back.
fn leaf(g: Granule, va: u64, word: u64) -> (u64, u64) {
    (va, word & 0x0000_ffff_ffff_f000 & !(g.page_size - 1))
}

/// Breaks the pages of [`all`] but those that `keep` keeps, then reaps. Both against the words before, one by one.
fn take_down(g: Granule, keep: impl Fn(u64) -> bool) -> Vec<Gone> {
    let mut rig = boot(g);
    let machine = rig.machine.clone();
    let before = words(&rig);
    assert_eq!(before.iter().filter(|(_, word)| word & 1 != 0).count(), 42, "pages are mapped");
    let goes = |va: u64, word: u64| word & 1 != 0 && !keep(va);
    // A table goes whole where all of it goes: its entries stay then.
    let keeps = |leaf: VirtRange| (leaf.start.get()..leaf.end.get()).step_by(4096).any(&keep);
    let outside = VirtRange { start: TENANTS.end, end: TENANTS.end };
    let pending = rig.mm.parts_mut().0.break_range(all(g), outside, keeps).expect("pages");
    let broken: Vec<_> = before
        .iter()
        .map(|(va, word)| (*va, if goes(*va, *word) { word & !1 | 1 << 55 } else { *word }))
        .collect();
    assert_eq!(words(&rig), broken, "broken");
    pending.invalidate(&machine);
    assert_eq!(rig.machine.stale_entries(), 0, "every page that was broken is invalidated");
    let mut gone = Vec::new();
    rig.mm.parts_mut().0.reap(all(g), |what| gone.push(what)).expect("broken entries");
    let reaped: Vec<_> =
        before.iter().map(|(va, word)| (*va, if goes(*va, *word) { 0 } else { *word })).collect();
    assert_eq!(words(&rig), reaped, "reaped");
    let mut expected: Vec<_> =
        before.iter().filter(|(va, word)| goes(*va, *word)).map(|(va, word)| leaf(g, *va, *word)).collect();
    let mut found = Vec::new();
    for what in &gone {
        match *what {
            Gone::Leaves { va, pa, size } => {
                found.extend(
                    (0..size)
                        .step_by(4096)
                        .filter(|at| at % g.page_size == 0)
                        .map(|at| (va.get() + at, pa.get() + at)),
                );
            }
            Gone::SharedLeaf { va, pa, entries } => {
                found.extend((0..entries).map(|i| (va.get() + i * g.page_size, pa.get())));
            }
            Gone::Table(_) | Gone::SharedTable { .. } => panic!("no table may go: {what:?}"),
        }
    }
    expected.sort_unstable();
    found.sort_unstable();
    assert_eq!(found, expected, "each page that was broken, once");
    gone
}

fn a_run_is_broken_and_reaped_as_its_entries_one_by_one(g: Granule) {
    let number = |va: u64| (va - start(g).get()) / g.page_size;
    take_down(g, |_| false);
    take_down(g, |_| true);
    take_down(g, |va| number(va).is_multiple_of(2));
    take_down(g, |va| (3..18).contains(&number(va)));
    take_down(g, |va| va >= TENANTS.start.get() + 2 * g.pmd_size);
}

/// 42 pages: a run ends where frames do not follow each other, where they are shared, and with its table.
fn pages_that_go_are_told_as_runs(g: Granule) {
    let gone = take_down(g, |_| false);
    let runs: Vec<_> = gone
        .iter()
        .map(|what| match *what {
            Gone::Leaves { size, .. } => (size / g.page_size, false),
            Gone::SharedLeaf { entries, .. } => (entries, true),
            Gone::Table(_) | Gone::SharedTable { .. } => panic!("no table may go"),
        })
        .collect();
    // The first table has four entries of the range.
    let leaves = |pages| (pages, false);
    assert_eq!(
        runs,
        [leaves(4), leaves(5), leaves(4), (6, true), leaves(3), leaves(12), leaves(4), leaves(4)],
        "{gone:?}"
    );
}

/// With tables that may go, everything goes, and each table with it.
fn tables_go_with_their_last_run(g: Granule) {
    let mut rig = Rig::boot(g, &Shape::one("1 GiB", FRAME, GIB));
    let before = Snapshot::exact(&rig);
    let pages = 2 * (g.pmd_size / g.page_size);
    let range = VirtRange { start: start(g), end: start(g) + pages * g.page_size };
    let frame = rig.mm.frames_mut().alloc(0, PageKind::Kernel, Mobility::Unmovable).expect("room");
    let (pa, attributes) = (PhysAddr::new(FRAME), Attributes::DATA);
    let request = MapRequest { range, pa, attributes, max_leaf: g.page_size, contiguous: false };
    let (space, frames) = rig.mm.parts_mut();
    space.map(frames, &request).expect("room");
    space.publish();
    let pending = space.break_range(range, TENANTS, |_| false).expect("pages");
    space.invalidate(pending);
    let (mut tables, mut size) = (Vec::new(), 0);
    let gone = |what| match what {
        Gone::Leaves { size: bytes, .. } => size += bytes,
        Gone::Table(table) => tables.push(table),
        Gone::SharedLeaf { .. } | Gone::SharedTable { .. } => panic!("nothing is shared"),
    };
    space.reap(range, gone).expect("broken entries");
    tables.into_iter().for_each(|table| frames.free_table(table));
    frames.free(frame);
    assert_eq!(size, range.len());
    before.assert_same(&Snapshot::exact(&rig), "mapped and unmapped");
}

hotmap_testkit::at_each_granule!(
    a_run_is_broken_and_reaped_as_its_entries_one_by_one,
    pages_that_go_are_told_as_runs,
    tables_go_with_their_last_run
);
