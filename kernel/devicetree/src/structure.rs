//! The structure block as a sequence of tokens (Devicetree Specification 5.4): the one walk that decides whether
//! it is well formed, before the `fdt` crate reads it.
//!
//! ```text
//!   BEGIN_NODE name\0 pad  (NOP | PROP len nameoff value pad)*  (NOP | node)*  END_NODE   NOP*  END
//! ```
//!
//! The crate leaves out what it must not be given: it ends its iteration in silence where the block breaks off
//! and below [`MAX_DEPTH`], and panics on a block too short for a root.
use crate::error::DtError;
use crate::header::Blocks;
use crate::value::{CELL, u32_at};

/// How many levels there may be below the root; `fdt` keeps an array of 16 ancestors (`AllNodesIter`).
pub const MAX_DEPTH: usize = 15;

const BEGIN_NODE: u32 = 1;
const END_NODE: u32 = 2;
const PROP: u32 = 3;
const NOP: u32 = 4;
const END: u32 = 9;

/// The longest property name. The specification allows 31 bytes (2.2.4.1), trees in use have somewhat more; without
/// a limit a blob could have its every property named by one string of a megabyte.
pub(crate) const PROPERTY_NAME_LIMIT: usize = 255;

/// Where the walk stands.
struct Walk<'a> {
    structure: &'a [u8],
    structure_offset: usize,
    strings_size: usize,
    /// Offset in the structure block of the token that is looked at.
    at: usize,
    /// How many nodes are open.
    open: usize,
    /// Properties come before child nodes, and only inside of a node.
    properties_allowed: bool,
    /// The root has been opened (and closed, when nothing is open).
    has_root: bool,
}

/// Walks every token, after a look at the strings that name the properties.
pub(crate) fn check(blocks: &Blocks<'_>) -> Result<(), DtError> {
    check_strings(blocks.strings)?;
    let mut walk = Walk {
        structure: blocks.structure,
        structure_offset: blocks.structure_offset,
        strings_size: blocks.strings.len(),
        at: 0,
        open: 0,
        properties_allowed: false,
        has_root: false,
    };
    while let Some(next) = walk.step()? {
        walk.at = next;
    }
    Ok(())
}

/// Every string ends, and is short. (A name may start in the middle of one.)
fn check_strings(strings: &[u8]) -> Result<(), DtError> {
    let mut from = 0;
    while let Some(rest) = strings.get(from..).filter(|rest| !rest.is_empty()) {
        let Some(length) = rest.iter().take(PROPERTY_NAME_LIMIT + 1).position(|byte| *byte == 0) else {
            return Err(DtError::StringLength { offset: from, limit: PROPERTY_NAME_LIMIT });
        };
        from += length + 1;
    }
    Ok(())
}

impl Walk<'_> {
    /// Checks one token; returns where the next one is, `None` after the last.
    fn step(&mut self) -> Result<Option<usize>, DtError> {
        let token = self.word(0)?;
        let next = match token {
            BEGIN_NODE => self.begin_node()?,
            END_NODE if self.open > 0 => {
                self.open -= 1;
                self.properties_allowed = false;
                self.at + CELL
            }
            PROP if self.properties_allowed => self.property()?,
            NOP => self.at + CELL,
            END if self.has_root && self.open == 0 => return self.end(),
            BEGIN_NODE..=NOP | END => return Err(DtError::MisplacedToken { offset: self.offset(), token }),
            _ => return Err(DtError::UnknownToken { offset: self.offset(), token }),
        };
        Ok(Some(next))
    }

    fn begin_node(&mut self) -> Result<usize, DtError> {
        if self.open == 0 && self.has_root {
            return Err(DtError::MisplacedToken { offset: self.offset(), token: BEGIN_NODE });
        }
        if self.open > MAX_DEPTH {
            return Err(DtError::TooDeep { offset: self.offset(), limit: MAX_DEPTH });
        }
        self.open += 1;
        self.has_root = true;
        self.properties_allowed = true;
        let name = self.structure.get(self.at + CELL..).unwrap_or_default();
        let length = name.iter().position(|byte| *byte == 0).ok_or_else(|| self.truncated())?;
        self.aligned(self.at + CELL + length + 1)
    }

    fn property(&self) -> Result<usize, DtError> {
        let (size, name_offset) = (self.word(1)?, self.word(2)?);
        if name_offset as usize >= self.strings_size {
            let (offset, strings_size) = (self.offset(), self.strings_size);
            return Err(DtError::PropertyNameBounds { offset, name_offset, strings_size });
        }
        // The sum cannot wrap: a slice is shorter than isize::MAX, and usize is 64 bits on every target.
        self.aligned(self.at + 3 * CELL + size as usize)
    }

    fn end(&self) -> Result<Option<usize>, DtError> {
        let tail = self.structure.len() - (self.at + CELL);
        match tail {
            0 => Ok(None),
            size => Err(DtError::StructureTail { offset: self.offset() + CELL, size }),
        }
    }

    /// `end` rounded up to a cell, if that is inside of the block.
    fn aligned(&self, end: usize) -> Result<usize, DtError> {
        let next = end.next_multiple_of(CELL);
        if next <= self.structure.len() { Ok(next) } else { Err(self.truncated()) }
    }

    /// The word `index` cells behind the token's start.
    fn word(&self, index: usize) -> Result<u32, DtError> {
        u32_at(self.structure, self.at + index * CELL).ok_or_else(|| self.truncated())
    }

    /// Offset in the blob of the token that is looked at.
    fn offset(&self) -> usize {
        self.structure_offset + self.at
    }

    fn truncated(&self) -> DtError {
        DtError::StructureTruncated { offset: self.offset() }
    }
}
