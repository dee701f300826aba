//! Random lives of memory on demand; after every operation the second walker and the history are held against each other.

use hotmap_emulator::rig::{MIB, Rig, Shape, range};
use hotmap_mm::frame::Mobility;
use hotmap_mm::frame::page::PageKind;
use hotmap_mm::frame::zone::ZoneKind;
use hotmap_mm::granule::Granule;
use hotmap_mm::hotplug::home::MemmapHome;
use hotmap_mm::pfn::Pfn;
use hotmap_testkit::snapshot::{Detail, Snapshot};

use crate::life::{DEVICE, DIMM, GUEST, Life};

/// xorshift64 (Marsaglia, "Xorshift RNGs").
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }
    fn order(&mut self, limit: u32) -> u32 {
        u32::try_from(self.below(u64::from(limit))).expect("an order")
    }
    fn one_of<T: Copy>(&mut self, from: impl IntoIterator<Item = T>) -> Option<T> {
        let all: Vec<T> = from.into_iter().collect();
        (!all.is_empty()).then(|| all[usize::try_from(self.below(all.len() as u64)).expect("an index")])
    }
}

/// Some frame of a block on demand.
fn some_frame(life: &Life, random: &mut Random) -> Option<u64> {
    let block = random.one_of(life.starts())?;
    Some(block / life.g.page_size + random.below(life.g.section_pages))
}

fn runs(life: &mut Life, random: &mut Random) {
    let large = random.below(3) == 0;
    let order = if large { random.order(life.g.section_order) } else { random.order(4) };
    let mobility = if random.below(4) == 0 { Mobility::Unmovable } else { Mobility::Movable };
    for _ in 0..if large { random.below(8) + 1 } else { random.below(2500) + 1 } {
        if !life.alloc(order, mobility) {
            break;
        }
    }
}

fn free_some(life: &mut Life, random: &mut Random) {
    let share = random.below(4);
    let gone: Vec<u64> = life.runs.keys().copied().filter(|_| random.below(4) <= share).collect();
    gone.into_iter().for_each(|frame| life.free(frame));
}

/// Free all but every n-th page, which is the worst that there is.
fn thin(life: &mut Life, random: &mut Random) {
    let n = usize::try_from(random.below(70) + 2).expect("small");
    let gone: Vec<u64> =
        life.runs.keys().copied().enumerate().filter(|r| r.0 % n != 0).map(|r| r.1).collect();
    gone.into_iter().for_each(|frame| life.free(frame));
}

fn tenants(life: &mut Life, random: &mut Random) {
    if life.tenants.len() < 4 {
        let pages = random.below(700) + 1;
        let came = life.act(Detail::WherePagesMayHaveMoved, "tenant", |rig| rig.mm.tenant_new(pages));
        life.tenants.extend(came);
    } else {
        let id = life.tenants.remove(0);
        life.rig.mm.tenant_check(id).expect("whole");
        life.rig.mm.tenant_drop(id).expect("not held");
    }
}

fn pins(life: &mut Life, random: &mut Random) {
    let unpinned = random.below(3) == 0;
    if let Some(frame) = random.one_of(life.pins.iter().copied()).filter(|_| unpinned) {
        life.rig.mm.unpin(Pfn::new(frame)).expect("pinned");
        life.pins.remove(&frame);
    } else if let Some(frame) = some_frame(life, random) {
        let free = life.rig.mm.frames().use_of(Pfn::new(frame)).is_ok_and(|is| is.0 == PageKind::Free);
        if free {
            life.rig.mm.pin(Pfn::new(frame)).expect("free");
            life.pins.insert(frame);
        }
    }
}

/// A page is poisoned: some page, or, more often, one that is lent.
fn poison(life: &mut Life, random: &mut Random) {
    let is_lent =
        |frame: &u64| matches!(life.rig.mm.frames().use_of(Pfn::new(*frame)), Ok((PageKind::MemmapSelf, _)));
    let blocks = life.blocks.clone();
    let lent = blocks.values().flat_map(|runs| runs.keys().copied()).filter(is_lent);
    let frame = match random.below(3) {
        0 => some_frame(life, random),
        _ => random.one_of(lent),
    };
    let Some(frame) = frame else { return };
    let poisoned =
        life.act(Detail::Exact, &format!("poison {frame:#x}"), |rig| rig.mm.poison(Pfn::new(frame)));
    if poisoned.is_ok() {
        life.poisoned.insert(frame);
    }
}

fn unpoison(life: &mut Life, random: &mut Random) {
    if let Some(frame) = random.one_of(life.poisoned.iter().copied()) {
        life.rig.mm.unpoison(Pfn::new(frame)).expect("poisoned");
        life.poisoned.remove(&frame);
    }
}

/// A block goes offline under load, something happens to it, and it comes back; or stays offline for a time.
fn block(life: &mut Life, random: &mut Random, zone: ZoneKind) {
    let Some(block) = random.one_of(life.starts()) else { return };
    let start = Rig::pfn(life.g, block);
    if life.is_offline(block) {
        life.act(Detail::Exact, "online", |rig| rig.mm.online_block(start, zone)).expect("offline");
        return;
    }
    let gone = life.act(Detail::WherePagesMayHaveMoved, "offline", |rig| rig.mm.offline_block(start));
    if gone.is_ok() {
        life.check("a block is offline");
        unpoison(life, random);
        life.check("something else happened meanwhile");
        if random.below(3) != 0 {
            life.act(Detail::Exact, "online", |rig| rig.mm.online_block(start, zone)).expect("offline");
        }
    }
}

fn huge_pages(life: &mut Life, random: &mut Random) {
    let most = life.g.section_order;
    let orders: Vec<u32> = life.rig.mm.hugetlb.pools().map(|p| p.order()).filter(|o| *o < most).collect();
    let Some(order) = random.one_of(orders.iter().copied()) else { return };
    match random.below(6) {
        0 | 1 => {
            let pool = life.rig.mm.hugetlb.pool(order).expect("a size");
            let (taken, total) = (pool.taken(), pool.total());
            let count = taken + random.below(total - taken + 6);
            life.rig.mm.hugetlb_resize(order, count).expect("not fewer than are taken");
        }
        2 => life.taken.extend(life.rig.mm.hugetlb_take(order)),
        3 if !life.taken.is_empty() => {
            let head = life.taken.remove(0);
            life.rig.mm.hugetlb_put(head).expect("taken");
        }
        _ => {
            let pool = life.rig.mm.hugetlb.pool(order).expect("a size");
            let heads: Vec<Pfn> =
                pool.heads(life.rig.mm.frames(), hotmap_mm::hugetlb::pool::Use::Free).collect();
            let Some(head) = random.one_of(heads) else { return };
            let smaller: Vec<u32> = orders.iter().copied().filter(|to| *to < order).collect();
            match random.one_of(smaller) {
                Some(to) => drop(life.act(Detail::Exact, "demote", |rig| rig.mm.hugetlb_demote(head, to))),
                None => life.rig.mm.hugetlb_dissolve(head).expect("free in its pool"),
            }
        }
    }
}

/// A huge page of whole blocks is made, taken, or goes. It is refused only when no aligned run of free blocks is left, or no
/// page of zone Normal for its head.
fn large_pages(life: &mut Life, random: &mut Random) {
    let (most, page) = (life.rig.mm.frames().counts().present, life.g.section_order);
    let pools = life.rig.mm.hugetlb.pools().map(|pool| (pool.order(), pool.taken(), pool.total()));
    let whole: Vec<_> = pools.filter(|(order, ..)| *order >= page && 1 << *order < most).collect();
    let Some((order, taken, total)) = random.one_of(whole) else { return };
    match random.below(4) {
        0 | 1 => {
            let grow = |rig: &mut Rig| {
                let grown = rig.mm.hugetlb_resize(order, total + 1)?;
                grown.stopped.map_or(Ok(()), Err)
            };
            match life.act(Detail::WherePagesMayHaveMoved, "a huge page of blocks", grow) {
                Ok(()) => life.large += 1,
                Err(_) => {
                    life.check("no huge page of blocks");
                    let room = life.rig.mm.frames().zone(ZoneKind::Normal).free < 8;
                    assert!(room || !life.has_free_blocks(order), "there are blocks for order {order}");
                }
            }
        }
        2 => life.taken.extend(life.rig.mm.hugetlb_take(order)),
        _ => {
            let resized = life.rig.mm.hugetlb_resize(order, taken).expect("not fewer than are taken");
            assert_eq!((resized.total, resized.stopped), (taken, None));
        }
    }
}

/// A DIMM comes, on demand or not, or goes; so does a device's memory.
fn plug(life: &mut Life, random: &mut Random, zone: ZoneKind) {
    let len = Rig::blocks(life.g, 2);
    let present = |life: &Life, at| life.rig.mm.frames().block_of(Rig::pfn(life.g, at)).is_some();
    if random.below(2) == 0 {
        let device = Rig::pfn(life.g, DEVICE);
        let detail = Detail::WhereFramesMayDiffer;
        if present(life, DEVICE) {
            let bytes = DEVICE..DEVICE + len;
            if life.poisoned.iter().any(|f| bytes.contains(&(f * life.g.page_size))) {
                // An undo adds the memory anew, whose pages are all good.
                life.fault = None;
            }
            let back = life.act(detail, "take back", |rig| rig.mm.memory_to_device(device));
            if back.is_ok() {
                life.poisoned.retain(|f| !(DEVICE..DEVICE + len).contains(&(f * life.g.page_size)));
            }
        } else {
            let _given =
                life.act(detail, "give", |rig| rig.mm.device_to_memory(device, MemmapHome::Demand, zone));
        }
    } else if present(life, GUEST) {
        let _gone = life.unplug(GUEST, len);
    } else {
        let home = if random.below(3) == 0 { MemmapHome::Ram } else { MemmapHome::Demand };
        life.rig.machine.plug(GUEST, len);
        let detail = if home == MemmapHome::Ram { Detail::WherePagesMayHaveMoved } else { Detail::Exact };
        match life.act(detail, "add", |rig| rig.add(GUEST, len, home)) {
            Ok(()) => life.rig.online(GUEST, len, zone),
            Err(_) => life.rig.machine.unplug(GUEST),
        }
    }
}

fn compact(life: &mut Life, random: &mut Random) {
    let order = random.order(life.g.section_order);
    let _made = life.act(Detail::WherePagesMayHaveMoved, "compact", |rig| rig.mm.compact(order));
}

fn step(life: &mut Life, random: &mut Random, kind: &Kind) -> &'static str {
    life.fault = match random.below(8) {
        0..=3 => None,
        4..=6 => Some(random.below(3) + 1),
        _ => Some(random.below(40) + 1),
    };
    let (name, op): (_, fn(&mut Life, &mut Random)) = match random.below(20 + kind.large) {
        0..=3 => ("runs", runs),
        4..=6 => ("free", free_some),
        7 => ("thin", thin),
        8 | 9 => ("tenants", tenants),
        10 => ("pins", pins),
        11 | 12 => ("poison", poison),
        13 => ("unpoison", unpoison),
        14 | 15 => ("huge pages", huge_pages),
        16 => ("compact", compact),
        17 | 18 => {
            block(life, random, kind.zone);
            return "block";
        }
        19 => {
            plug(life, random, kind.zone);
            return "plug";
        }
        _ => ("large pages", large_pages),
    };
    op(life, random);
    name
}

/// A kind of life.
struct Kind {
    /// The machine at boot.
    shape: Shape,
    /// The blocks of the DIMM.
    blocks: u64,
    /// The zone that memory goes online in.
    zone: ZoneKind,
    /// How many operations there are.
    operations: u64,
    /// Of `20 + large` operations this many are of huge pages of whole blocks.
    large: u64,
}

/// A life from the first DIMM to the last, and how many huge pages of whole blocks were made in it.
fn life(g: Granule, seed: u64, kind: &Kind) -> u64 {
    let zone = kind.zone;
    let mut life = Life::new(g, &kind.shape);
    let bare = Snapshot::exact(&life.rig);
    let len = Rig::blocks(g, kind.blocks);
    life.rig.plug(DIMM, len, MemmapHome::Demand);
    life.rig.online(DIMM, len, zone);
    life.make_device();
    let mut random = Random(0x9e37_79b9_7f4a_7c15u64.wrapping_mul(seed));
    for op in 0..kind.operations {
        let name = step(&mut life, &mut random, kind);
        life.fault = None;
        life.check(&format!("after operation {op} ({name}) of seed {seed}"));
    }
    life.empty();
    for block in life.starts() {
        if life.is_offline(block) {
            life.rig.mm.online_block(Rig::pfn(g, block), zone).expect("heap");
        }
    }
    let device = Rig::pfn(g, DEVICE);
    let present = |life: &Life, at| life.rig.mm.frames().block_of(Rig::pfn(g, at)).is_some();
    // The younger of the two may have tables in the older.
    let young = present(&life, DEVICE) && life.rig.mm.memory_to_device(device).is_ok();
    if present(&life, GUEST) {
        life.unplug(GUEST, Rig::blocks(g, 2)).expect("all is free");
    }
    if present(&life, DEVICE) && !young {
        life.rig.mm.memory_to_device(device).expect("all is free");
    }
    life.rig.mm.memunmap_pages(device).expect("not held");
    life.rig.machine.unplug(DEVICE);
    life.check("as it came");
    assert!(life.blocks.values().all(|runs| runs.len() == 1), "a block in which all is free is one run");
    let figures = life.rig.mm.frames().demand().figures();
    println!(
        "{} seed {seed}: {figures:?}, {} huge pages of blocks, {} undone",
        g.kind, life.large, life.undone
    );
    life.rig.mm.unplug(range(DIMM, len)).expect("all is free");
    life.rig.machine.unplug(DIMM);
    life.boot_blocks_as_they_came();
    life.check("gone");
    bare.assert_same(&Snapshot::exact(&life.rig), "after a life on demand");
    life.large
}

/// How many times as many lives there are: `make test-long` sets HOTMAP_LONG, `make test` does not.
pub(crate) fn times() -> u64 {
    std::env::var("HOTMAP_LONG").map_or(1, |times| times.parse().expect("HOTMAP_LONG is a number"))
}

fn zone_of(seed: u64) -> ZoneKind {
    if seed.is_multiple_of(2) { ZoneKind::Normal } else { ZoneKind::Movable }
}

fn random_lives(g: Granule) {
    // So little boot memory that tables and other blocks' memmap come from memory on demand as well.
    let small = Shape::one("16 MiB", 0x4000_0000, 16 * MIB);
    let large = Shape::one("256 MiB", 0x4000_0000, 256 * MIB);
    for seed in 1..=4 * times() {
        let shape = if seed.is_multiple_of(4) { small.clone() } else { large.clone() };
        life(g, seed, &Kind { shape, blocks: 3, zone: zone_of(seed), operations: 150, large: 0 });
    }
}

/// Two huge pages of the smallest size that is whole blocks fit into the DIMM, and a block more.
fn random_lives_with_huge_pages_of_blocks(g: Granule) {
    let blocks = if g.page_size == 0x10000 { 3 } else { 17 };
    let shape = Shape::one("256 MiB", 0x4000_0000, 256 * MIB);
    let kind = |seed| Kind { shape: shape.clone(), blocks, zone: zone_of(seed), operations: 60, large: 20 };
    let made: u64 = (1..=6 * times()).map(|seed| life(g, seed, &kind(seed))).sum();
    assert!(made > 10, "{made} huge pages of whole blocks were made");
}

/// Blocks of boot memory that boot does not use are on demand as well.
fn random_lives_with_boot_memory_on_demand(g: Granule) {
    let size = if g.page_size == 0x10000 { 1536 * MIB } else { 384 * MIB };
    let shape = Shape { memmap: MemmapHome::Demand, ..Shape::one("on demand", 0x4000_0000, size) };
    for seed in 1..=4 * times() {
        let kind = Kind { shape: shape.clone(), blocks: 2, zone: zone_of(seed), operations: 100, large: 2 };
        life(g, seed, &kind);
    }
}

hotmap_testkit::at_each_granule!(
    random_lives,
    random_lives_with_huge_pages_of_blocks,
    random_lives_with_boot_memory_on_demand
);
