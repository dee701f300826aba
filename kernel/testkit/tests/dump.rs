//! What the tables map, as runs, and how many tables that takes. The oracle is the specification's walker over raw tables,
//! whose leaves and tables are gathered here by their decoded fields.
#![cfg(not(miri))]

use std::collections::{BTreeMap, BTreeSet};

use hotmap_emulator::arch::spec::Leaf;
use hotmap_emulator::rig::{GIB, MIB, Rig, Shape};
use hotmap_mm::addr::{PhysAddr, VirtAddr, VirtRange};
use hotmap_mm::device::compound::{Compound, TailScope};
use hotmap_mm::device::pagemap::DeviceType;
use hotmap_mm::entry::descriptor::{Attributes, Descriptor};
use hotmap_mm::frame::zone::ZoneKind;
use hotmap_mm::granule::Granule;
use hotmap_mm::hotplug::home::MemmapHome;
use hotmap_mm::layout::{LINEAR_START, TENANTS};
use hotmap_mm::pfn::PfnRange;
use hotmap_mm::space::dump::Run;
use hotmap_mm::space::request::MapRequest;
use hotmap_mm::vmemmap::cost::{MemmapCost, memmap_cost};

const DEVICE: u64 = 8 << 40;
const LEN: u64 = 4 * GIB;

/// The largest size of compound pages. At 4K their tails fill tables, which are shared too.
fn largest(g: Granule) -> u64 {
    if g.page_size == 4096 { GIB } else { g.pmd_size }
}

/// RAM with a hole, a DIMM that holds its own memmap, a device whose compound pages share struct pages and tables, and pages
/// of all permissions, of devices and of normal memory, side by side.
fn much_is_mapped(g: Granule, size: u64, tails: TailScope) -> Rig {
    let ram = [(0x4000_0000, 256 * MIB), (0x4000_0000 + 4 * GIB, 512 * MIB)];
    let mut rig = Rig::boot(g, &Shape::many("two ranges", &ram));
    let len = Rig::blocks(g, 1);
    rig.plug(16 * GIB, len, MemmapHome::SelfHosted);
    rig.online(16 * GIB, len, ZoneKind::Movable);
    rig.machine.plug(DEVICE, LEN);
    let compound = Compound::new(g, size, tails).expect("a size of compound pages");
    let ranges = [(PhysAddr::new(DEVICE), LEN)];
    let device = rig
        .mm
        .compound_device_range(&ranges, DeviceType::Generic, MemmapHome::Ram, compound)
        .expect("nothing is there");
    rig.mm.memremap_pages(&device, |_, _| {}).expect("room");

    let kinds =
        [Attributes::DATA, Attributes::RODATA, Attributes::RODATA, Attributes::TEXT, Attributes::DEVICE];
    let mut at = TENANTS.start;
    for (pages, attributes) in (1..).zip(kinds) {
        let range = VirtRange { start: at, end: at + pages * g.page_size };
        let pa = PhysAddr::new(0x4000_0000 + (at.get() - TENANTS.start.get()));
        let max_leaf = g.page_size;
        let request = MapRequest { range, pa, attributes, max_leaf, contiguous: false };
        let (space, frames) = rig.mm.parts_mut();
        space.map(frames, &request).expect("nothing is there");
        at = range.end;
    }
    rig
}

fn the_upper_half() -> VirtRange {
    VirtRange { start: LINEAR_START, end: VirtAddr::new(u64::MAX << 16) }
}

/// A run: first address, length, first frame, size of a leaf.
type Line = (u64, u64, u64, u64);

fn lines_by_the_specification(rig: &Rig) -> Vec<Line> {
    let within = the_upper_half();
    let mut lines: Vec<(Line, Leaf)> = Vec::new();
    // Whether all leaves of the last line lead to one frame, as those of many tails do.
    let mut alike = false;
    for mapped in rig.machine.everything().leaves {
        assert!(mapped.va >= within.start.get() && mapped.va < within.end.get(), "{:#x}", mapped.va);
        let leaf = mapped.leaf;
        if let Some(((start, len, pa, size), first)) = lines.last_mut() {
            let (again, next) = (*first, Leaf { pa: *pa + *len, ..*first });
            let follows = (*start + *len, *size) == (mapped.va, mapped.size);
            if follows && if alike { leaf == again } else { leaf == next || *len == *size && leaf == again } {
                alike = leaf == again;
                *len += mapped.size;
                continue;
            }
        }
        alike = false;
        lines.push(((mapped.va, mapped.size, leaf.pa, mapped.size), leaf));
    }
    lines.into_iter().map(|(line, _)| line).collect()
}

fn runs_are_the_leaves_that_continue_each_other(g: Granule) {
    let rig = much_is_mapped(g, g.pmd_size, TailScope::Device);
    let mut runs: Vec<Line> = Vec::new();
    rig.mm
        .space()
        .runs(the_upper_half(), |run| {
            runs.push((run.range.start.get(), run.range.len(), run.pa.get(), run.leaf));
        })
        .expect("a scan");
    let expected = lines_by_the_specification(&rig);
    assert!(expected.len() > 8, "RAM, a DIMM, memmap, four kinds of pages: {expected:#x?}");
    assert_eq!(runs, expected);
}

/// Blocks on demand: a line for the head of a free block, one for its zero page, and at 4K one for all tables after the first.
fn an_image_is_a_line_for_each_of_its_frames(g: Granule) {
    let mut rig = Rig::boot(g, &Shape::one("256 MiB", 0x4000_0000, 256 * MIB));
    rig.plug(16 * GIB, Rig::blocks(g, 3), MemmapHome::Demand);
    let image = rig.mm.frames().demand().image().expect("a block is on demand");
    let memmap = rig.mm.space().layout().memmap(PfnRange::new(Rig::pfn(g, 16 * GIB), 3 * g.section_pages));
    let mut runs = Vec::new();
    let line = |run: &Run| {
        runs.push((run.range.start.get() - memmap.start.get(), run.range.len(), run.pa, run.is_table()));
    };
    rig.mm.space().runs(memmap, line).expect("a scan");
    let (page, block) = (g.page_size, g.section_memmap);
    let one = |at| [(at, page, image.head, false), (at + page, block - page, image.zero, false)];
    let expected = match image.table {
        Some(table) => [&one(0)[..], &[(block, 2 * block, table, true)]].concat(),
        None => (0..3).flat_map(|i| one(i * block)).collect(),
    };
    assert_eq!(runs, expected);
}

fn table_pages_are_those_of_the_tables_but_the_root(g: Granule) {
    let rig = much_is_mapped(g, largest(g), TailScope::Device);
    let tables = rig.machine.everything().tables;
    let all: BTreeSet<u64> = tables.iter().skip(1).map(|table| table.pa).collect();
    assert_eq!(rig.mm.space().table_pages(the_upper_half()), all.len() as u64);
    // What serves nothing but the tenants.
    let below = TENANTS.start.get()..TENANTS.start.get() + g.page_size;
    let few: BTreeSet<u64> = tables
        .iter()
        .skip(1)
        .filter(|table| table.va <= below.start && below.start - table.va < reach(g, table.level))
        .map(|table| table.pa)
        .collect();
    let range = VirtRange { start: TENANTS.start, end: TENANTS.start + g.page_size };
    assert_eq!(rig.mm.space().table_pages(range), few.len() as u64);
}

/// The bytes that a table of `level` serves.
fn reach(g: Granule, level: usize) -> u64 {
    1 << (g.page_shift + (4 - u32::try_from(level).expect("0 to 3")) * (g.page_shift - 3))
}

/// The frames behind the memmap of `pages` by the raw tables, and how many pages of vmemmap lead to each.
fn frames_by_the_specification(rig: &Rig, pages: PfnRange) -> BTreeMap<u64, u64> {
    let g = rig.granule();
    let memmap = rig.mm.space().layout().memmap(pages);
    let mut led_to = BTreeMap::<u64, u64>::new();
    for mapped in rig.machine.everything().leaves {
        if mapped.va >= memmap.start.get() && mapped.va < memmap.end.get() {
            for page in (0..mapped.size).step_by(usize::try_from(g.page_size).expect("small")) {
                *led_to.entry(mapped.leaf.pa + page).or_default() += 1;
            }
        }
    }
    led_to
}

/// What the memmap of `pages` costs by the raw tables: pages of vmemmap, frames that one of them leads to, frames that
/// several lead to, and the pages that lead to those.
fn cost_by_the_specification(rig: &Rig, pages: PfnRange) -> [u64; 4] {
    let led_to = frames_by_the_specification(rig, pages);
    let (own, shared): (Vec<u64>, Vec<u64>) = led_to.into_values().partition(|entries| *entries == 1);
    let (own, mappings) = (own.len() as u64, shared.iter().sum::<u64>());
    [own + mappings, own, shared.len() as u64, mappings]
}

fn what_memmap_costs_is_read_from_the_tables(g: Granule) {
    for tails in [TailScope::Page, TailScope::Device] {
        let rig = much_is_mapped(g, largest(g), tails);
        let cost = |start, len| {
            let pages = PfnRange::new(Rig::pfn(g, start), len / g.page_size);
            let cost = memmap_cost(rig.mm.space(), pages);
            let expected = cost_by_the_specification(&rig, pages);
            assert_eq!([cost.mapped, cost.own, cost.shared, cost.mappings], expected, "{start:#x}");
            cost
        };
        let (ram, device) = (cost(0x4000_0000, 256 * MIB), cost(DEVICE, LEN));
        assert_eq!((ram.shared, ram.saved()), (0, 0));
        assert!(device.shared > 0 && device.saved() > 0);
        let frames = frames_by_the_specification(&rig, PfnRange::new(Rig::pfn(g, DEVICE), LEN / g.page_size));
        assert_eq!(device.backed(), frames.len() as u64);
        assert_eq!(device.saved(), LEN / g.page_size * 64 / g.page_size - device.backed());
        let mut both = ram;
        both += device;
        let sum = MemmapCost {
            mapped: ram.mapped + device.mapped,
            own: ram.own + device.own,
            shared: device.shared,
            mappings: device.mappings,
        };
        assert_eq!(both, sum);
    }
}

fn attributes_are_printed_in_words(_: Granule) {
    assert_eq!(format!("{:?}", Descriptor::from_bits(0x0060_0000_8000_0705)), "0x0060000080000705");
    let words = |attributes| Descriptor::leaf(PhysAddr::new(0x4000_0000), attributes, 3, true).to_string();
    assert_eq!(words(Attributes::DATA), "rw- normal contiguous");
    assert_eq!(words(Attributes::RODATA), "r-- normal contiguous");
    assert_eq!(words(Attributes::TEXT), "r-x normal contiguous");
    assert_eq!(words(Attributes::DEVICE), "rw- device contiguous");
}

hotmap_testkit::at_each_granule!(
    runs_are_the_leaves_that_continue_each_other,
    an_image_is_a_line_for_each_of_its_frames,
    table_pages_are_those_of_the_tables_but_the_root,
    what_memmap_costs_is_read_from_the_tables,
    attributes_are_printed_in_words
);
