//! A subject and its tests, as the files of the subjects list them.

use super::check::Outcome;
use hotmap_kernel::kernel::Kernel;

/// A test.
pub(super) struct Test {
    /// The rule that it checks.
    pub(super) name: &'static str,
    pub(super) run: fn(&mut Kernel) -> Outcome,
}

/// Makes a test.
pub(super) const fn test(name: &'static str, run: fn(&mut Kernel) -> Outcome) -> Test {
    Test { name, run }
}

/// The tests of one subject.
pub(super) struct Subject {
    pub(super) name: &'static str,
    pub(super) tests: &'static [Test],
}
