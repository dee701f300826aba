//! How a test says what it found.

use core::fmt;

use hotmap_mm::addr::VirtAddr;
use hotmap_mm::error::{Error, PageError, Resource};
use hotmap_mm::frame::page::PageKind;
use hotmap_mm::pfn::Pfn;

use super::expected::Expected;
use hotmap_kernel::arch::translate;
use hotmap_kernel::kernel::Kernel;
use hotmap_kernel::kprintln;

/// Why a test is not ok.
#[derive(Clone, Copy, Debug)]
pub(super) enum Failure {
    /// Something is wrong, and has been printed.
    Failed(Told),
    /// It could not run; why not. (A pointer to the words, not to the letters: so an outcome is two registers.)
    Skipped(&'static &'static str),
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
    // Behind every `?`: called, not copied.
    #[cold]
    #[inline(never)]
    fn from(error: Error) -> Self {
        fail(format_args!("the model refused: {error}"))
    }
}

/// The test cannot run on this machine.
pub(super) const fn skip<T>(why: &'static &'static str) -> Outcome<T> {
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
pub(super) fn is_used_as(kernel: &Kernel, pfn: Pfn, expected: PageKind) -> Outcome {
    let (found, _) = kernel.mm.frames().use_of(pfn)?;
    check!(found == expected, "{pfn} is {found}, not {expected}");
    Ok(())
}

/// The frame that the CPU finds at `va`.
pub(super) fn frame_at(kernel: &Kernel, va: VirtAddr) -> Outcome<Pfn> {
    let load = translate::load(va);
    load.address().map(|pa| kernel.pfn(pa)).ok_or_else(|| fail(format_args!("{va}: {load}")))
}

/// Something was refused, with exactly this error: the rule and the values.
pub(super) fn is_refused<T>(result: Result<T, Error>, expected: Error) -> Outcome {
    refusal(result.as_ref().err(), &expected)
}

fn refusal(found: Option<&Error>, expected: &Error) -> Outcome {
    match found {
        Some(found) if found == expected => Ok(()),
        Some(found) => Err(fail(format_args!("refused with: {found}; expected: {expected}"))),
        None => Err(fail(format_args!("not refused; expected: {expected}"))),
    }
}

/// Something was refused because it ran out of what `resource` knows.
pub(super) fn ran_out<T>(result: Result<T, Error>, resource: fn(Resource) -> bool) -> Outcome {
    is_out(result.as_ref().err(), resource)
}

fn is_out(found: Option<&Error>, resource: fn(Resource) -> bool) -> Outcome {
    match found {
        Some(Error::Out(out) | Error::Page(PageError::Stays { out, .. })) if resource(*out) => Ok(()),
        Some(other) => Err(fail(format_args!("refused with: {other}"))),
        None => Err(fail(format_args!("not refused"))),
    }
}
