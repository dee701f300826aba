//! Each public operation that changes the model is done, refused, and made to fail at each of its allocations, and the
//! model is audited after each. The operations are those in the source: one that has no line in the table fails the test.
#![cfg(not(miri))]

mod source;
mod table;

use hotmap_emulator::rig::Rig;
use hotmap_mm::debug::faults::Plan;
use hotmap_mm::granule::Granule;
use hotmap_testkit::snapshot::Snapshot;
use table::{Case, NOT_OPERATIONS, TABLE};

/// More allocations than any operation of the table makes.
const MOST_ALLOCATIONS: u64 = 500;

#[test]
fn the_table_has_each_public_operation_and_no_other() {
    let source = source::operations();
    let listed = |name: &str| TABLE.iter().filter(|case| case.name == name).count();
    let excepted = |name: &str| NOT_OPERATIONS.iter().any(|(other, _)| *other == name);
    for (name, operation) in &source {
        let lines = listed(name) + usize::from(excepted(name));
        assert_eq!(lines, 1, "{name} ({}): a public operation needs one line in the table", operation.file);
    }
    for name in TABLE.iter().map(|case| case.name).chain(NOT_OPERATIONS.iter().map(|(name, _)| *name)) {
        assert!(source.contains_key(name), "{name} is in the table, and no public operation");
    }
    for case in TABLE {
        let call = format!("{}(", case.name.rsplit("::").next().expect("a name"));
        assert!(case.act_text.contains(&call), "{}: its test does not call it: {}", case.name, case.act_text);
        let fallible = source[case.name].is_fallible;
        assert_eq!(
            fallible,
            case.refused.is_some(),
            "{}: what returns a Result is refused in a test",
            case.name
        );
    }
}

fn prepared(case: &Case, g: Granule) -> Rig {
    let rig = (case.prepare)(g);
    rig.assert_clean(&format!("before {}", case.name));
    rig
}

fn after_each_operation_the_audit_finds_nothing(g: Granule) {
    for case in TABLE {
        let mut rig = prepared(case, g);
        (case.act)(&mut rig).unwrap_or_else(|error| panic!("{} {}: {error}", g.kind, case.name));
        rig.assert_clean(&format!("after {}", case.name));
    }
}

fn after_each_refusal_nothing_has_changed(g: Granule) {
    for case in TABLE {
        let Some(refused) = case.refused else { continue };
        let mut rig = prepared(case, g);
        // What a refusal may count is a warning.
        let warnings = rig.mm.frames().warnings;
        let before = Snapshot::exact(&rig);
        let what = format!("{} {}", g.kind, case.name);
        assert!(refused(&mut rig).is_err(), "{what}: not refused");
        rig.assert_clean(&format!("after a refused {}", case.name));
        rig.mm.frames_mut().warnings = warnings;
        before.assert_same(&Snapshot::exact(&rig), &what);
    }
}

/// With the n-th allocation failing, and with all from the n-th on, for every n that there is.
fn after_each_allocation_that_fails_the_audit_finds_nothing(g: Granule) {
    for case in TABLE {
        for plan in [Plan::Nth as fn(u64) -> Plan, Plan::From] {
            let n = (1..MOST_ALLOCATIONS).find(|n| !fails(case, g, plan(*n)));
            let n = n.unwrap_or_else(|| panic!("{}: an allocation always fails", case.name));
            let allocates = n > 1;
            assert_eq!(allocates, case.allocates, "{} {}: does it allocate?", g.kind, case.name);
        }
    }
}

/// Whether an allocation was made to fail. The operation may have succeeded all the same.
fn fails(case: &Case, g: Granule, plan: Plan) -> bool {
    let mut rig = (case.prepare)(g);
    rig.mm.frames_mut().faults.arm(plan);
    let result = (case.act)(&mut rig);
    let fired = rig.mm.frames().faults.fired();
    rig.mm.frames_mut().faults.arm(Plan::Off);
    assert!(fired || result.is_ok(), "{} {}: {plan:?}: {result:?}", g.kind, case.name);
    rig.assert_clean(&format!("after {} with {plan:?}: {result:?}", case.name));
    fired
}

hotmap_testkit::at_each_granule!(
    after_each_operation_the_audit_finds_nothing,
    after_each_refusal_nothing_has_changed,
    after_each_allocation_that_fails_the_audit_finds_nothing,
);
