//! From bytes to keys: line ends, control characters, and the escape sequences that terminals send for the keys of a
//! keyboard (ECMA-48 control sequences, and the SS3 ones that xterm sends in application mode).

/// What was typed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Key {
    /// A printable ASCII character.
    Char(u8),
    /// A byte that is not ASCII.
    NotAscii(u8),
    Tab,
    /// The end of a line.
    Enter,
    /// BS or DEL: the character before the cursor.
    Backspace,
    /// The character at the cursor.
    Delete,
    Left,
    Right,
    Up,
    Down,
    Home,
    End,
    /// Ctrl-U: the whole line.
    Kill,
    /// Ctrl-K: from the cursor on.
    Cut,
    /// Ctrl-W: the word before the cursor.
    EraseWord,
    /// Ctrl-L: the screen is drawn again.
    Redraw,
    /// The terminal says in which column the cursor is (CPR): how wide it is, when that is the last one.
    Columns(u16),
    /// Ctrl-C.
    Interrupt,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Ground,
    /// After ESC.
    Escape,
    /// After ESC O.
    Ss3,
    /// After ESC [, with the first number and the last one so far.
    Csi(u16, u16),
}

/// Decodes one byte at a time.
pub(super) struct Decoder {
    state: State,
    /// The last character was CR: an LF belongs to it. A terminal's answer may come between the two.
    after_return: bool,
}

impl Decoder {
    pub(super) const fn new() -> Self {
        Self { state: State::Ground, after_return: false }
    }

    /// Takes a byte; gives a key when one is complete. What means nothing to a line is dropped.
    pub(super) fn push(&mut self, byte: u8) -> Option<Key> {
        let state = core::mem::replace(&mut self.state, State::Ground);
        match (state, byte) {
            (State::Escape, b'[') => self.enter(State::Csi(0, 0)),
            (State::Escape, b'O') => self.enter(State::Ss3),
            // ESC and a character is Meta with it; nothing here is bound to that.
            (State::Escape, b' '..=b'~') => None,
            (State::Ss3, b' '..=b'~') => final_byte(byte, 0, 0),
            // `last` is the number that is being received; the first one is kept when the next begins.
            (State::Csi(first, last), b'0'..=b'9') => {
                self.enter(State::Csi(first, last.saturating_mul(10).saturating_add(u16::from(byte - b'0'))))
            }
            (State::Csi(0, last), b';') => self.enter(State::Csi(last, 0)),
            (State::Csi(first, _), b';') => self.enter(State::Csi(first, 0)),
            // Other parameter and intermediate bytes.
            (state @ State::Csi(..), b' '..=b'?') => self.enter(state),
            (State::Csi(first, last), b'@'..=b'~') => final_byte(byte, first, last),
            // A control character cancels a sequence and means what it always means.
            _ => self.ground(byte),
        }
    }

    fn enter(&mut self, state: State) -> Option<Key> {
        self.state = state;
        None
    }

    fn ground(&mut self, byte: u8) -> Option<Key> {
        if byte == 0x1b {
            return self.enter(State::Escape);
        }
        let after_return = core::mem::replace(&mut self.after_return, byte == b'\r');
        match byte {
            b'\n' if after_return => None,
            b'\n' => Some(Key::Enter),
            b'\r' => Some(Key::Enter),
            0x01 => Some(Key::Home),
            0x02 => Some(Key::Left),
            0x03 => Some(Key::Interrupt),
            0x04 => Some(Key::Delete),
            0x05 => Some(Key::End),
            0x06 => Some(Key::Right),
            0x08 | 0x7f => Some(Key::Backspace),
            b'\t' => Some(Key::Tab),
            0x0b => Some(Key::Cut),
            0x0c => Some(Key::Redraw),
            0x0e => Some(Key::Down),
            0x10 => Some(Key::Up),
            0x15 => Some(Key::Kill),
            0x17 => Some(Key::EraseWord),
            b' '..=b'~' => Some(Key::Char(byte)),
            0x80.. => Some(Key::NotAscii(byte)),
            _ => None,
        }
    }
}

/// The key of a complete sequence with these first and last parameters.
fn final_byte(byte: u8, first: u16, last: u16) -> Option<Key> {
    match (byte, if first == 0 { last } else { first }) {
        (b'R', _) => Some(Key::Columns(last)),
        (b'A', _) => Some(Key::Up),
        (b'B', _) => Some(Key::Down),
        (b'C', _) => Some(Key::Right),
        (b'D', _) => Some(Key::Left),
        (b'H', _) | (b'~', 1 | 7) => Some(Key::Home),
        (b'F', _) | (b'~', 4 | 8) => Some(Key::End),
        (b'~', 3) => Some(Key::Delete),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use std::vec::Vec;

    fn keys(bytes: &[u8]) -> Vec<Key> {
        let mut decoder = Decoder::new();
        bytes.iter().filter_map(|&byte| decoder.push(byte)).collect()
    }

    #[test]
    fn lf_cr_and_crlf_each_end_one_line() {
        assert_eq!(keys(b"\n"), [Key::Enter]);
        assert_eq!(keys(b"\r"), [Key::Enter]);
        assert_eq!(keys(b"\r\n"), [Key::Enter]);
        assert_eq!(keys(b"\n\n\r\r\r\n\n"), [Key::Enter; 6]);
        assert_eq!(keys(b"\r\na"), [Key::Enter, Key::Char(b'a')]);
        assert_eq!(keys(b"\r\x1b[1;80R\n"), [Key::Enter, Key::Columns(80)]);
    }

    #[test]
    fn terminals_sequences_are_keys_in_every_dialect() {
        for (bytes, key) in [
            (&b"\x1b[A"[..], Key::Up),
            (b"\x1bOA", Key::Up),
            (b"\x1b[1;5C", Key::Right),
            (b"\x1b[H", Key::Home),
            (b"\x1b[1~", Key::Home),
            (b"\x1b[4~", Key::End),
            (b"\x1b[3~", Key::Delete),
            (b"\x7f", Key::Backspace),
            (b"\x08", Key::Backspace),
        ] {
            assert_eq!(keys(bytes), [key], "{bytes:02x?}");
        }
    }

    #[test]
    fn what_edits_a_line_is_a_key() {
        assert_eq!(keys(b"\t\x0b\x0c\x17"), [Key::Tab, Key::Cut, Key::Redraw, Key::EraseWord]);
    }

    #[test]
    fn an_unknown_sequence_leaves_nothing_behind() {
        assert_eq!(keys(b"\x1b[200~x\x1b[?25hy\x1bbz"), [b'x', b'y', b'z'].map(Key::Char));
        assert_eq!(keys(b"\x1b[9999999999~"), []);
    }

    #[test]
    fn a_control_character_cancels_a_sequence() {
        assert_eq!(keys(b"\x1b[12\n"), [Key::Enter]);
        assert_eq!(keys(b"\x1b\x03"), [Key::Interrupt]);
    }

    #[test]
    fn what_is_not_ascii_is_told_byte_by_byte_and_an_unknown_control_character_is_not() {
        let bytes = [0xc3, 0xa9].map(Key::NotAscii);
        assert_eq!(keys("é\u{0}\u{7}".as_bytes()), bytes);
        assert_eq!(keys(b"\x1b[\xffA"), [Key::NotAscii(0xff), Key::Char(b'A')]);
    }

    #[test]
    fn a_cursor_position_report_has_the_column() {
        assert_eq!(keys(b"\x1b[24;80R"), [Key::Columns(80)]);
        assert_eq!(keys(b"\x1b[1;132R\x1b[;7R"), [Key::Columns(132), Key::Columns(7)]);
    }
}
