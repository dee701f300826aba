//! A machine of 64 GiB is looked at by few reads: a run costs one struct page, and a table one read.

mod support;

use std::cell::Cell;
use std::time::Instant;

use hotmap_emulator::rig::{GIB, MIB, Shape};
use hotmap_mm::granule::GranuleKind;
use hotmap_mm::hotplug::home::MemmapHome;
use hotmap_view::{Machine, Memory, Unreadable};
use support::{DEVICE, DIMM, Guest, HOMES, Ram};

/// Counts reads and bytes.
struct Counting<'a> {
    ram: Ram<'a>,
    reads: Cell<u64>,
    bytes: Cell<u64>,
}

impl Memory for Counting<'_> {
    fn read(&self, pa: u64, bytes: &mut [u8]) -> Result<(), Unreadable> {
        self.reads.set(self.reads.get() + 1);
        self.bytes.set(self.bytes.get() + bytes.len() as u64);
        self.ram.read(pa, bytes)
    }
}

/// Looks at all; no view reads more than `reads` times, and none is larger than 2 MiB of JSON.
fn cheap(guest: &mut Guest, reads: u64, case: &str) {
    let state = guest.state();
    for name in ["memory", "vmemmap", "tables", "walk", "page"] {
        let memory = Counting { ram: Ram(&guest.machine), reads: Cell::default(), bytes: Cell::default() };
        let start = Instant::now();
        let machine = Machine::new(&memory, &state).expect("a machine");
        let view = machine.view(name, Some("addr:0x300000000")).expect("a view");
        let (built, json) = (start.elapsed(), view.to_string().len());
        println!(
            "{case}, {name}: {} reads, {} KiB read, {built:?}, {} KiB of JSON",
            memory.reads.get(),
            memory.bytes.get() >> 10,
            json >> 10
        );
        assert!(memory.reads.get() <= reads, "{case}, {name}: {} reads", memory.reads.get());
        assert!(memory.bytes.get() <= 36 << 20, "{case}, {name}: {} bytes", memory.bytes.get());
        assert!(json <= 4 << 20, "{case}, {name}: {json} bytes of JSON");
    }
}

#[test]
fn free_memory_costs_a_few_reads_for_each_block() {
    for home in HOMES {
        // The memmap of 64 GiB is 1 GiB.
        let mut guest = Guest::with(GranuleKind::K4, &Shape::one("2 GiB", 0x4000_0000, 2 * GIB));
        guest.plug(64 * GIB, home);
        // 528 blocks of at most 8 runs.
        cheap(&mut guest, 8 * 528 + 1000, &format!("{home:?}"));
    }
}

#[test]
fn a_machine_full_of_tenants_is_described_by_state_in_the_end() {
    let mut guest = Guest::boot(GranuleKind::K4);
    guest.plug(4 * GIB, MemmapHome::SelfHosted);
    guest.tell("tenant new 1000000");
    cheap(&mut guest, 1 << 15, "tenants");
    let state = guest.state();
    let ram = Ram(&guest.machine);
    let view = Machine::new(&ram, &state).expect("a machine").memory();
    assert!(view.blocks.iter().any(|block| !block.exact), "more than a view reads");
    for (seen, block) in view.blocks.iter().zip(&state.blocks) {
        let tenants = seen.totals.get(&hotmap_view::Use::Tenant).copied().unwrap_or(0);
        assert_eq!(tenants, block.tenant_pages, "{:#x}", block.start);
    }
}

#[test]
fn shared_memmap_of_a_large_device_is_folded() {
    let mut guest = Guest::boot(GranuleKind::K4);
    guest.plug(GIB, MemmapHome::SelfHosted);
    guest.device(DEVICE, 64 * GIB, MemmapHome::SelfRange { reserve: 0 }, 2 * MIB);
    cheap(&mut guest, 1 << 16, "compound pages");
    let state = guest.state();
    let ram = Ram(&guest.machine);
    let machine = Machine::new(&ram, &state).expect("a machine");
    let view = machine.vmemmap();
    assert!(view.ranges.len() < 2000 && view.ranges.iter().any(|range| range.folded));
    assert_eq!(view.saved, state.dedup.saved_pages);
    let pages: u64 = view.ranges.iter().map(|range| range.pages).sum();
    assert_eq!(pages, view.pages_mapped);
    let near = machine.vmemmap_near(Some((DEVICE + 8 * GIB) / state.granule)).ranges;
    let section =
        |range: &&hotmap_view::views::MemmapRange| range.describes.0 >> 27 == (DEVICE + 8 * GIB) >> 27;
    assert_eq!(
        near.iter().filter(section).filter(|range| !range.folded).count(),
        128,
        "64 heads and 64 tails"
    );
    assert_eq!(DIMM >> 27 << 27, DIMM);
}
