//! Random sequences of operations, each predicted by the reference model, compared, and audited.
#![cfg(not(miri))]

use hotmap_mm::hotplug::home::MemmapHome;
use std::cell::RefCell;
use std::collections::BTreeMap;

use hotmap_emulator::rig::{MIB, Shape};
use hotmap_mm::granule::Granule;
use hotmap_testkit::ops;
use hotmap_testkit::world::World;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// How many times as many sequences there are: `make test-long` sets HOTMAP_LONG, `make test` does not.
fn times() -> u32 {
    std::env::var("HOTMAP_LONG").map_or(1, |times| times.parse().expect("HOTMAP_LONG is a number"))
}

/// The same sequences in every run, and no file with what failed: a failure prints the steps that it shrank to.
///
/// What is in `must` has to have happened, or the sequences do not go where they should.
fn run(g: Granule, cases: u32, most: usize, shape: &Shape, must: &[(&'static str, &'static str)]) {
    let answers = RefCell::new(BTreeMap::new());
    let config = Config {
        cases: cases * times(),
        failure_persistence: None,
        max_shrink_iters: 500,
        ..Config::default()
    };
    let test = |steps| {
        let mut world = World::boot(g, shape);
        for step in steps {
            world.step(step);
        }
        world.tenants_check();
        for (answer, times) in world.answers {
            *answers.borrow_mut().entry(answer).or_insert(0) += times;
        }
        Ok(())
    };
    let missing = || -> Vec<_> {
        let answers = answers.borrow();
        must.iter().filter(|m| answers.get(*m).is_none_or(|n| *n == 0)).collect()
    };
    // What did not happen by chance has two more rounds in which to happen.
    for round in 0..3u8 {
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[round; 32]);
        let result = TestRunner::new_with_rng(config.clone(), rng).run(&ops::steps(most), test);
        result.unwrap_or_else(|failure| panic!("{}, {}: {failure}", g.kind, shape.name));
        if missing().is_empty() {
            break;
        }
    }
    let (missing, answers) = (missing(), answers.borrow());
    assert!(missing.is_empty(), "{}: these never happened: {missing:?}; only {answers:?}", g.kind);
}

const EVERYWHERE: &[(&str, &str)] = &[
    ("add", "Done"),
    ("add", "Exists"),
    ("add", "NotBlockAligned"),
    ("add", "BeyondLinearMap"),
    ("add", "Wraps"),
    ("add", "Empty"),
    ("any", "fault"),
    ("online", "Done"),
    ("online", "BlockState"),
    ("offline", "Done"),
    ("offline", "migrated"),
    ("offline", "Pinned"),
    ("offline", "BlockState"),
    ("remove", "Done"),
    ("remove", "BlockState"),
    ("unplug", "Done"),
    ("unplug", "Pinned"),
    ("tenant_new", "Done"),
    ("tenant_new", "Empty"),
    ("tenant_drop", "Done"),
    ("tenant_drop", "Pinned"),
    ("tenant_drop", "NoTenant"),
    ("pin", "Done"),
    ("pin", "PageState"),
    ("unpin", "Done"),
    ("unpin", "PageState"),
    ("poison", "Done"),
    ("poison", "migrated"),
    ("poison", "PageState"),
    ("unpoison", "Done"),
    ("unpoison", "PageState"),
    ("kernel_alloc", "Done"),
    ("kernel_alloc", "Out"),
    ("add", "BadAltmap"),
    ("add", "Vetoed"),
    ("remove", "HeldTogether"),
    ("remove", "NoBlock"),
    ("online", "Vetoed"),
    ("offline", "Vetoed"),
    ("create", "Done"),
    ("create", "private"),
    ("create", "fs-dax"),
    ("create", "generic"),
    ("create", "coherent"),
    ("create", "Exists"),
    ("create", "Empty"),
    ("create", "Wraps"),
    ("create", "NotSubsectionAligned"),
    ("create", "BeyondLinearMap"),
    ("create", "DeviceRanges"),
    ("create", "AltmapOnPrivate"),
    ("create", "AltmapRanges"),
    ("create", "BadAltmap"),
    ("create", "Out"),
    ("destroy", "gone"),
    ("destroy", "waits"),
    ("unpin", "the last"),
    ("poison", "Unmovable"),
    ("give", "Done"),
    ("give", "NotBlockAligned"),
    ("give", "PrivateMemory"),
    ("take back", "Done"),
    ("compact", "Done"),
    ("compact", "Out"),
    ("add part", "Done"),
    ("add part", "MemmapUnplugged"),
    ("add part", "Exists"),
    ("plug part", "Done"),
    ("plug part", "PageState"),
    ("unplug part", "Done"),
    ("unplug part", "migrated"),
    ("unplug part", "PageState"),
    ("unplug part", "MemmapUnplugged"),
    ("unplug part", "Unmovable"),
];

/// What is rare, and happens in the long runs. (A taking back that is refused is rarer still; tests/kmem.rs has it by name.)
const IN_LONG_RUNS: &[(&str, &str)] = &[
    ("offline", "poisoned"),
    ("online", "poisoned"),
    ("unplug", "poisoned"),
    ("pin", "DeviceGoes"),
    ("compact", "moved"),
    ("give", "Pinned"),
    ("give", "DeviceGoes"),
    ("give", "DeviceRanges"),
    ("give", "Vetoed"),
];

fn with_room(g: Granule) {
    let ram = Shape::one("640 MiB", 0x4000_0000, 640 * MIB);
    let rare = if times() > 1 { IN_LONG_RUNS } else { &[] };
    let must = [EVERYWHERE, &[("offline", "Unmovable"), ("unplug", "Unmovable")], rare].concat();
    run(g, 60, 60, &ram, &must);
}

/// So little boot memory that it runs out.
fn out_of_memory(g: Granule) {
    let rare: &[_] = if times() > 1 { &[("offline", "Stays"), ("unplug", "Stays")] } else { &[] };
    let must = [EVERYWHERE, &[("add", "Out"), ("tenant_new", "Out")], rare].concat();
    run(g, 90, 60, &Shape::tiny(), &must);
}

/// Devices in the holes of boot memory, whose struct pages are there since boot.
fn with_holes(g: Granule) {
    let ram = [(0x4000_0000, 40 * MIB), (0x4300_0000, 700 * MIB)];
    let must = [("offline", "NotWhole"), ("create", "in a hole")];
    run(g, 30, 60, &Shape::many("two ranges in a block", &ram), &must);
}

/// Boot memory hosts its own memmap, so that its blocks can go and come back.
fn self_hosted(g: Granule) {
    let shape =
        Shape { memmap: MemmapHome::SelfHosted, ..Shape::one("self-hosted", 0x4000_0000, 1024 * MIB) };
    run(g, 30, 60, &shape, &[("unplug", "a boot block")]);
}

hotmap_testkit::at_each_granule!(with_room, out_of_memory, with_holes, self_hosted);
