//! Physical memory that comes and goes: RAM ranges with holes between them, each backed by one stretch of host memory, so
//! that neighbouring frames are neighbours for the host too. An access to memory that is not there is a panic.
//!
//! The host's memory is committed as it is touched, and what is touched for the first time reads 0xa5: real memory is not
//! zero, even though an emulator's usually is.
//!
//! Rule that the unsafe code relies on: **K1** a range's host memory lives exactly as long as the range is plugged, and the
//! kit and the model reach it through raw pointers and atomics only.
#![expect(unsafe_code, reason = "the host memory behind the emulated RAM")]

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use memmap2::{MmapMut, MmapOptions};

use crate::arch::walker::Memory;

/// What unwritten memory reads.
pub const FILL: u8 = 0xa5;
/// A range can be withheld in parts of this size: a virtio-mem device's.
const PART: u64 = 2 << 20;
/// Memory is filled in pieces of this size, when one is touched first: the largest page.
const CHUNK: u64 = 0x1_0000;

/// A number of bytes as the host counts them.
pub(crate) fn host(bytes: u64) -> usize {
    usize::try_from(bytes).expect("the host has 64-bit addresses")
}

/// One plugged range.
struct Backing {
    start: u64,
    end: u64,
    /// Keeps the host memory until it is dropped.
    _mapping: MmapMut,
    /// The host address of the range's first byte, congruent with its physical address modulo a chunk.
    first: *mut u8,
    /// A bit for each chunk: whether it has been filled.
    filled: Vec<u64>,
    /// The parts, by number in the range, that are not there now.
    withheld: BTreeSet<u64>,
}

impl Backing {
    fn new(start: u64, len: u64) -> Self {
        // The host promises nothing for it: a range may be larger than the host's memory. (Miri knows no such request.)
        let mut request = MmapOptions::new();
        request.len(host(len + 2 * CHUNK));
        if !cfg!(miri) {
            request.no_reserve_swap();
        }
        let mut mapping = request.map_anon().unwrap_or_else(|error| panic!("{len:#x} bytes of RAM: {error}"));
        let mapped = mapping.as_mut_ptr();
        let aligned = mapped.align_offset(host(CHUNK)) + host(start % CHUNK);
        // SAFETY: K1; aligned is below two chunks, which the mapping has room for.
        let first = unsafe { mapped.add(aligned) };
        let chunks = len.div_ceil(CHUNK) + 1;
        Self {
            start,
            end: start + len,
            _mapping: mapping,
            first,
            filled: vec![0; host(chunks.div_ceil(64))],
            withheld: BTreeSet::new(),
        }
    }

    fn has(&self, pa: u64, len: u64) -> bool {
        self.start <= pa && pa + len <= self.end
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
        let offset = pa - self.start;
        let (chunk, mask) = (offset / CHUNK, 1 << (offset / CHUNK % 64));
        if (offset + len - 1) / CHUNK == chunk && self.filled[host(chunk / 64)] & mask != 0 {
            // SAFETY: the caller has checked that pa is inside the range.
            return unsafe { self.first.add(host(offset)) };
        }
        for chunk in offset / CHUNK..(offset + len).div_ceil(CHUNK) {
            let (word, mask) = (host(chunk / 64), 1 << (chunk % 64));
            if self.filled[word] & mask == 0 {
                self.filled[word] |= mask;
                let at = chunk * CHUNK;
                let bytes = CHUNK.min(self.end - self.start - at);
                // SAFETY: K1; the chunk is inside the range.
                unsafe { self.first.add(host(at)).write_bytes(FILL, host(bytes)) };
            }
        }
        // SAFETY: the caller has checked that pa is inside the range.
        unsafe { self.first.add(host(offset)) }
    }
}

/// All RAM that is plugged.
#[derive(Default)]
pub struct PhysMemory {
    ranges: RefCell<Vec<Backing>>,
    /// Which range was used last.
    last: Cell<usize>,
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
        let mut ranges = self.ranges.borrow_mut();
        let at = ranges.iter().position(|b| b.start == start);
        let gone =
            ranges.remove(at.unwrap_or_else(|| panic!("the test unplugs {start:#x}, where no RAM starts")));
        gone.start..gone.end
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
            for chunk in part * (PART / CHUNK)..(part + 1) * (PART / CHUNK) {
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
        if let Some(backing) = ranges.get_mut(self.last.get()).filter(|b| b.has(pa, len)) {
            return backing.touch(pa, len);
        }
        let at = ranges.iter().position(|b| b.has(pa, len));
        self.last.set(at.unwrap_or_else(|| panic!("access to absent memory: {pa:#x}..{:#x}", pa + len)));
        ranges[self.last.get()].touch(pa, len)
    }

    /// The physical address behind a host address that [`Self::pointer`] gave out.
    pub fn address_of(&self, ptr: *const u8) -> Option<u64> {
        let ranges = self.ranges.borrow();
        ranges.iter().find_map(|b| {
            let offset = (ptr.addr() as u64).checked_sub(b.first.addr() as u64)?;
            (offset < b.end - b.start).then_some(b.start + offset)
        })
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
mod tests {
    use super::*;

    #[test]
    fn miri_memory_is_not_zero_and_forgets_when_it_is_unplugged() {
        let memory = PhysMemory::default();
        memory.plug(0x8000_0000, 0x20_0000);
        assert_eq!(memory.read(0x801f_fff8), 0xa5a5_a5a5_a5a5_a5a5);
        memory.poke(0x8000_0040, 7);
        assert_eq!((memory.read(0x8000_0040), memory.read(0x8000_0048)), (7, 0xa5a5_a5a5_a5a5_a5a5));
        assert_eq!(memory.unplug(0x8000_0000), 0x8000_0000..0x8020_0000);
        memory.plug(0x8000_0000, 0x20_0000);
        assert_eq!(memory.read(0x8000_0040), 0xa5a5_a5a5_a5a5_a5a5);
    }

    #[test]
    fn miri_an_address_has_a_pointer_and_a_pointer_its_address() {
        let memory = PhysMemory::default();
        memory.plug(0x1000, 0x3000);
        memory.plug(0x10_0000, 0x1000);
        for pa in [0x1000, 0x3ff8, 0x10_0000] {
            let ptr = memory.pointer(pa, 8);
            assert_eq!(memory.address_of(ptr), Some(pa));
            assert_eq!(ptr.addr() as u64 % CHUNK, pa % CHUNK, "aligned as the physical address is");
        }
        assert!(memory.is_present(0x1000, 0x3000) && !memory.is_present(0x1000, 0x3001));
        assert!(!memory.is_present(0xff8, 8) && !memory.is_present(0x4000, 8));
    }

    #[test]
    #[should_panic(expected = "access to withheld memory: 0x803ffff8..0x80400008")]
    fn an_access_to_a_part_that_is_withheld_is_a_panic() {
        let memory = PhysMemory::default();
        memory.plug(0x8000_0000, 0x80_0000);
        memory.provide(0x8040_0000, 0x40_0000, false);
        memory.provide(0x8060_0000, 0x20_0000, true);
        memory.pointer(0x8060_0000, 0x20_0000);
        memory.pointer(0x803f_fff8, 16);
    }

    #[test]
    #[should_panic(expected = "access to absent memory: 0x3ff8..0x4008")]
    fn an_access_past_the_end_of_a_range_is_a_panic() {
        let memory = PhysMemory::default();
        memory.plug(0x1000, 0x3000);
        memory.pointer(0x3ff8, 16);
    }
}
