//! Random keys on screens of random widths, against a model that is a vector and an index.
extern crate std;

use super::{Mode, Session, at};
use std::format;
use std::string::String;
use std::vec::Vec;

/// What the model has of the session.
#[derive(Default)]
struct Model {
    text: Vec<u8>,
    cursor: usize,
    history: Vec<String>,
    /// The text with which a search began, and where it is: how many lines from the newest.
    search: Option<(String, usize)>,
    entered: Vec<String>,
    /// The rows above the prompt.
    above: Vec<String>,
}

/// An event's line.
const EVENT: &str = "dimm0: a line that arrives by itself";

impl Model {
    fn text(&self) -> String {
        String::from_utf8(self.text.clone()).expect("ASCII")
    }

    fn set(&mut self, text: &str) {
        self.text = text.as_bytes().to_vec();
        self.cursor = text.len();
    }

    /// What a screen of `width` keeps of a text.
    fn print(&mut self, text: &str, width: usize) {
        let rows = text.as_bytes().chunks(width).map(|row| String::from_utf8_lossy(row).trim_end().into());
        self.above.extend(rows);
    }

    fn enter(&mut self, width: usize) {
        let text = self.text();
        self.print(&format!("hotmap> {text}"), width);
        if !text.trim().is_empty() {
            if self.history.last() != Some(&text) {
                self.history.push(text.clone());
            }
            self.entered.push(text);
        }
        self.set("");
        self.search = None;
    }

    fn up(&mut self) {
        let (wanted, steps) = self.search.clone().unwrap_or((self.text(), 0));
        let older = self.history.iter().rev().enumerate().skip(steps);
        let text = self.text();
        let found = older.clone().find(|(_, line)| line.starts_with(&wanted) && **line != text);
        if let Some((at, line)) = found {
            self.search = Some((wanted, at + 1));
            self.set(&line.clone());
        }
    }

    fn down(&mut self) {
        let Some((wanted, steps)) = self.search.clone() else { return };
        let text = self.text();
        let newer = (1..steps).rev().map(|at| (at, self.history[self.history.len() - at].clone()));
        match newer.into_iter().find(|(_, line)| line.starts_with(&wanted) && *line != text) {
            Some((at, line)) => {
                self.search = Some((wanted, at));
                self.set(&line);
            }
            None => {
                self.search = None;
                self.set(&wanted);
            }
        }
    }

    /// Does what `key` does, and says what to type for it.
    fn key(&mut self, key: u64, width: usize) -> Vec<u8> {
        let typed: &[u8] = match key % 32 {
            0 | 1 => (self.cursor = self.cursor.max(1) - 1, b"\x1b[D").1,
            2 => (self.cursor = self.text.len().min(self.cursor + 1), b"\x1b[C").1,
            3 => (self.cursor = 0, b"\x01").1,
            4 => (self.cursor = self.text.len(), b"\x05").1,
            5 | 6 => {
                if self.cursor > 0 {
                    self.cursor -= 1;
                    self.text.remove(self.cursor);
                }
                b"\x7f"
            }
            7 => {
                if self.cursor < self.text.len() {
                    self.text.remove(self.cursor);
                }
                b"\x1b[3~"
            }
            8 if (key / 32).is_multiple_of(4) => (self.text.truncate(self.cursor), b"\x0b").1,
            9 if (key / 32).is_multiple_of(2) => {
                while self.cursor > 0 && self.text[self.cursor - 1] == b' ' {
                    self.cursor -= 1;
                    self.text.remove(self.cursor);
                }
                while self.cursor > 0 && self.text[self.cursor - 1] != b' ' {
                    self.cursor -= 1;
                    self.text.remove(self.cursor);
                }
                b"\x17"
            }
            10 if (key / 32).is_multiple_of(8) => (self.set(""), b"\x15").1,
            11 if (key / 32).is_multiple_of(2) => (self.enter(width), b"\r").1,
            12 => return (self.up(), b"\x1b[A".to_vec()).1,
            13 => return (self.down(), b"\x1b[B".to_vec()).1,
            key => {
                let typed = b"ab \"\\-xyzpqrstu  "[usize::try_from(key).expect("small") % 17];
                self.text.insert(self.cursor, typed);
                self.cursor += 1;
                self.search = None;
                return std::vec![typed];
            }
        };
        self.search = None;
        typed.to_vec()
    }
}

/// The rows above are what they were; the last one shows a part of the line, with marks where it goes on, and the cursor is on
/// its character.
fn check(session: &Session<'_>, model: &Model, width: usize, keys: &str) {
    let (rows, (row, column)) = (session.screen.rows(), session.screen.cursor());
    let context =
        || format!("width {width}, keys {keys}: {rows:#?}, cursor {row}:{column}, text {:?}", model.text());
    let (last, above) = rows.split_last().expect("a row");
    assert_eq!(above, model.above, "{}", context());
    assert_eq!(row, rows.len() - 1, "{}", context());
    let room = width - 1 - 8;
    let first = (model.cursor + 8).checked_sub(column).unwrap_or_else(|| panic!("{}", context()));
    let end = model.text.len().min(first + room);
    let mut shown = model.text[first..end].to_vec();
    if first > 0 {
        shown[0] = b'<';
        assert!(model.cursor > first, "the cursor is on a mark: {}", context());
    }
    if end < model.text.len() {
        *shown.last_mut().expect("room") = b'>';
        assert!(model.cursor + 1 < end, "the cursor is on a mark: {}", context());
    }
    // A line that fits is shown as a whole, and one that does not uses the row.
    assert!(first == 0 || end - first == room, "{}", context());
    assert!(model.text.len() > room || first == 0, "{}", context());
    let expected = format!("hotmap> {}", String::from_utf8(shown).expect("ASCII"));
    assert_eq!(*last, expected.trim_end(), "{}", context());
    assert!(column < width, "{}", context());
}

#[test]
fn random_editing_shows_what_a_plain_model_has() {
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        seed >> 33
    };
    for round in 0..400 {
        let width = [12, 13, 20, 40, 80, 132][round % 6];
        let mut model = Model::default();
        at(Mode::Ansi, width, |session| {
            let mut keys = String::new();
            for _ in 0..150 {
                if random() % 40 == 0 {
                    session.event(EVENT);
                    model.print(EVENT, width);
                    keys.push_str(" event");
                } else {
                    let typed = model.key(random(), width);
                    keys.push_str(
                        &typed
                            .escape_ascii()
                            .collect::<Vec<u8>>()
                            .iter()
                            .map(|b| char::from(*b))
                            .collect::<String>(),
                    );
                    session.types(&typed);
                }
                check(session, &model, width, &keys);
            }
            session.types(b"\r");
            model.enter(width);
            check(session, &model, width, "and Enter");
            assert_eq!(session.lines, model.entered);
        });
    }
}
