//! The editor for a terminal that understands nothing but characters, backspace and line feed.

use core::fmt;

use super::keys::Key;
use super::terminal::Terminal;
use super::text::{Line, PROMPT, Text};

pub(super) struct Editor<'t, W: fmt::Write> {
    terminal: &'t Terminal<W>,
    text: Text,
    /// Whether characters were typed that had no room.
    overflowed: bool,
}

impl<'t, W: fmt::Write> Editor<'t, W> {
    pub(super) const fn new(terminal: &'t Terminal<W>) -> Self {
        Self { terminal, text: Text::new(), overflowed: false }
    }

    pub(super) fn key(&mut self, key: Key) -> Option<Line> {
        match key {
            Key::Char(byte) => self.insert(char::from(byte)),
            Key::Backspace => self.erase(),
            Key::Enter => return Some(self.finish()),
            Key::Interrupt => self.abandon("^C\n"),
            Key::Kill => self.abandon("\n"),
            // Nothing moves here.
            Key::Delete | Key::Left | Key::Right | Key::Up | Key::Down | Key::Home | Key::End => {}
        }
        None
    }

    pub(super) fn draw(&mut self) {
        self.terminal.send(PROMPT);
        self.terminal.send(&self.text);
    }

    /// What has no room is not echoed; the whole line is refused at its end.
    fn insert(&mut self, typed: char) {
        if self.text.push(typed).is_err() {
            self.overflowed = true;
            return;
        }
        self.terminal.send(typed.encode_utf8(&mut [0; 4]));
    }

    fn erase(&mut self) {
        if self.text.pop().is_some() {
            self.terminal.send("\x08 \x08");
        }
    }

    fn abandon(&mut self, echo: &str) {
        self.clear();
        self.terminal.send(echo);
        self.draw();
    }

    fn clear(&mut self) {
        self.text.clear();
        self.overflowed = false;
    }

    fn finish(&mut self) -> Line {
        self.terminal.send("\n");
        let line = if self.overflowed { Line::TooLong } else { Line::Text(self.text.clone()) };
        self.clear();
        line
    }
}
