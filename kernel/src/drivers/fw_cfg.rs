//! QEMU's firmware configuration device: named files from the command line (`-fw_cfg name=opt/...,string=...`).
//!
//! Source: QEMU `docs/specs/fw_cfg.rst`. Memory-mapped registers: the selector is 16 bits at offset 8 and **big-endian**;
//! the data register at offset 0 gives the selected item's bytes in order. A read of 4 or 8 bytes gives as many, the first
//! one at the lowest address. Selecting starts at the item's beginning; reading past its end gives zeros.
//!
//! The DMA interface is not used: with the MMU off, memory is not coherent with a device that writes through a cache, and
//! reads of 8 bytes are few.
//!
//! There is no pointer in here and nothing static, so boot code can use it with the MMU off.
#![expect(unsafe_code, reason = "the registers' address comes from outside; rule M4")]

use core::fmt;

use hotmap_acpi::{Announced, Source};

use super::mmio::{Register, Window};

/// Item 0x0000 (`FW_CFG_SIGNATURE`): the four bytes "QEMU".
const SIGNATURE: u16 = 0x0000;
/// Item 0x0019 (`FW_CFG_FILE_DIR`): a count, and that many entries.
const FILE_DIRECTORY: u16 = 0x0019;
/// Bytes of a file's name in the directory, with at least one NUL.
const NAME_BYTES: usize = 56;
/// The most files of a directory. A larger count means that the device is not fw_cfg.
const MAX_FILES: u32 = 4096;
/// The data register, for four bytes of the item ...
const DATA_4: Register<u32> = Register::at(0x00);
/// ... and for eight.
const DATA_8: Register<u64> = Register::at(0x00);
/// The selector register, big-endian.
const SELECTOR: Register<u16> = Register::at(0x08);
/// Bytes of the registers that are used here (the DMA register after them is not).
const WINDOW_BYTES: usize = 0x10;

/// What the device does.
pub trait Port {
    /// Selects item `key`, from its first byte.
    fn select(&mut self, key: u16);
    /// The next four bytes of the selected item.
    fn next_4(&mut self) -> [u8; 4];
    /// The next eight bytes of the selected item.
    fn next_8(&mut self) -> [u8; 8];
}

/// The device behind its memory-mapped registers.
#[derive(Debug)]
pub struct MmioPort(Window);

impl MmioPort {
    /// The device at `base`.
    ///
    /// # Safety
    /// M4.
    pub unsafe fn new(base: usize) -> Self {
        // SAFETY: M4, which the caller promises.
        Self(unsafe { Window::new(base, WINDOW_BYTES) })
    }
}

impl Port for MmioPort {
    fn select(&mut self, key: u16) {
        self.0.set(SELECTOR, key.to_be());
    }
    fn next_4(&mut self) -> [u8; 4] {
        self.0.get(DATA_4).to_ne_bytes()
    }
    fn next_8(&mut self) -> [u8; 8] {
        self.0.get(DATA_8).to_ne_bytes()
    }
}

/// Why a file could not be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FwCfgError {
    /// Item 0 is not "QEMU".
    NoSignature([u8; 4]),
    /// The directory's count is larger than any that QEMU makes.
    BadDirectory {
        /// The count.
        count: u32,
    },
    /// The file is larger than the buffer.
    TooLarge {
        /// The file's bytes.
        size: u32,
        /// The buffer's bytes.
        room: usize,
    },
}

impl fmt::Display for FwCfgError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSignature(found) => write!(f, "fw_cfg: its signature is {found:02x?}, not \"QEMU\""),
            Self::BadDirectory { count } => {
                write!(f, "fw_cfg: the directory has {count} files; the most is {MAX_FILES}")
            }
            Self::TooLarge { size, room } => {
                write!(f, "fw_cfg: the file has {size} bytes, and there is room for {room}")
            }
        }
    }
}

/// A file of the directory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct File {
    /// What to select.
    pub key: u16,
    /// Its bytes.
    pub size: u32,
}

/// The device, whose signature was checked.
#[derive(Debug)]
pub struct FwCfg<P> {
    port: P,
}

impl<P: Port> FwCfg<P> {
    /// Takes the device, if it has the signature.
    ///
    /// # Errors
    /// [`FwCfgError::NoSignature`].
    pub fn new(mut port: P) -> Result<Self, FwCfgError> {
        port.select(SIGNATURE);
        let found = port.next_4();
        if found == *b"QEMU" { Ok(Self { port }) } else { Err(FwCfgError::NoSignature(found)) }
    }

    /// Looks files up by their whole names, each of at most 55 bytes, in one pass over the directory.
    ///
    /// # Errors
    /// [`FwCfgError::BadDirectory`].
    pub fn find<const N: usize>(&mut self, names: [&str; N]) -> Result<[Option<File>; N], FwCfgError> {
        let names = names.map(padded);
        let mut found = [None; N];
        self.port.select(FILE_DIRECTORY);
        let count = u32::from_be_bytes(self.port.next_4());
        if count > MAX_FILES {
            return Err(FwCfgError::BadDirectory { count });
        }
        for _ in 0..count {
            // An entry: size, key, two reserved bytes, name.
            let [s0, s1, s2, s3, k0, k1, _, _] = self.port.next_8();
            let name: [[u8; 8]; NAME_BYTES / 8] = core::array::from_fn(|_| self.port.next_8());
            if let Some(at) = names.iter().position(|other| *other == name) {
                let (size, key) = (u32::from_be_bytes([s0, s1, s2, s3]), u16::from_be_bytes([k0, k1]));
                found[at].get_or_insert(File { key, size });
            }
        }
        Ok(found)
    }

    /// Reads a file into the beginning of `buffer`, and returns that part.
    ///
    /// # Errors
    /// [`FwCfgError::TooLarge`].
    pub fn read<'a>(&mut self, file: File, buffer: &'a mut [u8]) -> Result<&'a [u8], FwCfgError> {
        let File { key, size } = file;
        let room = buffer.len();
        let Some(place) = buffer.get_mut(..size as usize) else {
            return Err(FwCfgError::TooLarge { size, room });
        };
        self.port.select(key);
        for piece in place.chunks_mut(8) {
            piece.copy_from_slice(&self.port.next_8()[..piece.len()]);
        }
        Ok(place)
    }

    /// What is announced by the file of ACPI tables.
    pub fn read_acpi(&mut self, file: File) -> Announced {
        self.port.select(file.key);
        hotmap_acpi::read(&mut Tables(&mut self.port), file.size)
    }
}

/// A name as the directory has it: NULs up to 56 bytes.
fn padded(name: &str) -> [[u8; 8]; NAME_BYTES / 8] {
    let mut padded = [[0; 8]; NAME_BYTES / 8];
    for (place, piece) in padded.iter_mut().zip(name.as_bytes().chunks(8)) {
        place[..piece.len()].copy_from_slice(piece);
    }
    padded
}

/// The selected item, as the reader of ACPI tables takes it.
struct Tables<'a, P>(&'a mut P);

impl<P: Port> Source for Tables<'_, P> {
    fn next(&mut self) -> u64 {
        u64::from_le_bytes(self.0.next_8())
    }
}

#[cfg(test)]
mod tests;
