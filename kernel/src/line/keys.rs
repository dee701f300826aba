//! From bytes to keys: line ends, control characters, and the escape sequences that terminals send for the keys of a
//! keyboard (ECMA-48 control sequences, and the SS3 ones that xterm sends in application mode).

/// What was typed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Key {
    /// A printable ASCII character.
    Char(u8),
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
    /// Ctrl-C.
    Interrupt,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Ground,
    /// After CR: an LF belongs to it.
    Return,
    /// After ESC.
    Escape,
    /// After ESC O.
    Ss3,
    /// After ESC [, with the first number so far.
    Csi(u8),
}

/// Decodes one byte at a time.
pub(super) struct Decoder {
    state: State,
}

impl Decoder {
    pub(super) const fn new() -> Self {
        Self { state: State::Ground }
    }

    /// Takes a byte; gives a key when one is complete. What means nothing to a line is dropped.
    pub(super) fn push(&mut self, byte: u8) -> Option<Key> {
        let state = core::mem::replace(&mut self.state, State::Ground);
        match (state, byte) {
            (State::Return, b'\n') => None,
            (State::Escape, b'[') => self.enter(State::Csi(0)),
            (State::Escape, b'O') => self.enter(State::Ss3),
            // ESC and a character is Meta with it; nothing here is bound to that.
            (State::Escape, b' '..=b'~') => None,
            (State::Ss3, b' '..=b'~') => final_byte(byte, 0),
            (State::Csi(number), b'0'..=b'9') => {
                self.enter(State::Csi(number.saturating_mul(10).saturating_add(byte - b'0')))
            }
            // Parameter and intermediate bytes; only the first number matters for the keys below.
            (State::Csi(number), b' '..=b'?') => self.enter(State::Csi(number)),
            (State::Csi(number), b'@'..=b'~') => final_byte(byte, number),
            // A control character cancels a sequence and means what it always means.
            _ => self.ground(byte),
        }
    }

    fn enter(&mut self, state: State) -> Option<Key> {
        self.state = state;
        None
    }

    fn ground(&mut self, byte: u8) -> Option<Key> {
        match byte {
            b'\n' => Some(Key::Enter),
            b'\r' => {
                self.state = State::Return;
                Some(Key::Enter)
            }
            0x1b => self.enter(State::Escape),
            0x01 => Some(Key::Home),
            0x02 => Some(Key::Left),
            0x03 => Some(Key::Interrupt),
            0x04 => Some(Key::Delete),
            0x05 => Some(Key::End),
            0x06 => Some(Key::Right),
            0x08 | 0x7f => Some(Key::Backspace),
            // A tab separates words like a space, and is as wide as one in the echo.
            b'\t' => Some(Key::Char(b' ')),
            0x0e => Some(Key::Down),
            0x10 => Some(Key::Up),
            0x15 => Some(Key::Kill),
            b' '..=b'~' => Some(Key::Char(byte)),
            _ => None,
        }
    }
}

/// The key of a complete sequence with first parameter `number`.
fn final_byte(byte: u8, number: u8) -> Option<Key> {
    match (byte, number) {
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
    fn what_is_not_ascii_is_dropped() {
        assert_eq!(keys("é\u{0}\u{80}a".as_bytes()), [Key::Char(b'a')]);
    }
}
