//! The model heap: running out of it is an error that is undone, never the end.

use alloc::vec::Vec;

use hotmap_mm::error::Resource;
use hotmap_mm::frame::zone::ZoneKind;
use hotmap_mm::list;
use hotmap_mm::pfn::Pfn;

use super::check::{Outcome, check, fail, ran_out, same};
use super::snapshot::Snapshot;
use super::spare::boot_block;
use super::subject::{Test, test};
use hotmap_kernel::arch::heap;
use hotmap_kernel::kernel::Kernel;

pub(super) const TESTS: &[Test] = &[
    test("an allocation larger than the heap is refused and changes nothing", too_much_is_refused),
    test("a tenant is refused when the heap is exhausted", no_tenant_without_heap),
    test("a block stays offline when the heap is exhausted", no_online_without_heap),
];

fn out_of_heap(resource: Resource) -> bool {
    matches!(resource, Resource::Heap { .. })
}

fn too_much_is_refused(_: &mut Kernel) -> Outcome {
    let (used, size) = heap::usage();
    check!(used < size, "{used} of {size} bytes are in use");
    let mut list: Vec<u64> = Vec::new();
    for items in [size / 8, usize::MAX / 16, usize::MAX] {
        ran_out(list::reserve(&mut list, items), out_of_heap)?;
        same("room in a list that was refused", list.capacity() as u64, 0)?;
    }
    same("heap bytes in use", heap::usage().0 as u64, used as u64)
}

/// As many holes as the heap may have for the tests to run: each takes some chunks to fill.
const CHUNKS: usize = 128;
/// Below this every size is tried, not only the halves: a hole that is 8 bytes larger than a chunk does not hold it, because
/// the rest would be too small for a hole.
const CRUMBS: usize = 256;

/// All of the heap.
struct Hoard([Vec<u8>; CHUNKS]);

impl Hoard {
    /// Takes the largest chunk that there is, until there is none.
    fn new() -> Outcome<Self> {
        let mut hoard = Self([const { Vec::new() }; CHUNKS]);
        let mut size = heap::usage().1.next_power_of_two();
        for chunk in &mut hoard.0 {
            while chunk.try_reserve_exact(size).is_err() {
                if size == 8 {
                    return Ok(hoard);
                }
                size = if size > CRUMBS { size / 2 } else { size - 8 };
            }
        }
        Err(fail(format_args!("{CHUNKS} chunks do not exhaust the heap")))
    }
}

fn no_tenant_without_heap(kernel: &mut Kernel) -> Outcome {
    let hoard = Hoard::new()?;
    let before = Snapshot::of(kernel);
    let refused = kernel.mm.tenant_new(1);
    let outcome = before.is_still(kernel);
    drop(hoard);
    ran_out(refused, out_of_heap).and(outcome)
}

fn no_online_without_heap(kernel: &mut Kernel) -> Outcome {
    let block = boot_block(kernel)?;
    kernel.mm.offline_block(block)?;
    let outcome = refuses_to_go_online(kernel, block);
    kernel.mm.online_block(block, ZoneKind::Normal)?;
    outcome
}

fn refuses_to_go_online(kernel: &mut Kernel, block: Pfn) -> Outcome {
    let hoard = Hoard::new()?;
    let before = Snapshot::of(kernel);
    let refused = kernel.mm.online_block(block, ZoneKind::Normal);
    let outcome = before.is_still(kernel);
    drop(hoard);
    ran_out(refused, out_of_heap).and(outcome)
}
