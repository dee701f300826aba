//! The emulated machine notices what it is there to notice: each of its rules, broken on purpose.
#![cfg(not(miri))]
#![expect(unsafe_code, reason = "calls `Machine::zero` the way the model does")]

use std::panic::{AssertUnwindSafe, catch_unwind};

use hotmap_emulator::machine::violation::Rule;
use hotmap_emulator::rig::{MIB, Rig, Shape, range};
use hotmap_mm::addr::{PhysAddr, VirtAddr, VirtRange};
use hotmap_mm::debug::bugs::Bug;
use hotmap_mm::entry::descriptor::{Attributes, Descriptor};
use hotmap_mm::entry::flush::PendingInvalidation;
use hotmap_mm::granule::Granule;
use hotmap_mm::hotplug::home::MemmapHome;
use hotmap_mm::layout::TENANTS;
use hotmap_mm::machine::{Access, Machine};
use hotmap_mm::space::request::{Gone, MapRequest};

const DIMM: u64 = 0x8000_0000;

/// A machine that collects what it notices, with a DIMM that has its linear map and its memmap.
fn boot(g: Granule) -> Rig {
    let mut rig = Rig::boot(g, &Shape::one("256 MiB", 0x4000_0000, 256 * MIB));
    rig.plug(DIMM, Rig::blocks(g, 1), MemmapHome::SelfHosted);
    rig.machine.tolerate();
    rig
}

/// Page `n` of the tenants' area, where nothing is.
fn page(g: Granule, n: u64) -> VirtRange {
    let start = TENANTS.start + (1 << 30) + n * g.page_size;
    VirtRange { start, end: start + g.page_size }
}

fn map(rig: &mut Rig, at: VirtRange, pa: u64) {
    let g = rig.granule();
    let request = MapRequest {
        range: at,
        pa: PhysAddr::new(pa),
        attributes: Attributes::DATA,
        max_leaf: g.page_size,
        contiguous: false,
    };
    let (space, frames) = rig.mm.parts_mut();
    space.map(frames, &request).expect("nothing is there");
}

fn take_down(rig: &mut Rig, at: VirtRange) -> PendingInvalidation {
    rig.mm.parts_mut().0.break_range(at, TENANTS, |_| false).expect("a page")
}

fn reap(rig: &mut Rig, at: VirtRange) -> Vec<Gone> {
    let mut gone = Vec::new();
    rig.mm.parts_mut().0.reap(at, |g| gone.push(g)).expect("broken");
    gone
}

/// The rules that were broken since the last call.
fn broken(rig: &Rig) -> Vec<Rule> {
    rig.machine.take_violations().iter().map(|v| v.rule).collect()
}

fn touch(rig: &Rig, at: VirtRange, access: Access) {
    rig.machine.mapped(at.start, 8, access);
}

fn an_access_to_what_is_not_mapped_ends_the_test(g: Granule) {
    let rig = boot(g);
    let access = || touch(&rig, page(g, 0), Access::Read);
    assert!(catch_unwind(AssertUnwindSafe(access)).is_err());
    assert_eq!(broken(&rig), [Rule::Unmapped]);
    assert!(catch_unwind(AssertUnwindSafe(|| rig.machine.frame(PhysAddr::new(0x2000_0000), 8))).is_err());
}

fn a_store_to_constants_is_noticed(g: Granule) {
    let rig = boot(g);
    // The image's constants are mapped read-only in the linear map.
    rig.machine.frame(PhysAddr::new(0x4020_0000), 8);
    assert_eq!(broken(&rig), [Rule::ReadOnly]);
}

fn a_translation_that_was_taken_down_and_not_invalidated_is_stale(g: Granule) {
    let mut rig = boot(g);
    map(&mut rig, page(g, 0), DIMM + 64 * MIB);
    rig.machine.publish();
    touch(&rig, page(g, 0), Access::Write);
    assert_eq!(broken(&rig), []);
    let debt = take_down(&mut rig, page(g, 0));
    assert!(catch_unwind(AssertUnwindSafe(|| touch(&rig, page(g, 0), Access::Read))).is_err());
    assert_eq!(broken(&rig), [Rule::StaleTranslation, Rule::Unmapped]);
    assert!(rig.machine.stale_entries() > 1, "the leaf, and the tables that were left empty");
    debt.invalidate(&rig.machine);
    assert_eq!(rig.machine.stale_entries(), 0);
}

fn invalidating_leaves_does_not_invalidate_tables(g: Granule) {
    let mut rig = boot(g);
    map(&mut rig, page(g, 0), DIMM + 64 * MIB);
    rig.machine.publish();
    let debt = take_down(&mut rig, page(g, 0));
    rig.machine.invalidate(page(g, 0), g.page_size, false);
    assert!(rig.machine.stale_entries() > 0);
    rig.machine.invalidate(page(g, 1), g.page_size, true);
    assert_eq!(rig.machine.stale_entries(), 0, "any address that the tables serve will do");
    debt.invalidate(&rig.machine);
    assert_eq!(broken(&rig), []);
}

fn an_entry_that_is_not_published_is_noticed(g: Granule) {
    let mut rig = boot(g);
    map(&mut rig, page(g, 0), DIMM + 64 * MIB);
    touch(&rig, page(g, 0), Access::Read);
    assert_eq!(broken(&rig), [Rule::Unpublished]);
    rig.machine.publish();
    touch(&rig, page(g, 0), Access::Read);
    assert_eq!(broken(&rig), []);
}

fn a_long_access_must_be_in_one_piece(g: Granule) {
    let mut rig = boot(g);
    for (n, pa) in [(0, DIMM + 64 * MIB), (1, DIMM + 64 * MIB + g.page_size), (2, DIMM + 65 * MIB)] {
        map(&mut rig, page(g, n), pa);
    }
    rig.machine.publish();
    rig.machine.mapped(page(g, 0).start, 2 * g.page_size, Access::Read);
    let all = || rig.machine.mapped(page(g, 0).start, 3 * g.page_size, Access::Read);
    assert!(catch_unwind(AssertUnwindSafe(all)).is_err());
}

fn entries_under_one_contiguous_bit_must_agree(g: Granule) {
    let rig = boot(g);
    let path = rig.mm.space().path(rig.mm.space().layout().linear(PhysAddr::new(DIMM)));
    let leaf = path.leaf().expect("mapped");
    let alone = !leaf.descriptor.is_contiguous();
    assert_eq!(
        alone,
        g.page_size != 4096,
        "a 128 MiB block is in 32 MiB runs at 4K, in single blocks at 16K and 64K"
    );
    if alone {
        return;
    }
    let neighbour = leaf.slot.table.get() + leaf.slot.index as u64 * 8 + 8;
    let raw = hotmap_emulator::arch::walker::Memory::read(rig.machine.memory(), neighbour);
    rig.machine.memory().poke(neighbour, raw & !(1 << 52));
    touch(&rig, leaf.slot.span, Access::Read);
    assert_eq!(broken(&rig), [Rule::ContiguousRun]);
    let audit = rig.mm.audit(&mut |_| {});
    assert!(audit.findings(5) > 0, "{audit}");
}

fn a_live_entry_that_changes_against_the_rules_is_noticed(g: Granule) {
    let mut rig = boot(g);
    map(&mut rig, page(g, 0), DIMM + 64 * MIB);
    let path = rig.mm.space().path(page(g, 0).start);
    let leaf = path.leaf().expect("mapped");
    let moved = Descriptor::leaf(PhysAddr::new(DIMM + 65 * MIB), Attributes::DATA, 3, false);
    let (old, new) = (leaf.descriptor.bits(), moved.bits());
    rig.machine.entry_written(leaf.slot.table, leaf.slot.index, old, new);
    assert!(broken(&rig).contains(&Rule::BreakBeforeMake));
}

fn a_new_entry_where_the_old_one_may_be_cached_is_noticed(g: Granule) {
    let mut rig = boot(g);
    map(&mut rig, page(g, 0), DIMM + 64 * MIB);
    map(&mut rig, page(g, 1), DIMM + 65 * MIB);
    rig.machine.publish();
    let debt = take_down(&mut rig, page(g, 0));
    assert_eq!(reap(&mut rig, page(g, 0)).len(), 1);
    map(&mut rig, page(g, 0), DIMM + 66 * MIB);
    assert_eq!(broken(&rig), [Rule::MakeBeforeInvalidate]);
    debt.invalidate(&rig.machine);
}

fn memory_that_is_used_again_while_a_translation_leads_to_it_is_noticed(g: Granule) {
    let mut rig = boot(g);
    map(&mut rig, page(g, 0), DIMM + 64 * MIB);
    map(&mut rig, page(g, 1), DIMM + 65 * MIB);
    rig.machine.publish();
    let debt = take_down(&mut rig, page(g, 0));
    map(&mut rig, page(g, 2), DIMM + 64 * MIB);
    assert_eq!(broken(&rig), [Rule::ReuseWhileCached], "mapped elsewhere");
    let frame = rig.machine.frame(PhysAddr::new(DIMM + 64 * MIB), g.page_size);
    // SAFETY: the frame is present and nothing refers into it.
    unsafe { rig.machine.zero(frame, g.page_size) };
    assert_eq!(broken(&rig), [Rule::ReuseWhileCached], "cleared");
    debt.invalidate(&rig.machine);
    // SAFETY: as above.
    unsafe { rig.machine.zero(frame, g.page_size) };
    assert_eq!(broken(&rig), []);
}

/// With its maintenance skipped the model reuses a table's frame for the next table.
fn the_models_own_fault_is_noticed_when_a_table_comes_back(g: Granule) {
    let mut rig = boot(g);
    let far = 8 << 40;
    rig.plug(far, Rig::blocks(g, 1), MemmapHome::SelfHosted);
    rig.mm.set_bug(Some(Bug::SkipTlbi));
    rig.mm.remove_memory(range(far, Rig::blocks(g, 1))).expect("offline");
    assert_eq!(broken(&rig), []);
    rig.add(far, Rig::blocks(g, 1), MemmapHome::SelfHosted).expect("room");
    let found = broken(&rig);
    assert!(
        found.contains(&Rule::ReuseWhileCached) && found.contains(&Rule::MakeBeforeInvalidate),
        "{found:?}"
    );
}

fn memory_that_is_pulled_while_it_is_mapped_is_noticed(g: Granule) {
    let rig = boot(g);
    rig.machine.unplug(DIMM);
    let notes: Vec<_> = rig.machine.take_violations().iter().map(|v| (v.rule, v.note)).collect();
    assert!(notes.contains(&(Rule::UnplugWhileMapped, "a live leaf")), "{notes:?}");
    assert!(catch_unwind(AssertUnwindSafe(|| rig.machine.frame(PhysAddr::new(DIMM), 8))).is_err());
}

fn an_entry_that_leads_nowhere_is_noticed(g: Granule) {
    let mut rig = boot(g);
    map(&mut rig, page(g, 0), 0x2000_0000);
    assert_eq!(broken(&rig), [Rule::LeadsNowhere]);
}

fn a_table_that_was_not_cleared_or_is_cleared_in_force_is_noticed(g: Granule) {
    let rig = boot(g);
    let (root, fresh) = (rig.mm.space().root(), PhysAddr::new(DIMM + 64 * MIB));
    let index = g.entries(g.start_level) - 1;
    rig.machine.entry_written(root, index, 0, Descriptor::table(fresh).bits());
    assert!(broken(&rig).contains(&Rule::GarbageTable));
    let frame = rig.machine.frame(root, g.page_size);
    // SAFETY: the frame is present; the machine is not used after this.
    unsafe { rig.machine.zero(frame, g.page_size) };
    assert!(broken(&rig).contains(&Rule::TableCleared));
}

/// A machine that is not told to tolerate anything ends the test, and says where.
fn the_first_violation_ends_the_test(g: Granule) {
    let mut rig = Rig::boot(g, &Shape::tiny());
    let frame = rig.mm.frames_mut().alloc(
        0,
        hotmap_mm::frame::page::PageKind::Kernel,
        hotmap_mm::frame::Mobility::Unmovable,
    );
    map(&mut rig, page(g, 0), frame.expect("room").address(g).get());
    let caught = catch_unwind(AssertUnwindSafe(|| touch(&rig, page(g, 0), Access::Read)));
    let said = caught.expect_err("it is not published").downcast::<String>().expect("a message");
    let va: VirtAddr = page(g, 0).start;
    assert!(said.starts_with(&format!("Unpublished at va {va}")), "{said}");
}

hotmap_testkit::at_each_granule!(
    an_access_to_what_is_not_mapped_ends_the_test,
    a_store_to_constants_is_noticed,
    a_translation_that_was_taken_down_and_not_invalidated_is_stale,
    invalidating_leaves_does_not_invalidate_tables,
    an_entry_that_is_not_published_is_noticed,
    a_long_access_must_be_in_one_piece,
    entries_under_one_contiguous_bit_must_agree,
    a_live_entry_that_changes_against_the_rules_is_noticed,
    a_new_entry_where_the_old_one_may_be_cached_is_noticed,
    memory_that_is_used_again_while_a_translation_leads_to_it_is_noticed,
    the_models_own_fault_is_noticed_when_a_table_comes_back,
    memory_that_is_pulled_while_it_is_mapped_is_noticed,
    an_entry_that_leads_nowhere_is_noticed,
    a_table_that_was_not_cleared_or_is_cleared_in_force_is_noticed,
    the_first_violation_ends_the_test,
);
