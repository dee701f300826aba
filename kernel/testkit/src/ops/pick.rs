//! Choosing: what an operation is about, among what there is when it is done.

use hotmap_mm::frame::zone::ZoneKind;
use proptest::prelude::*;

/// Which of the things that there are when the operation is done.
pub(super) fn pick_index() -> std::ops::Range<usize> {
    0..64
}

/// A zone, Movable more often.
pub(super) fn zone() -> impl Strategy<Value = ZoneKind> {
    prop_oneof![2 => Just(ZoneKind::Movable), 1 => Just(ZoneKind::Normal)]
}

/// The `pick`-th of some things, if there are any.
pub(super) fn pick<T: Clone>(mut from: impl ExactSizeIterator<Item = T>, pick: usize) -> Option<T> {
    let len = from.len();
    (len != 0).then(|| from.nth(pick % len)).flatten()
}
