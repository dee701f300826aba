//! A console that keeps what is printed, for each thread of the host.

use std::cell::RefCell;

thread_local! {
    static PRINTED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Keeps bytes.
pub(super) fn write_bytes(bytes: &[u8]) {
    PRINTED.with_borrow_mut(|printed| printed.extend_from_slice(bytes));
}

/// What was printed since the last call.
pub fn take_printed() -> String {
    let printed = PRINTED.take();
    String::from_utf8_lossy(&printed).into_owned()
}
