//! The last log lines, kept so that they can be read again. A position counts the bytes that were logged before it.

/// Bytes that are kept, with line feeds.
pub(super) const KEPT: usize = 8192;

/// A ring of bytes. All zeros is an empty one.
pub(super) struct Ring {
    bytes: [u8; KEPT],
    /// The position behind the last byte.
    end: usize,
}

/// Runs `body` with the ring, which the console's lock does not guard: another CPU may read it.
#[cfg(target_os = "none")]
pub(super) fn with<R>(body: impl FnOnce(&mut Ring) -> R) -> R {
    static RING: crate::lock::Lock<Ring> = crate::lock::Lock::new(Ring::new());
    body(&mut RING.lock())
}

/// Runs `body` with the ring of this thread, which has a machine of its own.
#[cfg(not(target_os = "none"))]
pub(super) fn with<R>(body: impl FnOnce(&mut Ring) -> R) -> R {
    std::thread_local! { static RING: std::cell::RefCell<Ring> = const { std::cell::RefCell::new(Ring::new()) } }
    RING.with_borrow_mut(body)
}

/// A part of a log line.
#[derive(Clone, Copy, Debug)]
pub struct Logged {
    /// Where it begins.
    pub at: usize,
    /// How many bytes were copied.
    pub len: usize,
    /// Where the next one begins: the rest of the line, if it is longer than the buffer.
    pub next: usize,
}

impl Ring {
    const fn new() -> Self {
        Self { bytes: [0; KEPT], end: 0 }
    }

    fn byte(&self, at: usize) -> u8 {
        self.bytes[at % KEPT]
    }

    pub(super) fn push(&mut self, text: &[u8]) {
        for byte in text {
            self.bytes[self.end % KEPT] = *byte;
            self.end += 1;
        }
    }

    /// Copies the line at `from` or, if that is not kept any more, the oldest line that is whole.
    pub(super) fn read(&self, from: usize, line: &mut [u8]) -> Option<Logged> {
        let oldest = self.end.saturating_sub(KEPT);
        let at =
            if from >= oldest { from } else { (oldest..self.end).find(|at| self.byte(*at) == b'\n')? + 1 };
        let kept = (at..self.end).map(|at| self.byte(at)).take_while(|byte| *byte != b'\n');
        let len = line.iter_mut().zip(kept).map(|(to, byte)| *to = byte).count();
        let end = at + len;
        let feed = end < self.end && self.byte(end) == b'\n';
        (at < self.end).then_some(Logged { at, len, next: end + usize::from(feed) })
    }
}

#[cfg(test)]
mod tests {
    use super::{KEPT, Ring};
    use std::format;
    use std::string::String;
    use std::vec::Vec;

    /// The lines that are kept, and how many bytes before them are not.
    fn read(ring: &Ring) -> (usize, Vec<String>) {
        let (mut from, mut gone, mut lines, mut part) = (0, 0, Vec::new(), [0; 64]);
        while let Some(logged) = ring.read(from, &mut part) {
            gone += logged.at - from;
            lines.push(String::from_utf8(part[..logged.len].to_vec()).expect("ASCII"));
            from = logged.next;
        }
        (gone, lines)
    }

    /// Against a list of all lines: those that are kept are its last ones, and the bytes of the others are counted.
    #[test]
    fn the_last_whole_lines_are_kept_and_what_is_gone_is_counted() {
        let (mut ring, mut all) = (Ring::new(), Vec::new());
        assert_eq!(read(&ring), (0, Vec::new()));
        for number in 0..1000_usize {
            let line = format!("line {number}{}", "x".repeat(number % 40));
            ring.push(line.as_bytes());
            ring.push(b"\n");
            all.push(line);
            let (gone, kept) = read(&ring);
            let (before, after) = all.split_at(all.len() - kept.len());
            assert_eq!(kept, after);
            assert_eq!(gone, before.iter().map(|line| line.len() + 1).sum::<usize>());
            let bytes: usize = after.iter().map(|line| line.len() + 1).sum();
            assert!(before.is_empty() || bytes + 64 > KEPT, "{bytes} are kept");
        }
    }

    /// A line that is longer than the buffer comes in parts; one that is longer than the ring is gone.
    #[test]
    fn a_long_line_comes_in_parts() {
        let mut ring = Ring::new();
        ring.push("y".repeat(100).as_bytes());
        ring.push(b"\n\nend\n");
        let (gone, lines) = read(&ring);
        assert_eq!((gone, lines.concat()), (0, "y".repeat(100) + "end"));
        assert_eq!(lines.iter().map(String::len).collect::<Vec<_>>(), [64, 36, 0, 3]);
        ring.push("z".repeat(2 * KEPT).as_bytes());
        ring.push(b"\nlast\n");
        assert_eq!(read(&ring), (106 + 2 * KEPT + 1, Vec::from(["last".into()])));
    }
}
