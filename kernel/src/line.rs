//! The shell's input: bytes in, whole lines out, for two kinds of terminal.
//!
//! - [`Mode::Dumb`] (`term=dumb`, the default): echoes what is typed and sends no escape sequence, so that a script reads
//!   what a person sees.
//! - [`Mode::Ansi`]: editing within the line, history with search, and completion.
//!
//! ```text
//!  byte --> keys::Decoder --> Key --> dumb::Editor or ansi::Editor --> Event --> the shell
//!                                        Buffer |  Buffer, History
//!                                               v
//!                                       Terminal (echo)
//! ```
//!
//! In both modes LF, CR and CRLF end a line (CRLF once), Ctrl-C and Ctrl-U drop it, a line of more than [`MAX_LINE`]
//! bytes or with others than ASCII is reported instead of cut, and the prompt comes in one piece.
//!
//! ([`ScriptReader`] is for programs: no echo.) Two crates do not fit: `embedded-cli` 0.2 knows no width, completes the first
//! word only, and splits the line into words; `noline` 0.5 reads inside its own loop, so that nothing can be printed above
//! the prompt meanwhile, and needs an answer from the terminal before the first key.
//!
//! The shell's loop: [`LineReader::prompt`]; [`LineReader::push`] every byte; on [`Event::Line`] run it, then prompt again; on
//! [`Event::Complete`] call [`LineReader::complete`].
//! [`LineReader::print_async`] prints what happens in between above the line that is being typed. Code that prints
//! through the global console instead is wrapped so:
//!
//! ```text
//! let (_, printed) = console::interject(reader.line_break(), || handle_events());
//! if printed { reader.redraw() }
//! ```

mod ansi;
mod buffer;
mod dumb;
mod history;
mod keys;
mod script;
mod terminal;
mod text;

use core::fmt;

pub use ansi::Offer;
use keys::{Decoder, Key};
pub use script::ScriptReader;
pub use terminal::Terminal;
pub use text::{Line, MAX_LINE, PROMPT, Text};

/// The kind of terminal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// No escape sequences.
    Dumb,
    /// ECMA-48 (VT100) sequences.
    Ansi,
}

/// The commands of a line, at the prompt and in `run=`: `;` separates them, and an empty one is none.
pub fn commands(text: &str) -> impl Iterator<Item = &str> {
    text.split(';').map(str::trim_ascii).filter(|command| !command.is_empty())
}

#[expect(clippy::large_enum_variant, reason = "there is no allocator here, and one reader")]
enum Editor<'t, W: fmt::Write> {
    Dumb(dumb::Editor<'t, W>),
    Ansi(ansi::Editor<'t, W>),
}

/// What a byte completed.
#[derive(Clone, PartialEq, Eq, Debug)]
#[expect(clippy::large_enum_variant, reason = "there is no allocator here, and one event at a time")]
pub enum Event {
    /// A line, not blank.
    Line(Line),
    /// Tab, which asks for [`LineReader::complete`].
    Complete,
}

/// Reads lines from a terminal, byte by byte.
pub struct LineReader<'t, W: fmt::Write> {
    terminal: &'t Terminal<W>,
    decoder: Decoder,
    editor: Editor<'t, W>,
    /// Whether the prompt is on the screen: false while a command runs.
    prompted: bool,
}

impl<'t, W: fmt::Write> LineReader<'t, W> {
    /// A reader that echoes to `terminal`. Prints nothing yet.
    pub fn new(mode: Mode, terminal: &'t Terminal<W>) -> Self {
        let editor = match mode {
            Mode::Dumb => Editor::Dumb(dumb::Editor::new(terminal)),
            Mode::Ansi => Editor::Ansi(ansi::Editor::new(terminal)),
        };
        Self { terminal, decoder: Decoder::new(), editor, prompted: false }
    }

    /// Asks for a line: after start, and after every [`Line`] has been dealt with.
    pub fn prompt(&mut self) {
        self.prompted = true;
        if let Editor::Ansi(editor) = &self.editor {
            editor.ask_width();
        }
        self.redraw();
    }

    /// Takes one typed byte. Gives a line when it is complete; a blank one only brings the prompt again.
    pub fn push(&mut self, byte: u8) -> Option<Event> {
        let key = self.decoder.push(byte)?;
        let finished = match &mut self.editor {
            Editor::Dumb(editor) => editor.key(key),
            Editor::Ansi(_) if key == Key::Tab => return Some(Event::Complete),
            Editor::Ansi(editor) => editor.key(key),
        }?;
        match finished {
            Line::Text(text) if text.trim_ascii().is_empty() => {
                self.prompt();
                None
            }
            line => {
                self.prompted = false;
                Some(Event::Line(line))
            }
        }
    }

    /// Completes the word before the cursor with one of `offer`.
    pub fn complete(&mut self, offer: Offer<'_>) {
        if let Editor::Ansi(editor) = &mut self.editor {
            editor.complete(offer);
        }
    }

    /// Prints with `print` what arrives by itself: above the open line, which is drawn again below it.
    pub fn print_async(&mut self, print: impl FnOnce(&mut dyn fmt::Write)) {
        let was_prompted = self.prompted;
        if was_prompted {
            self.terminal.start_line(self.line_break());
        }
        let mut writer = self.terminal.writer();
        print(&mut writer);
        if !self.terminal.at_line_start() {
            self.terminal.send("\n");
        }
        if was_prompted {
            self.redraw();
        }
    }

    /// What to send before text that is not part of the open line. Empty while no line is open.
    pub fn line_break(&self) -> &'static str {
        match (&self.editor, self.prompted) {
            (_, false) => "",
            (Editor::Dumb(_), true) => "\n",
            // To the first column, and erase the line (ECMA-48 CR, EL 2): the text takes the place of the prompt.
            (Editor::Ansi(_), true) => "\r\x1b[2K",
        }
    }

    /// Draws the prompt and what was typed so far, at the beginning of a line.
    pub fn redraw(&mut self) {
        if !self.prompted {
            return;
        }
        match &mut self.editor {
            Editor::Dumb(editor) => editor.draw(),
            Editor::Ansi(editor) => editor.draw(),
        }
    }
}

#[cfg(test)]
mod tests;
