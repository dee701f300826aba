//! Memmap on demand: blocks that map the image of a free block until a run begins in a page of their memmap.
#![cfg(not(miri))]

use hotmap_emulator::rig::{GIB, MIB, Rig, Shape, range};
use hotmap_mm::addr::PhysAddr;
use hotmap_mm::error::{BlockError, Error};
use hotmap_mm::frame::Mobility;
use hotmap_mm::frame::block::Source;
use hotmap_mm::frame::page::PageKind;
use hotmap_mm::frame::zone::ZoneKind;
use hotmap_mm::granule::Granule;
use hotmap_mm::hotplug::home::MemmapHome;
use hotmap_mm::hotplug::range::HotRange;
use hotmap_mm::pfn::PfnRange;
use hotmap_testkit::snapshot::Snapshot;

const AT: u64 = 0x1_0000_0000;

fn boot(g: Granule) -> Rig {
    Rig::boot(g, &Shape::one("512 MiB", 0x4000_0000, 512 * MIB))
}

#[test]
fn one_page_and_back() {
    for g in Granule::ALL {
        let mut rig = boot(g);
        let before = Snapshot::exact(&rig);
        let len = Rig::blocks(g, 3);
        rig.plug(AT, len, MemmapHome::Demand);
        rig.assert_clean("added");
        rig.online(AT, len, ZoneKind::Movable);
        rig.assert_clean("online");
        let whole = rig.mm.frames().counts();
        let page = rig.mm.frames_mut().alloc(0, PageKind::Kernel, Mobility::Movable).expect("room");
        rig.assert_clean("one page");
        let next = rig.mm.frames_mut().alloc(0, PageKind::Kernel, Mobility::Movable).expect("room");
        rig.assert_clean("two pages");
        rig.mm.frames_mut().free(page);
        rig.assert_clean("one is free");
        rig.mm.frames_mut().free(next);
        rig.assert_clean("both are free");
        assert_eq!(rig.mm.frames().counts(), whole);
        let figures = rig.mm.frames().demand().figures();
        assert_eq!(figures.populated, figures.given_back, "memmap pages that got a frame, and that lost it");
        rig.unplug(AT, len);
        rig.assert_clean("gone");
        before.assert_same(&Snapshot::exact(&rig), "after a life on demand");
    }
}

/// A free block goes between two that are offline: what is alike on both sides of it stays.
#[test]
fn what_goes_takes_no_neighbour_along() {
    for g in Granule::ALL {
        let mut rig = boot(g);
        let before = Snapshot::exact(&rig);
        let block = Rig::blocks(g, 1);
        rig.machine.plug(AT, 5 * block);
        let hot = HotRange::new(&rig.mm, PhysAddr::new(AT), 5 * block, Source::DeviceTree).expect("free");
        rig.mm.add_memory(&hot.in_blocks(), MemmapHome::Demand, |_, _| {}).expect("room");
        rig.online(AT, 5 * block, ZoneKind::Movable);
        for at in [AT, AT + 4 * block] {
            rig.mm.offline_pages(PfnRange::new(Rig::pfn(g, at), g.section_pages)).expect("nothing uses it");
        }
        for (start, len) in [(AT + block, block), (AT + 2 * block, 2 * block)] {
            rig.mm.unplug(range(start, len)).expect("nothing uses it");
            rig.assert_clean("one went");
        }
        for at in [AT, AT + 4 * block] {
            rig.mm.remove_memory(range(at, block)).expect("it is offline");
        }
        rig.machine.unplug(AT);
        before.assert_same(&Snapshot::exact(&rig), "after all went");
    }
}

/// Memory whose memmap needs several tables below one that nothing else uses: all of them go.
#[test]
fn every_table_goes_with_the_memory() {
    // What one table of entries serves, by hand: 512 times 2 MiB, 2048 times 16 KiB, 8192 times 64 KiB of memmap.
    for (g, served) in [(Granule::K4, GIB), (Granule::K16, 32 * MIB), (Granule::K64, 512 * MIB)] {
        let mut rig = boot(g);
        let before = Snapshot::exact(&rig);
        let (block, tables) = (Rig::blocks(g, 1), rig.mm.frames().counts().tables);
        let starts = ((8 << 40)..).step_by(usize::try_from(block).expect("64 bits"));
        let memmap = |at: &u64| rig.mm.space().layout().page_address(Rig::pfn(g, at + block));
        let at = starts.clone().find(|at| memmap(at).is_aligned(served)).expect("the end of a table");
        rig.plug(at, 2 * block, MemmapHome::Demand);
        rig.assert_clean("added");
        assert!(rig.mm.frames().counts().tables >= tables + 2, "{}: two tables of entries", g.kind);
        rig.unplug(at, 2 * block);
        rig.assert_clean("gone");
        before.assert_same(&Snapshot::exact(&rig), "after much memory");
    }
}

/// A page inside of a block is no block, also where its block and the next one are one record.
#[test]
fn what_is_not_the_start_of_a_block_is_refused_and_parts_nothing() {
    for g in Granule::ALL {
        let (mut rig, len) = (boot(g), Rig::blocks(g, 3));
        rig.plug(AT, len, MemmapHome::Demand);
        for online in [false, true] {
            if online {
                rig.online(AT, len, ZoneKind::Movable);
            }
            let before = Snapshot::exact(&rig);
            for inside in [1, g.section_pages - 1, g.section_pages + 1, 2 * g.section_pages + 5] {
                let pfn = Rig::pfn(g, AT) + inside;
                let refusal = Error::Block(BlockError::Absent(pfn.address(g)));
                assert_eq!(rig.mm.offline_block(pfn).map(drop), Err(refusal), "{}: {inside}", g.kind);
                assert_eq!(rig.mm.online_block(pfn, ZoneKind::Movable), Err(refusal), "{}: {inside}", g.kind);
            }
            rig.assert_clean("refused");
            assert_eq!(rig.mm.frames().extents().len(), 1, "{}", g.kind);
            before.assert_same(&Snapshot::exact(&rig), "refused");
        }
    }
}
