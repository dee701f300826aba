//! The self-tests: the memory model on the real tables and the real memory that it runs on, at whatever granule runs.
//!
//! Each subject is a file, and each test of it has a witness of its own: the CPU's translation (AT), the numbers of the
//! design's table written out again ([`expected`]), a formula computed from scratch. After each subject the machine must be
//! as it was before ([`snapshot`]), which is a test too.
//!
//! ```text
//!  KTAP version 1                         [`ktap`] prints; a test says what it found by [`check`]
//!  1..19
//!    KTAP version 1
//!    # Subtest: paging
//!    1..8
//!    # 0xffff800080040000: to the CPU a load is ...     what a test that fails has to say comes before its line
//!    not ok 1 - the CPU's own walk agrees at every leaf
//!    ...
//!    ok 8 - leaves the machine as it was
//!  not ok 1 - paging
//! ```

mod altmap;
mod blocks;
mod buddy;
mod check;
mod compact;
mod cpus;
mod demand;
mod device;
mod device_dedup;
mod entries;
mod expected;
mod faults;
mod heap;
mod homes;
mod hotplug;
mod hugetlb;
mod isolate;
mod kmem;
mod ktap;
mod live;
mod migrate;
mod notify;
mod paging;
mod poison;
pub(crate) mod snapshot;
mod spare;
mod subject;
mod tables;
mod tenant;
mod vmemmap;

use check::{Failure, Outcome};
use hotmap_kernel::attention::Attention;
use hotmap_kernel::kernel::Kernel;
use hotmap_kernel::kprintln;
use ktap::Block;
use snapshot::Snapshot;
use subject::Subject;

/// What became of a run.
pub(crate) enum Verdict {
    /// Nothing is `not ok`.
    Passed,
    /// Something is.
    Failed,
    /// Ctrl-C ended it between two tests.
    Interrupted,
    /// There is no such subject; nothing ran.
    NoSubject,
}

/// Every subject, in the order in which one builds on the other.
const SUBJECTS: &[Subject] = &[
    Subject { name: "paging", tests: paging::TESTS },
    Subject { name: "live", tests: live::TESTS },
    Subject { name: "vmemmap", tests: vmemmap::TESTS },
    Subject { name: "heap", tests: heap::TESTS },
    Subject { name: "cpus", tests: cpus::TESTS },
    Subject { name: "buddy", tests: buddy::TESTS },
    Subject { name: "blocks", tests: blocks::TESTS },
    Subject { name: "tenant", tests: tenant::TESTS },
    Subject { name: "migrate", tests: migrate::TESTS },
    Subject { name: "hotplug", tests: hotplug::TESTS },
    Subject { name: "isolate", tests: isolate::TESTS },
    Subject { name: "compact", tests: compact::TESTS },
    Subject { name: "poison", tests: poison::TESTS },
    Subject { name: "notify", tests: notify::TESTS },
    Subject { name: "homes", tests: homes::TESTS },
    Subject { name: "demand", tests: demand::TESTS },
    Subject { name: "device", tests: device::TESTS },
    Subject { name: "altmap", tests: altmap::TESTS },
    Subject { name: "dedup", tests: device_dedup::TESTS },
    Subject { name: "kmem", tests: kmem::TESTS },
    Subject { name: "hugetlb", tests: hugetlb::TESTS },
    Subject { name: "faults", tests: faults::TESTS },
];

/// The last test of every subject.
const UNCHANGED: &str = "leaves the machine as it was";

/// The subjects' names, for completion.
pub(crate) fn names(offer: &mut dyn FnMut(&str)) {
    SUBJECTS.iter().for_each(|subject| offer(subject.name));
}

/// Lists the subjects.
pub(crate) fn list() {
    for subject in SUBJECTS {
        kprintln!("{:<8} {} tests", subject.name, subject.tests.len() + 1);
    }
}

/// Runs the subject `name`, or all of them.
pub(crate) fn run(kernel: &mut Kernel, name: Option<&str>) -> Verdict {
    let wanted = |subject: &&Subject| name.is_none_or(|name| name == subject.name);
    let count = SUBJECTS.iter().filter(wanted).count();
    if count == 0 {
        return Verdict::NoSubject;
    }
    let mut block = Block::open(None, count);
    let mut attention = Attention::new(&"# selftest");
    for subject in SUBJECTS.iter().filter(wanted) {
        let outcome = run_subject(kernel, subject, &mut attention);
        if attention.outcome().is_err() {
            return bail_out(outcome);
        }
        block.result(subject.name, outcome);
    }
    match block.verdict() {
        Err(Failure::Failed(_)) => Verdict::Failed,
        Ok(()) | Err(Failure::Skipped(_)) => Verdict::Passed,
    }
}

/// Ends the output as TAP has it, when a subject was not done. What has failed counts for more.
fn bail_out(outcome: Outcome) -> Verdict {
    kprintln!("Bail out! interrupted");
    if matches!(outcome, Err(Failure::Failed(_))) { Verdict::Failed } else { Verdict::Interrupted }
}

fn run_subject(kernel: &mut Kernel, subject: &Subject, attention: &mut Attention<'_>) -> Outcome {
    snapshot::is_sound(kernel)?;
    let before = Snapshot::of(kernel);
    let mut block = Block::open(Some(subject.name), subject.tests.len() + 1);
    for test in subject.tests {
        if attention.stop(format_args!("{}: {}", subject.name, test.name)) {
            break;
        }
        let outcome = (test.run)(kernel);
        block.result(test.name, outcome);
    }
    // A subject of which nothing could run is skipped, although that has changed nothing.
    let verdict = block.verdict();
    let unchanged = before.is_still(kernel);
    if attention.outcome().is_ok() {
        block.result(UNCHANGED, unchanged);
    }
    unchanged.and(verdict)
}
