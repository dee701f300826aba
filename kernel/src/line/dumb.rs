//! The editor for a terminal that understands nothing but characters, backspace and line feed. The cursor is at the end.

use core::fmt;

use super::buffer::Buffer;
use super::keys::Key;
use super::terminal::Terminal;
use super::text::{Line, PROMPT};

pub(super) struct Editor<'t, W: fmt::Write> {
    terminal: &'t Terminal<W>,
    buffer: Buffer,
}

impl<'t, W: fmt::Write> Editor<'t, W> {
    pub(super) const fn new(terminal: &'t Terminal<W>) -> Self {
        Self { terminal, buffer: Buffer::new() }
    }

    pub(super) fn key(&mut self, key: Key) -> Option<Line> {
        match key {
            Key::Char(byte) => self.insert(byte),
            // A tab separates words like a blank, and is as wide as one in the echo.
            Key::Tab => self.insert(b' '),
            Key::NotAscii(byte) => self.buffer.refuse_byte(byte),
            Key::Backspace => {
                let count = usize::from(self.buffer.backspace());
                self.erase(count);
            }
            Key::EraseWord => {
                let count = self.buffer.erase_word();
                self.erase(count);
            }
            Key::Enter => {
                self.terminal.send("\n");
                return Some(self.buffer.finish());
            }
            Key::Interrupt => self.abandon("^C\n"),
            Key::Kill => self.abandon("\n"),
            // Nothing moves here.
            Key::Delete | Key::Left | Key::Right | Key::Up | Key::Down | Key::Home | Key::End => {}
            Key::Cut | Key::Redraw | Key::Columns(_) => {}
        }
        None
    }

    pub(super) fn draw(&mut self) {
        self.terminal.send(PROMPT);
        self.terminal.send(self.buffer.text());
    }

    /// What has no room is not echoed; the whole line is refused at its end.
    fn insert(&mut self, typed: u8) {
        if self.buffer.insert(typed) {
            self.terminal.send(char::from(typed).encode_utf8(&mut [0; 4]));
        }
    }

    fn erase(&self, count: usize) {
        (0..count).for_each(|_| self.terminal.send("\x08 \x08"));
    }

    fn abandon(&mut self, echo: &str) {
        self.buffer.clear();
        self.terminal.send(echo);
        self.draw();
    }
}
