//! The emulated machine: RAM that comes and goes under an MMU whose TLB forgets nothing by itself.
//!
//! It implements the model's [`Machine`], so the model runs on it unchanged. Every access of the model is checked: frames are
//! only reached through the linear map of the model's own tables (as in the kernel), struct pages and tenants through
//! vmemmap and the tenants' area. What breaks a rule ends the test with the rule and the address, or is collected after
//! [`Emulated::tolerate`].
#![expect(unsafe_code, reason = "implements the model's F1 over the host memory of `memory`")]

mod journal;
pub mod memory;
mod mmu;
pub mod record;
pub mod recording;
pub mod tlb;
pub mod violation;

use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::rc::Rc;

use hotmap_mm::addr::{PhysAddr, VirtAddr, VirtRange};
use hotmap_mm::error::Resource;
use hotmap_mm::machine::{Access, Bbm, Checkpoint, Machine};

use crate::arch::spec::Spec;
use crate::arch::walker::{self, Everything};
use memory::{PhysMemory, host};
use mmu::Mmu;
use record::{Event, Recorder};
use tlb::Stale;
use violation::Violation;

/// The most operations by which the kernel invalidates a range; written once more.
const MOST_OPERATIONS: u64 = 128;

struct Inner {
    spec: &'static Spec,
    memory: PhysMemory,
    mmu: RefCell<Option<Mmu>>,
    tolerant: Cell<bool>,
    accesses: Cell<u64>,
    violations: RefCell<Vec<Violation>>,
    broadcasts: Cell<u64>,
    /// What the machine does is recorded.
    recording: Cell<bool>,
    recorder: RefCell<Recorder>,
}

/// The machine; clones are the same machine.
#[derive(Clone)]
pub struct Emulated(Rc<Inner>);

impl Emulated {
    /// A machine without RAM, its MMU off, for a granule.
    pub fn new(spec: &'static Spec) -> Self {
        Self(Rc::new(Inner {
            spec,
            memory: PhysMemory::default(),
            mmu: RefCell::new(None),
            tolerant: Cell::new(false),
            accesses: Cell::new(0),
            violations: RefCell::new(Vec::new()),
            broadcasts: Cell::new(0),
            recording: Cell::new(false),
            recorder: RefCell::default(),
        }))
    }

    /// The granule's numbers.
    pub fn spec(&self) -> &'static Spec {
        self.0.spec
    }
    /// The physical memory.
    pub fn memory(&self) -> &PhysMemory {
        &self.0.memory
    }

    /// Switches the MMU on: from here on every access goes through the tables under `root`, frames through the linear map
    /// at `linear`, which starts with the physical address `phys_base`.
    pub fn enable_mmu(&self, root: u64, linear: Range<u64>, phys_base: u64) {
        let mmu = Mmu::new(self.0.spec, &self.0.memory, root, linear, phys_base);
        *self.0.mmu.borrow_mut() = Some(mmu);
        self.settle();
    }

    /// Plugs RAM.
    ///
    /// # Panics
    /// When there is RAM already.
    pub fn plug(&self, start: u64, len: u64) {
        self.0.memory.plug(start, len);
        self.note_ram(start..start + len, true);
    }

    /// Unplugs the RAM that was plugged at `start`.
    ///
    /// # Panics
    /// When no range starts there, or when something still maps it.
    pub fn unplug(&self, start: u64) {
        let ranges = self.0.memory.ranges();
        if let Some(range) = ranges.into_iter().find(|r| r.start == start) {
            self.with_mmu(|mmu, inner| mmu.unplugged(inner.spec, &inner.memory, range));
        }
        let gone = self.0.memory.take(start);
        self.note_gone(gone);
    }

    /// A part of what was plugged is there from here on, with contents of its own, or not.
    ///
    /// # Panics
    /// As [`PhysMemory::provide`].
    pub fn provide(&self, start: u64, len: u64, there: bool) {
        self.note_ram(start..start + len, there);
        self.0.memory.provide(start, len, there);
    }

    /// From here on a block and the table of its pieces may replace each other in one step (FEAT_BBM level 2).
    pub fn support_bbm_level_2(&self) {
        self.with_mmu(|mmu, _| mmu.bbm_level_2 = true);
    }

    /// How many TLB invalidations were broadcast: one for each leaf of a range, or one for all where those would be more than
    /// [`MOST_OPERATIONS`].
    pub fn broadcasts(&self) -> u64 {
        self.0.broadcasts.get()
    }

    /// Whether a window was opened and not closed.
    pub fn window_is_open(&self) -> bool {
        self.0.mmu.borrow().as_ref().is_some_and(Mmu::window_is_open)
    }

    /// Collects violations from now on instead of ending the test at the first.
    pub fn tolerate(&self) {
        self.0.tolerant.set(true);
    }
    /// The violations since the last call.
    pub fn take_violations(&self) -> Vec<Violation> {
        std::mem::take(&mut self.0.violations.borrow_mut())
    }
    /// How often the model has asked for memory: once for each table entry, for each struct page, and for what is cleared or
    /// read as a whole.
    pub fn accesses(&self) -> u64 {
        self.0.accesses.get()
    }
    /// How many entries that are no longer in the tables a TLB may still hold.
    pub fn stale_entries(&self) -> usize {
        self.with_stale(<[Stale]>::len)
    }

    /// Everything that the tables say, read by the specification's walker.
    ///
    /// # Panics
    /// While the MMU is off.
    pub fn everything(&self) -> Everything {
        walker::everything(self.0.spec, &self.0.memory, self.root())
    }
    /// What `va` translates to by the tables, read by the specification's walker.
    pub fn walk(&self, va: u64) -> Option<u64> {
        let walk = walker::walk(self.0.spec, &self.0.memory, self.root(), va).ok()?;
        Some(walk.leaf.pa + (va - walk.va))
    }
    /// The root table.
    ///
    /// # Panics
    /// While the MMU is off.
    pub fn root(&self) -> u64 {
        self.0.mmu.borrow().as_ref().expect("the MMU is on").root()
    }

    /// Lets the MMU see something, if it is on, and settles what it found.
    fn with_mmu<T>(&self, f: impl FnOnce(&mut Mmu, &Inner) -> T) -> Option<T> {
        let result = self.0.mmu.borrow_mut().as_mut().map(|mmu| f(mmu, &self.0));
        self.settle();
        result
    }

    /// What is stale now.
    fn with_stale<T>(&self, f: impl FnOnce(&[Stale]) -> T) -> T {
        f(self.0.mmu.borrow().as_ref().map_or(&[], Mmu::stale_entries))
    }

    fn settle(&self) {
        if self.0.mmu.borrow().as_ref().is_none_or(|mmu| mmu.found.is_empty()) {
            return;
        }
        let found = self.0.mmu.borrow_mut().as_mut().map_or_else(Vec::new, |m| std::mem::take(&mut m.found));
        if let (Some(first), false) = (found.first(), self.0.tolerant.get()) {
            panic!("{first}");
        }
        self.note_violations(&found);
        self.0.violations.borrow_mut().extend(found);
    }

    /// The physical address of `len` bytes at `va`, checked to the last byte.
    fn resolve(&self, va: u64, len: u64, access: Access) -> u64 {
        let write = access == Access::Write;
        let fast = |va| self.0.mmu.borrow().as_ref().and_then(|mmu| mmu.checked(va, write));
        let slow =
            |va| self.with_mmu(|mmu, inner| mmu.translate(inner.spec, &inner.memory, va, write)).flatten();
        let at = |va| fast(va).or_else(|| slow(va));
        let absent = || panic!("{va:#x}..{:#x} cannot be accessed: {access:?}", va + len);
        let (first, mut done) = at(va).unwrap_or_else(absent);
        while done < len {
            let (pa, more) = at(va + done).unwrap_or_else(absent);
            assert_eq!(pa, first + done, "va {:#x}: NotContiguous with the pages before it", va + done);
            done += more;
        }
        first
    }
}

// SAFETY: F1: pointers come from `PhysMemory::pointer`, which panics for anything that is not present in one piece.
unsafe impl Machine for Emulated {
    fn frame(&self, pa: PhysAddr, len: u64) -> *mut u8 {
        self.0.accesses.set(self.0.accesses.get() + 1);
        let linear = self.0.mmu.borrow().as_ref().map(|mmu| mmu.linear_address(pa.get()));
        match linear {
            None => {}
            Some(None) => panic!("the linear map does not reach {pa}"),
            Some(Some(_)) if cfg!(miri) => {}
            Some(Some(va)) => {
                assert_eq!(self.resolve(va, len, Access::Write), pa.get(), "linear address of {pa}")
            }
        }
        self.note_access(pa.get(), len, Access::Write);
        self.0.memory.pointer(pa.get(), len)
    }

    fn mapped(&self, va: VirtAddr, len: u64, access: Access) -> *mut u8 {
        self.0.accesses.set(self.0.accesses.get() + 1);
        let pa = self.resolve(va.get(), len, access);
        self.note_access(pa, len, access);
        self.0.memory.pointer(pa, len)
    }

    fn bbm(&self) -> Bbm {
        let level_2 = self.0.mmu.borrow().as_ref().is_some_and(|mmu| mmu.bbm_level_2);
        if level_2 { Bbm::Level2 } else { Bbm::Level0 }
    }
    fn window_open(&self, range: VirtRange) {
        let range = range.start.get()..range.end.get();
        self.note(|| Event::Window(Some(range.clone())));
        self.with_mmu(|mmu, _| mmu.open_window(range));
    }
    fn window_close(&self) {
        self.note(|| Event::Window(None));
        self.with_mmu(|mmu, _| mmu.close_window());
    }

    fn publish(&self) {
        self.note(|| Event::Publish);
        self.with_mmu(|mmu, _| mmu.publish());
    }

    fn invalidate(&self, range: VirtRange, stride: u64, tables: bool) {
        let operations = range.len().div_ceil(stride);
        let broadcasts = if operations > MOST_OPERATIONS { 1 } else { operations };
        self.0.broadcasts.set(self.0.broadcasts.get() + broadcasts);
        let range = range.start.get()..range.end.get();
        let needed = self.note_before_invalidate();
        self.with_mmu(|mmu, _| mmu.invalidate(range.clone(), stride, tables));
        self.note_invalidate(range, stride, tables, needed);
    }

    unsafe fn zero(&self, ptr: *mut u8, len: u64) {
        if let Some(pa) = self.0.memory.address_of(ptr) {
            self.with_mmu(|mmu, _| mmu.cleared(pa, len));
        }
        // SAFETY: the trait's contract.
        unsafe { ptr.write_bytes(0, host(len)) }
    }

    unsafe fn zero_mapped(&self, range: VirtRange) {
        // Page by page: what is contiguous to the MMU need not be so on the host. The first may be a part of one.
        let page = self.0.spec.page;
        let mut va = range.start;
        while va < range.end {
            let len = (page - va.get() % page).min(range.end - va);
            // SAFETY: the trait's contract, for a part of the range; mapped panics for anything else.
            unsafe { self.zero(self.mapped(va, len, Access::Write), len) };
            va = va + len;
        }
    }

    const WATCHES_ENTRIES: bool = true;
    fn entry_written(&self, table: PhysAddr, index: usize, old: u64, new: u64) {
        let (table, index) = (table.get(), index as u64);
        let before = self.stale_entries();
        let written =
            self.with_mmu(|mmu, inner| mmu.written(inner.spec, &inner.memory, table, index, old, new));
        self.note_written(table + index * 8, written.flatten(), (old, new), before);
    }

    fn checkpoint(&self, step: Checkpoint) {
        self.note_checkpoint(step);
    }
    fn asked(&self, resource: &Resource, failed: bool) {
        self.note(|| Event::Asked { what: resource.to_string(), failed });
    }
}
