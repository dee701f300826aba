//! A console that keeps what is printed, for each thread of the host.

use std::cell::RefCell;

#[derive(Default)]
struct Printed {
    /// All of it.
    all: Vec<u8>,
    /// What commands print.
    text: Vec<u8>,
    /// The log lines.
    log: Vec<u8>,
    /// A log line is being printed.
    in_log: bool,
}

thread_local! {
    static PRINTED: RefCell<Printed> = RefCell::default();
}

/// While it lives, what is printed is a log line.
pub(crate) struct Log;

impl Log {
    pub(crate) fn begin() -> Self {
        PRINTED.with_borrow_mut(|printed| printed.in_log = true);
        Self
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        PRINTED.with_borrow_mut(|printed| printed.in_log = false);
    }
}

/// Keeps bytes.
pub(super) fn write_bytes(bytes: &[u8]) {
    PRINTED.with_borrow_mut(|printed| {
        printed.all.extend_from_slice(bytes);
        let kind = if printed.in_log { &mut printed.log } else { &mut printed.text };
        kind.extend_from_slice(bytes);
    });
}

/// What was printed since the last call.
pub fn take_printed() -> String {
    String::from_utf8_lossy(&PRINTED.take().all).into_owned()
}

/// What commands printed since the last call, and the log lines.
pub fn take_printed_apart() -> (String, String) {
    let Printed { text, log, .. } = PRINTED.take();
    (String::from_utf8_lossy(&text).into_owned(), String::from_utf8_lossy(&log).into_owned())
}
