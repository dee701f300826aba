//! What a boot test is, and the machines that most of them start from.

use crate::report::Remark;
use hotmap_client::error::Checked;
use hotmap_client::geometry::{GRANULES, Granule};
use hotmap_client::machine::Machine;
use hotmap_client::run::Run;

/// The subjects of the kernel's self-tests. The boot test `harness/manifest` compares them with what the kernel lists.
pub const SELF_TESTS: [&str; 22] = [
    "paging", "live", "vmemmap", "heap", "cpus", "buddy", "blocks", "tenant", "migrate", "hotplug",
    "isolate", "compact", "poison", "notify", "homes", "demand", "device", "altmap", "dedup", "kmem",
    "hugetlb", "faults",
];

/// What a test does. It returns a remark for its line.
pub type Body = Box<dyn Fn(&Run) -> Checked<Remark> + Send + Sync>;

/// A boot test.
pub struct Test {
    /// `subject/variant/...`, unique.
    pub name: String,
    /// Only with `--long`.
    pub long: bool,
    /// What it does.
    pub body: Body,
}

impl Test {
    pub(super) fn new<R: Into<Remark>>(
        name: impl Into<String>,
        body: impl Fn(&Run) -> Checked<R> + Send + Sync + 'static,
    ) -> Self {
        Self { name: name.into(), long: false, body: Box::new(move |run| body(run).map(Into::into)) }
    }

    pub(super) fn long(mut self) -> Self {
        self.long = true;
        self
    }
}

/// The same test at each granule: `name/4k`, `name/16k`, `name/64k`.
pub(super) fn per_granule<R: Into<Remark> + 'static>(
    name: &str,
    body: fn(&Run, Granule) -> Checked<R>,
) -> Vec<Test> {
    let test = |granule| Test::new(format!("{name}/{granule}"), move |run: &Run| body(run, granule));
    GRANULES.into_iter().map(test).collect()
}

/// A firmware boot at a granule: the machine with DIMM slots.
pub(super) fn slotted(granule: Granule) -> Machine {
    Machine::firmware().granule(granule)
}
