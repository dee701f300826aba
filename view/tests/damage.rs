//! A machine that is damaged: every view ends, and marks what it cannot read.

mod support;

use hotmap_emulator::machine::Emulated;
use hotmap_emulator::rig::GIB;
use hotmap_mm::hotplug::home::MemmapHome;
use hotmap_view::views::{Backing, Outcome, VmemmapView};
use hotmap_view::{Fault, FaultKind, Machine, State, Target, Transit, Use, ViewError};
use support::{DIMM, GRANULES, Guest, HOMES, Ram};

/// Where there is no memory.
const NOWHERE: u64 = 0x7fff_0000_0000;

struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

/// All views; what holds however damaged the machine is.
fn look_at_all(machine: &Emulated, state: &State) -> VmemmapView {
    let ram = Ram(machine);
    let machine = Machine::new(&ram, state).expect("state is sound");
    let memory = machine.memory();
    for block in &memory.blocks {
        assert_eq!(block.totals.values().sum::<u64>(), block.size / state.granule);
        assert_eq!(block.runs.iter().map(|run| run.pages).sum::<u64>(), block.size / state.granule);
    }
    let targets = (0..40_u64).map(|turn| 0x4000_0000 + turn * 0x0333_3000).chain([DIMM, DIMM + GIB, NOWHERE]);
    for pa in targets {
        for target in
            [Target::Address(pa), Target::Address(state.linear_address(pa)), Target::Pfn(pa / state.granule)]
        {
            let reached = machine.page(target).is_ok() == machine.walk(target).is_ok();
            assert!(reached || matches!(target, Target::Address(va) if va >> 63 != 0), "{target:?}");
        }
    }
    assert!(!machine.table_tree().nodes.is_empty());
    machine.vmemmap()
}

/// The entry of the table of `level` on the way to the DIMM's first struct page.
fn entry(guest: &Emulated, state: &State, level: usize) -> u64 {
    let ram = Ram(guest);
    let machine = Machine::new(&ram, state).expect("state is sound");
    let walk = machine.walk(Target::Address(DIMM)).expect("in reach");
    walk.steps.iter().find(|step| step.level == level).expect("a step").entry_pa.0
}

fn fault_at(guest: &Emulated, state: &State, pa: u64) -> Option<Fault> {
    let ram = Ram(guest);
    let machine = Machine::new(&ram, state).expect("state is sound");
    match machine.walk(Target::Address(pa)).expect("in reach").outcome {
        Outcome::Faults { fault } => Some(fault),
        Outcome::Mapped { .. } => None,
    }
}

fn boot(kind: hotmap_mm::granule::GranuleKind, home: MemmapHome) -> (Emulated, State) {
    let mut guest = Guest::boot(kind);
    guest.plug(GIB, home);
    guest.tell("tenant new 100");
    let state = guest.state();
    (guest.machine, state)
}

#[test]
fn an_entry_that_leads_to_no_memory_is_named() {
    for kind in GRANULES {
        let (machine, state) = boot(kind, MemmapHome::SelfHosted);
        let at = entry(&machine, &state, 1);
        machine.memory().poke(at, NOWHERE | 3);
        assert_eq!(
            fault_at(&machine, &state, DIMM).map(|fault| (fault.level, fault.kind)),
            Some((2, FaultKind::NoMemory))
        );
        assert!(!look_at_all(&machine, &state).complete, "{kind}");
        let ram = Ram(&machine);
        let view = Machine::new(&ram, &state).expect("state is sound");
        assert_eq!(view.table_tree().unreadable.iter().map(|at| at.0).collect::<Vec<_>>(), [at]);
        let block = view.memory().blocks.into_iter().find(|block| block.start.0 == DIMM).expect("the DIMM");
        assert_eq!(
            block.totals.into_iter().collect::<Vec<_>>(),
            [(Use::Unreadable, block.size / state.granule)]
        );
    }
}

/// Only what an operation adds or removes may have struct pages that no rule writes.
#[test]
fn a_struct_page_outside_of_an_operation_stays_damaged() {
    let (machine, state) = boot(GRANULES[0], MemmapHome::SelfHosted);
    // The head of the first page behind the DIMM's own memmap: a kind that there is not.
    let pa = state.blocks.iter().find(|block| block.start == DIMM).expect("the DIMM").usable_start;
    machine.memory().poke(DIMM + (pa - DIMM) / state.granule * 64, 0xee);
    let ram = Ram(&machine);
    let used = |transit| {
        let view = Machine::new(&ram, &state).expect("state is sound").in_transit(transit);
        let block = view.memory().blocks.into_iter().find(|block| block.start.0 == DIMM).expect("the DIMM");
        (view.page(Target::Address(pa)).expect("in reach").used_for, block.totals.contains_key(&Use::Damaged))
    };
    let transit = |start, initialised| vec![Transit { range: start..start + GIB, initialised }];
    assert_eq!(used(vec![]), (Use::Damaged, true));
    assert_eq!(used(transit(DIMM + GIB, false)), (Use::Damaged, true), "another DIMM's");
    assert_eq!(used(transit(DIMM, false)), (Use::Uninitialised, false));
    assert_eq!(used(transit(DIMM, true)), (Use::Damaged, true), "they are initialised");
}

/// The attributes that the tables above a leaf take away, and its access flag.
#[test]
fn a_leaf_is_what_its_whole_walk_says() {
    let (machine, state) = boot(GRANULES[0], MemmapHome::SelfHosted);
    let ram = Ram(&machine);
    let view = Machine::new(&ram, &state).expect("state is sound");
    let writable = || match view.walk(Target::Address(DIMM)).expect("in reach").outcome {
        Outcome::Mapped { writable, .. } => Some(writable),
        Outcome::Faults { .. } => None,
    };
    assert_eq!(writable(), Some(true));
    let change = |level, bits| {
        let at = entry(&machine, &state, level);
        let raw = hotmap_emulator::arch::walker::Memory::read(machine.memory(), at);
        machine.memory().poke(at, raw ^ bits);
    };
    change(1, 1 << 62);
    assert_eq!(writable(), Some(false), "APTable");
    change(2, 1 << 10);
    let fault = fault_at(&machine, &state, DIMM).map(|fault| (fault.level, fault.kind));
    assert_eq!(fault, Some((2, FaultKind::AccessFlag)));
}

/// Memory that a block does not set aside does not count as its own memmap.
#[test]
fn struct_pages_in_the_wrong_place_are_in_system_ram() {
    let (machine, state) = boot(GRANULES[0], MemmapHome::SelfHosted);
    machine.memory().poke(entry(&machine, &state, 2), (DIMM + (4 << 20)) | 0x0060_0000_0000_0705);
    let ranges = look_at_all(&machine, &state).ranges;
    let range = ranges.iter().find(|range| range.describes.0 == DIMM).expect("mapped");
    assert_eq!((range.frame.map(|frame| frame.0), range.backing), (Some(DIMM + (4 << 20)), Backing::Ram));
}

#[test]
fn a_page_of_no_memory_is_unreadable_and_of_no_source() {
    let (machine, state) = boot(GRANULES[0], MemmapHome::Ram);
    let ram = Ram(&machine);
    let view = Machine::new(&ram, &state).expect("state is sound");
    let page = view.page(Target::Address(DIMM + 5 * GIB)).expect("in reach");
    assert_eq!((page.used_for, page.source, page.frame, page.run), (Use::Unreadable, None, None, None));
}

#[test]
fn tables_that_lead_to_themselves_end() {
    for kind in GRANULES {
        for (from, to) in [(1, 1), (2, 1), (1, 2)] {
            let (machine, state) = boot(kind, MemmapHome::Ram);
            let table = entry(&machine, &state, to) / state.granule * state.granule;
            let at = entry(&machine, &state, from) / state.granule * state.granule;
            for index in 0..state.granule / 8 {
                machine.memory().poke(at + index * 8, table | 3);
            }
            look_at_all(&machine, &state);
        }
    }
}

#[test]
fn struct_pages_of_garbage_are_marked() {
    for kind in GRANULES {
        let (machine, state) = boot(kind, MemmapHome::SelfHosted);
        let frame = machine.walk(state.struct_page(DIMM / state.granule)).expect("mapped");
        let mut random = Random(7);
        for word in 0..state.granule / 8 {
            machine.memory().poke(frame + word * 8, random.below(u64::MAX));
        }
        look_at_all(&machine, &state);
        // No kind, an order that is none, and one that does not fit its place.
        for (first, offset) in [(0xff, 0), (0x4001, 0), (0x0501, 3)] {
            machine.memory().poke(frame + offset * 64, first);
            let ram = Ram(&machine);
            let view = Machine::new(&ram, &state).expect("state is sound");
            let page = view.page(Target::Pfn(DIMM / state.granule + offset)).expect("in reach");
            assert_eq!(page.used_for, Use::Damaged, "{kind}: {first:#x}");
        }
        let ram = Ram(&machine);
        let blocks = Machine::new(&ram, &state).expect("state is sound").memory().blocks;
        let block = blocks.into_iter().find(|block| block.start.0 == DIMM).expect("the DIMM");
        assert!(block.totals.contains_key(&Use::Damaged), "{kind}");
    }
}

/// Words of tables and of struct pages, overwritten at random: by any value, and by what leads somewhere.
#[test]
fn random_damage_is_looked_at_in_the_end() {
    let mut random = Random(0x9e37_79b9);
    for turn in 0..60_usize {
        let (machine, state) = boot(GRANULES[turn % 3], HOMES[turn / 3 % 4]);
        let tables = machine.everything().tables;
        let all = tables.len() as u64;
        for _ in 0..1 + random.below(40) {
            let (at, to) = (&tables[pick(&mut random, all)], &tables[pick(&mut random, all)]);
            let word = at.pa + random.below(state.granule / 8) * 8;
            let value = match random.below(4) {
                0 => random.below(u64::MAX),
                1 => to.pa | 3,
                2 => random.below(1 << 38) << 10 | 0x401,
                _ => random.below(1 << 38) << 12 | 0x703,
            };
            machine.memory().poke(word, value);
            if let Some(frame) = machine.walk(state.struct_page((DIMM + random.below(GIB)) / state.granule))
                && machine.memory().is_present(frame, 64)
            {
                machine.memory().poke(frame / 64 * 64, random.below(1 << 16));
            }
        }
        look_at_all(&machine, &state);
    }
}

fn pick(random: &mut Random, all: u64) -> usize {
    usize::try_from(random.below(all)).expect("few")
}

#[test]
fn a_state_of_no_machine_is_refused() {
    let (machine, state) = boot(GRANULES[0], MemmapHome::Ram);
    let ram = Ram(&machine);
    let refused = |change: fn(&mut State)| {
        let mut other = state.clone();
        change(&mut other);
        Machine::new(&ram, &other).err()
    };
    assert_eq!(refused(|_| {}), None);
    assert_eq!(refused(|state| state.granule = 8192), Some(ViewError::Granule(8192)));
    assert_eq!(refused(|state| state.root = None), Some(ViewError::NoRoot));
    assert_eq!(refused(|state| state.vmemmap.page_bytes = 56), Some(ViewError::State("vmemmap.page_bytes")));
    assert_eq!(refused(|state| state.vmemmap.start = 0), Some(ViewError::State("vmemmap")));
    assert_eq!(refused(|state| state.blocks[0].usable_start = 0), Some(ViewError::State("blocks")));
    assert_eq!(refused(|state| state.blocks[0].size = u64::MAX), Some(ViewError::State("blocks")));
    let mut lost = state.clone();
    lost.root = Some(NOWHERE);
    let lost = Machine::new(&ram, &lost).expect("state is sound").table_tree().nodes;
    assert!(lost.is_empty());
}
