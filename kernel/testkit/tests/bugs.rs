//! Each fault that can be put into the model is caught: by the auditor, under the invariant that it breaks, by a warning, or
//! by a check that refuses the step.
#![cfg(not(miri))]

use hotmap_emulator::rig::{MIB, Rig, Shape, range};
use hotmap_mm::addr::{PhysAddr, PhysRange};
use hotmap_mm::audit::AuditSummary;
use hotmap_mm::debug::bugs::Bug;
use hotmap_mm::device::pagemap::DeviceType;
use hotmap_mm::error::{BlockError, Error, SpaceError};
use hotmap_mm::frame::Mobility;
use hotmap_mm::frame::page::PageKind;
use hotmap_mm::frame::zone::ZoneKind;
use hotmap_mm::granule::Granule;
use hotmap_mm::hotplug::home::MemmapHome;
use hotmap_mm::hotplug::notify::{Direction, Event, Notifier, Veto};

/// A slot that shares no table below the first level with boot RAM: at 4K 512 GiB, at 16K and 64K 4 TiB, are one entry's.
const FAR: u64 = 8 << 40;

/// What the machine is doing when the fault is put in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    Adding,
    Onlining,
    Removing,
    DroppingTenant,
    Migrating,
    Vetoed,
    AddingOnDemand,
    Populating,
    GivingBack,
    ComingAsDevice,
    GoingAsDevice,
}

/// What catches the fault.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Witness {
    /// The auditor, under the fault's invariant.
    Audit,
    /// A warning of the model's.
    Warning,
    /// The break-before-make check.
    Refusal,
    /// A notifier that says no to the memory's range, and is not heard.
    MissedVeto,
}

const fn caught(bug: Bug) -> (When, Witness) {
    match bug {
        Bug::AltmapLeak => (When::Adding, Witness::Audit),
        Bug::FreeMemmap => (When::Onlining, Witness::Audit),
        Bug::LostPage => (When::DroppingTenant, Witness::Audit),
        Bug::StaleSection | Bug::EmptyTable | Bug::SkipTlbi | Bug::KeepMemmap | Bug::KeepLinear => {
            (When::Removing, Witness::Audit)
        }
        Bug::HeadOnImage | Bug::LendTwice | Bug::SkipPopulateTlbi => (When::Populating, Witness::Audit),
        Bug::ShareEarly | Bug::KeepPrivate => (When::GivingBack, Witness::Audit),
        Bug::ImageDirty => (When::AddingOnDemand, Witness::Audit),
        Bug::AltmapAsRam => (When::Removing, Witness::Warning),
        Bug::SharedBlock => (When::ComingAsDevice, Witness::Audit),
        Bug::FreeNeighbour => (When::GoingAsDevice, Witness::Audit),
        Bug::NoBbm => (When::Migrating, Witness::Refusal),
        Bug::VetoRange => (When::Vetoed, Witness::MissedVeto),
    }
}

/// Whether the fault can be made at this granule: at 4K no page of memmap serves two subsections, elsewhere no block of
/// memmap is a section's.
fn exists(g: Granule, bug: Bug) -> bool {
    match bug {
        Bug::SharedBlock => g.page_size == Granule::K4.page_size,
        Bug::FreeNeighbour => g.page_size != Granule::K4.page_size,
        _ => true,
    }
}

/// What was found out after a life with a fault in it.
struct Aftermath {
    rig: Rig,
    summary: AuditSummary,
    said: Vec<String>,
    refused: Option<Error>,
}

/// A DIMM's whole life, and that of two devices of a subsection each, with `bug` put in at its moment; the audit right after
/// that moment.
fn life(g: Granule, at: When, bug: Option<Bug>) -> Aftermath {
    let mut rig = Rig::boot(g, &Shape::one("256 MiB", 0x4000_0000, 256 * MIB));
    // The machine's own checks would end the test before the auditor speaks.
    rig.machine.tolerate();
    let refused = match at {
        When::ComingAsDevice | When::GoingAsDevice => devices(&mut rig, at, bug),
        When::AddingOnDemand | When::Populating | When::GivingBack => {
            on_demand(&mut rig, at, bug);
            None
        }
        _ => memory(&mut rig, at, bug),
    };
    let mut said = Vec::new();
    let summary = rig.mm.audit(&mut |finding| said.push(finding.to_string()));
    Aftermath { rig, summary, said, refused }
}

/// Memory on demand: pages are taken, and some are freed again.
fn on_demand(rig: &mut Rig, at: When, bug: Option<Bug>) {
    let len = Rig::blocks(rig.granule(), 1);
    let switch = |rig: &mut Rig, now: bool| rig.mm.set_bug(bug.filter(|_| now));
    switch(rig, at == When::AddingOnDemand);
    rig.plug(FAR, len, MemmapHome::Demand);
    rig.online(FAR, len, ZoneKind::Movable);
    if at == When::AddingOnDemand {
        return;
    }
    let largest = rig.granule().section_order;
    let alloc = |rig: &mut Rig, order| {
        rig.mm.frames_mut().alloc(order, PageKind::Kernel, Mobility::Movable).expect("room")
    };
    // What is left is half of the block, so that the next run splits off two: each begins in a memmap page of its own.
    for order in [0, largest - 2, largest - 3] {
        alloc(rig, order);
    }
    switch(rig, at == When::Populating);
    let other = alloc(rig, largest - 3);
    if at == When::GivingBack {
        switch(rig, true);
        rig.mm.frames_mut().free(other);
    }
}

fn memory(rig: &mut Rig, at: When, bug: Option<Bug>) -> Option<Error> {
    let g = rig.granule();
    let len = Rig::blocks(g, 1);
    let switch = |rig: &mut Rig, now: bool| rig.mm.set_bug(bug.filter(|_| now));
    switch(rig, at == When::Adding);
    rig.plug(FAR, len, MemmapHome::SelfHosted);
    if at != When::Adding {
        switch(rig, at == When::Onlining);
        rig.online(FAR, len, ZoneKind::Movable);
    }
    if at == When::Vetoed {
        let no = |event, range: PhysRange| {
            let mine = Granule::ALL.iter().any(|g| range == self::range(FAR, g.section_size));
            if mine && event == Event::Going(Direction::Offline) { Err(Veto) } else { Ok(()) }
        };
        rig.mm.notifiers.register(Notifier { name: "keeper", hear: no }).expect("room");
        switch(rig, true);
        let refused = rig.mm.offline_block(Rig::pfn(g, FAR)).err();
        rig.mm.notifiers.unregister("keeper");
        return refused;
    }
    if at == When::Migrating {
        rig.mm.tenant_new(3).expect("room");
        switch(rig, true);
        return rig.mm.offline_block(Rig::pfn(g, FAR)).err();
    }
    if matches!(at, When::Removing | When::DroppingTenant) {
        let tenant = rig.mm.tenant_new(9).expect("room");
        switch(rig, at == When::DroppingTenant);
        rig.mm.tenant_drop(tenant).expect("a tenant");
    }
    if at == When::Removing {
        switch(rig, true);
        rig.mm.unplug(range(FAR, len)).expect("nothing in use");
    }
    None
}

fn devices(rig: &mut Rig, at: When, bug: Option<Bug>) -> Option<Error> {
    let g = rig.granule();
    rig.machine.plug(FAR, 4 * MIB);
    rig.mm.set_bug(bug.filter(|_| at == When::ComingAsDevice));
    for start in [FAR, FAR + 2 * MIB] {
        let ranges = [(PhysAddr::new(start), 2 * MIB)];
        let device = rig.mm.device_range(&ranges, DeviceType::Generic, MemmapHome::Ram).expect("free");
        rig.mm.memremap_pages(&device, |_, _| {}).expect("room");
    }
    rig.mm.set_bug(bug.filter(|_| at == When::GoingAsDevice));
    rig.mm.memunmap_pages(Rig::pfn(g, FAR)).expect("a device");
    if at == When::ComingAsDevice {
        rig.mm.memunmap_pages(Rig::pfn(g, FAR + 2 * MIB)).expect("a device");
    }
    None
}

fn every_bug_is_caught_by_its_witness(g: Granule) {
    for bug in Bug::ALL.into_iter().filter(|bug| exists(g, *bug)) {
        let (when, witness) = caught(bug);
        let clean = life(g, when, None);
        assert!(clean.summary.is_clean(), "without {}: {:?}", bug.name(), clean.said);
        let vetoed = matches!(clean.refused, Some(Error::Block(BlockError::Vetoed { .. })));
        assert_eq!((vetoed, clean.refused.is_some()), (when == When::Vetoed, when == When::Vetoed));
        assert_eq!(clean.rig.mm.frames().warnings.total(), 0, "without {}", bug.name());
        let after = life(g, when, Some(bug));
        let (said, broken) = (after.said, bug.invariant().unwrap_or(0));
        let prefix = format!("I{broken}: ");
        match witness {
            Witness::Audit => {
                assert!(after.summary.findings(broken) > 0, "{}: {said:?}", bug.name());
                assert!(said.iter().any(|line| line.starts_with(&prefix)), "{said:?}");
            }
            Witness::Warning => {
                assert!(after.rig.mm.frames().warnings.total() > 0, "{}: no warning", bug.name())
            }
            Witness::MissedVeto => assert_eq!(after.refused, None, "{}: heard", bug.name()),
            Witness::Refusal => {
                let refused = after.refused;
                assert!(
                    matches!(refused, Some(Error::Space(SpaceError::BreakBeforeMake { .. }))),
                    "{}: {refused:?}",
                    bug.name()
                );
            }
        }
    }
}

fn skipped_maintenance_is_noticed_by_the_machine_too(g: Granule) {
    let rig = life(g, When::Removing, Some(Bug::SkipTlbi)).rig;
    assert!(rig.machine.stale_entries() > 0);
    rig.machine.unplug(FAR);
    let found = rig.machine.take_violations();
    assert!(found.iter().any(|v| v.note == "a cached translation"), "{found:?}");
}

fn memory_that_stays_mapped_is_noticed_by_the_machine_too(g: Granule) {
    for bug in [Bug::KeepLinear, Bug::KeepMemmap] {
        let rig = life(g, When::Removing, Some(bug)).rig;
        rig.machine.unplug(FAR);
        let found = rig.machine.take_violations();
        assert!(found.iter().any(|v| v.note == "a live leaf"), "{}: {found:?}", bug.name());
    }
}

hotmap_testkit::at_each_granule!(
    every_bug_is_caught_by_its_witness,
    skipped_maintenance_is_noticed_by_the_machine_too,
    memory_that_stays_mapped_is_noticed_by_the_machine_too,
);

#[test]
fn a_switch_has_a_name_of_its_own_and_every_invariant_has_a_switch() {
    for bug in Bug::ALL {
        assert_eq!(Bug::from_name(bug.name()), Some(bug));
    }
    for invariant in 1..=8 {
        assert!(Bug::ALL.iter().any(|bug| bug.invariant() == Some(invariant)), "I{invariant}");
    }
    assert_eq!(Bug::from_name("no-such-bug"), None);
}
