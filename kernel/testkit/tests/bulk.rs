//! Leaves of each level are mapped, broken and reaped by runs of one table: as leaf by leaf, by the specification's walker.
#![cfg(not(miri))]

use hotmap_emulator::arch::spec::Spec;
use hotmap_emulator::rig::{GIB, Rig, Shape, spec_of};
use hotmap_mm::addr::{PhysAddr, VirtAddr, VirtRange};
use hotmap_mm::debug::faults::Plan;
use hotmap_mm::entry::descriptor::Attributes;
use hotmap_mm::error::{Error, Result, SpaceError};
use hotmap_mm::frame::tables::TableFrames;
use hotmap_mm::granule::Granule;
use hotmap_mm::layout::TENANTS;
use hotmap_mm::space::request::{Gone, MapRequest};
use hotmap_testkit::snapshot::Snapshot;

/// What is mapped: aligned as leaves of every size are.
const FRAME: u64 = 1 << 44;
/// How many entries a range has in the first and in the last of its tables.
const EDGE: u64 = 5;

/// Leaves of `level`, of `size` bytes each, `entries` to a table.
#[derive(Clone, Copy, Debug)]
struct Level {
    level: usize,
    size: u64,
    entries: u64,
    /// How many the Contiguous bit joins.
    run: u64,
}

fn leaf_levels(spec: &Spec) -> Vec<Level> {
    let levels = (1..4).filter(|level| spec.levels[*level].leaf);
    levels
        .map(|level| {
            let at = spec.levels[level];
            // At level 1 the kernel uses no Contiguous bit.
            Level { level, size: at.size(), entries: at.entries(), run: if level == 1 { 1 } else { at.run } }
        })
        .collect()
}

impl Level {
    /// The leaves from number `from` up to number `to`; number 0 is the last but [`EDGE`] of a table.
    fn range(self, from: u64, to: u64) -> VirtRange {
        let start = TENANTS.start + (self.entries - EDGE) * self.size;
        VirtRange { start: start + from * self.size, end: start + to * self.size }
    }

    /// A range of the last entries of one table, all of the next, and the first of one more.
    fn whole(self) -> VirtRange {
        self.range(0, self.entries + 2 * EDGE)
    }

    fn request(self, range: VirtRange, contiguous: bool) -> MapRequest {
        let pa = PhysAddr::new(FRAME + (range.start - TENANTS.start));
        MapRequest { range, pa, attributes: Attributes::DATA, max_leaf: self.size * self.run, contiguous }
    }
}

fn boot(g: Granule) -> Rig {
    let rig = Rig::boot(g, &Shape::one("1 GiB", 0x4000_0000, GIB));
    rig.machine.plug(FRAME, TENANTS.len());
    rig
}

fn map(rig: &mut Rig, request: &MapRequest) -> Result<()> {
    let (space, frames) = rig.mm.parts_mut();
    space.map(frames, request)?;
    space.publish();
    Ok(())
}

/// What the walker finds in `range`: address, size, output address, Contiguous bit.
fn leaves(rig: &Rig, range: VirtRange) -> Vec<(u64, u64, u64, bool)> {
    let all = rig.machine.everything().leaves.into_iter();
    all.filter(|l| range.contains(VirtAddr::new(l.va)))
        .map(|l| (l.va, l.size, l.leaf.pa, l.leaf.contiguous))
        .collect()
}

/// The leaves of `request`, one by one. A run of them has the Contiguous bit if all of it is in the range.
fn expected(level: Level, request: &MapRequest) -> Vec<(u64, u64, u64, bool)> {
    let (start, end) = (request.range.start.get(), request.range.end.get());
    let joined = level.size * level.run;
    let hint = |va: u64| {
        let first = va / joined * joined;
        request.contiguous && level.run > 1 && first >= start && first + joined <= end
    };
    let all = (start..end).step_by(usize::try_from(level.size).expect("64 bits"));
    all.map(|va| (va, level.size, request.pa.get() + (va - start), hint(va))).collect()
}

/// Fails with the first leaf that is another than it should be.
fn assert_mapped(rig: &Rig, level: Level, request: &MapRequest) {
    let (found, expected) = (leaves(rig, request.range), expected(level, request));
    let differ = found.iter().zip(&expected).find(|(found, expected)| found != expected);
    assert_eq!((differ, found.len()), (None, expected.len()), "{level:?}");
}

/// Unmaps `range`; returns the bytes that were told as leaves. `told`: as memory whose leaves own frames.
fn unmap(rig: &mut Rig, range: VirtRange, told: bool) -> u64 {
    let machine = rig.machine.clone();
    let (space, frames) = rig.mm.parts_mut();
    let pending = space.break_range(range, TENANTS, |_| false).expect("whole leaves");
    let before = machine.broadcasts();
    space.invalidate(pending);
    assert_eq!(machine.broadcasts() - before, 1, "one broadcast for all of them");
    assert_eq!(machine.stale_entries(), 0, "every leaf is invalidated");
    let (mut bytes, mut tables) = (0, Vec::new());
    if told {
        let gone = |what| match what {
            Gone::Leaves { size, .. } => bytes += size,
            Gone::Table(table) => tables.push(table),
            Gone::SharedLeaf { .. } | Gone::SharedTable { .. } => panic!("nothing is shared"),
        };
        space.reap(range, gone).expect("broken entries");
        tables.into_iter().for_each(|table| frames.free_table(table));
    } else {
        space.reap_unowned(frames, range).expect("broken entries");
    }
    bytes
}

fn a_range_from_the_middle_of_a_table_to_that_of_another_keeps_its_neighbours(g: Granule) {
    for level in leaf_levels(spec_of(g)) {
        for (contiguous, told) in [(true, false), (false, true), (true, true)] {
            let (mut rig, range) = (boot(g), level.whole());
            let below = VirtAddr::new(range.start.get() - 2 * level.size);
            let neighbours = [
                VirtRange { start: below, end: range.start },
                VirtRange { start: range.end, end: range.end + 2 * level.size },
            ];
            for neighbour in neighbours {
                map(&mut rig, &level.request(neighbour, false)).expect("nothing is there");
            }
            let before = Snapshot::exact(&rig);
            let request = level.request(range, contiguous);
            map(&mut rig, &request).expect("nothing is there");
            assert_mapped(&rig, level, &request);
            for neighbour in neighbours {
                assert_mapped(&rig, level, &level.request(neighbour, false));
            }
            let bytes = unmap(&mut rig, range, told);
            assert_eq!(bytes, if told { range.len() } else { 0 }, "{level:?}");
            before.assert_same(&Snapshot::exact(&rig), "mapped and unmapped between neighbours");
        }
    }
}

fn a_table_that_fails_in_the_middle_leaves_all_as_it_was(g: Granule) {
    for level in leaf_levels(spec_of(g)) {
        let (mut rig, range) = (boot(g), level.whole());
        let before = Snapshot::exact(&rig);
        let request = level.request(range, true);
        let mut failures = 0;
        for n in 1.. {
            rig.mm.frames_mut().faults.arm(Plan::Nth(n));
            let result = map(&mut rig, &request);
            rig.mm.frames_mut().faults.arm(Plan::Off);
            match result {
                Ok(()) => break,
                Err(Error::Out(_)) => failures += 1,
                Err(other) => panic!("{level:?}: {other}"),
            }
            before.assert_same(&Snapshot::exact(&rig), &format!("{level:?}: table {n} failed"));
        }
        assert!(failures >= 3, "{level:?}: a table for each of three");
        unmap(&mut rig, range, false);
        before.assert_same(&Snapshot::exact(&rig), "mapped and unmapped");
    }
}

/// What is in the way is the last page of a leaf in the last of three tables: those before are filled by then.
fn what_is_in_the_way_is_kept_and_all_else_undone(g: Granule) {
    for level in leaf_levels(spec_of(g)) {
        let (mut rig, range) = (boot(g), level.whole());
        let last = VirtRange { start: VirtAddr::new(range.end.get() - g.page_size), end: range.end };
        let page = MapRequest { max_leaf: g.page_size, ..level.request(last, false) };
        map(&mut rig, &page).expect("nothing is there");
        let before = Snapshot::exact(&rig);
        let refused = map(&mut rig, &level.request(range, true));
        assert!(
            matches!(refused, Err(Error::Space(SpaceError::AlreadyMapped(at))) if at == last.start),
            "{refused:?}"
        );
        before.assert_same(&Snapshot::exact(&rig), "refused");
    }
}

/// In the middle of leaves lies what other requests have mapped by smaller ones: tables below a table that goes.
fn tables_below_go_with_the_table_above(g: Granule) {
    for level in leaf_levels(spec_of(g)).into_iter().filter(|level| level.level < 3) {
        for told in [false, true] {
            let (mut rig, range) = (boot(g), level.whole());
            let before = Snapshot::exact(&rig);
            let middle = EDGE + level.entries / 2;
            map(&mut rig, &level.request(level.range(0, middle), true)).expect("nothing is there");
            let page = level.range(middle, middle).start;
            let pages = VirtRange { start: page + g.page_size, end: page + 3 * g.page_size };
            map(&mut rig, &MapRequest { max_leaf: g.page_size, ..level.request(pages, false) })
                .expect("nothing is there");
            let rest = level.range(middle + 1, level.entries + 2 * EDGE);
            map(&mut rig, &level.request(rest, true)).expect("nothing is there");
            let mapped = range.len() - level.size + 2 * g.page_size;
            let bytes = unmap(&mut rig, range, told);
            assert_eq!(bytes, if told { mapped } else { 0 }, "{level:?}");
            before.assert_same(&Snapshot::exact(&rig), "mapped and unmapped");
        }
    }
}

hotmap_testkit::at_each_granule!(
    a_range_from_the_middle_of_a_table_to_that_of_another_keeps_its_neighbours,
    a_table_that_fails_in_the_middle_leaves_all_as_it_was,
    what_is_in_the_way_is_kept_and_all_else_undone,
    tables_below_go_with_the_table_above,
);
