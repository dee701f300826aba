//! The auditor sees damage wherever it is done, names it, and does not fall over it: bytes of tables and struct pages are
//! changed behind the model's back.
#![cfg(not(miri))]

use hotmap_emulator::arch::walker::{self, Memory};
use hotmap_emulator::layout;
use hotmap_emulator::rig::{MIB, Rig, Shape, spec_of};
use hotmap_mm::frame::block::MemoryBlock;
use hotmap_mm::frame::zone::ZoneKind;
use hotmap_mm::granule::Granule;
use hotmap_mm::hotplug::home::MemmapHome;
use hotmap_mm::pfn::Pfn;

/// A DIMM whose tables are its own, online, with a tenant.
const AT: u64 = 8 << 40;

fn first_block(rig: &Rig) -> MemoryBlock {
    rig.mm.frames().blocks().next().expect("boot has one")
}

fn boot(g: Granule) -> Rig {
    let mut rig = Rig::boot(g, &Shape::one("256 MiB", 0x4000_0000, 256 * MIB));
    rig.plug(AT, Rig::blocks(g, 2), MemmapHome::SelfHosted);
    rig.online(AT, Rig::blocks(g, 1), ZoneKind::Movable);
    rig.mm.tenant_new(3).expect("room");
    rig.assert_clean("before the damage");
    rig.machine.tolerate();
    rig
}

/// The address and the bits of the entry that maps `va`.
fn entry(rig: &Rig, va: u64) -> (u64, u64) {
    let g = rig.granule();
    let walk = walker::walk(spec_of(g), rig.machine.memory(), rig.machine.root(), va).expect("mapped");
    let read = walk.reads.iter().flatten().last().expect("a leaf");
    (read.at, read.raw)
}

fn linear(rig: &Rig, pa: u64) -> u64 {
    rig.mm.space().layout().linear(hotmap_mm::addr::PhysAddr::new(pa)).get()
}

/// Where the struct page of the page at `pa` is in virtual and physical memory.
fn struct_page(rig: &Rig, pa: u64) -> (u64, u64) {
    let g = rig.granule();
    let va = rig.mm.space().layout().page_address(Rig::pfn(g, pa)).get();
    (va, rig.machine.walk(va).expect("mapped"))
}

/// The first page of the tenant, and the frame behind it.
fn tenant(rig: &Rig) -> (u64, u64) {
    let va = rig.mm.tenants()[0].range.start.get();
    (va, rig.machine.walk(va).expect("mapped"))
}

/// The audit names `invariant` and says `what`.
fn assert_named(rig: &Rig, invariant: u8, what: &str) {
    let mut said = Vec::new();
    let summary = rig.mm.audit(&mut |finding| said.push(finding.to_string()));
    let prefix = format!("I{invariant}: {what}");
    assert!(said.iter().any(|line| line.starts_with(&prefix)), "{prefix}: {summary}\n{}", said.join("\n"));
    assert!(summary.findings(invariant) > 0);
}

fn poke(rig: &Rig, pa: u64, change: impl FnOnce(u64) -> u64) {
    let memory = rig.machine.memory();
    memory.poke(pa, change(memory.read(pa)));
}

fn memmap_that_is_not_mapped(g: Granule) {
    let rig = boot(g);
    let (at, _) = entry(&rig, struct_page(&rig, AT).0);
    poke(&rig, at, |_| 0);
    assert_named(&rig, 1, "a valid page has no struct page that can be used");
    assert_named(&rig, 2, "the altmap's frames in use differ");
}

fn a_struct_page_that_was_not_initialised(g: Granule) {
    let rig = boot(g);
    let memmap = Rig::blocks(g, 1) / g.page_size * 64;
    poke(&rig, struct_page(&rig, AT + memmap).1, |_| 0xa5a5_a5a5_a5a5_a5a5);
    assert_named(&rig, 1, "a struct page was not initialised");
}

fn a_frame_that_is_mapped_twice_as_memmap(g: Granule) {
    let rig = boot(g);
    // The last two leaves of the DIMM's memmap. Where a block's memmap is several, both describe tails only, all zero, so
    // that nothing but the frame shows the difference.
    let size = if g.page_size == 4096 { 2 * MIB } else { g.page_size };
    let (end, _) = struct_page(&rig, AT + Rig::blocks(g, 2) - g.page_size);
    let (first, second) = (entry(&rig, end - size), entry(&rig, end));
    rig.machine.memory().poke(second.0, first.1);
    let what = if g.page_size == 4096 {
        "memmap of other memory than the altmap's that it lies in"
    } else {
        "one frame is in use twice"
    };
    assert_named(&rig, 3, what);
}

fn a_table_that_is_marked_as_something_else(g: Granule) {
    let rig = boot(g);
    let all = rig.machine.everything();
    let table = all.tables.iter().find(|t| t.level == 2).expect("tables");
    poke(&rig, struct_page(&rig, table.pa).1, |head| head & !0xff | 7);
    assert_named(&rig, 3, "the frame of a table");
    assert_named(&rig, 6, "table pages");
}

fn a_tenant_whose_page_is_a_free_one(g: Granule) {
    let rig = boot(g);
    let (va, _) = tenant(&rig);
    let block = first_block(&rig);
    let free = block.free.heads(&rig.mm.frames().pages(), 0).next();
    let any = (0..=g.section_order).find_map(|o| block.free.heads(&rig.mm.frames().pages(), o).next());
    let free = free.or(any).expect("boot memory has free pages").address(g).get();
    let (at, raw) = entry(&rig, va);
    rig.machine.memory().poke(at, raw & !0x0000_ffff_ffff_f000 | free);
    assert_named(&rig, 3, "the frame of a tenant's page");
    assert_named(&rig, 3, "a tenant's page is not mapped at its address");
}

fn a_tenants_page_that_names_another_address(g: Granule) {
    let rig = boot(g);
    let (_, pa) = tenant(&rig);
    poke(&rig, struct_page(&rig, pa).1 + 16, |private| private + g.page_size);
    assert_named(&rig, 3, "a tenant's page does not know the address that maps it");
}

fn an_empty_table(g: Granule) {
    let rig = boot(g);
    let all = rig.machine.everything();
    let of_dimm = linear(&rig, AT);
    let table = all.tables.iter().rfind(|t| t.va <= of_dimm && layout::LINEAR.contains(&t.va));
    let table = table.expect("the DIMM's last table");
    for i in 0..spec_of(g).levels[table.level].entries() {
        rig.machine.memory().poke(table.pa + i * 8, 0);
    }
    assert_named(&rig, 4, "an empty table was not freed");
    assert_named(&rig, 8, "memory that the linear map does not reach");
}

fn an_entry_that_was_taken_down_half_way(g: Granule) {
    let rig = boot(g);
    let (at, raw) = entry(&rig, tenant(&rig).0);
    rig.machine.memory().poke(at, raw & !1 | 1 << 55);
    assert_named(&rig, 5, "an entry that was taken down is still remembered");
    assert_named(&rig, 3, "pages mapped for tenants differ");
}

fn free_pages_that_are_on_no_list_or_on_a_circle(g: Granule) {
    let rig = boot(g);
    let (pages, block) = (rig.mm.frames().pages(), &first_block(&rig));
    let orders = (0..=g.section_order).filter(|o| block.free.heads(&pages, *o).next().is_some());
    let order = orders.max().expect("boot memory has free pages");
    let head = block.free.heads(&pages, order).next().expect("one of that order");
    let at = struct_page(&rig, head.address(g).get()).1 + 8;
    // The link to the next head is an offset into the block plus one: here to itself.
    let to_itself = head - block.start + 1;
    poke(&rig, at, |links| links & !0xffff_ffff | to_itself);
    assert_named(&rig, 6, "a free list");
    poke(&rig, at, |links| links & !0xffff_ffff | 0xffff_ff00);
    assert_named(&rig, 6, "a free list leads out of its block or in a circle");
}

fn a_page_that_nobody_speaks_for(g: Granule) {
    let rig = boot(g);
    let (_, pa) = tenant(&rig);
    poke(&rig, struct_page(&rig, pa).1, |_| 0);
    assert_named(&rig, 6, "pages of an online block that are neither free nor in use");
}

fn memmap_of_what_is_not_there(g: Granule) {
    let rig = boot(g);
    let window = Rig::blocks(g, 2) / g.page_size * 64;
    let (last_va, _) = struct_page(&rig, AT + Rig::blocks(g, 2) - g.page_size);
    let (at, raw) = entry(&rig, last_va);
    assert!(window > 0);
    rig.machine.memory().poke(at + 8, raw);
    assert_named(&rig, 7, "the memmap of memory that is not present is mapped");
}

fn a_linear_map_that_reaches_too_far_elsewhere_or_executes(g: Granule) {
    let rig = boot(g);
    let last = linear(&rig, AT + Rig::blocks(g, 2)) - 1;
    let (at, raw) = entry(&rig, last);
    let size = walker::walk(spec_of(g), rig.machine.memory(), rig.machine.root(), last).expect("mapped").size;
    rig.machine.memory().poke(at, raw & !(1 << 53));
    assert_named(&rig, 8, "a mapping that is writable and executable");
    rig.machine.memory().poke(at, raw + size);
    assert_named(&rig, 8, "the linear map leads to other memory than its address says");
    rig.machine.memory().poke(at, raw);
    rig.machine.memory().poke(at + 8, raw + size);
    assert_named(&rig, 8, "the linear map reaches what is no memory");
    rig.machine.memory().poke(at + 8, 0);
    rig.assert_clean("with the damage undone");
}

fn every_offender_can_be_read(g: Granule) {
    let rig = boot(g);
    let pfn = Pfn::new(tenant(&rig).1 / g.page_size);
    poke(&rig, struct_page(&rig, pfn.address(g).get()).1, |head| head & !0xff | 1);
    let mut said = Vec::new();
    rig.mm.audit(&mut |finding| said.push(finding.to_string()));
    let named = said.iter().any(|line| line.contains(&pfn.to_string()) && line.contains("free"));
    assert!(named, "{said:?}");
}

hotmap_testkit::at_each_granule!(
    memmap_that_is_not_mapped,
    a_struct_page_that_was_not_initialised,
    a_frame_that_is_mapped_twice_as_memmap,
    a_table_that_is_marked_as_something_else,
    a_tenant_whose_page_is_a_free_one,
    a_tenants_page_that_names_another_address,
    an_empty_table,
    an_entry_that_was_taken_down_half_way,
    free_pages_that_are_on_no_list_or_on_a_circle,
    a_page_that_nobody_speaks_for,
    memmap_of_what_is_not_there,
    a_linear_map_that_reaches_too_far_elsewhere_or_executes,
    every_offender_can_be_read,
);
