//! Random sequences of operations, each predicted by the reference model, compared, and audited.
#![cfg(not(miri))]

use std::cell::RefCell;
use std::collections::BTreeMap;

use hotmap_mm::granule::Granule;
use hotmap_testkit::ops;
use hotmap_testkit::rig::{MIB, Shape};
use hotmap_testkit::world::World;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// The same sequences in every run, and no file with what failed: a failure prints the steps that it shrank to.
///
/// What is in `must` has to have happened, or the sequences do not go where they should.
fn run<G: Granule>(cases: u32, most: usize, shape: &Shape, must: &[(&'static str, &'static str)]) {
    let answers = RefCell::new(BTreeMap::new());
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 2000, ..Config::default() };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let result = TestRunner::new_with_rng(config, rng).run(&ops::steps(most), |steps| {
        let mut world = World::<G>::boot(shape);
        for step in steps {
            world.step(step);
        }
        world.tenants_check();
        for (answer, times) in world.answers {
            *answers.borrow_mut().entry(answer).or_insert(0) += times;
        }
        Ok(())
    });
    result.unwrap_or_else(|failure| panic!("{}, {}: {failure}", G::KIND, shape.name));
    let answers = answers.into_inner();
    let missing: Vec<_> = must.iter().filter(|m| answers.get(*m).is_none_or(|n| *n == 0)).collect();
    assert!(missing.is_empty(), "{}: these never happened: {missing:?}; only {answers:?}", G::KIND);
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
];

fn with_room<G: Granule>() {
    let ram = Shape::one("640 MiB", 0x4000_0000, 640 * MIB);
    run::<G>(40, 60, &ram, &[EVERYWHERE, &[("offline", "Unmovable"), ("unplug", "Unmovable")]].concat());
}

/// So little boot memory that it runs out.
fn out_of_memory<G: Granule>() {
    let out = [("add", "Out"), ("tenant_new", "Out"), ("offline", "Out"), ("unplug", "Out")];
    run::<G>(60, 60, &Shape::tiny(), &[EVERYWHERE, &out].concat());
}

fn with_holes<G: Granule>() {
    let ram = [(0x4000_0000, 40 * MIB), (0x4300_0000, 700 * MIB)];
    run::<G>(20, 60, &Shape::many("two ranges in a block", &ram), &[("offline", "NotWhole")]);
}

hotmap_testkit::at_each_granule!(with_room, out_of_memory, with_holes);
