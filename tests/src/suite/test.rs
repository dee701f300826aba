//! What a boot test is, and the machines that most of them start from.

use crate::geometry::{GRANULES, Granule};
use crate::machine::Machine;
use crate::run::Run;
use crate::trouble::Checked;

/// What a test does. It returns a remark for its line.
pub type Body = Box<dyn Fn(&Run) -> Checked<String> + Send + Sync>;

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
    pub(super) fn new(
        name: impl Into<String>,
        body: impl Fn(&Run) -> Checked<String> + Send + Sync + 'static,
    ) -> Self {
        Self { name: name.into(), long: false, body: Box::new(body) }
    }

    pub(super) fn long(mut self) -> Self {
        self.long = true;
        self
    }
}

/// The same test at each granule: `name/4k`, `name/16k`, `name/64k`.
pub(super) fn per_granule(name: &str, body: fn(&Run, Granule) -> Checked<String>) -> Vec<Test> {
    let test = |granule| Test::new(format!("{name}/{granule}"), move |run: &Run| body(run, granule));
    GRANULES.into_iter().map(test).collect()
}

/// A firmware boot at a granule: the machine with DIMM slots.
pub(super) fn slotted(granule: Granule) -> Machine {
    Machine::firmware().granule(granule)
}
