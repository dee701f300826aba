//! The lines that were typed before, and the search in them.

use heapless::Vec;

/// Room for them, in bytes: the oldest go.
const CAPACITY: usize = 2048;

/// Old lines, each with a line feed behind it; the newest is the last.
pub(super) struct History {
    lines: Vec<u8, CAPACITY>,
}

impl History {
    pub(super) const fn new() -> Self {
        Self { lines: Vec::new() }
    }

    /// Where a search begins: behind the newest line.
    pub(super) fn end(&self) -> usize {
        self.lines.len()
    }

    /// Keeps a line, unless it is blank, the newest one, or has no room.
    pub(super) fn push(&mut self, line: &str) {
        if line.trim_ascii().is_empty() || self.before(self.end()) == Some(line) || line.len() >= CAPACITY {
            return;
        }
        while self.lines.len() + line.len() + 1 > CAPACITY {
            self.drop_oldest();
        }
        // There is room now.
        let _ = self.lines.extend_from_slice(line.as_bytes());
        let _ = self.lines.push(b'\n');
    }

    fn drop_oldest(&mut self) {
        let end = self.lines.iter().position(|&byte| byte == b'\n').map_or(self.lines.len(), |at| at + 1);
        self.lines.rotate_left(end);
        self.lines.truncate(self.lines.len() - end);
    }

    /// The line that ends right before `at`.
    fn before(&self, at: usize) -> Option<&str> {
        let lines = self.lines.get(..at.checked_sub(1)?)?;
        let start = lines.iter().rposition(|&byte| byte == b'\n').map_or(0, |feed| feed + 1);
        core::str::from_utf8(lines.get(start..)?).ok()
    }

    /// The newest line before the one at `at` that begins with `prefix` and is another than `shown`, and where it starts.
    pub(super) fn older(&self, mut at: usize, prefix: &str, shown: &str) -> Option<(usize, &str)> {
        while let Some(line) = self.before(at) {
            at -= line.len() + 1;
            if line.starts_with(prefix) && line != shown {
                return Some((at, line));
            }
        }
        None
    }

    /// The oldest line after the one at `at` that begins with `prefix` and is another than `shown`, and where it starts.
    pub(super) fn newer(&self, mut at: usize, prefix: &str, shown: &str) -> Option<(usize, &str)> {
        loop {
            at += self.lines.get(at..)?.iter().position(|&byte| byte == b'\n')? + 1;
            let rest = self.lines.get(at..)?;
            let end = rest.iter().position(|&byte| byte == b'\n')?;
            let line = core::str::from_utf8(rest.get(..end)?).ok()?;
            if line.starts_with(prefix) && line != shown {
                return Some((at, line));
            }
        }
    }
}
