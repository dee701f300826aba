//! What the model needs of a machine, and the one place where a frame becomes a reference.
//!
//! The kernel implements [`Machine`] with pointers into its linear map; the test kit implements it with an emulated
//! machine that translates every access through the model's own tables and a TLB that can be stale.
//!
//! Rules that the unsafe code here relies on (cited below):
//! - **F1** an implementor returns a pointer that is valid for reads and writes of `len` bytes for as long as the
//!   memory is present (`frame`) or mapped (`mapped`), with the alignment of the address; or it does not return.
//! - **F2** memory that holds struct pages or tables is reached through atomics, so shared references to the
//!   same bytes may coexist; it is cleared, filled and copied otherwise only while nothing refers to it.
#![expect(unsafe_code, reason = "the one room of the model that turns a frame into a reference")]

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::addr::{PhysAddr, VirtAddr, VirtRange};
use crate::error::Resource;
use crate::frame::page::{PAGE_BYTES, Page};

/// What an access through the MMU wants to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Load.
    Read,
    /// Store (and load).
    Write,
}

/// How well a CPU supports that the size of a live leaf changes (ID_AA64MMFR2_EL1.BBM).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Bbm {
    /// Not: break before make.
    Level0,
    /// With the nT bit set meanwhile.
    Level1,
    /// In one step, at the risk of a TLB conflict abort.
    Level2,
}

impl Bbm {
    /// What the field of ID_AA64MMFR2_EL1 says; a value from the future is at least level 2.
    pub const fn from_field(field: u64) -> Self {
        match field {
            0 => Self::Level0,
            1 => Self::Level1,
            _ => Self::Level2,
        }
    }
}

/// The end of a step of an operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Checkpoint {
    /// It is done.
    Done(&'static str),
    /// It is taken back.
    Undone(&'static str),
}

/// Memory and its maintenance.
///
/// # Safety
/// F1 of this room: what `frame` and `mapped` return can be dereferenced.
pub unsafe trait Machine: Clone {
    /// A pointer to `len` bytes of present RAM at `pa`.
    fn frame(&self, pa: PhysAddr, len: u64) -> *mut u8;
    /// A pointer to `len` bytes at `va`, translated by the tables in force.
    fn mapped(&self, va: VirtAddr, len: u64, access: Access) -> *mut u8;
    /// Orders table writes before their use by the walker (Arm ARM D8.2.6: a DSB, then an ISB).
    fn publish(&self);
    /// Invalidates every translation of the range, whose leaves are at least `stride` bytes each; intermediate
    /// walk-cache entries too when `tables`.
    fn invalidate(&self, range: VirtRange, stride: u64, tables: bool);
    /// [`Self::invalidate`] for single pages of `size` bytes, by one set of barriers.
    fn invalidate_pages(&self, pages: impl Iterator<Item = VirtAddr>, size: u64) {
        for start in pages {
            self.invalidate(VirtRange { start, end: start + size }, size, false);
        }
    }
    /// [`Self::invalidate_pages`] on this CPU alone: for pages that have become writable, which no other CPU writes to.
    fn invalidate_pages_here(&self, pages: impl Iterator<Item = VirtAddr>, size: u64) {
        self.invalidate_pages(pages, size);
    }
    /// Clears `len` bytes at `ptr`, both multiples of 64.
    ///
    /// # Safety
    /// `ptr` is valid for writes of `len` bytes.
    unsafe fn zero(&self, ptr: *mut u8, len: u64) {
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        // SAFETY: this function's `# Safety`.
        unsafe { ptr.write_bytes(0, len) }
    }
    /// Writes `value` over and over to `len` bytes at `ptr`, both multiples of 64.
    ///
    /// # Safety
    /// `ptr` is valid for writes of `len` bytes.
    unsafe fn fill(&self, ptr: *mut u8, len: u64, value: u64) {
        let words = usize::try_from(len / 8).unwrap_or(usize::MAX);
        // SAFETY: this function's `# Safety`; a multiple of 64 is aligned for a word.
        unsafe { core::slice::from_raw_parts_mut(ptr.cast::<u64>(), words).fill(value) }
    }
    /// Copies `len` bytes, a multiple of 4096, from `from` to `to`, both multiples of 64.
    ///
    /// # Safety
    /// `from` is valid for reads and `to` for writes of `len` bytes, and they do not overlap.
    unsafe fn copy(&self, to: *mut u8, from: *const u8, len: u64) {
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        // SAFETY: this function's `# Safety`.
        unsafe { core::ptr::copy_nonoverlapping(from, to, len) }
    }
    /// Clears mapped memory, page multiples, of which only the virtual addresses need to be neighbours.
    ///
    /// # Safety
    /// The range is mapped for writing, and nothing refers into it.
    unsafe fn zero_mapped(&self, range: VirtRange) {
        // SAFETY: this function's `# Safety`; through the MMU the range is one stretch.
        unsafe { self.zero(self.mapped(range.start, range.len(), Access::Write), range.len()) }
    }
    /// Whether [`Self::entry_written`] does something.
    const WATCHES_ENTRIES: bool = false;
    /// A checkpoint that the emulated machine uses to watch entry writes; the kernel's does nothing.
    fn entry_written(&self, _table: PhysAddr, _index: usize, _old: u64, _new: u64) {}
    /// A step of an operation ends here: the emulated machine shows memory as it is at this moment.
    #[inline(always)]
    fn checkpoint(&self, _step: Checkpoint) {}
    /// Something that can run out is asked for, and is made to fail or not: for the emulated machine.
    #[inline(always)]
    fn asked(&self, _resource: &Resource, _fails: bool) {}
    /// How well the CPUs support that the size of a live leaf changes (FEAT_BBM, the least of all CPUs).
    fn bbm(&self) -> Bbm {
        Bbm::Level0
    }
    /// Entries of this part of vmemmap go through an invalid one now: a reader there waits until
    /// [`Self::window_close`]. A machine without readers has nothing to say.
    fn window_open(&self, _range: VirtRange) {}
    /// The entries are valid again, on every CPU.
    fn window_close(&self) {}
    /// Tenants' pages are unmapped now, until [`Self::exchange_close`]: a machine may measure for how long.
    fn exchange_open(&self) {}
    /// The pages are mapped again.
    fn exchange_close(&self) {}
}

/// The entries of the table at `pa`.
#[inline(always)]
pub(crate) fn table<M: Machine>(machine: &M, pa: PhysAddr, entries: usize) -> &[AtomicU64] {
    let ptr = machine.frame(pa, entries as u64 * 8).cast::<AtomicU64>();
    // SAFETY: F1 makes the pointer valid for the table's bytes (tables are frames that nothing else uses: I3); F2.
    unsafe { core::slice::from_raw_parts(ptr, entries) }
}

/// Entry `index` of the table at `pa`: less than a reference to all of the table, which only a count of it needs.
#[inline(always)]
pub(crate) fn entry<M: Machine>(machine: &M, pa: PhysAddr, index: usize) -> &AtomicU64 {
    let ptr = machine.frame(pa + index as u64 * 8, 8).cast::<AtomicU64>();
    // SAFETY: as for `table`; an index is one of the level that the table is at.
    unsafe { &*ptr }
}

/// The struct page at `va`, which must be in a populated part of vmemmap (I1).
#[inline(always)]
pub(crate) fn page<M: Machine>(machine: &M, va: VirtAddr, access: Access) -> &Page {
    let ptr = machine.mapped(va, PAGE_BYTES, access).cast::<Page>();
    // SAFETY: F1; the memmap is initialised before its pages are valid (I1), and every bit pattern is a Page; F2.
    unsafe { &*ptr }
}

/// The `count` struct pages from `va` on, which lie in one granule page.
#[inline(always)]
pub(crate) fn pages<M: Machine>(machine: &M, va: VirtAddr, count: usize, access: Access) -> &[Page] {
    let ptr = machine.mapped(va, count as u64 * PAGE_BYTES, access).cast::<Page>();
    // SAFETY: as for `page`, for each of them.
    unsafe { core::slice::from_raw_parts(ptr, count) }
}

/// The first `count` struct pages of a frame that holds struct pages, through the linear map.
#[inline(always)]
pub(crate) fn pages_in<M: Machine>(machine: &M, frame: PhysAddr, count: usize) -> &[Page] {
    let ptr = machine.frame(frame, count as u64 * PAGE_BYTES).cast::<Page>();
    // SAFETY: as for `page_in`, for each of them.
    unsafe { core::slice::from_raw_parts(ptr, count) }
}

/// The struct page number `index` of a frame that holds struct pages, through the linear map: wherever it is mapped, or not
/// yet.
pub(crate) fn page_in<M: Machine>(machine: &M, frame: PhysAddr, index: u64) -> &Page {
    let ptr = machine.frame(frame + index * PAGE_BYTES, PAGE_BYTES).cast::<Page>();
    // SAFETY: F1; every bit pattern is a Page, and a frame that holds struct pages holds nothing else (I3); F2.
    unsafe { &*ptr }
}

/// Writes `value` to the entries `which` of the table at `pa`, which no walk reaches yet: in bulk, since this is most of
/// what a large device costs.
pub(crate) fn fill_table<M: Machine>(machine: &M, pa: PhysAddr, which: core::ops::Range<usize>, value: u64) {
    let (first, end) = (which.start.next_multiple_of(8).min(which.end), which.end & !7);
    let entries = table(machine, pa, which.end);
    for entry in &entries[which.start..first] {
        entry.store(value, Relaxed);
    }
    if first < end {
        let len = (end - first) as u64 * 8;
        // SAFETY: F1. The caller owns the table, which nothing leads to (I3); both ends are multiples of 64 bytes.
        unsafe { machine.fill(machine.frame(pa + first as u64 * 8, len), len, value) }
    }
    for entry in &entries[first.max(end)..which.end] {
        entry.store(value, Relaxed);
    }
}

/// Writes leaves to the entries `which` of the table at `pa`, which no walk reaches yet: `first`, and each that follows says
/// `step` more.
pub(crate) fn fill_leaves<M: Machine>(
    machine: &M,
    pa: PhysAddr,
    which: core::ops::Range<usize>,
    (first, step): (u64, u64),
) {
    let mut next = first;
    let mut fill = |entries: &[AtomicU64]| {
        for entry in entries {
            entry.store(next, Relaxed);
            next = next.wrapping_add(step);
        }
    };
    let (eights, rest) = table(machine, pa, which.end)[which.start..].as_chunks::<8>();
    eights.iter().for_each(|eight| fill(eight));
    fill(rest);
}

/// Whether two frames hold the same words. Frames of struct pages that are not written to meanwhile.
pub(crate) fn same_contents<M: Machine>(machine: &M, a: PhysAddr, b: PhysAddr, len: u64) -> bool {
    let words =
        |pa| table(machine, pa, usize::try_from(len / 8).unwrap_or(0)).iter().map(|word| word.load(Relaxed));
    words(a).eq(words(b))
}

/// Clears a frame (64-byte multiples).
pub(crate) fn zero_frame<M: Machine>(machine: &M, pa: PhysAddr, len: u64) {
    // SAFETY: F1. The caller owns the frame: it has just been allocated (I3).
    unsafe { machine.zero(machine.frame(pa, len), len) }
}

/// Clears mapped memory (64-byte multiples).
pub(crate) fn zero_mapped<M: Machine>(machine: &M, range: VirtRange) {
    // SAFETY: F1. Nothing refers into the range: it has just been populated, or no reader is left on its pages (I1).
    unsafe { machine.zero_mapped(range) }
}

/// Copies a frame of `len` bytes, a granule page.
pub(crate) fn copy_frame<M: Machine>(machine: &M, from: PhysAddr, to: PhysAddr, len: u64) {
    let (src, dst) = (machine.frame(from, len), machine.frame(to, len));
    // SAFETY: F1 for both; two different frames do not overlap, and `to` has just been allocated (I3).
    unsafe { machine.copy(dst, src, len) }
}

/// The words of a mapped page, through its mapping.
pub(crate) fn words<M: Machine>(machine: &M, va: VirtAddr, len: u64, access: Access) -> &[AtomicU64] {
    let ptr = machine.mapped(va, len, access).cast::<AtomicU64>();
    // SAFETY: F1; a tenant's page is written by the tenant alone (I3), and through atomics only (F2).
    unsafe { core::slice::from_raw_parts(ptr, usize::try_from(len / 8).unwrap_or(0)) }
}
