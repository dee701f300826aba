//! The emulated machine notices what it is there to notice: each of its rules, broken on purpose.
#![cfg(not(miri))]
#![expect(unsafe_code, reason = "calls `Machine::zero` the way the model does")]

use std::panic::{AssertUnwindSafe, catch_unwind};

use hotmap_mm::addr::{PhysAddr, VirtAddr, VirtRange};
use hotmap_mm::bugs::Bug;
use hotmap_mm::granule::Granule;
use hotmap_mm::hotplug::steps::MemmapHome;
use hotmap_mm::layout::TENANTS;
use hotmap_mm::machine::{Access, Machine};
use hotmap_mm::paging::descriptor::{Attributes, Descriptor};
use hotmap_mm::paging::flush::TlbDebt;
use hotmap_mm::paging::table::{Gone, MapRequest};
use hotmap_testkit::machine::violation::Rule;
use hotmap_testkit::rig::{MIB, Rig, Shape, range};

const DIMM: u64 = 0x8000_0000;

/// A machine that collects what it notices, with a DIMM that has its linear map and its memmap.
fn boot<G: Granule>() -> Rig<G> {
    let mut rig = Rig::<G>::boot(&Shape::one("256 MiB", 0x4000_0000, 256 * MIB));
    rig.plug(DIMM, Rig::<G>::blocks(1), MemmapHome::SelfHosted);
    rig.machine.tolerate();
    rig
}

/// Page `n` of the tenants' area, where nothing is.
fn page<G: Granule>(n: u64) -> VirtRange {
    let start = TENANTS.start + (1 << 30) + n * G::SIZE;
    VirtRange { start, end: start + G::SIZE }
}

fn map<G: Granule>(rig: &mut Rig<G>, at: VirtRange, pa: u64) {
    let request = MapRequest {
        range: at,
        pa: PhysAddr::new(pa),
        attributes: Attributes::DATA,
        max_leaf: G::SIZE,
        contiguous: false,
    };
    let tables = rig.mm.tables();
    tables.map(&rig.machine, &mut rig.mm, &request).expect("nothing is there");
}

fn take_down<G: Granule>(rig: &mut Rig<G>, at: VirtRange) -> TlbDebt {
    rig.mm.tables().break_range(&rig.machine, at, TENANTS, |_| false).expect("a page")
}

fn reap<G: Granule>(rig: &mut Rig<G>, at: VirtRange) -> Vec<Gone> {
    let mut gone = Vec::new();
    rig.mm.tables().reap(&rig.machine, at, |g| gone.push(g)).expect("broken");
    gone
}

/// The rules that were broken since the last call.
fn broken<G: Granule>(rig: &Rig<G>) -> Vec<Rule> {
    rig.machine.take_violations().iter().map(|v| v.rule).collect()
}

fn touch<G: Granule>(rig: &Rig<G>, at: VirtRange, access: Access) {
    rig.machine.mapped(at.start, 8, access);
}

fn an_access_to_what_is_not_mapped_ends_the_test<G: Granule>() {
    let rig = boot::<G>();
    let access = || touch(&rig, page::<G>(0), Access::Read);
    assert!(catch_unwind(AssertUnwindSafe(access)).is_err());
    assert_eq!(broken(&rig), [Rule::Unmapped]);
    assert!(catch_unwind(AssertUnwindSafe(|| rig.machine.frame(PhysAddr::new(0x2000_0000), 8))).is_err());
}

fn a_store_to_constants_is_noticed<G: Granule>() {
    let rig = boot::<G>();
    // The image's constants are mapped read-only in the linear map.
    rig.machine.frame(PhysAddr::new(0x4020_0000), 8);
    assert_eq!(broken(&rig), [Rule::ReadOnly]);
}

fn a_translation_that_was_taken_down_and_not_invalidated_is_stale<G: Granule>() {
    let mut rig = boot::<G>();
    map(&mut rig, page::<G>(0), DIMM + 64 * MIB);
    rig.machine.publish();
    touch(&rig, page::<G>(0), Access::Write);
    assert_eq!(broken(&rig), []);
    let debt = take_down(&mut rig, page::<G>(0));
    assert!(catch_unwind(AssertUnwindSafe(|| touch(&rig, page::<G>(0), Access::Read))).is_err());
    assert_eq!(broken(&rig), [Rule::StaleTranslation, Rule::Unmapped]);
    assert!(rig.machine.stale_entries() > 1, "the leaf, and the tables that were left empty");
    debt.pay(&rig.machine);
    assert_eq!(rig.machine.stale_entries(), 0);
}

fn invalidating_leaves_does_not_invalidate_tables<G: Granule>() {
    let mut rig = boot::<G>();
    map(&mut rig, page::<G>(0), DIMM + 64 * MIB);
    rig.machine.publish();
    let debt = take_down(&mut rig, page::<G>(0));
    rig.machine.invalidate(page::<G>(0), G::SIZE, false);
    assert!(rig.machine.stale_entries() > 0);
    rig.machine.invalidate(page::<G>(1), G::SIZE, true);
    assert_eq!(rig.machine.stale_entries(), 0, "any address that the tables serve will do");
    debt.pay(&rig.machine);
    assert_eq!(broken(&rig), []);
}

fn an_entry_that_is_not_published_is_noticed<G: Granule>() {
    let mut rig = boot::<G>();
    map(&mut rig, page::<G>(0), DIMM + 64 * MIB);
    touch(&rig, page::<G>(0), Access::Read);
    assert_eq!(broken(&rig), [Rule::Unpublished]);
    rig.machine.publish();
    touch(&rig, page::<G>(0), Access::Read);
    assert_eq!(broken(&rig), []);
}

fn a_long_access_must_be_in_one_piece<G: Granule>() {
    let mut rig = boot::<G>();
    for (n, pa) in [(0, DIMM + 64 * MIB), (1, DIMM + 64 * MIB + G::SIZE), (2, DIMM + 65 * MIB)] {
        map(&mut rig, page::<G>(n), pa);
    }
    rig.machine.publish();
    rig.machine.mapped(page::<G>(0).start, 2 * G::SIZE, Access::Read);
    let all = || rig.machine.mapped(page::<G>(0).start, 3 * G::SIZE, Access::Read);
    assert!(catch_unwind(AssertUnwindSafe(all)).is_err());
}

fn entries_under_one_contiguous_bit_must_agree<G: Granule>() {
    let rig = boot::<G>();
    let path = rig.mm.tables().path(&rig.machine, rig.mm.layout().linear(PhysAddr::new(DIMM)));
    let leaf = path.leaf().expect("mapped");
    let alone = !leaf.descriptor.is_contiguous();
    assert_eq!(
        alone,
        G::SIZE != 4096,
        "a 128 MiB block is in 32 MiB runs at 4K, in single blocks at 16K and 64K"
    );
    if alone {
        return;
    }
    let neighbour = leaf.slot.table.get() + leaf.slot.index as u64 * 8 + 8;
    let raw = hotmap_testkit::arch::walker::Memory::read(rig.machine.memory(), neighbour);
    rig.machine.memory().poke(neighbour, raw & !(1 << 52));
    touch(&rig, leaf.slot.span, Access::Read);
    assert_eq!(broken(&rig), [Rule::ContiguousRun]);
    let audit = rig.mm.audit(&mut |_| {});
    assert!(audit.findings(5) > 0, "{audit}");
}

fn a_live_entry_that_changes_against_the_rules_is_noticed<G: Granule>() {
    let mut rig = boot::<G>();
    map(&mut rig, page::<G>(0), DIMM + 64 * MIB);
    let path = rig.mm.tables().path(&rig.machine, page::<G>(0).start);
    let leaf = path.leaf().expect("mapped");
    let moved = Descriptor::leaf(PhysAddr::new(DIMM + 65 * MIB), Attributes::DATA, 3, false);
    let (old, new) = (leaf.descriptor.bits(), moved.bits());
    rig.machine.entry_written(leaf.slot.table, leaf.slot.index, old, new);
    assert!(broken(&rig).contains(&Rule::BreakBeforeMake));
}

fn a_new_entry_where_the_old_one_may_be_cached_is_noticed<G: Granule>() {
    let mut rig = boot::<G>();
    map(&mut rig, page::<G>(0), DIMM + 64 * MIB);
    map(&mut rig, page::<G>(1), DIMM + 65 * MIB);
    rig.machine.publish();
    let debt = take_down(&mut rig, page::<G>(0));
    assert_eq!(reap(&mut rig, page::<G>(0)).len(), 1);
    map(&mut rig, page::<G>(0), DIMM + 66 * MIB);
    assert_eq!(broken(&rig), [Rule::MakeBeforeInvalidate]);
    debt.pay(&rig.machine);
}

fn memory_that_is_used_again_while_a_translation_leads_to_it_is_noticed<G: Granule>() {
    let mut rig = boot::<G>();
    map(&mut rig, page::<G>(0), DIMM + 64 * MIB);
    map(&mut rig, page::<G>(1), DIMM + 65 * MIB);
    rig.machine.publish();
    let debt = take_down(&mut rig, page::<G>(0));
    map(&mut rig, page::<G>(2), DIMM + 64 * MIB);
    assert_eq!(broken(&rig), [Rule::ReuseWhileCached], "mapped elsewhere");
    let frame = rig.machine.frame(PhysAddr::new(DIMM + 64 * MIB), G::SIZE);
    // SAFETY: the frame is present and nothing refers into it.
    unsafe { rig.machine.zero(frame, G::SIZE) };
    assert_eq!(broken(&rig), [Rule::ReuseWhileCached], "cleared");
    debt.pay(&rig.machine);
    // SAFETY: as above.
    unsafe { rig.machine.zero(frame, G::SIZE) };
    assert_eq!(broken(&rig), []);
}

/// With its maintenance skipped the model reuses a table's frame for the next table.
fn the_models_own_fault_is_noticed_when_a_table_comes_back<G: Granule>() {
    let mut rig = boot::<G>();
    let far = 8 << 40;
    rig.plug(far, Rig::<G>::blocks(1), MemmapHome::SelfHosted);
    rig.mm.bug = Some(Bug::SkipTlbi);
    rig.mm.remove(range(far, Rig::<G>::blocks(1))).expect("offline");
    assert_eq!(broken(&rig), []);
    rig.add(far, Rig::<G>::blocks(1), MemmapHome::SelfHosted).expect("room");
    let found = broken(&rig);
    assert!(
        found.contains(&Rule::ReuseWhileCached) && found.contains(&Rule::MakeBeforeInvalidate),
        "{found:?}"
    );
}

fn memory_that_is_pulled_while_it_is_mapped_is_noticed<G: Granule>() {
    let rig = boot::<G>();
    rig.machine.unplug(DIMM);
    let notes: Vec<_> = rig.machine.take_violations().iter().map(|v| (v.rule, v.note)).collect();
    assert!(notes.contains(&(Rule::UnplugWhileMapped, "a live leaf")), "{notes:?}");
    assert!(catch_unwind(AssertUnwindSafe(|| rig.machine.frame(PhysAddr::new(DIMM), 8))).is_err());
}

fn an_entry_that_leads_nowhere_is_noticed<G: Granule>() {
    let mut rig = boot::<G>();
    map(&mut rig, page::<G>(0), 0x2000_0000);
    assert_eq!(broken(&rig), [Rule::LeadsNowhere]);
}

fn a_table_that_was_not_cleared_or_is_cleared_in_force_is_noticed<G: Granule>() {
    let rig = boot::<G>();
    let (root, fresh) = (rig.mm.tables().root(), PhysAddr::new(DIMM + 64 * MIB));
    let index = G::GEOMETRY.entries(G::GEOMETRY.start_level()) - 1;
    rig.machine.entry_written(root, index, 0, Descriptor::table(fresh).bits());
    assert!(broken(&rig).contains(&Rule::GarbageTable));
    let frame = rig.machine.frame(root, G::SIZE);
    // SAFETY: the frame is present; the machine is not used after this.
    unsafe { rig.machine.zero(frame, G::SIZE) };
    assert!(broken(&rig).contains(&Rule::TableCleared));
}

/// A machine that is not told to tolerate anything ends the test, and says where.
fn the_first_violation_ends_the_test<G: Granule>() {
    let mut rig = Rig::<G>::boot(&Shape::tiny());
    let frame = rig.mm.alloc(0, hotmap_mm::page::PageKind::Kernel, hotmap_mm::model::Mobility::Unmovable);
    map(&mut rig, page::<G>(0), frame.expect("room").address::<G>().get());
    let caught = catch_unwind(AssertUnwindSafe(|| touch(&rig, page::<G>(0), Access::Read)));
    let said = caught.expect_err("it is not published").downcast::<String>().expect("a message");
    let va: VirtAddr = page::<G>(0).start;
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
