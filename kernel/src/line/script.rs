//! The reader for `script=on`: no echo, no editing, and each line end gives a line, a blank one too.

use super::text::{Line, Text};

/// Reads lines from a program.
///
/// LF, CR and CRLF end a line (CRLF once). A tab is a blank. Ctrl-C means nothing here: it ends a command that is under way,
/// and one that arrives too late for that must not spoil the line after it.
#[derive(Debug)]
pub struct ScriptReader {
    text: Text,
    /// How many bytes the line has so far.
    column: usize,
    /// Why the line is refused at its end: its first fault.
    fault: Option<Line>,
    /// The last byte was CR: an LF belongs to it.
    after_return: bool,
}

impl ScriptReader {
    /// A reader at the beginning of a line.
    pub const fn new() -> Self {
        Self { text: Text::new(), column: 0, fault: None, after_return: false }
    }

    /// Takes one byte; gives a line when it is complete.
    pub fn push(&mut self, byte: u8) -> Option<Line> {
        let after_return = core::mem::replace(&mut self.after_return, byte == b'\r');
        match byte {
            b'\n' if after_return => None,
            b'\n' | b'\r' => Some(self.finish()),
            0x03 => None,
            _ => {
                self.insert(byte);
                None
            }
        }
    }

    fn insert(&mut self, byte: u8) {
        self.column += 1;
        let fault = match byte {
            b'\t' => self.text.push(' ').err().map(|_| Line::TooLong),
            b' '..=b'~' => self.text.push(char::from(byte)).err().map(|_| Line::TooLong),
            _ => Some(Line::NotText { byte, column: self.column }),
        };
        self.fault = self.fault.take().or(fault);
    }

    fn finish(&mut self) -> Line {
        let text = core::mem::take(&mut self.text);
        self.column = 0;
        self.fault.take().unwrap_or(Line::Text(text))
    }
}

impl Default for ScriptReader {
    fn default() -> Self {
        Self::new()
    }
}
