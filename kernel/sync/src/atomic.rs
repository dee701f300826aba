//! The atomics: core's, or loom's in a build with `--cfg loom`, which records every access and tries all orders.

#[cfg(not(loom))]
pub(crate) use core::sync::atomic::{AtomicU64, fence};
#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU64, fence};

pub(crate) use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};

/// An array of zeroes.
#[cfg(not(loom))]
pub(crate) const fn zeroes<const N: usize>() -> [AtomicU64; N] {
    [const { AtomicU64::new(0) }; N]
}

/// An array of zeroes.
#[cfg(loom)]
pub(crate) fn zeroes<const N: usize>() -> [AtomicU64; N] {
    core::array::from_fn(|_| AtomicU64::new(0))
}

/// A `new` that is `const`, for the kernel's statics; but loom's atomics are registered with the run that they are made in.
macro_rules! constructor {
    ($(#[$meta:meta])* $vis:vis fn new() -> Self $body:block) => {
        $(#[$meta])*
        #[cfg(not(loom))]
        #[allow(clippy::new_without_default, reason = "made once, in a static")]
        $vis const fn new() -> Self $body

        $(#[$meta])*
        #[cfg(loom)]
        #[allow(clippy::new_without_default, reason = "made once, in a static")]
        $vis fn new() -> Self $body
    };
}
pub(crate) use constructor;
