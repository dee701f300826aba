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
    /// The line as it was typed, without its end. Never blank.
    Text(Text),
    /// It had more than [`MAX_LINE`] bytes, and none of it counts.
    TooLong,
}

impl fmt::Display for Line {
    /// The text, or for a line that was too long what the shell says after `error: `.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::TooLong => write!(f, "the line is longer than {MAX_LINE} bytes"),
        }
    }
}
