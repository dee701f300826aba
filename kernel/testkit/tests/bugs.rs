//! Each fault that can be put into the model is named by the auditor, under the invariant that it breaks.
#![cfg(not(miri))]

use hotmap_mm::audit::AuditSummary;
use hotmap_mm::bugs::Bug;
use hotmap_mm::granule::Granule;
use hotmap_mm::hotplug::steps::MemmapHome;
use hotmap_mm::zone::ZoneKind;
use hotmap_testkit::rig::{MIB, Rig, Shape, range};

/// A slot that shares no table below the first level with boot RAM: at 4K 512 GiB, at 16K and 64K 4 TiB, are one entry's.
const FAR: u64 = 8 << 40;

/// What the machine is doing when the fault is put in.
#[derive(Clone, Copy)]
enum When {
    Adding,
    Onlining,
    Removing,
    DroppingTenant,
}

const fn when(bug: Bug) -> When {
    match bug {
        Bug::AltmapLeak => When::Adding,
        Bug::FreeMemmap => When::Onlining,
        Bug::LostPage => When::DroppingTenant,
        Bug::StaleSection | Bug::EmptyTable | Bug::SkipTlbi | Bug::KeepMemmap | Bug::KeepLinear => {
            When::Removing
        }
    }
}

/// A DIMM's whole life, with `bug` put in at its moment; the audit right after that moment.
fn life<G: Granule>(at: When, bug: Option<Bug>) -> (Rig<G>, AuditSummary, Vec<String>) {
    let mut rig = Rig::<G>::boot(&Shape::one("256 MiB", 0x4000_0000, 256 * MIB));
    // The machine's own checks would end the test before the auditor speaks.
    rig.machine.tolerate();
    let len = Rig::<G>::blocks(1);
    let switch = |rig: &mut Rig<G>, now: bool| rig.mm.bug = bug.filter(|_| now);
    switch(&mut rig, matches!(at, When::Adding));
    rig.plug(FAR, len, MemmapHome::SelfHosted);
    if !matches!(at, When::Adding) {
        switch(&mut rig, matches!(at, When::Onlining));
        rig.online(FAR, len, ZoneKind::Movable);
    }
    if matches!(at, When::Removing | When::DroppingTenant) {
        let tenant = rig.mm.tenant_new(9).expect("room");
        switch(&mut rig, matches!(at, When::DroppingTenant));
        rig.mm.tenant_drop(tenant).expect("a tenant");
    }
    if matches!(at, When::Removing) {
        switch(&mut rig, true);
        rig.mm.unplug(range(FAR, len)).expect("nothing in use");
    }
    let mut said = Vec::new();
    let summary = rig.mm.audit(&mut |finding| said.push(finding.to_string()));
    (rig, summary, said)
}

fn every_bug_is_named_by_its_invariant<G: Granule>() {
    for bug in Bug::ALL {
        let (_, clean, said) = life::<G>(when(bug), None);
        assert!(clean.is_clean(), "without {}: {said:?}", bug.name());
        let (_, summary, said) = life::<G>(when(bug), Some(bug));
        assert!(summary.findings(bug.invariant()) > 0, "{} is not named: {summary}, {said:?}", bug.name());
        let prefix = format!("I{}: ", bug.invariant());
        assert!(said.iter().any(|line| line.starts_with(&prefix)), "{said:?}");
    }
}

fn skipped_maintenance_is_noticed_by_the_machine_too<G: Granule>() {
    let (rig, ..) = life::<G>(When::Removing, Some(Bug::SkipTlbi));
    assert!(rig.machine.stale_entries() > 0);
    rig.machine.unplug(FAR);
    let found = rig.machine.take_violations();
    assert!(found.iter().any(|v| v.note == "a cached translation"), "{found:?}");
}

fn memory_that_stays_mapped_is_noticed_by_the_machine_too<G: Granule>() {
    for bug in [Bug::KeepLinear, Bug::KeepMemmap] {
        let (rig, ..) = life::<G>(When::Removing, Some(bug));
        rig.machine.unplug(FAR);
        let found = rig.machine.take_violations();
        assert!(found.iter().any(|v| v.note == "a live leaf"), "{}: {found:?}", bug.name());
    }
}

hotmap_testkit::at_each_granule!(
    every_bug_is_named_by_its_invariant,
    skipped_maintenance_is_noticed_by_the_machine_too,
    memory_that_stays_mapped_is_noticed_by_the_machine_too,
);

#[test]
fn a_switch_has_a_name_and_an_invariant_of_its_own() {
    for (i, bug) in Bug::ALL.into_iter().enumerate() {
        assert_eq!(usize::from(bug.invariant()), i + 1);
        assert_eq!(Bug::from_name(bug.name()), Some(bug));
    }
    assert_eq!(Bug::from_name("no-such-bug"), None);
}
