//! The guest's physical memory, by QMP `pmemsave`: QEMU writes a range into a file, which is read here.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use hotmap_client::error::{Checked, Error, unknown};
use hotmap_client::qmp::Qmp;
use hotmap_client::state::State;
use hotmap_view::{Memory, Unreadable};
use qapi::qmp::pmemsave;
use tempfile::TempDir;

/// Bytes of the least read: a page of the smallest granule.
const LEAST: u64 = 4 << 10;
/// Bytes of the largest read: each read that follows another is twice as large.
const MOST: u64 = 1 << 20;

/// A path at which QEMU may create a file, in a folder that goes with this.
pub struct Scratch {
    path: PathBuf,
    _folder: TempDir,
}

impl Scratch {
    /// In memory, where the host has a folder for that: a file on a disk costs four times as much.
    ///
    /// # Errors
    /// Unknown when no folder can be made.
    pub fn new() -> Checked<Self> {
        let mut builder = tempfile::Builder::new();
        let builder = builder.prefix("hotmap-");
        let folder = builder.tempdir_in("/dev/shm").or_else(|_| builder.tempdir());
        let folder = folder.map_err(|error| Error::Unknown(format!("no temporary directory: {error}")))?;
        Ok(Self { path: folder.path().join("memory"), _folder: folder })
    }
    /// The path.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The memory of a guest during one look. What was read once is not read again.
pub struct GuestMemory<'q> {
    qmp: RefCell<&'q mut Qmp>,
    file: PathBuf,
    present: Vec<Range<u64>>,
    read: RefCell<BTreeMap<u64, Vec<u8>>>,
    /// Where the last read ended, and how large the next one is if it begins there.
    next: Cell<(u64, u64)>,
    failure: RefCell<Option<Error>>,
}

impl<'q> GuestMemory<'q> {
    /// The memory that `state` lists; QEMU answers zeroes for what is not there. Reads go through `file`, a path for QEMU to
    /// create.
    pub fn new(qmp: &'q mut Qmp, state: &State, file: &Path) -> Self {
        Self {
            qmp: RefCell::new(qmp),
            file: file.to_owned(),
            present: present(state),
            read: RefCell::default(),
            next: Cell::default(),
            failure: RefCell::default(),
        }
    }

    /// Whether every read succeeded where there is memory.
    ///
    /// # Errors
    /// Unknown with the first failure.
    pub fn sound(&self) -> Checked {
        self.failure.borrow_mut().take().map_or(Ok(()), Err)
    }

    /// Reads the range that begins at the page of `pa` and ends before `end`.
    fn fetch(&self, pa: u64, end: u64) -> Checked {
        let start = pa / LEAST * LEAST;
        let (expected, larger) = self.next.get();
        let size = if start == expected { larger } else { LEAST }.min(end - start);
        let bytes = save(&mut self.qmp.borrow_mut(), start, size, &self.file)?;
        self.next.set((start + size, (size * 2).clamp(LEAST, MOST)));
        self.read.borrow_mut().insert(start, bytes);
        Ok(())
    }

    /// Copies what has been read of `pa` on. Returns how many bytes that are.
    fn copy(&self, pa: u64, bytes: &mut [u8]) -> usize {
        let read = self.read.borrow();
        let Some((start, chunk)) = read.range(..=pa).next_back() else { return 0 };
        let known = usize::try_from(pa - start).ok().and_then(|at| chunk.get(at..)).unwrap_or_default();
        let count = known.len().min(bytes.len());
        bytes[..count].copy_from_slice(&known[..count]);
        count
    }
}

impl Memory for GuestMemory<'_> {
    fn read(&self, pa: u64, bytes: &mut [u8]) -> Result<(), Unreadable> {
        let end = pa.checked_add(bytes.len() as u64).ok_or(Unreadable { pa })?;
        let range = self.present.iter().find(|range| range.start <= pa && end <= range.end);
        let range = range.ok_or(Unreadable { pa })?;
        let mut done = 0;
        while done < bytes.len() {
            let at = pa + done as u64;
            let count = self.copy(at, &mut bytes[done..]);
            done += count;
            if count == 0
                && let Err(error) = self.fetch(at, range.end)
            {
                self.failure.borrow_mut().get_or_insert(error);
                return Err(Unreadable { pa });
            }
        }
        Ok(())
    }
}

/// What QEMU writes of `start..start + size` into `file`.
fn save(qmp: &mut Qmp, start: u64, size: u64, file: &Path) -> Checked<Vec<u8>> {
    let filename = file.display().to_string();
    qmp.execute(&pmemsave { val: start, size, filename })?;
    let bytes = std::fs::read(file);
    let bytes =
        bytes.map_err(|error| Error::Unknown(format!("what QEMU saved in {}: {error}", file.display())))?;
    if bytes.len() as u64 == size {
        Ok(bytes)
    } else {
        unknown(format!("QEMU saved {} bytes of {size}", bytes.len()))
    }
}

/// The memory of blocks and devices, in ranges with gaps between them.
fn present(state: &State) -> Vec<Range<u64>> {
    let blocks = state.blocks.iter().map(|block| (block.start, block.size));
    let extents = state.extents.iter().map(|extent| (extent.start, extent.size));
    let devices =
        state.devices.iter().flat_map(|device| device.ranges.iter().map(|part| (part.start, part.size)));
    let mut all: Vec<_> =
        blocks.chain(extents).chain(devices).map(|(start, size)| start..start.saturating_add(size)).collect();
    all.sort_by_key(|range| range.start);
    let mut merged: Vec<Range<u64>> = Vec::new();
    for range in all {
        match merged.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}
