//! NVDIMMs, by the interface of QEMU's ACPI: a register takes the address of a page with a question, and QEMU writes its
//! answer into the same page. An SSDT announces the register ([`super::acpi`]); it is used as that table's `_FIT` method does.
//!
//! Source: QEMU `docs/specs/acpi_nvdimm.rst` (the page, "Read FIT"), `hw/acpi/nvdimm.c` (what it does). One table lists the NVDIMMs that were present at boot and those that were added later; an event
//! announces the latter ([`super::ged::Events::nvdimm`]).
//!
//! ```text
//!  question   0  u32 handle      4  u32 revision   8  u32 function   12  u32 offset into the table
//!  answer     0  u32 length      4  u32 status     8  length - 8 bytes of the table; none at its end
//! ```
//!
//! There is no unplug: QEMU refuses `device_del` of an NVDIMM, so no request can arrive here.

use core::fmt;

use alloc::vec::Vec;

use hotmap_mm::error::Error;
use hotmap_mm::list;

pub mod nfit;
#[cfg(target_os = "none")]
pub mod port;

use nfit::{NfitError, Region};

/// Bytes of the register (`NVDIMM_ACPI_IO_LEN`).
pub const REGISTER_BYTES: usize = 4;
/// Bytes of the page (`NVDIMM_DSM_MEMORY_SIZE`).
pub const PAGE_BYTES: usize = 4096;

/// The handle that is reserved for QEMU's own functions (`NVDIMM_QEMU_RSVD_HANDLE_ROOT`).
const HANDLE: u32 = 0x1_0000;
/// The only revision.
const REVISION: u32 = 1;
/// "Read FIT".
const READ_FIT: u32 = 1;
/// Bytes of an answer before the table's.
const ANSWER_BYTES: usize = 8;
/// The status of an answer with data.
const SUCCESS: u32 = 0;
/// The status for a table that has changed since its first part was read: it is read again from offset 0.
const CHANGED: u32 = 0x100;
/// The most bytes of a table: 256 slots (`ACPI_MAX_RAM_SLOTS`) of 184 bytes have fewer.
const MOST_BYTES: usize = 0x1_0000;
/// How often a table that changes is read from its beginning. (Each new NVDIMM changes it once, and causes an event.)
const MOST_TRIES: usize = 16;

/// The page and the register.
pub trait Port {
    /// Writes a word of the question, `offset` bytes into the page.
    fn put(&mut self, offset: usize, word: u32);
    /// Gives the page to QEMU. When this returns, the answer is there.
    fn call(&mut self);
    /// Reads a byte of the answer.
    fn get(&mut self, offset: usize) -> u8;
}

/// Why the NVDIMMs cannot be listed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NvdimmError {
    /// The answer's length is impossible: what answered is not QEMU's interface.
    Length(u32),
    /// QEMU refused to read the table.
    Status {
        /// Its status.
        status: u32,
        /// The offset in the table, in bytes.
        offset: usize,
    },
    /// The table is longer than the longest that QEMU makes.
    TooLong,
    /// The table changed each time that it was read.
    Restless,
    /// The table breaks a rule of ACPI.
    Table(NfitError),
    /// The heap has no room for the table.
    Heap(Error),
}

impl From<Error> for NvdimmError {
    fn from(error: Error) -> Self {
        Self::Heap(error)
    }
}

impl From<NfitError> for NvdimmError {
    fn from(error: NfitError) -> Self {
        Self::Table(error)
    }
}

impl fmt::Display for NvdimmError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length(length) => write!(f, "an answer cannot have {length:#x} bytes"),
            Self::Status { status, offset } => {
                write!(f, "reading the FIT at {offset:#x}: status {status:#x}")
            }
            Self::TooLong => write!(f, "the FIT does not end within {MOST_BYTES:#x} bytes"),
            Self::Restless => write!(f, "the FIT changed {MOST_TRIES} times while it was read"),
            Self::Table(error) => write!(f, "{error}"),
            Self::Heap(error) => write!(f, "{error}"),
        }
    }
}

/// What one answer was.
#[derive(PartialEq, Eq)]
enum Part {
    More,
    End,
    Changed,
}

/// The interface.
#[derive(Debug)]
pub struct Nvdimm<P> {
    port: P,
}

impl<P: Port> Nvdimm<P> {
    /// The interface behind `port`.
    pub const fn new(port: P) -> Self {
        Self { port }
    }

    /// The ranges of all NVDIMMs that are present.
    ///
    /// # Errors
    /// [`NvdimmError`]; a table with one wrong structure is refused as a whole.
    pub fn regions(&mut self) -> Result<Vec<Region>, NvdimmError> {
        let fit = self.read_fit()?;
        let mut found = Vec::new();
        for region in nfit::regions(&fit) {
            let region = region?;
            list::reserve(&mut found, 1)?;
            found.push(region);
        }
        Ok(found)
    }

    /// The firmware interface table: a list of NFIT structures.
    ///
    /// # Errors
    /// [`NvdimmError`].
    pub fn read_fit(&mut self) -> Result<Vec<u8>, NvdimmError> {
        let mut fit = Vec::new();
        for _ in 0..MOST_TRIES {
            fit.clear();
            loop {
                match self.read_part(&mut fit)? {
                    Part::More => {}
                    Part::End => return Ok(fit),
                    Part::Changed => break,
                }
            }
        }
        Err(NvdimmError::Restless)
    }

    /// Asks for the part of the table that follows `fit`, and appends it.
    fn read_part(&mut self, fit: &mut Vec<u8>) -> Result<Part, NvdimmError> {
        let offset = fit.len();
        let at = u32::try_from(offset).map_err(|_| NvdimmError::TooLong)?;
        for (place, word) in [HANDLE, REVISION, READ_FIT, at].into_iter().enumerate() {
            self.port.put(place * 4, word);
        }
        self.port.call();
        let length = self.word(0);
        let end = usize::try_from(length).unwrap_or(usize::MAX);
        if !(ANSWER_BYTES..=PAGE_BYTES).contains(&end) {
            return Err(NvdimmError::Length(length));
        }
        match self.word(4) {
            SUCCESS if end == ANSWER_BYTES => return Ok(Part::End),
            SUCCESS => {}
            CHANGED => return Ok(Part::Changed),
            status => return Err(NvdimmError::Status { status, offset }),
        }
        if offset + (end - ANSWER_BYTES) > MOST_BYTES {
            return Err(NvdimmError::TooLong);
        }
        list::reserve(fit, end - ANSWER_BYTES)?;
        fit.extend((ANSWER_BYTES..end).map(|at| self.port.get(at)));
        Ok(Part::More)
    }

    fn word(&mut self, offset: usize) -> u32 {
        u32::from_le_bytes(core::array::from_fn(|byte| self.port.get(offset + byte)))
    }
}

#[cfg(test)]
mod tests;
