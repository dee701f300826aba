//! Standard output, which its reader may close at any time (`boot-tests --list | head -1`).
//!
//! `println!` panics then, and a panic that aborts leaves QEMU running. Here a closed output is remembered instead, and
//! the program ends in order: its guests are dropped, and dropping a guest ends its QEMU.

use std::fmt::Display;
use std::io::{ErrorKind, Write};
use std::sync::atomic::{AtomicBool, Ordering};

/// `println!` for an output that may be closed.
#[macro_export]
macro_rules! say {
    ($($text:tt)+) => {
        $crate::output::line(format_args!($($text)+))
    };
}

static CLOSED: AtomicBool = AtomicBool::new(false);

/// Whether the reader has closed standard output: nothing more is worth doing.
pub fn is_closed() -> bool {
    CLOSED.load(Ordering::Relaxed)
}

/// Prints a line; does nothing once the output is closed.
pub fn line(text: impl Display) {
    print(format_args!("{text}\n"));
}

/// Prints text as it is, and flushes it.
pub fn print(text: impl Display) {
    if !is_closed() && write_to(&mut std::io::stdout().lock(), &text) == Written::Closed {
        CLOSED.store(true, Ordering::Relaxed);
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Written {
    Well,
    Closed,
}

/// A full disk and the like are reported on standard error, and treated as a closed output.
fn write_to(output: &mut impl Write, text: &impl Display) -> Written {
    match write!(output, "{text}").and_then(|()| output.flush()) {
        Ok(()) => Written::Well,
        Err(error) => {
            if error.kind() != ErrorKind::BrokenPipe {
                eprintln!("error: standard output: {error}");
            }
            Written::Closed
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Written, write_to};

    #[test]
    fn a_pipe_without_a_reader_is_closed() {
        let (reader, mut writer) = std::io::pipe().expect("a pipe");
        assert_eq!(write_to(&mut writer, &"one"), Written::Well);
        drop(reader);
        assert_eq!(write_to(&mut writer, &"two"), Written::Closed);
    }
}
