//! Where the memmap of memory can be: in each block, at the start of a range, in an altmap of the driver's; and that of boot
//! memory in itself.
#![cfg(not(miri))]

use hotmap_emulator::rig::{GIB, MIB, Rig, Shape, range};
use hotmap_mm::addr::PhysAddr;
use hotmap_mm::error::{AltmapError, Error, Resource};
use hotmap_mm::frame::altmap::Altmap;
use hotmap_mm::frame::block::Source;
use hotmap_mm::frame::page::PageKind;
use hotmap_mm::frame::zone::ZoneKind;
use hotmap_mm::granule::Granule;
use hotmap_mm::hotplug::home::MemmapHome;
use hotmap_mm::hotplug::offline::Offlined;
use hotmap_mm::hotplug::range::HotRange;
use hotmap_mm::pfn::PfnRange;
use hotmap_testkit::snapshot::Snapshot;

const FAR: u64 = 8 << 40;

fn boot(g: Granule) -> Rig {
    Rig::boot(g, &Shape::one("256 MiB", 0x4000_0000, 256 * MIB))
}

/// The frame, as the specification's walker finds it, that holds the struct page of the page at `pa`.
fn struct_page(rig: &Rig, pa: u64) -> u64 {
    let g = rig.granule();
    rig.machine.walk(rig.mm.space().layout().page_address(Rig::pfn(g, pa)).get()).expect("mapped")
}

fn a_range_with_one_altmap_hosts_its_memmap_at_its_start(g: Granule) {
    let (mut rig, len) = (boot(g), Rig::blocks(g, 3));
    rig.machine.plug(FAR, len);
    let (before, ram) = (Snapshot::exact(&rig), rig.mm.frames().counts().memmap_ram);
    rig.add(FAR, len, MemmapHome::SelfRange { reserve: 0 }).expect("room");
    rig.assert_clean("added");
    let memmap = len / g.page_size * 64;
    for at in [FAR, FAR + Rig::blocks(g, 1), FAR + len - g.page_size] {
        let page = struct_page(&rig, at);
        assert!((FAR..FAR + memmap).contains(&page), "the struct page of {at:#x} is at {page:#x}");
    }
    assert_eq!(rig.mm.frames().counts().memmap_ram, ram);
    assert_eq!(rig.mm.frames().counts().memmap_self, memmap / g.page_size);
    rig.online(FAR, len, ZoneKind::Movable);
    rig.assert_clean("online");
    let kept: Vec<_> = rig.mm.frames().blocks().map(|b| b.memmap_pages).collect();
    let kept: Vec<_> = kept.into_iter().rev().take(3).collect();
    assert_eq!(kept, [0, 0, memmap / g.page_size], "only the first block keeps pages");
    let tenant = rig.mm.tenant_new(20).expect("room");
    assert_eq!(rig.mm.unplug(range(FAR, len)), Ok(Offlined { migrated: 20 }));
    rig.mm.tenant_drop(tenant).expect("a tenant");
    before.assert_same(&Snapshot::exact(&rig), "it goes as one");
}

/// As that of more than 8 GiB does at 4K.
fn what_is_set_aside_may_fill_whole_blocks(g: Granule) {
    let (mut rig, len) = (boot(g), Rig::blocks(g, 3));
    rig.machine.plug(FAR, len);
    let before = Snapshot::exact(&rig);
    let memmap = g.section_pages + len / g.page_size * 64 / g.page_size;
    rig.add(FAR, len, MemmapHome::Given(Altmap::new(Rig::pfn(g, FAR), 0, memmap))).expect("room");
    rig.online(FAR, len, ZoneKind::Movable);
    rig.assert_clean("online");
    let usable: u64 =
        rig.mm.frames().blocks().filter(|b| b.start >= Rig::pfn(g, FAR)).map(|b| b.free.pages()).sum();
    assert_eq!(usable, len / g.page_size - memmap);
    rig.mm.unplug(range(FAR, len)).expect("nothing in use");
    before.assert_same(&Snapshot::exact(&rig), "gone");
}

fn a_part_whose_memmap_is_elsewhere_cannot_go_alone(g: Granule) {
    let (mut rig, block) = (boot(g), Rig::blocks(g, 1));
    // Odd addresses of blocks, so that no leaf of the linear map is larger than one.
    let (start, len) = (FAR + block, 2 * block);
    rig.machine.plug(start, len);
    rig.add(start, len, MemmapHome::SelfRange { reserve: 0 }).expect("room");
    let before = Snapshot::exact(&rig);
    for part in [start, start + block] {
        let refused = rig.mm.remove_memory(range(part, block));
        assert!(
            matches!(refused, Err(Error::Altmap(AltmapError::HeldTogether { .. }))),
            "{part:#x}: {refused:?}"
        );
    }
    before.assert_same(&Snapshot::exact(&rig), "refused");
    rig.mm.remove_memory(range(start, len)).expect("offline");
}

fn a_drivers_altmap_may_keep_more_than_it_needs_but_not_lose_pages(g: Granule) {
    let (mut rig, len) = (boot(g), Rig::blocks(g, 2));
    rig.machine.plug(FAR, len);
    let before = Snapshot::exact(&rig);
    let (base, exact) = (Rig::pfn(g, FAR), len / g.page_size * 64 / g.page_size);
    rig.add(FAR, len, MemmapHome::Given(Altmap::new(base, 0, exact + 512))).expect("room");
    rig.online(FAR, len, ZoneKind::Movable);
    rig.assert_clean("with room to spare");
    assert_eq!(rig.mm.frames().counts().memmap_self, exact + 512, "what is kept back is not the allocator's");
    rig.mm.unplug(range(FAR, len)).expect("nothing in use");
    let short = rig.add(FAR, len, MemmapHome::Given(Altmap::new(base, 0, exact - 1)));
    assert!(matches!(short, Err(Error::Out(Resource::Altmap { .. }))), "{short:?}");
    let beyond = rig.add(FAR, len, MemmapHome::Given(Altmap::new(base, 0, len / g.page_size + 1)));
    assert!(matches!(beyond, Err(Error::Altmap(AltmapError::TooLarge { .. }))), "{beyond:?}");
    let elsewhere = rig.add(FAR, len, MemmapHome::Given(Altmap::new(base + 1, 0, exact)));
    assert!(matches!(elsewhere, Err(Error::Altmap(AltmapError::Misplaced { .. }))), "{elsewhere:?}");
    before.assert_same(&Snapshot::exact(&rig), "refused");
    // One page kept back: at 4K the first block of memmap would lose 511 to alignment; base pages lose none.
    let odd = rig.add(FAR, len, MemmapHome::Given(Altmap::new(base, 1, exact + 512)));
    if g.page_size == 4096 {
        assert_eq!(odd, Err(Error::Altmap(AltmapError::Padding { base: PhysAddr::new(FAR), pages: 511 })));
        assert_eq!(rig.mm.frames().warnings.altmap, 1);
    } else {
        assert_eq!(odd, Ok(()));
        rig.assert_clean("with a page kept back");
    }
}

fn a_memmap_on_another_node_is_reported_once(g: Granule) {
    let (mut rig, len) = (boot(g), Rig::blocks(g, 1));
    let add = |rig: &mut Rig, slot: u64, node: u32, home: MemmapHome| {
        let start = FAR + slot * Rig::blocks(g, 1);
        rig.machine.plug(start, len);
        let range = HotRange::new(&rig.mm, PhysAddr::new(start), len, Source::Dimm(0)).expect("free");
        rig.mm.add_memory(&range.on_node(node), home, |_, _| {}).expect("room");
        assert_eq!(rig.mm.node_of(Rig::pfn(g, start)), Some(node));
        rig.mm.frames().warnings.remote_memmap
    };
    assert_eq!(
        add(&mut rig, 0, 0, MemmapHome::Ram),
        0,
        "boot memory is on node 0 unless set_node was called"
    );
    assert_eq!(add(&mut rig, 1, 1, MemmapHome::SelfHosted), 0, "at home on its own node");
    assert_eq!(add(&mut rig, 2, 1, MemmapHome::Ram), 1);
    assert_eq!(add(&mut rig, 3, 2, MemmapHome::Ram), 1, "once");
}

fn a_node_is_that_of_each_block_with_memory_of_the_range(g: Granule) {
    let mut rig = boot(g);
    let len = Rig::blocks(g, 1);
    rig.plug(FAR, 3 * len, MemmapHome::SelfHosted);
    // It begins in the middle of the second block.
    let part = PfnRange { start: Rig::pfn(g, FAR + len + len / 2), end: Rig::pfn(g, FAR + 3 * len) };
    rig.mm.set_node(part, 2);
    let nodes = [0, 1, 2].map(|block| rig.mm.node_of(Rig::pfn(g, FAR + block * len)));
    assert_eq!(nodes, [Some(0), Some(2), Some(2)]);
}

fn boot_memory_can_host_its_own_memmap_and_then_go(g: Granule) {
    for shape in Shape::all() {
        let name = shape.name;
        let mut rig = Rig::boot(g, &Shape { memmap: MemmapHome::SelfHosted, ..shape });
        rig.assert_clean(name);
        let own = Rig::blocks(g, 1) / g.page_size * 64 / g.page_size;
        let hosts: Vec<_> =
            rig.mm.frames().blocks().filter(|b| b.memmap_pages > 0).map(|b| b.start).collect();
        assert_eq!(rig.mm.frames().counts().memmap_self, hosts.len() as u64 * own, "{name}");
        for start in hosts {
            let bytes = PfnRange::new(start, g.section_pages).addresses(g);
            let page = struct_page(&rig, bytes.start.get());
            assert_eq!(page, bytes.start.get(), "{name}: the first page holds its own struct page");
            let ram = rig.mm.frames().counts().memmap_ram;
            if rig.mm.offline_block(start).is_ok() {
                rig.mm.remove_memory(bytes).expect("offline");
                rig.assert_clean(name);
                assert_eq!(rig.mm.frames().counts().memmap_ram, ram);
                rig.add(bytes.start.get(), bytes.len(), MemmapHome::SelfHosted).expect("it is free now");
                assert_eq!(rig.mm.frames().block_of(start).map(|b| b.source), Some(Source::Dimm(0)));
                rig.online(bytes.start.get(), bytes.len(), ZoneKind::Normal);
                rig.assert_clean(name);
            }
        }
    }
}

/// All blocks of 1 GiB but the first, which has the kernel at its start (at 64K the second and last).
fn every_boot_block_that_boot_left_alone_hosts_itself(g: Granule) {
    let shape = Shape { memmap: MemmapHome::SelfHosted, ..Shape::one("1 GiB", 0x4000_0000, GIB) };
    let rig = Rig::boot(g, &shape);
    let blocks: Vec<_> = rig.mm.frames().blocks().collect();
    assert_eq!(blocks.len() as u64, GIB / Rig::blocks(g, 1));
    let hosting = blocks.iter().filter(|b| b.memmap_pages > 0).count();
    assert_eq!(hosting, blocks.len() - 1);
    assert_eq!(rig.mm.frames().use_of(blocks[1].start).map(|u| u.0), Ok(PageKind::MemmapSelf));
}

/// Every boot block of which nothing is used has its memmap on demand, and can go and come again like others.
fn boot_memory_on_demand_can_go(g: Granule) {
    for shape in Shape::all() {
        let name = shape.name;
        let mut rig = Rig::boot(g, &Shape { memmap: MemmapHome::Demand, ..shape });
        rig.assert_clean(name);
        let images: Vec<_> =
            rig.mm.frames().blocks().filter(|b| b.demand.is_some()).map(|b| b.start).collect();
        assert_eq!(rig.mm.frames().demand().blocks(), images.len() as u64, "{name}");
        for start in images {
            let bytes = PfnRange::new(start, g.section_pages).addresses(g);
            let counts = rig.mm.frames().counts();
            rig.mm.offline_block(start).expect("nothing in use");
            rig.mm.remove_memory(bytes).expect("offline");
            rig.assert_clean(name);
            rig.add(bytes.start.get(), bytes.len(), MemmapHome::Demand).expect("it is free now");
            rig.online(bytes.start.get(), bytes.len(), ZoneKind::Normal);
            rig.assert_clean(name);
            assert_eq!(rig.mm.frames().counts(), counts, "{name}");
        }
    }
}

/// All blocks of 1 GiB but the first, which has the image and the device tree (at 64K the second and last): the memmap of
/// boot is that of one block, and the two pages of the image.
fn every_boot_block_that_boot_left_alone_is_on_demand(g: Granule) {
    let shape = Shape { memmap: MemmapHome::Demand, ..Shape::one("1 GiB", 0x4000_0000, GIB) };
    let rig = Rig::boot(g, &shape);
    let blocks: Vec<_> = rig.mm.frames().blocks().collect();
    let images = blocks.iter().filter(|b| b.is_image(g)).count();
    assert_eq!(images, blocks.len() - 1);
    let one_block = Rig::blocks(g, 1) / g.page_size * 64 / g.page_size;
    assert_eq!(rig.mm.frames().counts().memmap_ram, one_block + 2);
}

hotmap_testkit::at_each_granule!(
    boot_memory_on_demand_can_go,
    every_boot_block_that_boot_left_alone_is_on_demand,
    a_range_with_one_altmap_hosts_its_memmap_at_its_start,
    what_is_set_aside_may_fill_whole_blocks,
    a_part_whose_memmap_is_elsewhere_cannot_go_alone,
    a_drivers_altmap_may_keep_more_than_it_needs_but_not_lose_pages,
    a_memmap_on_another_node_is_reported_once,
    a_node_is_that_of_each_block_with_memory_of_the_range,
    boot_memory_can_host_its_own_memmap_and_then_go,
    every_boot_block_that_boot_left_alone_hosts_itself,
);
