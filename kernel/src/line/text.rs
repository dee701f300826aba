//! What a line is, for the editors and for the shell.

use core::fmt;

/// What asks for a command.
pub const PROMPT: &str = "hotmap> ";
/// The longest line, in bytes.
pub const MAX_LINE: usize = 1024;

/// The text of a line.
pub type Text = heapless::String<MAX_LINE>;

/// What a finished line was.
#[derive(Clone, PartialEq, Eq, Debug)]
#[expect(clippy::large_enum_variant, reason = "there is no allocator here, and one line at a time")]
pub enum Line {
    /// The line as it was typed, without its end.
    Text(Text),
    /// It had more than [`MAX_LINE`] bytes, and none of it counts.
    TooLong,
    /// It had a byte that is not printable ASCII, and none of it counts.
    NotText {
        /// The first such byte.
        byte: u8,
        /// Where it stood, counted from 1.
        column: usize,
    },
}

impl fmt::Display for Line {
    /// The text, or for a line that does not count what the shell says after `error: `.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::TooLong => write!(f, "the line is longer than {MAX_LINE} bytes"),
            Self::NotText { byte, column } => {
                write!(f, "byte {column} of the line is {byte:#04x}, which is not printable ASCII")
            }
        }
    }
}
