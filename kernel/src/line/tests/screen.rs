//! An independent model of a terminal: a VT100 of some width and height, as far as a line editor goes.
//!
//! After the VT100 User Guide (DEC, EK-VT100-UG-003): autowrap with the wrap pending at the last column, the cursor stops at the
//! margins, the screen scrolls at the last row. LF is taken for CR LF.
extern crate std;

use std::collections::VecDeque;
use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

pub(super) struct Screen {
    width: usize,
    height: usize,
    /// All rows, those that have scrolled away first.
    rows: Vec<Vec<char>>,
    /// The cursor's row in `rows`, and its column.
    row: usize,
    column: usize,
    /// A character was written into the last column: the next one goes to the next row.
    wraps: bool,
    /// What it answers.
    pub(super) answers: VecDeque<u8>,
    /// How often the bell rang.
    pub(super) bells: usize,
    /// The sequence that is being received.
    sequence: Option<String>,
}

impl Screen {
    pub(super) fn new(width: usize, height: usize) -> Self {
        let (answers, rows) = (VecDeque::new(), std::vec![Vec::new()]);
        Self { width, height, rows, row: 0, column: 0, wraps: false, answers, bells: 0, sequence: None }
    }

    pub(super) fn receive(&mut self, text: &str) {
        text.chars().for_each(|c| self.character(c));
    }

    fn character(&mut self, c: char) {
        if let Some(mut sequence) = self.sequence.take() {
            sequence.push(c);
            if sequence == "[" || c.is_ascii_digit() || c == ';' {
                self.sequence = Some(sequence);
            } else {
                self.control(&sequence);
            }
            return;
        }
        match c {
            '\x1b' => self.sequence = Some(String::new()),
            '\n' => self.line_feed(),
            '\r' => (self.column, self.wraps) = (0, false),
            '\x08' => (self.column, self.wraps) = (self.column.saturating_sub(1), false),
            '\x07' => self.bells += 1,
            c => {
                assert!(!c.is_control(), "the terminal was sent {c:?}");
                self.print(c);
            }
        }
    }

    fn line_feed(&mut self) {
        (self.row, self.column, self.wraps) = (self.row + 1, 0, false);
        if self.row == self.rows.len() {
            self.rows.push(Vec::new());
        }
    }

    fn print(&mut self, c: char) {
        if self.wraps {
            self.line_feed();
        }
        let column = self.column;
        let row = &mut self.rows[self.row];
        row.resize(row.len().max(column + 1), ' ');
        row[column] = c;
        self.wraps = column + 1 == self.width;
        self.column = self.width.min(column + 2) - 1;
    }

    fn control(&mut self, sequence: &str) {
        let (parameter, end) = sequence.split_at(sequence.len() - 1);
        let number = parameter.strip_prefix('[').unwrap_or_else(|| panic!("sent ESC {sequence:?}"));
        let count = number.parse().unwrap_or(1).max(1);
        let row = &mut self.rows[self.row];
        self.wraps = self.wraps && end == "n";
        match (number, end) {
            (_, "C") => self.column = self.width.min(self.column + count + 1) - 1,
            (_, "D") => self.column = self.column.saturating_sub(count),
            ("" | "0", "K") => row.truncate(self.column),
            ("2", "K") => row.clear(),
            ("6", "n") => {
                let answer = format!("\x1b[{};{}R", self.row - self.top() + 1, self.column + 1);
                self.answers.extend(answer.bytes());
            }
            ("", "H") => (self.row, self.column) = (self.top(), 0),
            ("2", "J") => {
                let top = self.top();
                self.rows.truncate(top);
                self.rows.resize(self.row.max(top) + 1, Vec::new());
            }
            _ => panic!("the terminal was sent ESC {sequence:?}"),
        }
    }

    /// The first row on the screen.
    fn top(&self) -> usize {
        self.rows.len().saturating_sub(self.height)
    }

    /// The rows, without blanks at their ends.
    pub(super) fn rows(&self) -> Vec<String> {
        self.rows.iter().map(|row| row.iter().collect::<String>().trim_end().to_string()).collect()
    }

    /// The cursor's row and column.
    pub(super) fn cursor(&self) -> (usize, usize) {
        (self.row, self.column)
    }

    /// The rows with `|` where the cursor is.
    pub(super) fn picture(&self) -> String {
        let mut rows = self.rows();
        let row = &mut rows[self.row];
        while row.len() < self.column {
            row.push(' ');
        }
        row.insert(self.column, '|');
        rows.join("\n")
    }
}
