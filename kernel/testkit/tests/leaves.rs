//! Vmemmap's leaves and tables, one by one: leaves of every level go back by their size, tables go with their last entry and
//! no sooner, boot's sections keep their memmap, and what is not there cannot be removed.
#![cfg(not(miri))]

use hotmap_emulator::layout;
use hotmap_emulator::rig::{GIB, MIB, Rig, Shape, range};
use hotmap_mm::addr::{PhysAddr, VirtRange};
use hotmap_mm::device::holds::Teardown;
use hotmap_mm::device::pagemap::DeviceType;
use hotmap_mm::entry::descriptor::Attributes;
use hotmap_mm::error::{BlockError, BlockIs, Error, RangeError, Result};
use hotmap_mm::frame::altmap::Altmap;
use hotmap_mm::frame::tables::TableFrames;
use hotmap_mm::granule::Granule;
use hotmap_mm::hotplug::home::MemmapHome;
use hotmap_mm::space::request::{Gone, MapRequest};
use hotmap_testkit::snapshot::Snapshot;

/// Where no table is shared with boot memory.
const FAR: u64 = 8 << 40;
const SUBSECTION: u64 = 2 * MIB;

fn boot(g: Granule) -> Rig {
    Rig::boot(g, &Shape::one("256 MiB", 0x4000_0000, 256 * MIB))
}

/// Where the largest leaf of vmemmap (which describes 64 GiB, 8 GiB, 512 GiB) begins: vmemmap counts from the physical base.
fn far_leaf(rig: &Rig) -> u64 {
    FAR + layout::base(rig.machine.spec(), 0x4000_0000)
}

fn create(rig: &mut Rig, start: u64, len: u64, memmap: MemmapHome) -> Result<()> {
    let device = rig.mm.device_range(&[(PhysAddr::new(start), len)], DeviceType::Generic, memmap)?;
    rig.mm.memremap_pages(&device, |_, _| {})
}

fn destroy(rig: &mut Rig, start: u64) {
    let g = rig.granule();
    assert_eq!(rig.mm.memunmap_pages(Rig::pfn(g, start)), Ok(Teardown::Gone));
}

/// The struct pages of `len` bytes at `start`.
fn memmap(rig: &Rig, start: u64, len: u64) -> VirtRange {
    let g = rig.granule();
    let layout = rig.mm.space().layout();
    VirtRange {
        start: layout.page_address(Rig::pfn(g, start)),
        end: layout.page_address(Rig::pfn(g, start + len)),
    }
}

/// Map `memory` by hand, with leaves no larger than `largest`.
fn map(rig: &mut Rig, memory: VirtRange, pa: u64, largest: u64) {
    let (pa, attributes) = (PhysAddr::new(pa), Attributes::DATA);
    let request = MapRequest { range: memory, pa, attributes, max_leaf: largest, contiguous: false };
    let (space, frames) = rig.mm.parts_mut();
    space.map(frames, &request).expect("room");
    space.publish();
}

/// Unmap `memory` by hand; returns the leaves, and how many tables went.
fn unmap(rig: &mut Rig, memory: VirtRange, bounds: VirtRange) -> (Vec<(u64, u64)>, u64) {
    let (space, frames) = rig.mm.parts_mut();
    let debt = space.break_range(memory, bounds, |_| false).expect("whole leaves");
    space.invalidate(debt);
    let (mut leaves, mut freed) = (Vec::new(), Vec::new());
    let gone = |gone| match gone {
        Gone::Leaves { pa, size, .. } => leaves.push((pa.get(), size)),
        Gone::Table(table) => freed.push(table),
        Gone::SharedLeaf { .. } | Gone::SharedTable { .. } => panic!("nothing here is shared"),
    };
    space.reap(memory, gone).expect("broken entries");
    let count = freed.len() as u64;
    freed.into_iter().for_each(|table| frames.free_table(table));
    (leaves, count)
}

/// Vmemmap's tables, by level and first address, from the specification's walker.
fn tables(rig: &Rig) -> Vec<(usize, u64)> {
    let vmemmap = layout::vmemmap(rig.machine.spec());
    let inside = |va: u64| va >= layout::TENANTS.end && va < vmemmap.end;
    let all = rig.machine.everything().tables;
    let mut found: Vec<_> = all.iter().filter(|t| inside(t.va)).map(|t| (t.level, t.va)).collect();
    found.sort_unstable();
    found
}

/// Leaves of vmemmap at `level`: 1 GiB (4K only), 2 MiB, 32 MiB, 512 MiB, and pages.
fn a_leaf_goes_back_to_its_altmap_by_its_size(g: Granule) {
    let sizes: &[u64] = match g.page_size {
        0x1000 => &[1 << 30, 2 << 20, 4 << 10],
        0x4000 => &[32 << 20, 16 << 10],
        _ => &[512 << 20, 64 << 10],
    };
    for size in sizes {
        let mut rig = boot(g);
        let at = far_leaf(&rig);
        rig.machine.plug(at, 2 * size);
        let before = Snapshot::exact(&rig);
        let pages = size / g.page_size;
        let mut altmap = Altmap::new(Rig::pfn(g, at), 0, 2 * pages);
        let kept = altmap.allocate(pages).expect("room");
        let frames = altmap.allocate(pages).expect("room");
        let described = size / 64 * g.page_size;
        let window = memmap(&rig, at, described);
        map(&mut rig, window, frames.address(g).get(), *size);
        let walked = rig.machine.everything().leaves;
        let leaf = walked.iter().find(|l| l.va == window.start.get()).expect("mapped");
        assert_eq!((leaf.size, leaf.leaf.pa), (*size, at + size), "one leaf");
        let bounds = rig.mm.space().layout().vmemmap_bounds();
        let (leaves, _) = unmap(&mut rig, window, bounds);
        assert_eq!(leaves, [(at + size, *size)]);
        for (pa, size) in leaves {
            altmap.release(Rig::pfn(g, pa), size / g.page_size);
        }
        assert_eq!((altmap.alloc(), altmap.align()), (pages, 0), "{size:#x} are charged back");
        assert_eq!(altmap.allocate(pages), Ok(frames), "the same frames again");
        altmap.release(frames, pages);
        altmap.release(kept, pages);
        assert_eq!(altmap, altmap.unused());
        before.assert_same(&Snapshot::exact(&rig), "unmapped");
    }
}

/// The model's own way: a device whose memmap is made one leaf of `size` bytes behind its back goes without a trace. What its
/// altmap is charged at the end is not seen: it goes with the device.
fn a_device_with_one_large_leaf_goes(g: Granule, size: u64) {
    let (mut rig, len) = (boot(g), size / 64 * g.page_size);
    let at = far_leaf(&rig);
    // In pieces that any host gives; only what holds the memmap is ever touched.
    (0..len / GIB).for_each(|i| rig.machine.plug(at + i * GIB, GIB));
    let before = Snapshot::exact(&rig);
    create(&mut rig, at, len, MemmapHome::SelfRange { reserve: 0 }).expect("room");
    let (window, bounds) = (memmap(&rig, at, len), rig.mm.space().layout().vmemmap_bounds());
    let (leaves, _) = unmap(&mut rig, window, bounds);
    assert!(leaves.iter().zip(0..).all(|((pa, each), i)| *pa == at + i * each), "in order");
    map(&mut rig, window, at, size);
    rig.assert_clean("one leaf");
    let leaf = rig.machine.everything().leaves.into_iter().find(|l| l.va == window.start.get());
    assert_eq!(leaf.map(|l| l.size), Some(size));
    assert_eq!(
        rig.mm.frames().altmap(rig.mm.devices()[0].start()).map(|a| a.alloc()),
        Some(size / g.page_size)
    );
    destroy(&mut rig, at);
    rig.assert_clean("gone");
    before.assert_same(&Snapshot::exact(&rig), "the leaf and its table are gone");
    assert_eq!(rig.mm.frames().warnings.total(), 0);
}

#[test]
fn the_model_frees_a_level_2_leaf_of_32_mib() {
    a_device_with_one_large_leaf_goes(Granule::K16, 32 << 20);
}
#[test]
#[ignore = "clears 1 GiB: make test-long"]
fn the_model_frees_a_level_1_leaf_of_1_gib() {
    a_device_with_one_large_leaf_goes(Granule::K4, 1 << 30);
}
#[test]
#[ignore = "clears 512 MiB: make test-long"]
fn the_model_frees_a_level_2_leaf_of_512_mib() {
    a_device_with_one_large_leaf_goes(Granule::K64, 512 << 20);
}

fn a_table_goes_with_the_last_of_two_neighbours(g: Granule) {
    // Each fills whole pages of memmap at every granule, and both are in one last-level table (4K: one section).
    let len = 64 * MIB;
    for memmap in [MemmapHome::Ram, MemmapHome::SelfRange { reserve: 0 }] {
        for first in [0, 1] {
            let mut rig = boot(g);
            let at = [FAR, FAR + len];
            at.iter().for_each(|start| rig.machine.plug(*start, len));
            let (before, none) = (Snapshot::exact(&rig), tables(&rig));
            create(&mut rig, at[first], len, memmap).expect("room");
            let one = tables(&rig);
            assert!(one.len() > none.len(), "tables of its own");
            let alone = Snapshot::exact(&rig);
            create(&mut rig, at[1 - first], len, memmap).expect("room");
            assert_eq!(tables(&rig), one, "the neighbour is in the same table");
            destroy(&mut rig, at[1 - first]);
            assert_eq!(tables(&rig), one, "one is left");
            alone.assert_same(&Snapshot::exact(&rig), "the neighbour is gone");
            create(&mut rig, at[1 - first], len, memmap).expect("room");
            destroy(&mut rig, at[first]);
            assert_eq!(tables(&rig), one, "the other is left");
            rig.assert_clean("the first is gone");
            destroy(&mut rig, at[1 - first]);
            before.assert_same(&Snapshot::exact(&rig), "both are gone, and the table");
        }
    }
}

/// Vmemmap's floor: what is mapped right below it shares upper tables with vmemmap's first pages, and keeps them.
fn a_neighbour_below_vmemmap_keeps_its_tables(g: Granule) {
    let mut rig = Rig::boot(g, &Shape::one("not from the start", 0x4_6000_0000, 512 * MIB));
    let (base, below) = (
        rig.mm.space().layout().reach().start.get(),
        rig.mm.space().layout().vmemmap().start.get() - g.page_size,
    );
    let below = hotmap_mm::addr::VirtAddr::new(below);
    let neighbour = VirtRange { start: below, end: below + g.page_size };
    rig.machine.plug(base, SUBSECTION);
    let (before, none) = (Snapshot::exact(&rig), tables(&rig));
    map(&mut rig, neighbour, 0x4_6000_0000, g.page_size);
    let (with_neighbour, its) = (Snapshot::exact(&rig), tables(&rig));
    create(&mut rig, base, SUBSECTION, MemmapHome::Ram).expect("room");
    destroy(&mut rig, base);
    assert_eq!(tables(&rig), its, "the neighbour's tables");
    with_neighbour.assert_same(&Snapshot::exact(&rig), "the neighbour is as it was");
    assert_eq!(rig.machine.walk(below.get()), Some(0x4_6000_0000));
    let bounds = rig.mm.space().layout().vmemmap_bounds();
    let (_, freed) = unmap(&mut rig, neighbour, bounds);
    assert_eq!(freed, (its.len() - none.len()) as u64, "with the neighbour they go");
    before.assert_same(&Snapshot::exact(&rig), "nothing is left");
}

/// I4's exception: a table that reaches over the floor or the ceiling is not the region's to free, even when it is empty.
fn a_table_across_the_floor_or_the_ceiling_stays(g: Granule) {
    let (mut rig, len) = (boot(g), 64 * MIB);
    // Neither end is where a table of the last level begins at every granule.
    let window = memmap(&rig, FAR + len, len);
    let all = rig.mm.space().layout().vmemmap_bounds();
    let below = VirtRange { start: window.start, end: all.end };
    let above = VirtRange { start: all.start, end: window.end };
    let (before, none) = (Snapshot::exact(&rig), tables(&rig));
    for (bounds, name) in [(below, "floor"), (above, "ceiling")] {
        map(&mut rig, window, 0x4000_0000, g.page_size);
        let mapped = tables(&rig);
        // What begins before the floor, or ends behind the ceiling.
        let cut = |t: &&(usize, u64)| {
            let span = rig.machine.spec().levels[t.0 - 1].size();
            t.1 < bounds.start.get() || t.1 + (span - 1) > bounds.end.get() - 1
        };
        let stay: Vec<_> = mapped.iter().filter(|t| none.contains(t) || cut(t)).copied().collect();
        assert!(stay.len() > none.len() && stay.len() <= mapped.len());
        let (leaves, _) = unmap(&mut rig, window, bounds);
        assert_eq!(leaves.iter().map(|(_, size)| size).sum::<u64>(), window.len());
        assert_eq!(tables(&rig), stay, "the {name}");
        map(&mut rig, window, 0x4000_0000, g.page_size);
        unmap(&mut rig, window, all);
        before.assert_same(&Snapshot::exact(&rig), name);
    }
}

fn removing_twice_is_a_warning_and_frees_nothing(g: Granule) {
    for home in [MemmapHome::SelfHosted, MemmapHome::Ram, MemmapHome::SelfRange { reserve: 0 }] {
        let (mut rig, len) = (boot(g), Rig::blocks(g, 2));
        rig.plug(FAR, len, home);
        let warnings = rig.mm.frames().warnings;
        rig.mm.remove_memory(range(FAR, len)).expect("offline");
        let (after, tables) = (Snapshot::exact(&rig), tables(&rig));
        for (times, again) in [(1, range(FAR, len)), (2, range(FAR, len / 2))] {
            assert_eq!(
                rig.mm.remove_memory(again),
                Err(Error::Block(BlockError::Absent(PhysAddr::new(FAR))))
            );
            assert_eq!(
                rig.mm.unplug(again).map(drop),
                Err(Error::Block(BlockError::Absent(PhysAddr::new(FAR))))
            );
            assert_eq!(rig.mm.frames().warnings.bad_remove, 2 * times, "each is a warning");
            assert_eq!(rig.mm.frames().warnings.total(), 2 * times, "and there is no other");
        }
        assert_eq!(self::tables(&rig), tables);
        rig.mm.frames_mut().warnings = warnings;
        after.assert_same(&Snapshot::exact(&rig), "nothing was freed a second time");
        rig.assert_clean("removed twice");
        rig.add(FAR, len, home).expect("the range is as good as new");
    }
}

fn an_overlapping_add_exists_and_changes_nothing(g: Granule) {
    let (mut rig, block) = (boot(g), Rig::blocks(g, 1));
    rig.plug(FAR + block, 2 * block, MemmapHome::SelfHosted);
    let before = Snapshot::exact(&rig);
    for (start, blocks) in [(0, 2), (0, 4), (1, 1), (1, 2), (2, 1), (2, 2)] {
        for home in [MemmapHome::SelfHosted, MemmapHome::Ram, MemmapHome::SelfRange { reserve: 0 }] {
            let refused = rig.add(FAR + start * block, blocks * block, home);
            assert!(
                matches!(refused, Err(Error::Range(RangeError::Exists { .. }))),
                "{start} + {blocks}: {refused:?}"
            );
        }
        let len = blocks * block;
        let refused = create(&mut rig, FAR + start * block, len, MemmapHome::Ram);
        assert!(
            matches!(refused, Err(Error::Range(RangeError::Exists { .. }))),
            "{start} + {blocks}: {refused:?}"
        );
    }
    before.assert_same(&Snapshot::exact(&rig), "refused");
}

/// How many bytes of vmemmap are mapped for `len` bytes at `start`.
fn mapped(rig: &Rig, start: u64, len: u64) -> u64 {
    let window = memmap(rig, start, len);
    let window = window.start.get()..window.end.get();
    let leaves = rig.machine.everything().leaves;
    leaves.iter().map(|l| window.end.min(l.va + l.size).saturating_sub(window.start.max(l.va))).sum()
}

/// An early section has all of its memmap from boot on. A part of it can come and go (a device in a hole) and uses what is
/// there; what is RAM of it goes as a whole block or not at all (`NotWhole`). So the one way on which an early section's
/// memmap goes is that of a whole block, with the last of its subsections; where there is a hole, it never does.
fn an_early_sections_memmap_goes_only_with_all_of_it(g: Granule) {
    let block = Rig::blocks(g, 1);
    let all = block / g.page_size * 64;
    // A block with a hole in it, and one without.
    let ram = [(0x4000_0000, 512 * MIB + 40 * MIB), (0x6400_0000 - 0x40_0000, block * 2)];
    let mut rig = Rig::boot(g, &Shape::many("a hole", &ram));
    let holed = 0x6000_0000;
    let (start, len) = (0x6300_0000, 4 * MIB);
    rig.machine.plug(start, len);
    let (counts, before) = (rig.mm.frames().counts(), Snapshot::exact(&rig));
    create(&mut rig, start, len, MemmapHome::SelfRange { reserve: 0 }).expect("room");
    assert_eq!(rig.mm.frames().counts(), counts, "no memmap and no table; a device is no RAM");
    assert_eq!(
        rig.mm.frames().altmap(rig.mm.devices()[0].start()).map(|a| a.alloc()),
        Some(0),
        "nor anything of its altmap"
    );
    assert_eq!(mapped(&rig, holed, block), all);
    let holed_block = Rig::pfn(g, holed);
    let with_device = Snapshot::exact(&rig);
    let not_whole = Err(Error::Block(BlockError::NotWhole(PhysAddr::new(holed))));
    assert_eq!(rig.mm.offline_block(holed_block).map(drop), not_whole);
    assert_eq!(rig.mm.unplug(range(holed, block)).map(drop), not_whole);
    assert!(matches!(
        rig.mm.remove_memory(range(holed, block)),
        Err(Error::Block(BlockError::State { is: BlockIs::Online, .. }))
    ));
    with_device.assert_same(&Snapshot::exact(&rig), "refused");
    destroy(&mut rig, start);
    assert_eq!(mapped(&rig, holed, block), all, "RAM of the section is left");
    assert_eq!(rig.mm.unplug(range(holed, block)).map(drop), not_whole, "without the device as well");
    before.assert_same(&Snapshot::exact(&rig), "the hole is as it was");
    let whole = 0x6400_0000_u64.next_multiple_of(block);
    assert_eq!(mapped(&rig, whole, block), all);
    rig.mm.unplug(range(whole, block)).expect("it has no users");
    assert_eq!(mapped(&rig, whole, block), 0, "with the whole block");
    assert_eq!(mapped(&rig, holed, block), all, "and no more");
    rig.assert_clean("a whole block went");
}

/// The last page of a range's memmap may be mapped already, by what lies above it. (Others map the first.)
fn a_neighbour_above_keeps_the_page_that_it_shares(g: Granule) {
    let mut rig = boot(g);
    let before = Snapshot::exact(&rig);
    // What one page of memmap describes: at 4K less than a subsection, so nothing is shared there.
    let described = (g.page_size / 64 * g.page_size).max(2 * SUBSECTION);
    // The section at FAR has a page of the range below alone before the one that both share.
    let (above, below) = (FAR + described + described / 2, FAR - described);
    rig.machine.plug(below, 3 * described);
    create(&mut rig, above, described / 2, MemmapHome::Ram).expect("nothing is there");
    let first = Snapshot::exact(&rig);
    create(&mut rig, below, 2 * described + described / 2, MemmapHome::Ram).expect("nothing is there");
    rig.assert_clean("both");
    assert_eq!(mapped(&rig, below, 3 * described), 3 * described / g.page_size * 64);
    destroy(&mut rig, below);
    first.assert_same(&Snapshot::exact(&rig), "the one below has gone");
    destroy(&mut rig, above);
    before.assert_same(&Snapshot::exact(&rig), "both have gone");
}

/// A device from a hole of an early section into the next section leaves the early memmap, and takes the other with it.
fn what_lies_behind_an_early_section_goes(g: Granule) {
    let (ram, section) = (0x4000_0000, Rig::blocks(g, 1));
    let mut rig = Rig::boot(g, &Shape::one("half a section", ram, section / 2));
    let (device, other) = (ram + section / 2, ram + section + section / 2);
    rig.machine.plug(device, 3 * section / 2);
    create(&mut rig, other, section / 4, MemmapHome::Ram).expect("nothing is there");
    let before = Snapshot::exact(&rig);
    create(&mut rig, device, section / 2 + section / 4, MemmapHome::Ram).expect("nothing is there");
    rig.assert_clean("both");
    destroy(&mut rig, device);
    rig.assert_clean("the device has gone");
    before.assert_same(&Snapshot::exact(&rig), "the device has gone");
}

hotmap_testkit::at_each_granule!(
    what_lies_behind_an_early_section_goes,
    a_neighbour_above_keeps_the_page_that_it_shares,
    a_leaf_goes_back_to_its_altmap_by_its_size,
    a_table_goes_with_the_last_of_two_neighbours,
    a_neighbour_below_vmemmap_keeps_its_tables,
    a_table_across_the_floor_or_the_ceiling_stays,
    removing_twice_is_a_warning_and_frees_nothing,
    an_overlapping_add_exists_and_changes_nothing,
    an_early_sections_memmap_goes_only_with_all_of_it,
);
