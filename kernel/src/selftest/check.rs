//! How a test says what it found. The tests are compiled once for each granule; what they say is said here, once for all.

use core::fmt;

use hotmap_mm::error::Error;
use hotmap_mm::page::PageKind;
use hotmap_mm::pfn::Pfn;

use crate::kprintln;

/// Why a test is not ok.
#[derive(Clone, Copy, Debug)]
pub(super) enum Failure {
    /// Something is wrong, and has been printed.
    Failed(Told),
    /// It could not run; why not.
    Skipped(&'static str),
}

/// Holding one proves that a diagnostic line with the offending values was printed: only this room makes one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told(());

/// What a test, or a part of one, came to.
pub(super) type Outcome<T = ()> = Result<T, Failure>;

/// Says what is wrong, and with which values.
pub(super) fn fail(what: fmt::Arguments<'_>) -> Failure {
    kprintln!("  # {what}");
    Failure::Failed(Told(()))
}

/// A model's error that no test expects.
impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        fail(format_args!("the model refused: {error}"))
    }
}

/// The test cannot run on this machine.
pub(super) const fn skip<T>(why: &'static str) -> Outcome<T> {
    Err(Failure::Skipped(why))
}

/// Fails with a message, unless the condition holds.
macro_rules! check {
    ($holds:expr, $($message:tt)+) => {
        if !$holds {
            return Err($crate::selftest::check::fail(format_args!($($message)+)));
        }
    };
}
pub(super) use check;

/// `found` is `expected`.
pub(super) fn same(what: &str, found: u64, expected: u64) -> Outcome {
    check!(found == expected, "{what}: {found:#x} instead of {expected:#x}");
    Ok(())
}

/// `found` is `expected`, at an address or page.
pub(super) fn same_at(what: &str, at: impl fmt::Display, found: u64, expected: u64) -> Outcome {
    if found == expected { Ok(()) } else { Err(differs_at(what, &at, found, expected)) }
}

fn differs_at(what: &str, at: &dyn fmt::Display, found: u64, expected: u64) -> Failure {
    fail(format_args!("{what} at {at}: {found:#x} instead of {expected:#x}"))
}

/// `pfn` is used as `expected`.
pub(super) fn is_used_as(pfn: Pfn, found: PageKind, expected: PageKind) -> Outcome {
    check!(found == expected, "{pfn} is {found}, not {expected}");
    Ok(())
}

/// Something was refused, with exactly this error: the rule and the values.
pub(super) fn is_refused<T>(result: Result<T, Error>, expected: Error) -> Outcome {
    refusal(result.err(), expected)
}

fn refusal(found: Option<Error>, expected: Error) -> Outcome {
    match found {
        Some(found) if found == expected => Ok(()),
        Some(found) => Err(fail(format_args!("refused with: {found}; expected: {expected}"))),
        None => Err(fail(format_args!("not refused; expected: {expected}"))),
    }
}

/// Something ran out of something, whatever it is.
pub(super) fn ran_out<T>(what: &str, result: Result<T, Error>) -> Outcome {
    match result.err() {
        Some(Error::Out(_)) => Ok(()),
        Some(other) => Err(fail(format_args!("{what}: refused with: {other}"))),
        None => Err(fail(format_args!("{what}: not refused"))),
    }
}
