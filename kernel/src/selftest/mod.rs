//! The self-tests: the memory model on the real tables and the real memory that it runs on, at whatever granule runs.
//!
//! Each subject is a file, and each test of it has a witness of its own: the CPU's translation (AT), the numbers of the
//! design's table written out again ([`expected`]), a formula computed from scratch. After each subject the machine must be
//! as it was before ([`snapshot`]), which is a test too.
//!
//! ```text
//!  KTAP version 1                         [`ktap`] prints; a test says what it found by [`check`]
//!  1..9
//!    KTAP version 1
//!    # Subtest: paging
//!    1..10
//!    # constants in the image at 0xffff800080040000: ...     what a test that fails has to say comes before its line
//!    not ok 1 - the CPU's own walk agrees at every leaf
//!    ...
//!    ok 10 - leaves the machine as it was
//!  not ok 1 - paging
//! ```

mod blocks;
mod buddy;
mod check;
mod expected;
mod faults;
mod heap;
mod hotplug;
mod ktap;
mod live;
mod migrate;
mod paging;
mod snapshot;
mod spare;
mod tenant;
mod vmemmap;

use hotmap_mm::granule::Granule;

use crate::kernel::Kernel;
use crate::kprintln;
use check::{Failure, Outcome};
use ktap::Block;
use snapshot::Snapshot;

/// What became of a run.
pub(crate) enum Verdict {
    /// Nothing is `not ok`.
    Passed,
    /// Something is.
    Failed,
    /// There is no such subject; nothing ran.
    NoSubject,
}

/// A test.
struct Test<G: Granule> {
    /// The rule that it checks.
    name: &'static str,
    run: fn(&mut Kernel<G>) -> Outcome,
}

const fn test<G: Granule>(name: &'static str, run: fn(&mut Kernel<G>) -> Outcome) -> Test<G> {
    Test { name, run }
}

/// The tests of one subject.
struct Subject<G: Granule> {
    name: &'static str,
    tests: &'static [Test<G>],
}

/// Every subject, in the order in which one builds on the other.
const fn subjects<G: Granule>() -> &'static [Subject<G>] {
    const {
        &[
            Subject { name: "paging", tests: paging::tests() },
            Subject { name: "live", tests: live::tests() },
            Subject { name: "vmemmap", tests: vmemmap::tests() },
            Subject { name: "heap", tests: heap::tests() },
            Subject { name: "buddy", tests: buddy::tests() },
            Subject { name: "blocks", tests: blocks::tests() },
            Subject { name: "tenant", tests: tenant::tests() },
            Subject { name: "migrate", tests: migrate::tests() },
            Subject { name: "hotplug", tests: hotplug::tests() },
            Subject { name: "faults", tests: faults::tests() },
        ]
    }
}

/// The last test of every subject.
const UNCHANGED: &str = "leaves the machine as it was";

/// Name the subjects.
pub(crate) fn list<G: Granule>() {
    for subject in subjects::<G>() {
        kprintln!("{:<8} {} tests", subject.name, subject.tests.len() + 1);
    }
}

/// Run the subject `name`, or all of them.
pub(crate) fn run<G: Granule>(kernel: &mut Kernel<G>, name: Option<&str>) -> Verdict {
    let all = subjects::<G>();
    let wanted = |subject: &&Subject<G>| name.is_none_or(|name| name == subject.name);
    let count = all.iter().filter(wanted).count();
    if count == 0 {
        return Verdict::NoSubject;
    }
    let mut block = Block::open(None, count);
    for subject in all.iter().filter(wanted) {
        let outcome = run_subject(kernel, subject);
        block.result(subject.name, outcome);
    }
    match block.verdict() {
        Err(Failure::Failed(_)) => Verdict::Failed,
        Ok(()) | Err(Failure::Skipped(_)) => Verdict::Passed,
    }
}

fn run_subject<G: Granule>(kernel: &mut Kernel<G>, subject: &Subject<G>) -> Outcome {
    let before = Snapshot::of(kernel);
    let mut block = Block::open(Some(subject.name), subject.tests.len() + 1);
    for test in subject.tests {
        let outcome = (test.run)(kernel);
        block.result(test.name, outcome);
    }
    // A subject of which nothing could run is skipped, although that has changed nothing.
    let verdict = block.verdict();
    let unchanged = before.is_still(kernel);
    block.result(UNCHANGED, unchanged);
    unchanged.and(verdict)
}
