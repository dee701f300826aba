//! The kernel heap: `linked_list_allocator` in an arena that is fixed at boot (`heap=`). Collections in the
//! kernel grow by `try_reserve`, so that an exhausted heap is an error and not a panic.
#![expect(unsafe_code, reason = "GlobalAlloc is an unsafe trait; rule M1 of the model for the arena")]

use core::alloc::{GlobalAlloc, Layout};
use core::ptr::{NonNull, null_mut};

use hotmap_mm::addr::PhysRange;
use hotmap_mm::machine::Machine;
use linked_list_allocator::Heap;

use super::machine::Arm;
use crate::lock::Lock;

struct KernelHeap(Lock<Heap>);

#[global_allocator]
static HEAP: KernelHeap = KernelHeap(Lock::new(Heap::empty()));

// SAFETY: M7: the lock makes every call exclusive, and the heap hands out disjoint blocks of its arena.
unsafe impl GlobalAlloc for KernelHeap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.0.lock().allocate_first_fit(layout).map_or(null_mut(), NonNull::as_ptr)
    }
    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        if let Some(ptr) = NonNull::new(ptr) {
            // SAFETY: M7, and the contract of `GlobalAlloc`: `ptr` came from `alloc` with this layout.
            unsafe { self.0.lock().deallocate(ptr, layout) }
        }
    }
}

/// Gives the heap its arena, which memblock has taken out of RAM. A second call changes nothing.
pub fn init(machine: &Arm, arena: PhysRange) {
    let mut heap = HEAP.0.lock();
    if heap.size() == 0 {
        let start = machine.frame(arena.start, arena.len());
        // SAFETY: memblock gave these bytes to the heap alone (I3), and the linear map covers them (I8).
        unsafe { heap.init(start, super::word(arena.len())) }
    }
}

/// Bytes in use, and the arena's size.
pub fn usage() -> (usize, usize) {
    let heap = HEAP.0.lock();
    (heap.used(), heap.size())
}
