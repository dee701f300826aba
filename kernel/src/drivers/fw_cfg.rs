//! QEMU's firmware configuration device: named files from the command line (`-fw_cfg name=opt/...,string=...`).
//!
//! Source: QEMU `docs/specs/fw_cfg.rst`. Memory-mapped registers: the selector is 16 bits at offset 8 and **big-endian**;
//! the data register at offset 0 gives the selected item's bytes in order, one for each byte read. Selecting starts at the
//! item's beginning; reading past its end gives zeros.
//!
//! There is no pointer in here and nothing static, so boot code can use it with the MMU off.
#![expect(unsafe_code, reason = "the registers' address comes from outside; rule M4")]

use core::fmt;

use super::mmio::{Register, Window};

/// Item 0x0000 (`FW_CFG_SIGNATURE`): the four bytes "QEMU".
const SIGNATURE: u16 = 0x0000;
/// Item 0x0019 (`FW_CFG_FILE_DIR`): a count, and that many entries.
const FILE_DIRECTORY: u16 = 0x0019;
/// Bytes of a file's name in the directory, with at least one NUL.
const NAME_BYTES: usize = 56;
/// The most files of a directory. A larger count means that the device is not fw_cfg.
const MAX_FILES: u32 = 4096;
/// The data register.
const DATA: Register<u8> = Register::at(0x00);
/// The selector register, big-endian.
const SELECTOR: Register<u16> = Register::at(0x08);
/// Bytes of the registers that are used here (the DMA register after them is not).
const WINDOW_BYTES: usize = 0x10;

/// What the device does.
pub trait Port {
    /// Selects item `key`, from its first byte.
    fn select(&mut self, key: u16);
    /// The next byte of the selected item.
    fn next_byte(&mut self) -> u8;
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
    fn next_byte(&mut self) -> u8 {
        self.0.get(DATA)
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
        let found = bytes(&mut port);
        if found == *b"QEMU" { Ok(Self { port }) } else { Err(FwCfgError::NoSignature(found)) }
    }

    /// Looks a file up by its whole name.
    ///
    /// # Errors
    /// [`FwCfgError::BadDirectory`].
    pub fn find(&mut self, name: &str) -> Result<Option<File>, FwCfgError> {
        self.port.select(FILE_DIRECTORY);
        let count = u32::from_be_bytes(bytes(&mut self.port));
        if count > MAX_FILES {
            return Err(FwCfgError::BadDirectory { count });
        }
        for _ in 0..count {
            // An entry: size, key, two reserved bytes, name.
            let size = u32::from_be_bytes(bytes(&mut self.port));
            let key = u16::from_be_bytes(bytes(&mut self.port));
            let _reserved: [u8; 2] = bytes(&mut self.port);
            let found: [u8; NAME_BYTES] = bytes(&mut self.port);
            if found.split(|&byte| byte == 0).next() == Some(name.as_bytes()) {
                return Ok(Some(File { key, size }));
            }
        }
        Ok(None)
    }

    /// Reads the file `name` into the beginning of `buffer`, and returns that part; `None` if there is no such file.
    ///
    /// # Errors
    /// [`FwCfgError::BadDirectory`], [`FwCfgError::TooLarge`].
    pub fn read<'a>(&mut self, name: &str, buffer: &'a mut [u8]) -> Result<Option<&'a [u8]>, FwCfgError> {
        let Some(File { key, size }) = self.find(name)? else { return Ok(None) };
        let room = buffer.len();
        let Some(place) = buffer.get_mut(..size as usize) else {
            return Err(FwCfgError::TooLarge { size, room });
        };
        self.port.select(key);
        place.fill_with(|| self.port.next_byte());
        Ok(Some(place))
    }
}

/// The next `N` bytes of the selected item.
fn bytes<const N: usize>(port: &mut impl Port) -> [u8; N] {
    core::array::from_fn(|_| port.next_byte())
}

#[cfg(test)]
mod tests;
