//! The editor for a real terminal (ECMA-48): editing within the line, history, and completion.
//!
//! The line takes one row of the screen, whatever its length: what does not fit is beyond `<` and `>`, and moves in with the
//! cursor. So drawing needs the terminal's width and nothing else. Each prompt asks for it (CPR, "cursor position report",
//! of the last column), and goes on without waiting: the answer is a key like any other. A terminal that does not answer
//! counts as [`COLUMNS`] wide.

use core::fmt::Write;

use super::buffer::Buffer;
use super::history::History;
use super::keys::Key;
use super::terminal::Terminal;
use super::text::{Line, MAX_LINE, PROMPT, Text};

/// The width of a terminal that does not tell it.
const COLUMNS: usize = 80;
/// What is narrower than this is not drawn right.
const NARROWEST: usize = PROMPT.len() + 4;
/// To the last column (CUF stops there), report the position (DSR 6), to the first column.
const ASK_WIDTH: &str = "\x1b[999C\x1b[6n\r";
/// Erase from the cursor to the end of the row (EL 0).
const ERASE_REST: &str = "\x1b[K";
/// The cursor goes home, and the screen is erased (CUP, ED 2).
const CLEAR_SCREEN: &str = "\x1b[H\x1b[2J";
const BELL: &str = "\x07";
/// The most words that a completion lists.
const MOST_LISTED: usize = 100;

/// Calls its argument for each word that may stand where the last one of the text is: the text of one command, up to the
/// cursor.
pub type Offer<'a> = &'a dyn Fn(&str, &mut dyn FnMut(&str));

pub(super) struct Editor<'t, W: Write> {
    terminal: &'t Terminal<W>,
    buffer: Buffer,
    history: History,
    /// What was typed when the search in the history began: what it looks for.
    wanted: Text,
    /// Where in the history the line that is shown starts, while one is.
    shown: Option<usize>,
    columns: usize,
    /// The first character on the screen.
    first: usize,
}

impl<'t, W: Write> Editor<'t, W> {
    pub(super) const fn new(terminal: &'t Terminal<W>) -> Self {
        Self {
            terminal,
            buffer: Buffer::new(),
            history: History::new(),
            wanted: Text::new(),
            shown: None,
            columns: COLUMNS,
            first: 0,
        }
    }

    pub(super) fn key(&mut self, key: Key) -> Option<Line> {
        match key {
            Key::Enter => return Some(self.finish()),
            Key::Up => return self.search(true),
            Key::Down => return self.search(false),
            Key::Columns(columns) => {
                self.columns = usize::from(columns).max(NARROWEST);
                self.refresh();
                return None;
            }
            _ => self.shown = None,
        }
        match key {
            Key::Char(byte) => self.insert(byte),
            Key::NotAscii(byte) => {
                self.buffer.refuse_byte(byte);
                self.terminal.send(BELL);
            }
            Key::Interrupt => {
                self.buffer.end();
                self.refresh();
                self.terminal.send("^C\n");
                self.buffer.clear();
                self.draw();
            }
            Key::Backspace => self.edit(Buffer::backspace),
            Key::Delete => self.edit(Buffer::delete),
            Key::Left => self.edit(Buffer::left),
            Key::Right => self.edit(Buffer::right),
            Key::EraseWord => self.edit(|buffer| buffer.erase_word() > 0),
            Key::Home => self.always(Buffer::home),
            Key::End => self.always(Buffer::end),
            Key::Kill => self.always(Buffer::clear),
            Key::Cut => self.always(Buffer::cut),
            Key::Redraw => {
                self.terminal.send(CLEAR_SCREEN);
                self.draw();
            }
            Key::Enter | Key::Up | Key::Down | Key::Columns(_) | Key::Tab => {}
        }
        None
    }

    /// Asks the terminal for its width. The cursor is at the beginning of a row.
    pub(super) fn ask_width(&self) {
        self.terminal.send(ASK_WIDTH);
    }

    /// Draws prompt and line, and puts the cursor where it is, on an empty row.
    pub(super) fn draw(&mut self) {
        self.terminal.send(PROMPT);
        if self.buffer.len() == 0 {
            self.first = 0;
            return;
        }
        let room = self.columns - 1 - PROMPT.len();
        let (len, cursor) = (self.buffer.len(), self.buffer.cursor());
        self.first = first_shown(self.first, cursor, len, room);
        let end = len.min(self.first + room);
        let (cut_left, cut_right) = (self.first > 0, end < len);
        self.terminal.send(if cut_left { "<" } else { "" });
        let seen = self.first + usize::from(cut_left)..end - usize::from(cut_right);
        self.terminal.send(self.buffer.text().get(seen).unwrap_or_default());
        self.terminal.send(if cut_right { ">" } else { "" });
        if cursor != end {
            let column = PROMPT.len() + cursor - self.first;
            self.terminal.send_fmt(format_args!("\r\x1b[{column}C"));
        }
    }

    /// Completes the word before the cursor by what all words of `offer` have in common that it can become. If that is
    /// nothing, lists them.
    pub(super) fn complete(&mut self, offer: Offer<'_>) {
        let before = self.buffer.before_cursor();
        let command = before.rsplit(';').next().unwrap_or_default().trim_ascii_start();
        let word = command.rsplit(' ').next().unwrap_or_default();
        let (mut common, mut count) = (Text::new(), 0_usize);
        offer(command, &mut |offered| {
            let Some(rest) = offered.strip_prefix(word) else { return };
            count += 1;
            if count == 1 {
                // What is offered is shorter than a line.
                let _ = common.push_str(rest);
            } else {
                let same = common.bytes().zip(rest.bytes()).take_while(|(a, b)| a == b).count();
                common.truncate(same);
            }
        });
        match count {
            0 => self.terminal.send(BELL),
            // What ends so goes on.
            1 if common.ends_with(':') || common.is_empty() && word.ends_with(':') => {}
            1 => {
                // As above.
                let _ = common.push(' ');
            }
            _ if common.is_empty() => self.list(&Text::try_from(command).unwrap_or_default(), offer),
            _ => {}
        }
        for byte in common.bytes().take(MAX_LINE - self.buffer.len()) {
            self.buffer.insert(byte);
        }
        self.refresh();
    }

    /// Lists what `offer` has for the last word of `command`, in place of the line, which is drawn again by the caller.
    fn list(&self, command: &str, offer: Offer<'_>) {
        let word = command.rsplit(' ').next().unwrap_or_default();
        let (mut column, mut count) = (0, 0);
        self.terminal.send("\r");
        self.terminal.send(ERASE_REST);
        offer(command, &mut |offered| {
            if !offered.starts_with(word) {
                return;
            }
            count += 1;
            if count > MOST_LISTED {
                return;
            }
            if column > 0 && column + 2 + offered.len() >= self.columns {
                self.terminal.send("\n");
                column = 0;
            }
            self.terminal.send(if column > 0 { "  " } else { "" });
            self.terminal.send(offered);
            column += offered.len() + if column > 0 { 2 } else { 0 };
        });
        if count > MOST_LISTED {
            self.terminal.send_fmt(format_args!("\nand {} more", count - MOST_LISTED));
        }
        self.terminal.send("\n");
    }

    fn insert(&mut self, typed: u8) {
        let simple =
            self.buffer.is_at_end() && self.first == 0 && self.buffer.len() + 1 < self.columns - PROMPT.len();
        if !self.buffer.insert(typed) {
            self.terminal.send(BELL);
        } else if simple {
            self.terminal.send(char::from(typed).encode_utf8(&mut [0; 4]));
        } else {
            self.refresh();
        }
    }

    /// Does `change`, which says whether it has changed anything.
    fn edit(&mut self, change: impl FnOnce(&mut Buffer) -> bool) {
        if change(&mut self.buffer) {
            self.refresh();
        }
    }

    fn always(&mut self, change: impl FnOnce(&mut Buffer)) {
        change(&mut self.buffer);
        self.refresh();
    }

    /// Draws the row again.
    fn refresh(&mut self) {
        self.terminal.send("\r");
        self.terminal.send(ERASE_REST);
        self.draw();
    }

    /// Replaces the line by the next older or newer one that begins as the line did when the search began.
    fn search(&mut self, older: bool) -> Option<Line> {
        let text = self.buffer.text();
        if self.shown.is_none() {
            // A line has the same room.
            self.wanted = Text::try_from(text).unwrap_or_default();
        }
        let found = match (older, self.shown) {
            (true, shown) => self.history.older(shown.unwrap_or(self.history.end()), &self.wanted, text),
            (false, Some(shown)) => self.history.newer(shown, &self.wanted, text),
            (false, None) => return None,
        };
        match found {
            Some((at, line)) => {
                self.shown = Some(at);
                self.buffer.set(line);
            }
            None if older => return None,
            None => {
                self.shown = None;
                self.buffer.set(&self.wanted);
            }
        }
        self.refresh();
        None
    }

    /// Leaves the whole line on the screen, on as many rows as it needs.
    fn finish(&mut self) -> Line {
        let len = self.buffer.len();
        if self.first > 0 || len > self.columns - 1 - PROMPT.len() {
            self.terminal.send("\r");
            self.terminal.send(ERASE_REST);
            self.terminal.send(PROMPT);
            self.terminal.send(self.buffer.text());
        }
        self.terminal.send("\n");
        self.history.push(self.buffer.text());
        (self.shown, self.first) = (None, 0);
        self.buffer.finish()
    }
}

/// The first of `len` characters that is shown where there is room for `room`, so that the one at `cursor` is among them, and
/// not beyond a mark. It was `before`: it changes if it has to, by half a row.
fn first_shown(before: usize, cursor: usize, len: usize, room: usize) -> usize {
    if len <= room {
        return 0;
    }
    let ends = |first: usize| first + room >= len;
    let sees = |first: usize| {
        (first == 0 || cursor > first) && (ends(first) || cursor + 1 < first + room) && cursor <= first + room
    };
    // Not further than the line, so that its end uses the row.
    let last = len - room;
    let first = before.min(last);
    if sees(first) { first } else { cursor.saturating_sub(room / 2).min(last) }
}
