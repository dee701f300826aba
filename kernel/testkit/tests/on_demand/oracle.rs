//! The oracle itself: it sees each fault of memmap on demand without the audit.

use std::panic::{AssertUnwindSafe, catch_unwind};

use hotmap_mm::debug::bugs::Bug;
use hotmap_mm::frame::Mobility;
use hotmap_mm::frame::page::PageKind;
use hotmap_mm::frame::zone::ZoneKind;
use hotmap_mm::granule::Granule;
use hotmap_mm::hotplug::home::MemmapHome;
use hotmap_testkit::reference::demand::{self, RawImage, Runs};
use hotmap_testkit::rig::{Rig, Shape};

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

hotmap_testkit::at_each_granule!(the_oracle_sees_each_fault);
