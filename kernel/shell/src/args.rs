//! The words of a command line.

use hotmap_mm::addr::PhysAddr;
use hotmap_mm::pfn::Pfn;

use super::ShellError;
use crate::units::Units;
use hotmap_kernel::kernel::Kernel;
use hotmap_kernel::number;

/// The number that `word` says.
///
/// # Errors
/// `TooLarge`, or `BadWord` with what was expected.
pub(super) fn read(word: &str, expected: &'static str) -> Result<u64, ShellError> {
    number::parse(word).ok_or_else(|| {
        if number::looks_like_one(word) { ShellError::TooLarge } else { ShellError::BadWord(expected) }
    })
}

/// The words that are left.
pub(super) struct Words<'a> {
    rest: core::str::SplitAsciiWhitespace<'a>,
    last: Option<&'a str>,
}

impl<'a> Words<'a> {
    pub(super) fn new(line: &'a str) -> Self {
        Self { rest: line.split_ascii_whitespace(), last: None }
    }
    pub(super) fn next(&mut self) -> Option<&'a str> {
        self.last = self.rest.next();
        self.last
    }

    /// The word that was taken last, which is the one that an error is about; none if it was one too few.
    pub(super) const fn last(&self) -> Option<&'a str> {
        self.last
    }

    /// The next word, left where it is.
    pub(super) fn peek(&self) -> Option<&'a str> {
        self.rest.clone().next()
    }

    /// How many words are left.
    pub(super) fn left(&self) -> usize {
        self.rest.clone().count()
    }

    /// Nothing follows: a word that a command does not know is an error, not something to leave out.
    pub(super) fn end(&mut self, usage: &'static str) -> Result<(), ShellError> {
        self.next().map_or(Ok(()), |_| Err(ShellError::Usage(usage)))
    }

    /// A number.
    pub(super) fn number(&mut self, usage: &'static str) -> Result<u64, ShellError> {
        let word = self.next().ok_or(ShellError::Usage(usage))?;
        read(word, "a number (4096, 0x1000, 4K)")
    }

    /// A physical address: `0x80000000` or `addr:0x80000000`.
    pub(super) fn address(&mut self, usage: &'static str) -> Result<PhysAddr, ShellError> {
        let word = self.next().ok_or(ShellError::Usage(usage))?;
        let digits = word.strip_prefix("addr:").unwrap_or(word);
        read(digits, "an address (0x80000000, 2G)").map(PhysAddr::new)
    }

    /// A range that may leave its length out: `0x80000000` or `0x80000000,128M`.
    pub(super) fn range(&mut self, usage: &'static str) -> Result<(PhysAddr, Option<u64>), ShellError> {
        let word = self.next().ok_or(ShellError::Usage(usage))?;
        let word = word.strip_prefix("addr:").unwrap_or(word);
        let (start, len) = word.split_once(',').map_or((word, None), |(start, len)| (start, Some(len)));
        let expected = "an address (0x80000000), or one with a size (0x80000000,128M)";
        let len = len.map(|len| read(len, expected)).transpose()?;
        Ok((PhysAddr::new(read(start, expected)?), len))
    }

    /// A page: a pfn, `pfn:N`, or the address of any of its bytes as `addr:A`.
    pub(super) fn page(&mut self, kernel: &Kernel, usage: &'static str) -> Result<Pfn, ShellError> {
        let word = self.next().ok_or(ShellError::Usage(usage))?;
        let expected = "a pfn (0x80000) or an address (addr:0x80000000)";
        match word.strip_prefix("addr:") {
            Some(address) => Ok(kernel.pfn(PhysAddr::new(read(address, expected)?))),
            None => read(word.strip_prefix("pfn:").unwrap_or(word), expected).map(Pfn::new),
        }
    }
}
