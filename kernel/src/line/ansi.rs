//! The editor for a real terminal: editing within the line and history, by the `embedded-cli` crate.
//!
//! Three properties of that crate do not fit the shell:
//!
//! 1. It splits the line into words and removes quotes, and the shell needs the line as it was typed. So the three
//!    characters that its tokeniser knows (space, quote, backslash) go in as others, U+0080 to U+0082, which no
//!    keyboard sends, and come out as themselves: the crate sees one long word. ([`hide`], [`reveal`].)
//! 2. It prints the prompt as soon as a line was handed over, which is before the command's output. So its prompt is empty
//!    while a command runs.
//! 3. A character without room is dropped without an error. It is not echoed either, which is how this file notices.
//!
//! (The other library, `noline` 0.5, reads inside its own loop: nothing can be printed above the prompt meanwhile, and
//! it needs an answer from the terminal before the first key.)

use core::convert::Infallible;
use core::fmt;

use embedded_cli::cli::{Cli, CliBuilder, CliHandle};
use embedded_cli::command::RawCommand;
use embedded_cli::service::{Autocomplete, CommandProcessor, Help, ProcessError};
use embedded_io::{ErrorType, Write};

use super::keys::Key;
use super::terminal::Terminal;
use super::text::{Line, MAX_LINE, PROMPT, Text};

/// Room for a line in which every character takes the two bytes of a hidden one.
const EDIT_BYTES: usize = 2 * MAX_LINE;
/// Room for old lines.
const HISTORY_BYTES: usize = 2048;

/// The bytes that the crate takes for these keys.
const UP: &[u8] = b"\x1b[A";
const DOWN: &[u8] = b"\x1b[B";
const RIGHT: &[u8] = b"\x1b[C";
const LEFT: &[u8] = b"\x1b[D";
const BACKSPACE: &[u8] = b"\x08";
const ENTER: u8 = b'\n';

/// The characters that the tokeniser must not see, and what it sees instead.
const HIDDEN: [(char, char); 3] = [(' ', '\u{80}'), ('"', '\u{81}'), ('\\', '\u{82}')];

fn hide(typed: char) -> char {
    HIDDEN.iter().find(|pair| pair.0 == typed).map_or(typed, |pair| pair.1)
}

fn reveal(stored: char) -> char {
    HIDDEN.iter().find(|pair| pair.1 == stored).map_or(stored, |pair| pair.0)
}

fn is_hidden(stored: char) -> bool {
    reveal(stored) != stored
}

/// The terminal as the crate's writer: hidden characters are shown, and CRLF is LF.
struct Echo<'t, W: fmt::Write>(&'t Terminal<W>);

impl<W: fmt::Write> ErrorType for Echo<'_, W> {
    type Error = Infallible;
}

impl<W: fmt::Write> Write for Echo<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        // The crate writes whole characters. If it did not, only the echo would be wrong.
        let text = core::str::from_utf8(bytes).unwrap_or("?");
        if text == "\r\n" {
            self.0.send("\n");
        } else {
            text.split_inclusive(is_hidden).for_each(|piece| self.send_piece(piece));
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

impl<W: fmt::Write> Echo<'_, W> {
    /// Sends text whose last character alone may be a hidden one.
    fn send_piece(&self, piece: &str) {
        let plain = piece.trim_end_matches(is_hidden);
        self.0.send(plain);
        let hidden = piece.get(plain.len()..).unwrap_or_default();
        hidden.chars().for_each(|hidden| self.0.send(reveal(hidden).encode_utf8(&mut [0; 4])));
    }
}

/// No completion and no help, as the crate's traits say it.
struct Nothing;
impl Autocomplete for Nothing {}
impl Help for Nothing {}

/// Receives what the crate takes for a command: the whole line. Not called for an empty one.
struct Taker {
    /// The line; `None` if it is too long.
    line: Option<Text>,
}

impl<W: Write<Error = Infallible>> CommandProcessor<W, Infallible> for Taker {
    fn process<'a>(
        &mut self,
        cli: &mut CliHandle<'_, W, Infallible>,
        command: RawCommand<'a>,
    ) -> Result<(), ProcessError<'a, Infallible>> {
        cli.set_prompt("");
        let mut line = Text::new();
        let fits = command.name().chars().all(|stored| line.push(reveal(stored)).is_ok());
        self.line = fits.then_some(line);
        Ok(())
    }
}

pub(super) struct Editor<'t, W: fmt::Write> {
    terminal: &'t Terminal<W>,
    cli: Cli<Echo<'t, W>, Infallible, [u8; EDIT_BYTES], [u8; HISTORY_BYTES]>,
    /// Whether characters were typed that had no room.
    overflowed: bool,
}

impl<'t, W: fmt::Write> Editor<'t, W> {
    pub(super) fn new(terminal: &'t Terminal<W>) -> Self {
        let built = CliBuilder::default()
            .writer(Echo(terminal))
            .command_buffer([0; EDIT_BYTES])
            .history_buffer([0; HISTORY_BYTES])
            .prompt("")
            .build();
        let Ok(cli) = built;
        Self { terminal, cli, overflowed: false }
    }

    pub(super) fn key(&mut self, key: Key) -> Option<Line> {
        match key {
            Key::Char(byte) => self.insert(char::from(byte)),
            Key::Enter => return Some(self.finish()),
            Key::Backspace => self.feed(BACKSPACE),
            Key::Delete => {
                // Forwards, if that goes, and back over what was passed.
                if self.moves(RIGHT) {
                    self.feed(BACKSPACE);
                }
            }
            Key::Left => self.feed(LEFT),
            Key::Right => self.feed(RIGHT),
            Key::Up => self.recall(UP),
            Key::Down => self.recall(DOWN),
            Key::Home => while self.moves(LEFT) {},
            Key::End => while self.moves(RIGHT) {},
            Key::Kill => {
                self.clear();
                self.draw();
            }
            Key::Interrupt => {
                self.terminal.send("^C\n");
                self.clear();
                self.draw();
            }
        }
        None
    }

    /// Draws prompt and line in place of whatever the screen's line shows. The cursor goes to the line's end: that is where
    /// the crate's drawing leaves the terminal's.
    pub(super) fn draw(&mut self) {
        let terminal = self.terminal;
        terminal.muted(|| while self.moves(RIGHT) {});
        let Ok(()) = self.cli.set_prompt(PROMPT);
    }

    fn insert(&mut self, typed: char) {
        let mut bytes = [0; 4];
        let hidden = hide(typed).encode_utf8(&mut bytes).as_bytes();
        let terminal = self.terminal;
        self.overflowed |= !terminal.sends(|| self.feed(hidden));
    }

    fn clear(&mut self) {
        let terminal = self.terminal;
        terminal.muted(|| {
            while self.moves(RIGHT) {}
            while self.moves(BACKSPACE) {}
        });
        self.overflowed = false;
    }

    /// Replaces the line by an older or newer one.
    fn recall(&mut self, key: &[u8]) {
        if self.moves(key) {
            self.overflowed = false;
        }
    }

    fn finish(&mut self) -> Line {
        let mut taker = Taker { line: Some(Text::new()) };
        let Ok(()) = self.cli.process_byte::<Nothing, _>(ENTER, &mut taker);
        let overflowed = core::mem::take(&mut self.overflowed);
        taker.line.filter(|_| !overflowed).map_or(Line::TooLong, Line::Text)
    }

    /// Gives the crate bytes that do not end a line.
    fn feed(&mut self, bytes: &[u8]) {
        let mut unused = Taker { line: None };
        for &byte in bytes {
            let Ok(()) = self.cli.process_byte::<Nothing, _>(byte, &mut unused);
        }
    }

    /// Gives the crate a key's bytes, and says whether the key did anything.
    fn moves(&mut self, key: &[u8]) -> bool {
        let terminal = self.terminal;
        terminal.sends(|| self.feed(key))
    }
}
