//! Why something has no result: the guest did the wrong thing, or nothing is known.

use std::fmt;

/// Why a call has no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// What was checked does not hold: the guest refused, died, or printed something else.
    Failed(String),
    /// Nothing is known: a hang, a lost connection, a QEMU that did not start. A test that ends so has not passed.
    Unknown(String),
}

/// The result of a call of this crate.
pub type Checked<T = ()> = Result<T, Error>;

impl Error {
    /// Adds what was being done when it happened.
    #[must_use]
    pub fn during(self, what: &str) -> Self {
        match self {
            Self::Failed(why) => Self::Failed(format!("{what}: {why}")),
            Self::Unknown(why) => Self::Unknown(format!("{what}: {why}")),
        }
    }

    /// The sentence.
    pub fn why(&self) -> &str {
        match self {
            Self::Failed(why) | Self::Unknown(why) => why,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.why())
    }
}

impl std::error::Error for Error {}

/// [`Error::Failed`] with this sentence.
pub fn failed<T>(why: impl Into<String>) -> Checked<T> {
    Err(Error::Failed(why.into()))
}

/// [`Error::Unknown`] with this sentence.
pub fn unknown<T>(why: impl Into<String>) -> Checked<T> {
    Err(Error::Unknown(why.into()))
}

/// Adds to an error what was being done.
pub trait During<T> {
    /// See [`Error::during`].
    ///
    /// # Errors
    /// The same error, with `what` in front.
    fn during(self, what: &str) -> Checked<T>;
}

impl<T> During<T> for Checked<T> {
    fn during(self, what: &str) -> Checked<T> {
        self.map_err(|error| error.during(what))
    }
}

/// Returns [`Error::Failed`] with the formatted sentence unless the condition holds.
#[macro_export]
macro_rules! ensure {
    ($condition:expr, $($sentence:tt)+) => {
        if !$condition {
            return $crate::error::failed(format!($($sentence)+));
        }
    };
}

/// Returns [`Error::Failed`] naming both values unless they are equal: `ensure_eq!(is, should, "what it is")`.
#[macro_export]
macro_rules! ensure_eq {
    ($is:expr, $should:expr, $($what:tt)+) => {
        let (is, should) = (&$is, &$should);
        if is != should {
            return $crate::error::failed(format!("{}: {is:?}, should be {should:?}", format!($($what)+)));
        }
    };
}

#[cfg(test)]
mod tests {
    use super::{Checked, During, Error, failed};

    fn compare(is: u32, should: u32) -> Checked {
        ensure_eq!(is, should, "pages of zone {}", "Normal");
        ensure!(is != 7, "seven of {should}");
        Ok(())
    }

    #[test]
    fn a_failed_check_names_both_values() {
        assert_eq!(compare(1, 1), Ok(()));
        let error = compare(1, 2).expect_err("1 is not 2");
        assert_eq!(error, Error::Failed("pages of zone Normal: 1, should be 2".into()));
        assert_eq!(compare(7, 7).expect_err("seven").why(), "seven of 7");
    }

    #[test]
    fn what_was_being_done_is_added_in_front() {
        let error = failed::<()>("it sank").during("launch").expect_err("failed");
        assert_eq!(error.why(), "launch: it sank");
    }
}
