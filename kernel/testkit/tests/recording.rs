//! A recording of the machine: memory as it was after each step, and every write of an entry. The oracles are copies that were
//! made at the moment, and a replay of the writes.

use std::collections::{BTreeMap, HashMap, HashSet};

use hotmap_emulator::arch::walker::Everything;
use hotmap_emulator::machine::Emulated;
use hotmap_emulator::machine::record::Event;
use hotmap_emulator::machine::recording::Moment;
use hotmap_emulator::rig::{MIB, Rig, Shape, range};
use hotmap_mm::addr::PhysAddr;
use hotmap_mm::error::Result;
use hotmap_mm::frame::block::Source;
use hotmap_mm::frame::zone::ZoneKind;
use hotmap_mm::granule::{Granule, GranuleKind};
use hotmap_mm::hotplug::home::MemmapHome;
use hotmap_mm::hotplug::range::HotRange;

const GRANULES: [GranuleKind; 3] = [GranuleKind::K4, GranuleKind::K16, GranuleKind::K64];
const HOMES: [MemmapHome; 3] = [MemmapHome::SelfHosted, MemmapHome::Ram, MemmapHome::Demand];
const DIMM: u64 = 0x8000_0000;
const PIECE: usize = 0x1_0000;
static FILL: [u8; PIECE] = [0xa5; PIECE];

/// How much of a range is compared: the memmap of a block is at its start, and nothing touches what is behind it.
const LOOKED_AT: usize = 64 << 20;

/// What memory holds, but for what reads as memory that was never touched.
type Copy = BTreeMap<u64, Vec<u8>>;

fn copy(machine: &Emulated, moment: Moment) -> Copy {
    let mut found = Copy::new();
    let mut piece = vec![0; PIECE];
    for ram in machine.memory().ranges() {
        for pa in ram.step_by(PIECE).take(LOOKED_AT / PIECE) {
            if machine.copy_out(moment, pa, &mut piece) && piece != FILL {
                found.insert(pa, piece.clone());
            }
        }
    }
    found
}

fn rig(g: Granule) -> Rig {
    Rig::boot(g, &Shape::one("64 MiB", 0x4000_0000, 64 * MIB))
}

/// Plugs a block; the copies that were made after each step, by the step's name.
fn plug(rig: &mut Rig, home: MemmapHome) -> Result<Vec<(&'static str, Copy)>> {
    let g = rig.granule();
    let hot = HotRange::new(&rig.mm, PhysAddr::new(DIMM), g.section_size, Source::Dimm(0))?;
    let (mut copies, machine) = (Vec::new(), rig.machine.clone());
    rig.mm.plug(&hot, home, ZoneKind::Movable, |_, step| {
        copies.push((step.name(), copy(&machine, Moment::Now)));
    })?;
    Ok(copies)
}

#[test]
fn memory_reads_as_it_was_after_each_step() {
    for (kind, home) in GRANULES.into_iter().flat_map(|kind| HOMES.map(|home| (kind, home))) {
        let mut rig = rig(kind.granule());
        rig.machine.plug(DIMM, kind.granule().section_size);
        let before = copy(&rig.machine, Moment::Now);
        rig.machine.record();
        let copies = plug(&mut rig, home).unwrap_or_else(|error| panic!("{kind}: {error}"));
        rig.machine.finish_record("the rest");
        let (steps, truncated) = rig.machine.steps();
        let names: Vec<&str> = steps.iter().map(|step| step.name.as_str()).collect();
        assert!(!truncated && copies.len() == 7, "{kind} {home:?}: {names:?}");
        for (name, expected) in &copies {
            let at = steps.iter().position(|step| step.name == *name).unwrap_or_else(|| panic!("{names:?}"));
            let read = copy(&rig.machine, Moment::After(Some(at)));
            assert!(read == *expected, "{kind} {home:?}: after {name}");
        }
        assert!(copy(&rig.machine, Moment::After(None)) == before, "{kind} {home:?}: before");
        let last = Moment::After(Some(steps.len() - 1));
        assert!(copy(&rig.machine, last) == copy(&rig.machine, Moment::Now), "{kind} {home:?}: at the end");
    }
}

/// What goes with the DIMM is read all the same, and what came is not there before.
#[test]
fn memory_that_comes_and_goes_is_there_at_its_time() {
    for kind in GRANULES {
        let (g, mut rig) = (kind.granule(), rig(kind.granule()));
        rig.machine.record();
        rig.machine.plug(DIMM, g.section_size);
        plug(&mut rig, MemmapHome::SelfHosted).unwrap_or_else(|error| panic!("{kind}: {error}"));
        rig.machine.finish_record("");
        let mut word = [0; 8];
        assert!(!rig.machine.copy_out(Moment::After(None), DIMM, &mut word), "{kind}: not plugged yet");
        assert!(rig.machine.copy_out(Moment::After(Some(0)), DIMM, &mut word), "{kind}: plugged");

        let with = copy(&rig.machine, Moment::Now);
        rig.machine.record();
        rig.unplug(DIMM, g.section_size);
        rig.machine.finish_record("eject");
        // The ranges that are there now: of the DIMM, which is gone, one piece.
        let past = copy(&rig.machine, Moment::After(None));
        assert!(past.iter().all(|(pa, piece)| with.get(pa) == Some(piece)), "{kind}");
        let mut first = vec![0; PIECE];
        assert!(rig.machine.copy_out(Moment::After(None), DIMM, &mut first), "{kind}: it was there");
        assert!(with.get(&DIMM) == Some(&first), "{kind}: with what it held");
        assert!(!rig.machine.copy_out(Moment::Now, DIMM, &mut first), "{kind}: it is gone");
    }
}

/// The entries of all tables in force, by their addresses.
fn entries(machine: &Emulated, all: &Everything, moment: Moment) -> HashMap<u64, u64> {
    let mut found = HashMap::new();
    for table in &all.tables {
        for at in (table.pa..).step_by(8).take(1 << machine.spec().levels[table.level].bits) {
            let mut word = [0; 8];
            assert!(machine.copy_out(moment, at, &mut word));
            found.insert(at, u64::from_le_bytes(word));
        }
    }
    found
}

/// Runs `change`, and replays the writes that were recorded on the tables of before.
fn replay(rig: &mut Rig, what: &str, change: impl FnOnce(&mut Rig) -> Result<()>) {
    let what = format!("{} {what}", rig.granule().kind);
    let before = rig.machine.everything();
    let mut tables = entries(&rig.machine, &before, Moment::Now);
    let known: HashSet<u64> = tables.keys().copied().collect();
    rig.machine.record();
    change(rig).unwrap_or_else(|error| panic!("{what}: {error}"));
    rig.machine.finish_record(&what);
    let (steps, truncated) = rig.machine.steps();
    assert!(!truncated, "{what}");
    let mut writes = 0;
    for event in steps.iter().flat_map(|step| &step.events) {
        match event {
            Event::Write { at, old, new, place } => {
                writes += 1;
                let was = tables.insert(*at, *new);
                assert!(place.is_none_or(|place| place.judged.is_ok()), "{what}: {event:?}");
                assert!(was.is_none_or(|was| was == *old), "{what}: {event:?}, which was {was:x?}");
            }
            Event::Violation(violation) => panic!("{what}: {violation}"),
            _ => {}
        }
    }
    assert_ne!(writes, 0, "{what}: nothing was written");
    let after = rig.machine.everything();
    for (at, is) in entries(&rig.machine, &after, Moment::Now) {
        // A table that is new was filled before anything led to it.
        if let Some(replayed) = tables.get(&at) {
            assert_eq!(*replayed, is, "{what}: the entry at {at:#x}");
        } else {
            assert!(!known.contains(&at), "{what}: the entry at {at:#x}");
        }
    }
    assert!(steps.last().is_none_or(|step| step.stale.is_empty()), "{what}: nothing is stale at the end");
}

#[test]
fn the_recorded_writes_make_the_tables_what_they_are() {
    for (kind, home) in GRANULES.into_iter().flat_map(|kind| HOMES.map(|home| (kind, home))) {
        let (g, mut rig) = (kind.granule(), rig(kind.granule()));
        rig.machine.plug(DIMM, g.section_size);
        replay(&mut rig, "plug", |rig| plug(rig, home).map(drop));
        replay(&mut rig, "tenant", |rig| rig.mm.tenant_new(40).map(drop));
        replay(&mut rig, "offline", |rig| rig.mm.offline_block(Rig::pfn(g, DIMM)).map(drop));
        replay(&mut rig, "tenant goes", |rig| {
            let tenant = rig.mm.tenants()[0].id;
            rig.mm.tenant_drop(tenant)
        });
        replay(&mut rig, "unplug", |rig| rig.mm.unplug(range(DIMM, g.section_size)).map(drop));
    }
}

/// HVO: entries become read-only, lead to the shared page, and back.
#[test]
fn the_recorded_writes_of_shared_memmap_make_the_tables_what_they_are() {
    let mut rig = rig(GranuleKind::K4.granule());
    for (what, count) in [("two huge pages", 2), ("one of them is free", 1), ("none is left", 0)] {
        replay(&mut rig, what, |rig| rig.mm.hugetlb_resize(9, count).map(drop));
    }
}

/// Between the break and the invalidation, and at no other moment, something is stale.
#[test]
fn what_is_stale_is_seen_between_the_break_and_the_invalidation() {
    for kind in GRANULES {
        let (g, mut rig) = (kind.granule(), rig(kind.granule()));
        rig.plug(DIMM, g.section_size, MemmapHome::SelfHosted);
        rig.online(DIMM, g.section_size, ZoneKind::Movable);
        rig.mm.tenant_new(3).unwrap_or_else(|error| panic!("{kind}: {error}"));
        rig.machine.record();
        rig.mm.offline_block(Rig::pfn(g, DIMM)).unwrap_or_else(|error| panic!("{kind}: {error}"));
        rig.machine.finish_record("");
        let (steps, _) = rig.machine.steps();
        let seen: Vec<(&str, usize)> =
            steps.iter().map(|step| (step.name.as_str(), step.stale.len())).collect();
        let expected = [
            ("isolate blocks", 0),
            ("take frames", 0),
            ("copy pages, map the copies: break 3 entries", 3),
            ("copy pages, map the copies: invalidate the TLB", 0),
            ("copy pages, map the copies", 0),
            ("free the old frames", 0),
            ("leave zone", 0),
        ];
        assert_eq!(seen, expected, "{kind}");
        let stale = |at| {
            let cached = rig.machine.cached(Moment::After(Some(at)));
            cached.into_iter().filter(|entry| entry.stale).map(|entry| entry.pa).collect::<Vec<_>>()
        };
        assert!(stale(2).iter().all(|pa| (DIMM..DIMM + g.section_size).contains(pa)) && stale(2).len() == 3);
        assert_eq!((stale(1), stale(3)), (vec![], vec![]), "{kind}");
    }
}
