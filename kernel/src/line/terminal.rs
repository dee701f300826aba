//! Where the line editors echo to: a writer that several of them can share, which knows whether it is at the beginning of a
//! line.

use core::cell::{Cell, RefCell};
use core::fmt;

/// A terminal's output side.
pub struct Terminal<W: fmt::Write> {
    out: RefCell<W>,
    at_line_start: Cell<bool>,
}

impl<W: fmt::Write> Terminal<W> {
    /// A terminal that is written to through `out`.
    pub const fn new(out: W) -> Self {
        Self { out: RefCell::new(out), at_line_start: Cell::new(true) }
    }

    pub(super) fn send(&self, text: &str) {
        if text.is_empty() {
            return;
        }
        self.at_line_start.set(text.ends_with('\n'));
        // A failed write has no other place to be reported.
        let _ = self.out.borrow_mut().write_str(text);
    }

    /// Sends formatted text that ends no line.
    pub(super) fn send_fmt(&self, text: fmt::Arguments<'_>) {
        self.at_line_start.set(false);
        // As in `send`.
        let _ = self.out.borrow_mut().write_fmt(text);
    }

    /// Sends what puts the cursor at the beginning of an empty line.
    pub(super) fn start_line(&self, line_break: &str) {
        self.send(line_break);
        self.at_line_start.set(true);
    }

    pub(super) fn at_line_start(&self) -> bool {
        self.at_line_start.get()
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
