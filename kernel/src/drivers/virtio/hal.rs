//! Memory that a virtio device reads and writes, and where its registers are: what `virtio-drivers` asks of a kernel.
//!
//! Devices here are coherent: nothing is cleaned or invalidated (a device whose node in the tree does not say so is refused).
#![expect(unsafe_code, reason = "shares memory with devices; rules M4, M6 and M8")]

use core::alloc::Layout;
use core::ptr::{NonNull, with_exposed_provenance_mut};

use alloc::alloc::{alloc_zeroed, dealloc};
use hotmap_mm::addr::{PhysAddr, VirtAddr};
use hotmap_mm::layout;
use virtio_drivers::{BufferDirection, Hal, PAGE_SIZE, PhysAddr as DmaAddr};

use crate::arch::{mmu_control, translate, word};

/// Queues in the kernel's heap, whose arena is one piece of RAM.
pub struct KernelHal;

/// Where a device sees the `bytes` bytes at `start`: they are contiguous in physical memory, or this panics.
pub(super) fn physical(start: NonNull<u8>, bytes: usize) -> DmaAddr {
    let at = |offset: usize| {
        let va = VirtAddr::new((start.expose_provenance().get() + offset) as u64);
        translate::load(va).address().expect("a buffer that is mapped").get()
    };
    let (first, last) = (at(0), at(bytes.saturating_sub(1)));
    assert!(last.wrapping_sub(first) == bytes.saturating_sub(1) as u64, "a buffer in two pieces");
    first
}

/// Where the registers at `start` are: boot has mapped them; before that, the MMU is off.
pub(super) fn registers(start: DmaAddr) -> NonNull<u8> {
    let mapped = || layout::device_address(PhysAddr::new(start)).map(|va| word(va.get()));
    let at = if mmu_control::is_on() { mapped() } else { Some(word(start)) };
    at.and_then(|at| NonNull::new(with_exposed_provenance_mut(at))).expect("registers within reach")
}

fn pages(count: usize) -> Option<Layout> {
    Layout::from_size_align(count.checked_mul(PAGE_SIZE)?, PAGE_SIZE).ok().filter(|layout| layout.size() > 0)
}

// SAFETY: M6, M8: the heap gives zeroed memory of its own to each queue; M4 for the registers.
unsafe impl Hal for KernelHal {
    fn dma_alloc(count: usize, _: BufferDirection) -> (DmaAddr, NonNull<u8>) {
        // SAFETY: the layout is not empty.
        let start = pages(count).and_then(|layout| NonNull::new(unsafe { alloc_zeroed(layout) }));
        // A physical address of 0 is the crate's word for "no memory".
        start.map_or((0, NonNull::dangling()), |start| (physical(start, count * PAGE_SIZE), start))
    }

    unsafe fn dma_dealloc(_: DmaAddr, start: NonNull<u8>, count: usize) -> i32 {
        if let Some(layout) = pages(count) {
            // SAFETY: by the trait's contract `dma_alloc` gave it, with this layout.
            unsafe { dealloc(start.as_ptr(), layout) };
        }
        0
    }

    unsafe fn mmio_phys_to_virt(start: DmaAddr, _: usize) -> NonNull<u8> {
        registers(start)
    }

    unsafe fn share(buffer: NonNull<[u8]>, _: BufferDirection) -> DmaAddr {
        physical(buffer.cast(), buffer.len())
    }

    unsafe fn unshare(_: DmaAddr, _: NonNull<[u8]>, _: BufferDirection) {}
}
