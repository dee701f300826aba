//! Why a test did not pass: it failed, it has no result, or it was skipped.

use std::fmt;

/// What ends a test early.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Something that the test checks does not hold.
    Failed(String),
    /// The test has no result: a hang, a lost connection, a run that printed nothing. Unknown is not passed.
    Unknown(String),
    /// The test does not apply here (an older QEMU, a small host), with the reason. Skipped is not passed.
    Skipped(String),
}

/// The outcome of a step of a test.
pub type Checked<T = ()> = Result<T, Trouble>;

impl Trouble {
    /// Adds what was being done when it happened.
    #[must_use]
    pub fn during(self, what: &str) -> Self {
        match self {
            Self::Failed(why) => Self::Failed(format!("{what}: {why}")),
            Self::Unknown(why) => Self::Unknown(format!("{what}: {why}")),
            Self::Skipped(why) => Self::Skipped(why),
        }
    }

    /// The sentence for the report.
    pub fn why(&self) -> &str {
        match self {
            Self::Failed(why) | Self::Unknown(why) | Self::Skipped(why) => why,
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.why())
    }
}

impl std::error::Error for Trouble {}

/// A check that does not hold.
pub fn failed<T>(why: impl Into<String>) -> Checked<T> {
    Err(Trouble::Failed(why.into()))
}

/// A test without a result.
pub fn unknown<T>(why: impl Into<String>) -> Checked<T> {
    Err(Trouble::Unknown(why.into()))
}

/// A test that does not apply here.
pub fn skipped<T>(why: impl Into<String>) -> Checked<T> {
    Err(Trouble::Skipped(why.into()))
}

/// Adds to an error what was being done.
pub trait During<T> {
    /// See [`Trouble::during`].
    ///
    /// # Errors
    /// The same trouble, with `what` in front.
    fn during(self, what: &str) -> Checked<T>;
}

impl<T> During<T> for Checked<T> {
    fn during(self, what: &str) -> Checked<T> {
        self.map_err(|trouble| trouble.during(what))
    }
}

/// Returns [`Trouble::Failed`] with the formatted sentence unless the condition holds.
#[macro_export]
macro_rules! ensure {
    ($condition:expr, $($sentence:tt)+) => {
        if !$condition {
            return $crate::trouble::failed(format!($($sentence)+));
        }
    };
}

/// Returns [`Trouble::Failed`] naming both values unless they are equal: `ensure_eq!(is, should, "what it is")`.
#[macro_export]
macro_rules! ensure_eq {
    ($is:expr, $should:expr, $($what:tt)+) => {
        let (is, should) = (&$is, &$should);
        if is != should {
            return $crate::trouble::failed(format!("{}: {is:?}, should be {should:?}", format!($($what)+)));
        }
    };
}

#[cfg(test)]
mod tests {
    use super::{Checked, During, Trouble, failed, skipped};

    fn compare(is: u32, should: u32) -> Checked {
        ensure_eq!(is, should, "pages of zone {}", "Normal");
        ensure!(is != 7, "seven of {should}");
        Ok(())
    }

    #[test]
    fn a_failed_check_names_both_values() {
        assert_eq!(compare(1, 1), Ok(()));
        let trouble = compare(1, 2).expect_err("1 is not 2");
        assert_eq!(trouble, Trouble::Failed("pages of zone Normal: 1, should be 2".into()));
        assert_eq!(compare(7, 7).expect_err("seven").why(), "seven of 7");
    }

    #[test]
    fn what_was_being_done_is_added_in_front_but_not_to_a_skip() {
        let trouble = failed::<()>("it sank").during("launch").expect_err("failed");
        assert_eq!(trouble.why(), "launch: it sank");
        assert_eq!(skipped::<()>("no boat").during("launch").expect_err("skip").why(), "no boat");
    }
}
