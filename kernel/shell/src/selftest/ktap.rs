//! KTAP version 1, as it is printed (Linux: Documentation/dev-tools/ktap.rst).

use super::check::{Failure, Outcome};
use hotmap_kernel::kprintln;

/// A version line, a plan, and the result lines under it.
pub(super) struct Block {
    indent: &'static str,
    results: usize,
    skipped: Option<&'static &'static str>,
    ran: bool,
    failed: Option<Failure>,
}

impl Block {
    /// Begins a block of `tests` results: the outermost one, or the subtests of `parent`.
    pub(super) fn open(parent: Option<&str>, tests: usize) -> Self {
        let indent = if parent.is_some() { "  " } else { "" };
        kprintln!("{indent}KTAP version 1");
        if let Some(parent) = parent {
            kprintln!("{indent}# Subtest: {parent}");
        }
        kprintln!("{indent}1..{tests}");
        Self { indent, results: 0, skipped: None, ran: false, failed: None }
    }

    /// The next result.
    pub(super) fn result(&mut self, name: &str, outcome: Outcome) {
        self.results += 1;
        let (indent, number) = (self.indent, self.results);
        match outcome {
            Ok(()) => {
                self.ran = true;
                kprintln!("{indent}ok {number} - {name}");
            }
            Err(Failure::Skipped(why)) => {
                self.skipped = self.skipped.or(Some(why));
                kprintln!("{indent}ok {number} - {name} # SKIP {why}");
            }
            Err(failure @ Failure::Failed(_)) => {
                self.failed = Some(failure);
                kprintln!("{indent}not ok {number} - {name}");
            }
        }
    }

    /// What the results so far amount to: failed if one is; skipped if all are.
    pub(super) fn verdict(&self) -> Outcome {
        match (self.failed, self.skipped) {
            (Some(failure), _) => Err(failure),
            (None, Some(why)) if !self.ran => Err(Failure::Skipped(why)),
            _ => Ok(()),
        }
    }
}
