//! The oracle itself: it sees each fault of memmap on demand without the audit.

use std::panic::{AssertUnwindSafe, catch_unwind};

use hotmap_emulator::arch::walker::{self, Memory};
use hotmap_emulator::layout;
use hotmap_emulator::rig::{Rig, Shape};
use hotmap_mm::debug::bugs::Bug;
use hotmap_mm::frame::Mobility;
use hotmap_mm::frame::page::PageKind;
use hotmap_mm::frame::zone::ZoneKind;
use hotmap_mm::granule::Granule;
use hotmap_mm::hotplug::home::MemmapHome;
use hotmap_testkit::reference::demand::{self, RawImage, RawMemmap, Runs};
use hotmap_testkit::reference::whole::{self, RawTails};

use crate::life::DIMM;

/// Two blocks, of which one gets pages and loses one again; whether the walker and the history agree after that.
fn agrees(g: Granule, bug: Option<Bug>) -> bool {
    let mut rig = Rig::boot(g, &Shape::tiny());
    rig.machine.tolerate();
    rig.mm.set_bug(bug);
    rig.plug(DIMM, Rig::blocks(g, 2), MemmapHome::Demand);
    rig.online(DIMM, Rig::blocks(g, 2), ZoneKind::Movable);
    let mut take =
        |order| rig.mm.frames_mut().alloc(order, PageKind::Kernel, Mobility::Movable).expect("room");
    let order = g.section_order - 3;
    // The last splits a run, which its end joins again.
    let (small, large, last) = (take(0), take(order), take(order));
    rig.mm.frames_mut().free(last);
    let runs = [(small, 0), (large, order)];
    let check = || {
        let mut image = RawImage::default();
        for block in [DIMM, DIMM + g.section_size] {
            let mine = runs.iter().filter(|run| Rig::pfn(g, block) == run.0.align_down(g.section_order));
            let used: Runs = mine.map(|(pfn, order)| (pfn.get(), (PageKind::Kernel, *order))).collect();
            demand::check(&rig.machine, 0x4000_0000, block, &used, &mut image, "as it is");
        }
    };
    catch_unwind(AssertUnwindSafe(check)).is_ok()
}

fn the_oracle_sees_each_fault(g: Granule) {
    assert!(agrees(g, None), "without a fault");
    for bug in [Bug::HeadOnImage, Bug::KeepPrivate, Bug::LendTwice, Bug::ImageDirty, Bug::ShareEarly] {
        assert!(!agrees(g, Some(bug)), "{}", bug.name());
    }
}

/// Where the entry of the memmap page that is `bytes` after the first of the block at `block` is, and that page's frame.
fn entry(rig: &Rig, block: u64, bytes: u64) -> (u64, u64) {
    let spec = rig.machine.spec();
    let base = layout::base(spec, 0x4000_0000);
    let va = layout::vmemmap(spec).start + (block - base) / spec.page * layout::STRUCT_PAGE + bytes;
    let walk = walker::walk(spec, rig.machine.memory(), rig.machine.root(), va).expect("mapped");
    (walk.reads[3].expect("a page").at, walk.leaf.pa)
}

/// The struct pages and the entries of a huge page of whole blocks, each changed behind the model's back.
fn the_oracle_sees_what_is_wrong_with_a_huge_page_of_blocks(g: Granule) {
    let mut rig = Rig::boot(g, &Shape::tiny());
    let orders = rig.mm.hugetlb.pools().map(|pool| pool.order());
    let order = orders.filter(|order| *order >= g.section_order).min().expect("1 GiB, or 512 MiB");
    let size = g.page_size << order;
    rig.plug(DIMM, size, MemmapHome::Demand);
    rig.online(DIMM, size, ZoneKind::Movable);
    let before = RawMemmap::read(&rig.machine, 0x4000_0000, DIMM);
    let image = RawImage {
        head: before.shared.get(&0).copied(),
        zero: before.shared.get(&1).copied(),
        table: before.table,
    };
    let resized = rig.mm.hugetlb_resize(order, 1).expect("a size");
    assert_eq!((resized.total, resized.stopped), (1, None));
    let agrees = |rig: &Rig| {
        let page = (DIMM..DIMM + size, order);
        let check =
            || whole::check(&rig.machine, 0x4000_0000, page, &image, &mut RawTails::default(), "as it is");
        catch_unwind(AssertUnwindSafe(check)).is_ok()
    };
    assert!(agrees(&rig), "as it was made");
    let last = DIMM + size - g.section_size;
    let ((head, head_frame), (tail, tail_frame)) =
        (entry(&rig, DIMM, 0), entry(&rig, last, g.section_memmap - 1));
    let memory = rig.machine.memory();
    // An entry's address is in bits 47 to 12 (Arm ARM D8.3).
    let leading_to = |raw: u64, frame: Option<u64>| {
        let pa = frame.expect("the image") * g.page_size;
        (raw & !0xffff_ffff_f000) | pa
    };
    let faults = [
        ("a tail of another order", tail_frame + 64, memory.read(tail_frame + 64) + (1 << 8)),
        ("a tail that says something", tail_frame + 5 * 64 + 16, 1),
        ("a head of another order", head_frame, memory.read(head_frame) - (1 << 8)),
        ("a tail beside the head", head_frame + 64, 0),
        ("the image's head", head, leading_to(memory.read(head), image.head)),
        ("a head for loads only", head, memory.read(head) | 1 << 7),
        ("the image's zero page", tail, leading_to(memory.read(tail), image.zero)),
        ("a tail page for stores", tail, memory.read(tail) & !(1 << 7)),
    ];
    for (what, at, value) in faults {
        let was = memory.read(at);
        memory.poke(at, value);
        assert!(!agrees(&rig), "{}: {what}", g.kind);
        memory.poke(at, was);
    }
    assert!(agrees(&rig), "as it was");
}

hotmap_testkit::at_each_granule!(
    the_oracle_sees_each_fault,
    the_oracle_sees_what_is_wrong_with_a_huge_page_of_blocks
);
