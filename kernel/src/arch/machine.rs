//! The memory model's machine: frames through the linear map, everything else at its own virtual address.
#![expect(unsafe_code, reason = "implements the model's F1: pointers into the linear map and vmemmap")]

use core::ptr::with_exposed_provenance_mut;

use hotmap_mm::addr::{PhysAddr, VirtAddr, VirtRange};
use hotmap_mm::layout::LINEAR_START;
use hotmap_mm::machine::Bbm;
use hotmap_mm::machine::{Access, Machine};

use super::{bulk, cpu, exchange, fault, tlb};

/// This machine.
#[derive(Clone, Copy, Debug)]
pub struct Arm {
    phys_base: PhysAddr,
}

impl Arm {
    /// The machine whose linear map starts with `phys_base`.
    pub const fn new(phys_base: PhysAddr) -> Self {
        Self { phys_base }
    }
}

/// A pointer to `address`; the kernel runs in a 64-bit address space.
fn pointer(address: u64) -> *mut u8 {
    with_exposed_provenance_mut(super::word(address))
}

// SAFETY: F1: the linear map covers all of present memory (I8), so the pointer to a frame is valid while it is present; a
// mapped address is its own pointer, and an access to one that is not mapped faults and does not return.
unsafe impl Machine for Arm {
    fn frame(&self, pa: PhysAddr, _len: u64) -> *mut u8 {
        pointer((LINEAR_START + (pa - self.phys_base)).get())
    }
    fn mapped(&self, va: VirtAddr, _len: u64, _access: Access) -> *mut u8 {
        pointer(va.get())
    }
    fn publish(&self) {
        tlb::publish();
    }
    fn invalidate(&self, range: VirtRange, stride: u64, tables: bool) {
        let scope = if tables { tlb::Scope::Walk } else { tlb::Scope::Leaf };
        tlb::invalidate_range(&(range.start.get()..range.end.get()), stride, scope);
        fault::broken();
    }
    fn invalidate_pages(&self, pages: impl Iterator<Item = VirtAddr>, _size: u64) {
        tlb::invalidate_pages(pages.map(VirtAddr::get));
    }
    fn invalidate_pages_here(&self, pages: impl Iterator<Item = VirtAddr>, _size: u64) {
        tlb::invalidate_pages_here(pages.map(VirtAddr::get));
    }
    fn bbm(&self) -> Bbm {
        // The CPUs of QEMU's virt are all of one model.
        cpu::features().bbm()
    }
    fn window_open(&self, range: VirtRange) {
        fault::open(range);
    }
    fn window_close(&self) {
        fault::close();
    }
    fn exchange_open(&self) {
        exchange::open();
    }
    fn exchange_close(&self) {
        exchange::close();
    }
    unsafe fn zero(&self, ptr: *mut u8, len: u64) {
        // SAFETY: the trait's `# Safety`: valid for writes of `len` bytes, multiples of 64.
        unsafe { bulk::zero(ptr, super::word(len)) }
    }
    unsafe fn copy(&self, to: *mut u8, from: *const u8, len: u64) {
        // SAFETY: the trait's `# Safety`: valid for `len` bytes, apart from each other, a multiple of 4096.
        unsafe { bulk::copy_page(to, from, super::word(len)) }
    }
    unsafe fn fill(&self, ptr: *mut u8, len: u64, value: u64) {
        // SAFETY: the trait's `# Safety`: valid for writes of `len` bytes, multiples of 64.
        unsafe { bulk::fill(ptr, super::word(len), value) }
    }
}
