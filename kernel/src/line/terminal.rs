//! Where the line editors echo to: a writer that several of them can share, which knows where the cursor is not.

use core::cell::{Cell, RefCell};
use core::fmt;

/// A terminal's output side.
pub struct Terminal<W: fmt::Write> {
    out: RefCell<W>,
    at_line_start: Cell<bool>,
    /// While true, what is sent is dropped: an editor is being driven for its effect on the line alone.
    muted: Cell<bool>,
    /// How many pieces of text were sent, dropped ones included.
    sent: Cell<usize>,
}

impl<W: fmt::Write> Terminal<W> {
    /// A terminal that is written to through `out`.
    pub const fn new(out: W) -> Self {
        Self {
            out: RefCell::new(out),
            at_line_start: Cell::new(true),
            muted: Cell::new(false),
            sent: Cell::new(0),
        }
    }

    pub(super) fn send(&self, text: &str) {
        self.sent.set(self.sent.get().wrapping_add(1));
        if self.muted.get() || text.is_empty() {
            return;
        }
        self.at_line_start.set(text.ends_with('\n'));
        // A failed write has no other place to be reported.
        let _ = self.out.borrow_mut().write_str(text);
    }

    /// Sends what puts the cursor at the beginning of an empty line.
    pub(super) fn start_line(&self, line_break: &str) {
        self.send(line_break);
        self.at_line_start.set(true);
    }

    pub(super) fn at_line_start(&self) -> bool {
        self.at_line_start.get()
    }

    /// Runs `body` with the echo off.
    pub(super) fn muted(&self, body: impl FnOnce()) {
        let before = self.muted.replace(true);
        body();
        self.muted.set(before);
    }

    /// Runs `body` and says whether it sent anything, seen or not.
    pub(super) fn sends(&self, body: impl FnOnce()) -> bool {
        let before = self.sent.get();
        body();
        self.sent.get() != before
    }

    pub(super) fn writer(&self) -> Writer<'_, W> {
        Writer(self)
    }
}

/// The terminal as a [`fmt::Write`].
pub(super) struct Writer<'t, W: fmt::Write>(&'t Terminal<W>);

impl<W: fmt::Write> fmt::Write for Writer<'_, W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.send(text);
        Ok(())
    }
}
