//! The parser of the firmware interface table: which ranges of memory belong to which NVDIMM.
//!
//! Source: ACPI 6.5, 5.2.25 "NVDIMM Firmware Interface Table (NFIT)". The FIT is a list of structures, little-endian, each
//! with its own length, and of any type: unknown ones are skipped by their length. Two types matter here:
//!
//! ```text
//!  offset   0     System Physical Address (SPA) Range, 5.2.25.2      1     NVDIMM Region Mapping, 5.2.25.3
//!       0   u16   type 0                                             u16   type 1
//!       2   u16   length, 56 (64 with a location cookie)             u16   length, 48
//!       4   u16   SPA range index, not 0                             u32   NFIT device handle
//!       6   u16   flags: bit 1, the proximity domain is valid
//!      12   u32   proximity domain                                   u16   SPA range index, 0 for none
//!      16   GUID  what kind of range
//!      32   u64   start
//!      40   u64   length in bytes
//! ```
//!
//! Pure functions of bytes. Malformed ones end in an error with the offset, not in a loop or a panic (the unit tests try).

use core::fmt;

use hotmap_mm::addr::{PhysAddr, PhysRange};

/// Bytes of the part that every structure begins with: type and length.
const HEADER_BYTES: usize = 4;
/// The least bytes of a structure of type 0.
const SPA_BYTES: usize = 56;
/// The least bytes of a structure of type 1.
const MAPPING_BYTES: usize = 48;
/// The type of an SPA range.
const SPA: u16 = 0;
/// The type of a region mapping.
const MAPPING: u16 = 1;
/// SPA range flags, bit 1: the proximity domain is valid.
const NODE_VALID: u16 = 1 << 1;
/// 66F0D379-B4F3-4074-AC43-0D3318B78CDB, "Byte Addressable Persistent Memory (PM) Region" (5.2.25.2); the first three
/// fields of a GUID in memory are little-endian (UEFI 2.10, appendix A).
const PERSISTENT: [u8; 16] =
    [0x79, 0xd3, 0xf0, 0x66, 0xf3, 0xb4, 0x74, 0x40, 0xac, 0x43, 0x0d, 0x33, 0x18, 0xb7, 0x8c, 0xdb];

/// A range of persistent memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Region {
    /// The NFIT device handle of the NVDIMM that it lies on (the first one, if it is interleaved over several).
    /// Not 0, which names QEMU's root device.
    pub handle: u32,
    /// Where it is: not empty.
    pub range: PhysRange,
    /// Its NUMA node, if the table has a valid one.
    pub node: Option<u32>,
}

/// What is wrong with the table; offsets are in bytes from its first structure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NfitError {
    /// The table ends inside a structure.
    Truncated {
        /// Where the structure begins.
        offset: usize,
        /// Its length; 4 if its header is cut off.
        length: usize,
        /// The bytes that are left.
        left: usize,
    },
    /// A structure is shorter than its type's fields. (Length 0 would make the walk endless.)
    Short {
        /// Where the structure begins.
        offset: usize,
        /// Its type.
        kind: u16,
        /// Its length.
        length: usize,
        /// The least that its type needs.
        least: usize,
    },
    /// A range that is empty, or that passes the end of the 64-bit address space.
    Range {
        /// Where its structure begins.
        offset: usize,
        /// Its physical address.
        start: u64,
        /// Its bytes.
        size: u64,
    },
    /// No region mapping has the index of a range.
    NoDevice {
        /// The range's index; 0 is reserved, and names none.
        index: u16,
    },
}

impl fmt::Display for NfitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated { offset, length, left } => {
                write!(f, "FIT: the structure at {offset:#x} has {length} bytes, and {left} are left")
            }
            Self::Short { offset, kind, length, least } => {
                write!(f, "FIT: the structure at {offset:#x} has {length} bytes; type {kind} needs {least}")
            }
            Self::Range { offset, start, size } => {
                write!(f, "FIT: the range at {offset:#x} starts at {start:#x} and has {size:#x} bytes")
            }
            Self::NoDevice { index } => write!(f, "FIT: the range with index {index} belongs to no NVDIMM"),
        }
    }
}

/// The ranges of persistent memory that `fit`, a list of NFIT structures, describes. Ranges of other kinds are skipped.
/// An error in a structure's length is the last item.
pub fn regions(fit: &[u8]) -> impl Iterator<Item = Result<Region, NfitError>> + '_ {
    structures(fit).filter_map(move |structure| match structure {
        Ok(found) if found.kind() == SPA => found.region(fit).transpose(),
        Ok(_) => None,
        Err(error) => Some(Err(error)),
    })
}

/// One structure: at least as long as its type needs, and inside the table.
#[derive(Clone, Copy)]
struct Structure<'a> {
    offset: usize,
    bytes: &'a [u8],
}

impl Structure<'_> {
    /// The field at `at`; zeros beyond the structure's end, which [`structures`] has ruled out for the fields below.
    fn field<const N: usize>(&self, at: usize) -> [u8; N] {
        self.bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
    }
    fn u16(&self, at: usize) -> u16 {
        u16::from_le_bytes(self.field(at))
    }
    fn u32(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.field(at))
    }
    fn u64(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.field(at))
    }
    fn kind(&self) -> u16 {
        self.u16(0)
    }

    /// An SPA range's region; `None` if it is not persistent memory.
    fn region(&self, fit: &[u8]) -> Result<Option<Region>, NfitError> {
        if self.field(16) != PERSISTENT {
            return Ok(None);
        }
        let (start, size) = (self.u64(32), self.u64(40));
        let range = PhysRange::checked_new(PhysAddr::new(start), size).filter(|range| !range.is_empty());
        let range = range.ok_or(NfitError::Range { offset: self.offset, start, size })?;
        let node = (self.u16(6) & NODE_VALID != 0).then(|| self.u32(12));
        Ok(Some(Region { handle: device_of(fit, self.u16(4))?, range, node }))
    }
}

/// The handle of the NVDIMM that the range with `index` lies on.
fn device_of(fit: &[u8], index: u16) -> Result<u32, NfitError> {
    for structure in structures(fit) {
        let structure = structure?;
        let (handle, range) = (structure.u32(4), structure.u16(12));
        if structure.kind() == MAPPING && handle != 0 && index != 0 && range == index {
            return Ok(handle);
        }
    }
    Err(NfitError::NoDevice { index })
}

/// The structures, in order. Each step advances by the structure's length, which [`take`] requires to be at least 4; an error
/// is the last item.
fn structures(fit: &[u8]) -> impl Iterator<Item = Result<Structure<'_>, NfitError>> {
    let mut rest = fit;
    core::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let taken = take(rest, fit.len() - rest.len());
        rest = taken.as_ref().ok().and_then(|s| rest.get(s.bytes.len()..)).unwrap_or(&[]);
        Some(taken)
    })
}

/// The structure at the beginning of `rest`, which is at `offset`.
fn take(rest: &[u8], offset: usize) -> Result<Structure<'_>, NfitError> {
    let left = rest.len();
    let &[k0, k1, l0, l1, ..] = rest else {
        return Err(NfitError::Truncated { offset, length: HEADER_BYTES, left });
    };
    let (kind, length) = (u16::from_le_bytes([k0, k1]), usize::from(u16::from_le_bytes([l0, l1])));
    let least = match kind {
        SPA => SPA_BYTES,
        MAPPING => MAPPING_BYTES,
        _ => HEADER_BYTES,
    };
    if length < least {
        return Err(NfitError::Short { offset, kind, length, least });
    }
    let bytes = rest.get(..length).ok_or(NfitError::Truncated { offset, length, left })?;
    Ok(Structure { offset, bytes })
}

#[cfg(test)]
mod tests;
