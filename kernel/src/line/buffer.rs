//! The line that is being typed, and the cursor in it: what both editors change.

use heapless::Vec;

use super::text::{Line, MAX_LINE, Text};

/// A line of ASCII.
pub(super) struct Buffer {
    bytes: Vec<u8, MAX_LINE>,
    cursor: usize,
    /// Why the line is refused at its end: its first fault.
    fault: Option<Line>,
}

impl Buffer {
    pub(super) const fn new() -> Self {
        Self { bytes: Vec::new(), cursor: 0, fault: None }
    }

    pub(super) fn text(&self) -> &str {
        core::str::from_utf8(&self.bytes).unwrap_or_default()
    }

    pub(super) fn before_cursor(&self) -> &str {
        self.text().get(..self.cursor).unwrap_or_default()
    }

    pub(super) const fn cursor(&self) -> usize {
        self.cursor
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.cursor == self.bytes.len()
    }

    /// Inserts a character at the cursor; whether there was room. If not, the line is refused at its end.
    pub(super) fn insert(&mut self, typed: u8) -> bool {
        let fits = self.bytes.insert(self.cursor, typed).is_ok();
        if fits {
            self.cursor += 1;
        } else {
            self.refuse(Line::TooLong);
        }
        fits
    }

    /// Notes a byte that is not ASCII: it is dropped, and the line is refused at its end.
    pub(super) fn refuse_byte(&mut self, byte: u8) {
        self.refuse(Line::NotText { byte, column: self.cursor + 1 });
    }

    fn refuse(&mut self, fault: Line) {
        self.fault.get_or_insert(fault);
    }

    /// Removes the character before the cursor, if there is one.
    pub(super) fn backspace(&mut self) -> bool {
        let moved = self.left();
        moved && self.delete()
    }

    /// Removes the character at the cursor, if there is one.
    pub(super) fn delete(&mut self) -> bool {
        let there = !self.is_at_end();
        if there {
            self.bytes.remove(self.cursor);
        }
        there
    }

    /// Removes the word before the cursor and the blanks behind it; returns how many characters went.
    pub(super) fn erase_word(&mut self) -> usize {
        let before = self.before_cursor().trim_end_matches(' ');
        let start = before.rfind(' ').map_or(0, |blank| blank + 1);
        let count = self.cursor - start;
        for _ in 0..count {
            self.backspace();
        }
        count
    }

    /// Removes what is at the cursor and behind it.
    pub(super) fn cut(&mut self) {
        self.bytes.truncate(self.cursor);
    }

    pub(super) fn left(&mut self) -> bool {
        let moves = self.cursor > 0;
        self.cursor -= usize::from(moves);
        moves
    }

    pub(super) fn right(&mut self) -> bool {
        let moves = !self.is_at_end();
        self.cursor += usize::from(moves);
        moves
    }

    pub(super) const fn home(&mut self) {
        self.cursor = 0;
    }

    pub(super) fn end(&mut self) {
        self.cursor = self.bytes.len();
    }

    /// Forgets the line, and what was wrong with it.
    pub(super) fn clear(&mut self) {
        self.set("");
    }

    /// Replaces the line, and forgets what was wrong with it.
    pub(super) fn set(&mut self, text: &str) {
        self.fault = None;
        self.bytes.clear();
        // It was a line once, so it fits.
        let _ = self.bytes.extend_from_slice(text.as_bytes());
        self.end();
    }

    /// The line, which is complete; a new one begins.
    pub(super) fn finish(&mut self) -> Line {
        let line = self.fault.take().unwrap_or_else(|| {
            let mut text = Text::new();
            // It has the same room.
            let _ = text.push_str(self.text());
            Line::Text(text)
        });
        self.clear();
        line
    }
}
