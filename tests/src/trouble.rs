//! Why a run did not pass: something said is untrue, something could not be found out, or it was not asked.

use std::fmt;

/// What ends a test early.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The guest, or QEMU looking at it, contradicts what the design promises.
    Failed(String),
    /// Nobody can tell: a hang, a torn connection, a run that said nothing. Unknown is not passed.
    Unknown(String),
    /// The test does not apply here (an older QEMU, a small host), with the reason. Skipped is not passed either.
    Skipped(String),
}

/// The outcome of a step of a test.
pub type Checked<T = ()> = Result<T, Trouble>;

impl Trouble {
    /// The same trouble, said with what was being done when it came.
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

/// A refuted claim.
pub fn failed<T>(why: impl Into<String>) -> Checked<T> {
    Err(Trouble::Failed(why.into()))
}

/// Something that could not be found out.
pub fn unknown<T>(why: impl Into<String>) -> Checked<T> {
    Err(Trouble::Unknown(why.into()))
}

/// A test that does not apply here.
pub fn skipped<T>(why: impl Into<String>) -> Checked<T> {
    Err(Trouble::Skipped(why.into()))
}

/// Adds what was being done to whatever went wrong.
pub trait During<T> {
    /// See [`Trouble::during`].
    ///
    /// # Errors
    /// The same trouble, with its circumstance.
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
    fn a_refuted_claim_names_both_values() {
        assert_eq!(compare(1, 1), Ok(()));
        let trouble = compare(1, 2).expect_err("1 is not 2");
        assert_eq!(trouble, Trouble::Failed("pages of zone Normal: 1, should be 2".into()));
        assert_eq!(compare(7, 7).expect_err("seven").why(), "seven of 7");
    }

    #[test]
    fn circumstance_is_added_in_front_but_not_to_a_skip() {
        let trouble = failed::<()>("it sank").during("launch").expect_err("failed");
        assert_eq!(trouble.why(), "launch: it sank");
        assert_eq!(skipped::<()>("no boat").during("launch").expect_err("skip").why(), "no boat");
    }
}
