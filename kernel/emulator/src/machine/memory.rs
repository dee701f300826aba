//! Physical memory that comes and goes: RAM ranges with holes between them. An access to memory that is not there is a panic.
//!
//! The host's memory is allocated in slabs as they are touched, so that a range may be larger than the host's memory, or than
//! its addresses: a browser has 32 bits. What is touched for the first time reads 0xa5: real memory is not zero, even though
//! an emulator's usually is.
//!
//! ```text
//!  range   |--------|--------|--------|--------|     slabs of 2 MiB, cut where physical addresses are multiples of it
//!  slabs       null     |        null     |
//!                       v                 v
//!  host             [ 2 MiB ]         [ 2 MiB ]
//! ```
//! An access over several slabs needs them side by side: they are moved together then. Who makes one owns all of that memory:
//! it clears or copies a block, and no reference leads into it.
//!
//! Rule that the unsafe code relies on: **K1** a slab's host memory lives as long as its range is plugged, and the kit and the
//! model reach it through raw pointers and atomics only.
#![expect(unsafe_code, reason = "the host memory behind the emulated RAM")]

use std::alloc::{Layout, alloc, dealloc};
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::ops::Range;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::arch::walker::Memory;

/// What unwritten memory reads.
pub const FILL: u8 = 0xa5;
/// A range can be withheld in parts of this size: a virtio-mem device's.
const PART: u64 = 2 << 20;
/// Host memory is allocated in pieces of this size.
const SLAB: u64 = 2 << 20;
/// Memory is filled in pieces of this size, when one is touched first: the largest page.
const CHUNK: u64 = 0x1_0000;

/// A number of bytes as the host counts them.
pub fn host(bytes: u64) -> usize {
    usize::try_from(bytes).expect("the host has addresses for it")
}

/// Host memory, aligned as physical memory is to the largest page.
struct Host {
    first: *mut u8,
    layout: Layout,
}

impl Host {
    fn of(slabs: usize) -> Self {
        let bytes = host(SLAB).saturating_mul(slabs);
        let layout = Layout::from_size_align(bytes, host(CHUNK)).expect("the host has addresses for it");
        // SAFETY: the size is not zero.
        let first = unsafe { alloc(layout) };
        // Not handle_alloc_error: in WebAssembly that says nothing.
        assert!(!first.is_null(), "the guest has touched more memory than its host has (a web page: 4 GiB)");
        Self { first, layout }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // SAFETY: it was allocated with this layout; K1: its range is gone.
        unsafe { dealloc(self.first, self.layout) }
    }
}

/// One plugged range.
pub(super) struct Backing {
    start: u64,
    end: u64,
    /// The host address of each slab; null while nothing of it has been touched.
    slabs: Vec<*mut u8>,
    /// What they lie in. A slab that has moved leaves its place unused.
    memory: Vec<Host>,
    /// A bit for each chunk, from the first slab's start on: whether it has been filled.
    filled: Vec<u64>,
    /// The parts, by number in the range, that are not there now.
    withheld: BTreeSet<u64>,
}

impl Backing {
    fn new(start: u64, len: u64) -> Self {
        let slabs = host((start + len).div_ceil(SLAB) - start / SLAB);
        let chunks = slabs * host(SLAB / CHUNK);
        Self {
            start,
            end: start + len,
            slabs: vec![null_mut(); slabs],
            memory: Vec::new(),
            filled: vec![0; chunks.div_ceil(64)],
            withheld: BTreeSet::new(),
        }
    }

    fn has(&self, pa: u64, len: u64) -> bool {
        self.start <= pa && pa + len <= self.end
    }

    pub(super) const fn range(&self) -> Range<u64> {
        self.start..self.end
    }

    /// Where the first slab begins: at or below the range.
    pub(super) fn base(&self) -> u64 {
        self.start / SLAB * SLAB
    }

    /// Whether `len` bytes at `pa`, which are in the range, are there now.
    fn is_provided(&self, pa: u64, len: u64) -> bool {
        let offset = pa - self.start;
        self.withheld.is_empty()
            || self.withheld.range(offset / PART..=(offset + len - 1) / PART).next().is_none()
    }

    /// The host address of `pa`, after all of `len` bytes there have been filled once.
    fn touch(&mut self, pa: u64, len: u64) -> *mut u8 {
        assert!(self.is_provided(pa, len), "access to withheld memory: {pa:#x}..{:#x}", pa + len);
        let offset = pa - self.base();
        let first = host(offset / SLAB);
        let (chunk, mask) = (offset / CHUNK, 1 << (offset / CHUNK % 64));
        let within = host(offset % SLAB);
        if (offset + len - 1) / CHUNK == chunk && self.filled[host(chunk / 64)] & mask != 0 {
            // SAFETY: a chunk that is filled is in a slab that is there.
            return unsafe { self.slabs[first].add(within) };
        }
        self.allocate(first..host((offset + len).div_ceil(SLAB)));
        for chunk in offset / CHUNK..(offset + len).div_ceil(CHUNK) {
            let (word, mask) = (host(chunk / 64), 1 << (chunk % 64));
            if self.filled[word] & mask == 0 {
                self.filled[word] |= mask;
                let at = chunk * CHUNK;
                // SAFETY: K1; a chunk lies in one slab, which has been allocated.
                unsafe {
                    self.slabs[host(at / SLAB)].add(host(at % SLAB)).write_bytes(FILL, host(CHUNK));
                }
            }
        }
        // SAFETY: as above.
        unsafe { self.slabs[first].add(within) }
    }

    /// What is `offset` bytes behind the first slab's start.
    pub(super) fn copy_out(&self, mut offset: u64, mut bytes: &mut [u8]) {
        while !bytes.is_empty() {
            let chunk = offset / CHUNK;
            let (part, rest) = bytes.split_at_mut(host(CHUNK - offset % CHUNK).min(bytes.len()));
            if self.filled[host(chunk / 64)] & 1 << (chunk % 64) == 0 {
                part.fill(FILL);
            } else {
                // SAFETY: K1; a chunk that is filled is in a slab that is there, and none of it is written meanwhile.
                unsafe {
                    let from = self.slabs[host(offset / SLAB)].add(host(offset % SLAB));
                    from.copy_to_nonoverlapping(part.as_mut_ptr(), part.len());
                }
            }
            offset += part.len() as u64;
            bytes = rest;
        }
    }

    /// Gives these slabs host memory side by side; what some of them hold moves there.
    fn allocate(&mut self, which: Range<usize>) {
        let first = self.slabs[which.start];
        let in_place = |(number, slab): (usize, &*mut u8)| {
            !slab.is_null() && slab.addr() == first.addr().wrapping_add(number * host(SLAB))
        };
        if self.slabs[which.clone()].iter().enumerate().all(in_place) {
            return;
        }
        let memory = Host::of(which.len());
        for (number, slab) in self.slabs[which].iter_mut().enumerate() {
            // SAFETY: the new memory has room for as many slabs.
            let place = unsafe { memory.first.add(number * host(SLAB)) };
            if !slab.is_null() {
                // SAFETY: K1; both are of a slab's size, and the new one was just allocated.
                unsafe { slab.copy_to_nonoverlapping(place, host(SLAB)) };
            }
            *slab = place;
        }
        self.memory.push(memory);
    }

    /// The physical address behind a host address in one of the slabs.
    fn address_of(&self, ptr: *const u8) -> Option<u64> {
        let bases = (self.base()..).step_by(host(SLAB));
        self.slabs.iter().zip(bases).filter(|(slab, _)| !slab.is_null()).find_map(|(slab, base)| {
            let offset = ptr.addr().checked_sub(slab.addr()).filter(|offset| *offset < host(SLAB))?;
            Some(base + offset as u64)
        })
    }
}

/// All RAM that is plugged.
#[derive(Default)]
pub struct PhysMemory {
    ranges: RefCell<Vec<Backing>>,
    /// Which range was used last.
    last: Cell<usize>,
    /// The pointer that was given out last: physical and host address, and length.
    given: Cell<(u64, usize, u64)>,
}

impl PhysMemory {
    /// Puts RAM at `start`.
    ///
    /// # Panics
    /// When there is RAM already.
    pub fn plug(&self, start: u64, len: u64) {
        let clash = self.ranges().into_iter().find(|r| r.start < start + len && start < r.end);
        assert_eq!(clash, None, "the test plugs {start:#x}..{:#x} over RAM", start + len);
        self.ranges.borrow_mut().push(Backing::new(start, len));
    }

    /// Takes the RAM away that was plugged at `start`; returns its range.
    ///
    /// # Panics
    /// When no range starts there.
    pub fn unplug(&self, start: u64) -> Range<u64> {
        let gone = self.take(start);
        gone.start..gone.end
    }

    /// As [`Self::unplug`]; returns what was there.
    pub(super) fn take(&self, start: u64) -> Backing {
        self.given.set((0, 0, 0));
        let mut ranges = self.ranges.borrow_mut();
        let at = ranges.iter().position(|b| b.start == start);
        ranges.remove(at.unwrap_or_else(|| panic!("the test unplugs {start:#x}, where no RAM starts")))
    }

    /// `len` bytes at `start`, whole parts of a plugged range, are there from here on, with contents of their own, or not.
    ///
    /// # Panics
    /// When no range has them.
    pub fn provide(&self, start: u64, len: u64, there: bool) {
        let mut ranges = self.ranges.borrow_mut();
        let backing = ranges.iter_mut().find(|b| b.has(start, len)).expect("a part of a range");
        let offset = start - backing.start;
        assert!(offset.is_multiple_of(PART) && len.is_multiple_of(PART), "parts of 2 MiB");
        for part in offset / PART..(offset + len) / PART {
            let changed = if there { backing.withheld.remove(&part) } else { backing.withheld.insert(part) };
            assert!(changed, "part {part} of the range at {:#x}: there already, or not", backing.start);
            let first = (backing.start - backing.base() + part * PART) / CHUNK;
            for chunk in first..first + PART / CHUNK {
                backing.filled[host(chunk / 64)] &= !(1 << (chunk % 64));
            }
        }
    }

    /// What is plugged, by address.
    pub fn ranges(&self) -> Vec<Range<u64>> {
        let mut all: Vec<_> = self.ranges.borrow().iter().map(|b| b.start..b.end).collect();
        all.sort_by_key(|r| r.start);
        all
    }

    /// Whether all of `pa..pa + len` is in one plugged range.
    pub fn is_present(&self, pa: u64, len: u64) -> bool {
        self.ranges.borrow().iter().any(|b| b.has(pa, len))
    }

    /// The host address of `len` bytes at `pa`.
    ///
    /// # Panics
    /// When they are not all present.
    pub fn pointer(&self, pa: u64, len: u64) -> *mut u8 {
        let mut ranges = self.ranges.borrow_mut();
        if !ranges.get(self.last.get()).is_some_and(|b| b.has(pa, len)) {
            let at = ranges.iter().position(|b| b.has(pa, len));
            self.last.set(at.unwrap_or_else(|| panic!("access to absent memory: {pa:#x}..{:#x}", pa + len)));
        }
        let ptr = ranges[self.last.get()].touch(pa, len);
        self.given.set((pa, ptr.addr(), len));
        ptr
    }

    /// The physical address behind a host address that [`Self::pointer`] gave out.
    pub fn address_of(&self, ptr: *const u8) -> Option<u64> {
        let (pa, first, len) = self.given.get();
        match ptr.addr().checked_sub(first).map(|offset| offset as u64) {
            Some(offset) if offset < len => Some(pa + offset),
            _ => self.ranges.borrow().iter().find_map(|backing| backing.address_of(ptr)),
        }
    }

    /// Fills `bytes` with what is at `pa`, and changes nothing: memory that was never touched stays so. `false` when not all
    /// of it is there.
    pub fn copy_out(&self, pa: u64, bytes: &mut [u8]) -> bool {
        let (ranges, len) = (self.ranges.borrow(), bytes.len() as u64);
        let within = |b: &&Backing| pa.checked_add(len).is_some() && b.has(pa, len);
        let Some(backing) = ranges.iter().find(within) else { return false };
        len == 0
            || backing.is_provided(pa, len) && {
                backing.copy_out(pa - backing.base(), bytes);
                true
            }
    }

    /// Whether none of `len` bytes at `pa`, in one chunk of 64 KiB, was touched since they are there.
    pub(super) fn is_untouched(&self, pa: u64, len: u64) -> bool {
        let ranges = self.ranges.borrow();
        let Some(backing) = ranges.iter().find(|b| b.has(pa, len)) else { return true };
        let chunk = (pa - backing.base()) / CHUNK;
        backing.filled[host(chunk / 64)] & 1 << (chunk % 64) == 0
    }

    /// Writes 64 bits past the model: for tests that break something.
    pub fn poke(&self, pa: u64, value: u64) {
        let ptr = self.pointer(pa & !7, 8).cast::<AtomicU64>();
        // SAFETY: K1; aligned and present. No other code writes at the same time.
        unsafe { &*ptr }.store(value, Relaxed);
    }

    /// Whether `len` bytes at two addresses are the same.
    pub fn same(&self, a: u64, b: u64, len: u64) -> bool {
        (0..len / 8).all(|i| self.read(a + i * 8) == self.read(b + i * 8))
    }
}

impl Memory for PhysMemory {
    fn read(&self, pa: u64) -> u64 {
        // SAFETY: K1; aligned and present; one thread, so a plain read. It makes no reference, of which there would be
        // very many: walks read every entry again and again.
        unsafe { self.pointer(pa & !7, 8).cast::<u64>().read() }
    }
    fn read_table(&self, pa: u64, entries: u64) -> Vec<u64> {
        let (table, mut copy) = (self.pointer(pa, entries * 8).cast::<u64>(), vec![0; host(entries)]);
        // SAFETY: as in `read`; a table is aligned to its size, and all of it is present.
        unsafe { table.copy_to_nonoverlapping(copy.as_mut_ptr(), copy.len()) };
        copy
    }
}

#[cfg(test)]
mod tests;
