//! How each operation is done and refused.

use hotmap_emulator::rig::{GIB, MIB, Rig, Shape, range};
use hotmap_mm::addr::PhysAddr;
use hotmap_mm::debug::faults::Plan;
use hotmap_mm::debug::parts::undo_memremap_parts;
use hotmap_mm::device::pagemap::DeviceType;
use hotmap_mm::error::{Error, Resource, Result};
use hotmap_mm::frame::Mobility;
use hotmap_mm::frame::block::Source;
use hotmap_mm::frame::page::PageKind;
use hotmap_mm::frame::zone::ZoneKind;
use hotmap_mm::granule::{Granule, GranuleKind};
use hotmap_mm::hotplug::home::MemmapHome;
use hotmap_mm::hotplug::notify::{MAX_NOTIFIERS, Notifier};
use hotmap_mm::hotplug::range::HotRange;
use hotmap_mm::hugetlb::pool::Use;
use hotmap_mm::pfn::{Pfn, PfnRange};

/// One operation.
pub(super) struct Case {
    /// `Type::method` or `module::function`, as in the source.
    pub(super) name: &'static str,
    /// The machine that it is done to.
    pub(super) prepare: fn(Granule) -> Rig,
    /// Done so, it succeeds.
    pub(super) act: fn(&mut Rig) -> Result<()>,
    /// The same as text.
    pub(super) act_text: &'static str,
    /// Done so, it is refused; for an operation that can be.
    pub(super) refused: Option<fn(&mut Rig) -> Result<()>>,
    /// Whether it allocates anything.
    pub(super) allocates: bool,
}

macro_rules! case {
    ($name:literal on $prepare:expr, $act:expr $(, refused: $refused:expr)?) => {
        Case { allocates: true, ..case!($name on $prepare, $act $(, refused: $refused)?, allocates nothing) }
    };
    ($name:literal on $prepare:expr, $act:expr $(, refused: $refused:expr)?, allocates nothing) => {
        Case {
            name: $name,
            prepare: $prepare,
            act: $act,
            act_text: stringify!($act),
            refused: case!(@refused $($refused)?),
            allocates: false,
        }
    };
    (@refused $refused:expr) => { Some($refused) };
    (@refused) => { None };
}

/// What changes a part of the model, and is no operation on it.
pub(super) const NOT_OPERATIONS: &[(&str, &str)] = &[
    ("Mm::frames_mut", "hands out a part, whose own operations are listed"),
    ("Mm::parts_mut", "hands out parts"),
    ("Mm::set_bug", "breaks an invariant on purpose: bugs.rs"),
];

pub(super) const TABLE: &[Case] = &[
    // Adding and removing.
    case!("Mm::add_memory" on plugged, |rig| {
        let hot = hot(rig, AT)?;
        rig.mm.add_memory(&hot, MemmapHome::SelfHosted, |_, _| {})
    }, refused: |rig| {
        let (hot, g) = (hot(rig, AT)?, rig.granule());
        let device = device(rig, AT, Rig::blocks(g, 1))?;
        rig.mm.memremap_pages(&device, |_, _| {})?;
        let refused = rig.mm.add_memory(&hot, MemmapHome::Ram, |_, _| {});
        rig.mm.memunmap_pages(device.start()).map(drop)?;
        refused
    }),
    case!("Mm::remove_memory" on offline, |rig| rig.mm.remove_memory(dimm(rig)),
        refused: |rig| {
            let half = dimm(rig).len() / 4;
            rig.mm.remove_memory(range(AT, half))
        }, allocates nothing),
    case!("Mm::plug" on plugged, |rig| {
        let hot = hot(rig, AT)?;
        rig.mm.plug(&hot, MemmapHome::Ram, ZoneKind::Movable, |_, _| {})
    }, refused: |rig| {
        let hot = hot(rig, AT)?;
        let full = Plan::From(1);
        rig.mm.frames_mut().faults.arm(full);
        let refused = rig.mm.plug(&hot, MemmapHome::Ram, ZoneKind::Movable, |_, _| {});
        rig.mm.frames_mut().faults.arm(Plan::Off);
        refused
    }),
    case!("Mm::unplug" on used, |rig| rig.mm.unplug(dimm(rig)).map(drop),
        refused: |rig| rig.mm.unplug(range(AT, dimm(rig).len() + rig.granule().section_size)).map(drop)),
    case!("Mm::prepare_removal" on used, |rig| {
        let removal = rig.mm.prepare_removal(dimm(rig))?;
        assert_eq!(removal.pages(), PfnRange::inside(rig.granule(), dimm(rig)));
        rig.mm.cancel_removal(removal);
        Ok(())
    }, refused: |rig| {
        let too_much = range(AT, dimm(rig).len() * 2);
        rig.mm.prepare_removal(too_much).map(|removal| rig.mm.cancel_removal(removal))
    }, allocates nothing),
    case!("Mm::cancel_removal" on used, |rig| {
        let removal = rig.mm.prepare_removal(dimm(rig))?;
        rig.mm.cancel_removal(removal);
        Ok(())
    }, allocates nothing),
    case!("Mm::finish_removal" on offline, |rig| {
        let removal = rig.mm.prepare_removal(dimm(rig))?;
        rig.mm.finish_removal(removal);
        Ok(())
    }, allocates nothing),
    case!("Mm::set_node" on used, |rig| {
        let pages = PfnRange::inside(rig.granule(), dimm(rig));
        rig.mm.set_node(pages, 3);
        Ok(())
    }, allocates nothing),
    // Parts of a block.
    case!("Mm::add_block_part" on plugged, |rig| {
        let (hot, first) = (one_block(rig)?, units(rig, 0, 3));
        rig.mm.add_block_part(&hot, first, MemmapHome::Demand, |_, _| {})
    }, refused: |rig| {
        let (hot, second) = (one_block(rig)?, units(rig, 1, 3));
        rig.mm.add_block_part(&hot, second, MemmapHome::Demand, |_, _| {})
    }),
    case!("Mm::plug_block_part" on plugged, |rig| {
        let (hot, first) = (one_block(rig)?, units(rig, 0, 3));
        rig.mm.plug_block_part(&hot, first, MemmapHome::SelfHosted, ZoneKind::Movable, |_, _| {})
    }, refused: |rig| {
        let (hot, second) = (one_block(rig)?, units(rig, 1, 3));
        rig.mm.plug_block_part(&hot, second, MemmapHome::SelfHosted, ZoneKind::Movable, |_, _| {})
    }),
    case!("Mm::plug_part" on parted, |rig| rig.mm.plug_part(units(rig, many(rig) - 1, 1)),
        refused: |rig| rig.mm.plug_part(units(rig, 2, 2))),
    case!("Mm::unplug_unless" on used, |rig| rig.mm.unplug_unless(dimm(rig), &mut |_| false).map(drop),
    refused: |rig| {
        let more = range(AT, dimm(rig).len() + rig.granule().section_size);
        rig.mm.unplug_unless(more, &mut |_| false).map(drop)
    }),
    case!("Mm::unplug_part" on parted, |rig| rig.mm.unplug_part(units(rig, 1, 2), &mut |_| false).map(drop),
        refused: |rig| rig.mm.unplug_part(units(rig, 2, 2), &mut |_| false).map(drop)),
    // Online and offline.
    case!("Mm::online_block" on offline, |rig| rig.mm.online_block(first(rig), ZoneKind::Normal),
        refused: |rig| rig.mm.online_block(Rig::pfn(rig.granule(), BOOT), ZoneKind::Normal)),
    case!("Mm::online_pages" on offline, |rig| {
        let pages = PfnRange::inside(rig.granule(), dimm(rig));
        rig.mm.online_pages(pages, ZoneKind::Movable, |_, _| {})
    }, refused: |rig| {
        let pages = PfnRange::inside(rig.granule(), range(AT, dimm(rig).len() * 2));
        rig.mm.online_pages(pages, ZoneKind::Movable, |_, _| {})
    }),
    case!("Mm::offline_block" on used, |rig| rig.mm.offline_block(last(rig)).map(drop),
        refused: |rig| rig.mm.offline_block(Rig::pfn(rig.granule(), BOOT)).map(drop)),
    case!("Mm::offline_pages" on used, |rig| {
        let pages = PfnRange::inside(rig.granule(), dimm(rig));
        rig.mm.offline_pages(pages).map(drop)
    }, refused: |rig| {
        let pages = PfnRange::inside(rig.granule(), range(AT, dimm(rig).len() * 2));
        rig.mm.offline_pages(pages).map(drop)
    }),
    case!("Mm::offline_block_unless" on used,
        |rig| rig.mm.offline_block_unless(last(rig), &mut |_| false).map(drop),
        refused: |rig| rig.mm.offline_block_unless(Rig::pfn(rig.granule(), BOOT), &mut |_| false).map(drop)),
    case!("Mm::offline_pages_unless" on used, |rig| {
        let pages = PfnRange::inside(rig.granule(), dimm(rig));
        rig.mm.offline_pages_unless(pages, &mut |_| false).map(drop)
    }, refused: |rig| {
        let pages = PfnRange::inside(rig.granule(), range(AT, dimm(rig).len() * 2));
        rig.mm.offline_pages_unless(pages, &mut |_| false).map(drop)
    }),
    // Between the two the blocks are neither online nor offline, which the audit reports.
    case!("Frames::start_isolate" on used, |rig| {
        let pages = PfnRange::inside(rig.granule(), dimm(rig));
        let isolated = rig.mm.frames_mut().start_isolate(pages)?;
        rig.mm.frames_mut().undo_isolate(isolated);
        Ok(())
    }, refused: |rig| {
        let pages = PfnRange::inside(rig.granule(), range(AT, dimm(rig).len() * 2));
        rig.mm.frames_mut().start_isolate(pages).map(drop)
    }, allocates nothing),
    case!("Frames::undo_isolate" on used, |rig| {
        let pages = PfnRange::inside(rig.granule(), dimm(rig));
        rig.mm.frames_mut().start_isolate(pages)?;
        rig.mm.frames_mut().undo_isolate(pages);
        Ok(())
    }, allocates nothing),
    case!("Chain::register" on used, |rig| rig.mm.notifiers.register(AGREES),
        refused: |rig| {
            const NAMES: [&str; MAX_NOTIFIERS + 1] = ["a", "b", "c", "d", "e", "f", "g", "h", "i"];
            let all = NAMES.iter().try_for_each(|name| rig.mm.notifiers.register(Notifier { name, ..AGREES }));
            let room = NAMES.iter().filter(|name| rig.mm.notifiers.unregister(name)).count();
            assert_eq!(room, MAX_NOTIFIERS);
            all
        }, allocates nothing),
    case!("Chain::unregister" on used, |rig| {
        rig.mm.notifiers.register(AGREES)?;
        assert!(rig.mm.notifiers.unregister(AGREES.name));
        Ok(())
    }, allocates nothing),
    // Pages.
    case!("Frames::may_fail" on used, |rig| rig.mm.frames_mut().may_fail(Resource::Frames { order: 0 }),
    refused: |rig| {
        rig.mm.frames_mut().faults.arm(Plan::Nth(1));
        let refused = rig.mm.frames_mut().may_fail(Resource::Frames { order: 0 });
        rig.mm.frames_mut().faults.arm(Plan::Off);
        refused
    }),
    case!("Frames::alloc" on used,
        |rig| rig.mm.frames_mut().alloc(3, PageKind::Kernel, Mobility::Unmovable).map(drop),
        refused: |rig| rig.mm.frames_mut().alloc(60, PageKind::Kernel, Mobility::Unmovable).map(drop)),
    case!("Frames::free" on used, |rig| {
        let pfn = rig.mm.frames_mut().alloc(3, PageKind::Kernel, Mobility::Movable)?;
        rig.mm.frames_mut().free(pfn);
        Ok(())
    }),
    case!("Mm::pin" on used, |rig| rig.mm.pin(last(rig) + 1037).and(rig.mm.pin(tenants_page(rig))),
        refused: |rig| rig.mm.pin(Rig::pfn(rig.granule(), NOWHERE)), allocates nothing),
    case!("Mm::unpin" on used, |rig| {
        rig.mm.pin(last(rig) + 1037)?;
        rig.mm.unpin(last(rig) + 1037)
    }, refused: |rig| rig.mm.unpin(tenants_page(rig)), allocates nothing),
    case!("Mm::poison" on used, |rig| rig.mm.poison(tenants_page(rig)).map(drop),
        refused: |rig| rig.mm.poison(first(rig)).map(drop)),
    case!("Mm::unpoison" on used, |rig| {
        rig.mm.poison(last(rig) + 1037)?;
        rig.mm.unpoison(last(rig) + 1037)
    }, refused: |rig| rig.mm.unpoison(tenants_page(rig)), allocates nothing),
    case!("Mm::host_memmap" on used, |rig| rig.mm.host_memmap(last(rig) + 1037, 0),
        refused: |rig| rig.mm.host_memmap(tenants_page(rig), 0), allocates nothing),
    case!("Mm::unhost_memmap" on used, |rig| {
        rig.mm.host_memmap(last(rig) + 1037, 0)?;
        rig.mm.unhost_memmap(last(rig) + 1037)
    }, refused: |rig| rig.mm.unhost_memmap(tenants_page(rig)), allocates nothing),
    // Tenants, and compaction.
    case!("Mm::tenant_new" on used, |rig| rig.mm.tenant_new(3).map(drop),
        refused: |rig| rig.mm.tenant_new(0).map(drop)),
    case!("Mm::tenant_new_unless" on used, |rig| rig.mm.tenant_new_unless(3, &mut |_| false).map(drop),
        refused: |rig| rig.mm.tenant_new_unless(3, &mut |done| done == 2).map(drop)),
    case!("Mm::tenant_drop" on used, |rig| rig.mm.tenant_drop(1),
        refused: |rig| rig.mm.tenant_drop(2), allocates nothing),
    case!("Mm::compact" on in_pieces, |rig| rig.mm.compact(pieces(rig.granule()) + 1).map(drop),
        refused: |rig| rig.mm.compact(60).map(drop)),
    case!("Mm::compact_unless" on in_pieces, |rig| {
        rig.mm.compact_unless(pieces(rig.granule()) + 1, &mut |_| false).map(drop)
    }, refused: |rig| rig.mm.compact_unless(pieces(rig.granule()) + 1, &mut |_| true).map(drop)),
    // Huge pages.
    case!("Mm::hugetlb_resize" on normal, |rig| {
        let resized = rig.mm.hugetlb_resize(huge(rig.granule()), 2)?;
        resized.stopped.map_or(Ok(()), Err)
    }, refused: |rig| rig.mm.hugetlb_resize(1, 2).map(drop)),
    case!("Mm::hugetlb_resize_unless" on normal, |rig| {
        let resized = rig.mm.hugetlb_resize_unless(huge(rig.granule()), 2, &mut |_| false)?;
        resized.stopped.map_or(Ok(()), Err)
    }, refused: |rig| rig.mm.hugetlb_resize_unless(1, 2, &mut |_| false).map(drop)),
    case!("Mm::hugetlb_take" on pooled, |rig| rig.mm.hugetlb_take(huge(rig.granule())).map(drop),
        refused: |rig| rig.mm.hugetlb_take(1).map(drop), allocates nothing),
    case!("Mm::hugetlb_put" on pooled, |rig| {
        let head = rig.mm.hugetlb_take(huge(rig.granule()))?;
        rig.mm.hugetlb_put(head)
    }, refused: |rig| rig.mm.hugetlb_put(pool_page(rig)), allocates nothing),
    case!("Mm::hugetlb_dissolve" on pooled, |rig| rig.mm.hugetlb_dissolve(pool_page(rig)),
        refused: |rig| rig.mm.hugetlb_dissolve(Rig::pfn(rig.granule(), NOWHERE))),
    case!("Mm::hugetlb_demote" on pooled, |rig| {
        let small = rig.mm.hugetlb.order_of(smaller(rig.granule()))?;
        rig.mm.hugetlb_demote(pool_page(rig), small)
    }, refused: |rig| rig.mm.hugetlb_demote(pool_page(rig), huge(rig.granule()))),
    case!("Mm::optimise" on whole, |rig| rig.mm.optimise(pool_page(rig)),
        refused: |rig| rig.mm.optimise(Rig::pfn(rig.granule(), NOWHERE))),
    case!("Mm::restore" on pooled, |rig| rig.mm.restore(pool_page(rig)),
        refused: |rig| rig.mm.restore(Rig::pfn(rig.granule(), NOWHERE))),
    // Devices.
    case!("Mm::memremap_pages" on plugged, |rig| {
        let (g, at) = (rig.granule(), AT + 2 * MIB);
        let device = device(rig, at, Rig::blocks(g, 1))?;
        rig.mm.memremap_pages(&device, |_, _| {})
    }, refused: |rig| {
        let g = rig.granule();
        let (first, second) = (device(rig, AT, 4 * MIB)?, device(rig, AT, Rig::blocks(g, 1))?);
        rig.mm.memremap_pages(&first, |_, _| {})?;
        let refused = rig.mm.memremap_pages(&second, |_, _| {});
        rig.mm.memunmap_pages(first.start()).map(drop)?;
        refused
    }),
    case!("Mm::memunmap_pages" on with_device, |rig| rig.mm.memunmap_pages(first(rig)).map(drop),
        refused: |rig| rig.mm.memunmap_pages(Rig::pfn(rig.granule(), BOOT)).map(drop), allocates nothing),
    case!("debug::parts::undo_memremap_parts" on with_device, |rig| {
        let g = rig.granule();
        let parts = PfnRange::inside(g, dimm(rig)).blocks(g).map(|start| PfnRange::new(start, g.section_pages));
        let parts: Vec<_> = parts.collect();
        let device = first(rig);
        undo_memremap_parts(&mut rig.mm, device, &parts, |_, _| {})
    }, refused: |rig| {
        let boot = Rig::pfn(rig.granule(), BOOT);
        undo_memremap_parts(&mut rig.mm, boot, &[], |_, _| {})
    }, allocates nothing),
    case!("Mm::device_to_memory" on with_device,
    |rig| rig.mm.device_to_memory(first(rig), MemmapHome::SelfHosted, ZoneKind::Movable).map(drop),
    refused: |rig| {
        let boot = Rig::pfn(rig.granule(), BOOT);
        rig.mm.device_to_memory(boot, MemmapHome::SelfHosted, ZoneKind::Movable).map(drop)
    }),
    case!("Mm::memory_to_device" on given, |rig| rig.mm.memory_to_device(first(rig)).map(drop),
        refused: |rig| rig.mm.memory_to_device(Rig::pfn(rig.granule(), BOOT)).map(drop)),
    case!("Mm::memory_to_device_unless" on given, |rig| {
        rig.mm.memory_to_device_unless(first(rig), &mut |_| false).map(drop)
    }, refused: |rig| rig.mm.memory_to_device_unless(Rig::pfn(rig.granule(), BOOT), &mut |_| false).map(drop)),
];

/// Where boot RAM begins.
const BOOT: u64 = 0x4000_0000;
/// Where the DIMM of two blocks is, or the device.
const AT: u64 = 0x8000_0000;
/// Where nothing is.
const NOWHERE: u64 = 8 << 40;

const AGREES: Notifier = Notifier { name: "agrees", hear: |_, _| Ok(()) };

fn boot(g: Granule) -> Rig {
    let rig = Rig::boot(g, &Shape::one("256 MiB", BOOT, 256 * MIB));
    rig.machine.plug(AT, Rig::blocks(g, 2).max(GIB));
    rig
}

/// RAM that is not added.
fn plugged(g: Granule) -> Rig {
    boot(g)
}

fn offline(g: Granule) -> Rig {
    let mut rig = boot(g);
    rig.add(AT, Rig::blocks(g, 2), MemmapHome::SelfHosted).expect("room");
    rig
}

/// Two blocks, with a tenant in the second.
fn used(g: Granule) -> Rig {
    let mut rig = offline(g);
    rig.online(AT, Rig::blocks(g, 2), ZoneKind::Movable);
    assert_eq!(rig.mm.tenant_new(5), Ok(1));
    rig
}

/// A block on demand in Movable of which three units are plugged, with pages in use.
fn parted(g: Granule) -> Rig {
    let mut rig = plugged(g);
    let (hot, first) = (one_block(&rig).expect("free"), units(&rig, 0, 3));
    rig.mm.plug_block_part(&hot, first, MemmapHome::Demand, ZoneKind::Movable, |_, _| {}).expect("room");
    rig.mm.tenant_new(200).expect("room");
    rig
}

/// Normal memory that a huge page of [`huge`] fits into.
fn normal(g: Granule) -> Rig {
    let mut rig = boot(g);
    let len = Rig::blocks(g, 2).max(GIB);
    rig.add(AT, len, MemmapHome::Ram).expect("room");
    rig.online(AT, len, ZoneKind::Normal);
    rig
}

/// A free huge page that is not optimised.
fn whole(g: Granule) -> Rig {
    let mut rig = normal(g);
    rig.mm.hugetlb.hvo = false;
    rig.mm.hugetlb_resize(huge(g), 1).expect("room");
    rig
}

/// A free huge page that is optimised.
fn pooled(g: Granule) -> Rig {
    let mut rig = whole(g);
    rig.mm.hugetlb.hvo = true;
    rig.mm.optimise(pool_page(&rig)).expect("room");
    rig
}

/// One run of two pieces, with a tenant's page in it; the other free runs are shorter than a piece.
fn in_pieces(g: Granule) -> Rig {
    let mut rig = Rig::boot(g, &Shape::tiny());
    // Its tables are there then.
    rig.mm.tenant_new(1).expect("room");
    let order = pieces(g);
    let runs = all_runs(&mut rig, order);
    let small = all_runs(&mut rig, 0);
    let pair = runs.windows(2).find(|w| w[0].is_aligned(order + 1) && w[1] == w[0] + (1 << order));
    let [first, second] = *pair.expect("two side by side") else { panic!("two") };
    rig.mm.frames_mut().free(first);
    rig.mm.tenant_new(1).expect("the only place");
    rig.mm.frames_mut().free(second);
    rig.mm.frames_mut().free(small[0]);
    rig
}

/// Everything that is free, by runs of `1 << order`.
fn all_runs(rig: &mut Rig, order: u32) -> Vec<Pfn> {
    let alloc = || rig.mm.frames_mut().alloc(order, PageKind::Kernel, Mobility::Unmovable).ok();
    let mut runs: Vec<Pfn> = std::iter::from_fn(alloc).collect();
    runs.sort();
    runs
}

fn with_device(g: Granule) -> Rig {
    let mut rig = boot(g);
    let device = device(&rig, AT, Rig::blocks(g, 2)).expect("free");
    rig.mm.memremap_pages(&device, |_, _| {}).expect("room");
    rig
}

/// The device's memory is the system's, and in use.
fn given(g: Granule) -> Rig {
    let mut rig = with_device(g);
    rig.mm.device_to_memory(first(&rig), MemmapHome::SelfHosted, ZoneKind::Movable).expect("room");
    rig.mm.tenant_new(5).expect("room");
    rig
}

/// The order of a piece of free memory.
fn pieces(g: Granule) -> u32 {
    (MIB >> g.page_shift).trailing_zeros()
}

/// The order of huge pages that are worth optimising.
fn huge(g: Granule) -> u32 {
    match g.kind {
        GranuleKind::K4 => 9,
        GranuleKind::K16 => 11,
        GranuleKind::K64 => 13,
    }
}

/// A smaller size in bytes.
fn smaller(g: Granule) -> u64 {
    if g.kind == GranuleKind::K4 { 64 << 10 } else { 2 * MIB }
}

fn dimm(rig: &Rig) -> hotmap_mm::addr::PhysRange {
    range(AT, Rig::blocks(rig.granule(), 2))
}

fn hot(rig: &Rig, at: u64) -> Result<HotRange> {
    HotRange::new(&rig.mm, PhysAddr::new(at), dimm(rig).len(), Source::Dimm(0))
}

/// The first block of the DIMM.
fn one_block(rig: &Rig) -> Result<HotRange> {
    HotRange::new(&rig.mm, PhysAddr::new(AT), rig.granule().section_size, Source::VirtioMem(0))
}

/// How many subsections a block has.
fn many(rig: &Rig) -> u64 {
    rig.granule().section_pages / rig.granule().subsection_pages
}

/// `count` subsections of the first block, from number `from` on.
fn units(rig: &Rig, from: u64, count: u64) -> PfnRange {
    let each = rig.granule().subsection_pages;
    PfnRange::new(first(rig) + from * each, count * each)
}

fn device(rig: &Rig, at: u64, len: u64) -> Result<hotmap_mm::device::range::DeviceRange> {
    rig.mm.device_range(&[(PhysAddr::new(at), len)], DeviceType::FsDax, MemmapHome::SelfRange { reserve: 0 })
}

/// The first page of the DIMM or the device.
fn first(rig: &Rig) -> Pfn {
    Rig::pfn(rig.granule(), AT)
}

/// The first page of the second block.
fn last(rig: &Rig) -> Pfn {
    first(rig) + rig.granule().section_pages
}

/// A page of the tenant.
fn tenants_page(rig: &Rig) -> Pfn {
    let at = rig.mm.tenants()[0].range.start;
    let pa =
        rig.mm.space().translate(at).ok_or(Error::Out(Resource::Slots { what: "none" })).expect("mapped");
    Pfn::containing(rig.granule(), pa)
}

/// The free huge page.
fn pool_page(rig: &Rig) -> Pfn {
    let pool = rig.mm.hugetlb.pool(huge(rig.granule())).expect("a size");
    pool.heads(rig.mm.frames(), Use::Free).next().expect("a free page")
}
