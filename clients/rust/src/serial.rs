//! The serial console: everything that the guest printed, and a way to wait for more.
//!
//! A thread reads the pipe to its end, so that the transcript has the last output of a guest that dies, and a guest
//! that prints much does not block on a full pipe. Nothing is dropped: a reply is found by its position.
//!
//! ```text
//!   QEMU stdout --pipe--> reader thread --> transcript: Vec<u8> --clean()--> text for parsers and people
//! ```

use crate::error::{Checked, unknown};
use crate::patience::Deadline;
use std::io::Read;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

#[derive(Debug, Default)]
struct Heard {
    bytes: Vec<u8>,
    ended: bool,
}

#[derive(Debug, Default)]
struct Shared {
    heard: Mutex<Heard>,
    news: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What has been read from a pipe so far, by a thread of its own.
#[derive(Debug)]
pub struct Transcript {
    shared: Arc<Shared>,
    reader: Option<JoinHandle<()>>,
}

impl Transcript {
    /// Starts to read `pipe` until its end.
    pub fn of(pipe: impl Read + Send + 'static) -> Self {
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let reader = std::thread::spawn(move || read_to_the_end(pipe, &theirs));
        Self { shared, reader: Some(reader) }
    }

    /// How many bytes have been read: a position to read from later.
    pub fn position(&self) -> usize {
        self.shared.lock().bytes.len()
    }

    /// Everything since `position`, cleaned for parsers and people.
    pub fn text_since(&self, position: usize) -> String {
        clean(self.shared.lock().bytes.get(position..).unwrap_or_default())
    }

    /// Everything, cleaned.
    pub fn text(&self) -> String {
        self.text_since(0)
    }

    /// Everything, byte for byte.
    pub fn raw(&self) -> Vec<u8> {
        self.shared.lock().bytes.clone()
    }

    /// Where `mark` begins the last time that it was read.
    pub fn last(&self, mark: &str) -> Option<usize> {
        let bytes = mark.as_bytes();
        self.shared.lock().bytes.windows(bytes.len().max(1)).rposition(|window| window == bytes)
    }

    /// Waits until `found` returns a value for the text since `position`, and returns it with the position reached.
    ///
    /// # Errors
    /// Unknown when the pipe ends or the deadline passes first; `what` says what was awaited.
    pub fn wait<T>(
        &self,
        position: usize,
        what: &str,
        deadline: Deadline,
        mut found: impl FnMut(&str) -> Option<T>,
    ) -> Checked<(T, usize)> {
        let mut heard = self.shared.lock();
        loop {
            let text = clean(heard.bytes.get(position..).unwrap_or_default());
            if let Some(thing) = found(&text) {
                return Ok((thing, heard.bytes.len()));
            }
            if heard.ended {
                return unknown(format!("the console ended before {what}"));
            }
            let Some(left) = deadline.left() else {
                return unknown(format!(
                    "hang: waited in vain for {what}; last line: {:?}",
                    last_line(&text)
                ));
            };
            let waited = self.shared.news.wait_timeout(heard, left);
            heard = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits for the end of the pipe, after which [`Transcript::text`] is complete.
    pub fn join(&mut self) {
        if let Some(reader) = self.reader.take() {
            // A thread that panicked has reported it on stderr; what it read is kept.
            drop(reader.join());
        }
    }
}

fn read_to_the_end(mut pipe: impl Read, shared: &Shared) {
    let mut chunk = [0; 4096];
    loop {
        let count = match pipe.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        let bytes = chunk.get(..count).unwrap_or_default();
        shared.lock().bytes.extend_from_slice(bytes);
        shared.news.notify_all();
    }
    shared.lock().ended = true;
    shared.news.notify_all();
}

/// The last line that is not blank.
pub fn last_line(text: &str) -> &str {
    text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default()
}

/// Console bytes as text: CR LF becomes LF, a lone CR (a line redrawn) starts a new line, terminal escape sequences
/// (ECMA-48 section 5.4, `ESC [ parameters final`) are left out, and bytes that are not UTF-8 become U+FFFD.
pub fn clean(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut cleaned = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\r' => {
                while chars.next_if_eq(&'\r').is_some() {}
                if chars.peek().is_some_and(|&next| next != '\n') {
                    cleaned.push('\n');
                }
            }
            '\u{1b}' if chars.next_if_eq(&'[').is_some() => {
                while chars.next_if(|c| !('@'..='~').contains(c)).is_some() {}
                chars.next();
            }
            '\u{1b}' | '\0' => {}
            _ => cleaned.push(c),
        }
    }
    cleaned
}

#[cfg(test)]
mod tests {
    use super::{Transcript, clean, last_line};
    use crate::error::Error;
    use crate::patience::Deadline;
    use std::io::Write;
    use std::time::Duration;

    #[test]
    fn line_ends_and_escapes_are_cleaned() {
        assert_eq!(clean(b"one\r\ntwo\r\r\n"), "one\ntwo\n");
        assert_eq!(clean(b"hotmap> sta\rhotmap> state\r\n"), "hotmap> sta\nhotmap> state\n");
        assert_eq!(clean(b"\x1b[1;32mgreen\x1b[0m"), "green");
        assert_eq!(clean(b"cut \xff off\x1b["), "cut \u{fffd} off");
    }

    /// A CR at the end may be half of a CR LF: no line ends there yet.
    #[test]
    fn a_trailing_cr_waits_for_its_lf() {
        assert_eq!(clean(b"one\r"), "one");
    }

    #[test]
    fn what_comes_in_pieces_is_found_and_the_end_is_noticed() {
        let (reader, mut writer) = std::io::pipe().expect("a pipe");
        let mut transcript = Transcript::of(reader);
        let feeder = std::thread::spawn(move || {
            for piece in ["hot", "map", "> ", "bye"] {
                writer.write_all(piece.as_bytes()).expect("write");
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        let deadline = Deadline::after(Duration::from_secs(20));
        let found = transcript.wait(0, "a prompt", deadline, |text| text.find("hotmap> ")).expect("found");
        assert_eq!(found.0, 0);
        let error = transcript.wait(0, "rain", deadline, |t| t.find("rain")).expect_err("no rain");
        assert_eq!(error, Error::Unknown("the console ended before rain".into()));
        feeder.join().expect("feeder");
        transcript.join();
        assert_eq!(transcript.text(), "hotmap> bye");
    }

    #[test]
    fn silence_is_a_hang_and_says_what_was_awaited() {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        let transcript = Transcript::of(reader);
        let deadline = Deadline::after(Duration::from_millis(10));
        let error = transcript.wait(0, "a prompt", deadline, |_| None::<()>).expect_err("silent");
        assert!(error.why().starts_with("hang: waited in vain for a prompt"), "{error}");
        drop(writer);
    }

    #[test]
    fn the_last_line_with_words() {
        assert_eq!(last_line("a\nb\n\n  \n"), "b");
        assert_eq!(last_line(""), "");
    }
}
