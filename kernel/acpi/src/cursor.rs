//! The tables as a stream of bytes: forward only, and never behind the end of what is read.

use crate::problem::{Problem, What};

/// Reading cannot go on here: the cursor has noted why. (Not the problem itself: it would be copied through every caller.)
#[derive(Debug)]
pub(crate) struct Stop;

/// Where the tables come from.
pub trait Source {
    /// The next eight bytes, the first one lowest; zeros behind the end.
    fn next(&mut self) -> u64;
}

/// Where in the stream reading is.
pub(crate) struct Cursor<'a> {
    source: &'a mut dyn Source,
    /// Bytes that are taken from the source and not read yet, the next one lowest.
    word: u64,
    left: u32,
    at: u32,
    problem: Option<Problem>,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(source: &'a mut dyn Source) -> Self {
        Self { source, word: 0, left: 0, at: 0, problem: None }
    }

    /// Bytes from the start of the file.
    pub(crate) fn at(&self) -> u32 {
        self.at
    }

    /// The first problem.
    pub(crate) fn problem(&self) -> Option<Problem> {
        self.problem
    }

    /// Notes a problem at byte `at`, unless there was one before.
    #[cold]
    #[inline(never)]
    pub(crate) fn stop_at(&mut self, at: u32, what: What) -> Stop {
        self.problem.get_or_insert(Problem { at, what });
        Stop
    }

    /// Notes a problem here.
    pub(crate) fn stop(&mut self, what: What) -> Stop {
        self.stop_at(self.at, what)
    }

    /// The next byte, which must lie before `end`.
    pub(crate) fn byte(&mut self, end: u32) -> Result<u8, Stop> {
        if self.at >= end {
            return Err(self.stop(What::End));
        }
        if self.left == 0 {
            (self.word, self.left) = (self.source.next(), 8);
        }
        let [byte, ..] = self.word.to_le_bytes();
        self.word >>= 8;
        self.left -= 1;
        self.at += 1;
        Ok(byte)
    }

    pub(crate) fn bytes<const N: usize>(&mut self, end: u32) -> Result<[u8; N], Stop> {
        let mut bytes = [0; N];
        for byte in &mut bytes {
            *byte = self.byte(end)?;
        }
        Ok(bytes)
    }

    /// A little-endian number of `bytes` bytes, at most 8.
    pub(crate) fn number(&mut self, bytes: u32, end: u32) -> Result<u64, Stop> {
        let mut number = 0;
        for place in 0..bytes {
            number |= u64::from(self.byte(end)?) << (place * 8);
        }
        Ok(number)
    }

    /// Leaves the next `count` bytes out, which must lie before `end`.
    pub(crate) fn skip(&mut self, count: u32, end: u32) -> Result<(), Stop> {
        match self.at.checked_add(count).filter(|to| *to <= end) {
            Some(to) => {
                self.go_to(to);
                Ok(())
            }
            None => Err(self.stop(What::End)),
        }
    }

    /// Goes on to byte `to`, if it was not reached yet.
    pub(crate) fn go_to(&mut self, to: u32) {
        let mut count = to.saturating_sub(self.at);
        self.at += count;
        while count > self.left {
            count -= self.left;
            (self.word, self.left) = (self.source.next(), 8);
        }
        self.word = self.word.checked_shr(count * 8).unwrap_or(0);
        self.left -= count;
    }
}
