//! The model's lists live on the kernel's small heap: what comes and goes must give back every byte.
#![cfg(not(miri))]
#![expect(unsafe_code, reason = "a global allocator that counts")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use hotmap_emulator::rig::{Rig, Shape, range};
use hotmap_mm::addr::PhysAddr;
use hotmap_mm::debug::faults::Plan;
use hotmap_mm::frame::block::Source;
use hotmap_mm::frame::zone::ZoneKind;
use hotmap_mm::granule::Granule;
use hotmap_mm::hotplug::home::MemmapHome;
use hotmap_mm::hotplug::range::HotRange;
use hotmap_mm::pfn::Pfn;

thread_local! {
    /// Bytes that this thread has allocated and not freed.
    static LIVE: Cell<isize> = const { Cell::new(0) };
}

struct Counting;

fn count(bytes: usize, sign: isize) {
    LIVE.set(LIVE.get() + sign * isize::try_from(bytes).unwrap_or(0));
}

// SAFETY: hands everything to the system's allocator, with the arguments that it was given.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 1);
        // SAFETY: the caller's contract is the system allocator's.
        unsafe { System.alloc(layout) }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 1);
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }
    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        count(layout.size(), -1);
        // SAFETY: as above.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn cycle(rig: &mut Rig, dimms: u64, tenants: u64) {
    let g = rig.granule();
    let len = Rig::blocks(g, 2);
    let at = |i: u64| 0x8000_0000 + i * len;
    (0..dimms).for_each(|i| rig.plug(at(i), len, MemmapHome::SelfHosted));
    (0..dimms).for_each(|i| rig.online(at(i), len, ZoneKind::Movable));
    let ids: Vec<u32> = (1..=tenants).map(|n| rig.mm.tenant_new(n).expect("room")).collect();
    (0..dimms).for_each(|i| rig.unplug(at(i), len));
    ids.into_iter().for_each(|id| rig.mm.tenant_drop(id).expect("not held"));
}

fn every_byte_comes_back(g: Granule) {
    let mut rig = Rig::boot(g, &Shape::tiny());
    // The kit's own tables grow to what they need in the first cycle, and stay.
    cycle(&mut rig, 4, 6);
    let warm = LIVE.get();
    for dimms in [1, 4, 2] {
        cycle(&mut rig, dimms, 6);
        assert_eq!(LIVE.get(), warm, "after {dimms} DIMMs");
    }
    let tenant = rig.mm.tenant_new(1).expect("room");
    assert!(LIVE.get() > warm, "the count counts");
    rig.mm.tenant_drop(tenant).expect("not held");
    assert_eq!(LIVE.get(), warm);
}

/// Whatever fails, the lists are as large as they were: a list that has grown for what did not come has shrunk again.
fn every_byte_comes_back_from_a_failure(g: Granule) {
    let mut rig = Rig::boot(g, &Shape::tiny());
    let len = Rig::blocks(g, 2);
    cycle(&mut rig, 2, 2);
    rig.machine.plug(0x8000_0000, len);
    let act = |rig: &mut Rig, plan| {
        rig.mm.frames_mut().faults.arm(plan);
        let hot = HotRange::new(&rig.mm, PhysAddr::new(0x8000_0000), len, Source::Dimm(0)).expect("free");
        let result = rig.mm.plug(&hot, MemmapHome::SelfHosted, ZoneKind::Movable, |_, _| {});
        let result = result.and_then(|()| {
            let tenant = rig.mm.tenant_new(2).map(|id| rig.mm.tenant_drop(id));
            rig.mm.frames_mut().faults.arm(Plan::Off);
            rig.mm.unplug(range(0x8000_0000, len)).expect("nothing in use");
            tenant.map(drop)
        });
        rig.mm.frames_mut().faults.arm(Plan::Off);
        result
    };
    act(&mut rig, Plan::Off).expect("room");
    let warm = LIVE.get();
    let failures = (1..).take_while(|n| {
        let failed = act(&mut rig, Plan::Nth(*n)).is_err();
        assert_eq!(LIVE.get(), warm, "allocation {n}");
        failed
    });
    assert!(failures.count() > 5);
}

/// The help text's "heap 4M: 12000 memory blocks": what a block has in the lists of sections, blocks, altmaps and its zone,
/// when all are added at once. Blocks that come one by one grow the lists: the longest of them exists twice for that
/// moment.
#[test]
fn four_mib_hold_the_lists_of_12000_blocks_added_at_once() {
    use hotmap_mm::frame::{altmap::Altmap, block::MemoryBlock, section::Section};
    let lists = [size_of::<Section>(), size_of::<MemoryBlock>(), size_of::<Altmap>(), size_of::<Pfn>()];
    let each: usize = lists.iter().sum();
    let (at_once, one_by_one) = ((4 << 20) / each, (4 << 20) / (each + lists.iter().max().expect("four")));
    assert!(at_once > 12000, "{lists:?}: {at_once}");
    assert!((6000..at_once).contains(&one_by_one), "{lists:?}: {one_by_one}");
}

hotmap_testkit::at_each_granule!(every_byte_comes_back, every_byte_comes_back_from_a_failure);
