//! Memmap on demand: blocks that map the image of a free block until a run begins in a page of their memmap.
#![cfg(not(miri))]

use hotmap_mm::frame::Mobility;
use hotmap_mm::frame::page::PageKind;
use hotmap_mm::frame::zone::ZoneKind;
use hotmap_mm::granule::Granule;
use hotmap_mm::hotplug::home::MemmapHome;
use hotmap_mm::pfn::Pfn;
use hotmap_testkit::rig::{GIB, MIB, Rig, Shape, range};
use hotmap_testkit::snapshot::Snapshot;

const AT: u64 = 0x1_0000_0000;

/// xorshift64 (Marsaglia, "Xorshift RNGs").
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }
}

fn boot(g: Granule) -> Rig {
    Rig::boot(g, &Shape::one("512 MiB", 0x4000_0000, 512 * MIB))
}

#[test]
fn one_page_and_back() {
    for g in Granule::ALL {
        let mut rig = boot(g);
        let before = Snapshot::exact(&rig);
        let len = Rig::blocks(g, 3);
        rig.plug(AT, len, MemmapHome::Demand);
        rig.assert_clean("added");
        rig.online(AT, len, ZoneKind::Movable);
        rig.assert_clean("online");
        let whole = rig.mm.frames().counts();
        let page = rig.mm.frames_mut().alloc(0, PageKind::Kernel, Mobility::Movable).expect("room");
        rig.assert_clean("one page");
        let next = rig.mm.frames_mut().alloc(0, PageKind::Kernel, Mobility::Movable).expect("room");
        rig.assert_clean("two pages");
        rig.mm.frames_mut().free(page);
        rig.assert_clean("one is free");
        rig.mm.frames_mut().free(next);
        rig.assert_clean("both are free");
        assert_eq!(rig.mm.frames().counts(), whole);
        let figures = rig.mm.frames().demand().figures();
        assert_eq!(figures.populated, figures.given_back, "memmap pages that got a frame, and that lost it");
        rig.unplug(AT, len);
        rig.assert_clean("gone");
        before.assert_same(&Snapshot::exact(&rig), "after a life on demand");
    }
}

/// Memory whose memmap needs several tables below one that nothing else uses: all of them go.
#[test]
fn every_table_goes_with_the_memory() {
    // What one table of entries serves, by hand: 512 times 2 MiB, 2048 times 16 KiB, 8192 times 64 KiB of memmap.
    for (g, served) in [(Granule::K4, GIB), (Granule::K16, 32 * MIB), (Granule::K64, 512 * MIB)] {
        let mut rig = boot(g);
        let before = Snapshot::exact(&rig);
        let (block, tables) = (Rig::blocks(g, 1), rig.mm.frames().counts().tables);
        let starts = ((8 << 40)..).step_by(usize::try_from(block).expect("64 bits"));
        let memmap = |at: &u64| rig.mm.space().layout().page_address(Rig::pfn(g, at + block));
        let at = starts.clone().find(|at| memmap(at).is_aligned(served)).expect("the end of a table");
        rig.plug(at, 2 * block, MemmapHome::Demand);
        rig.assert_clean("added");
        assert!(rig.mm.frames().counts().tables >= tables + 2, "{}: two tables of entries", g.kind);
        rig.unplug(at, 2 * block);
        rig.assert_clean("gone");
        before.assert_same(&Snapshot::exact(&rig), "after much memory");
    }
}

fn life(g: Granule, seed: u64, zone: ZoneKind) {
    let mut rig = boot(g);
    let len = Rig::blocks(g, 3);
    let start = Snapshot::exact(&rig);
    rig.plug(AT, len, MemmapHome::Demand);
    rig.online(AT, len, zone);
    let whole = rig.mm.frames().counts();
    let mut random = Random(0x9e37_79b9_7f4a_7c15u64.wrapping_mul(seed));
    let (mut runs, mut pins, mut poisoned, mut tenants): (Vec<Pfn>, Vec<Pfn>, Vec<Pfn>, Vec<u32>) =
        Default::default();
    let (first, pages) = (Rig::pfn(g, AT), len / g.page_size);
    for op in 0..200 {
        match random.below(14) {
            0..=3 => {
                let order = if random.below(3) == 0 {
                    random.below(u64::from(g.section_order))
                } else {
                    random.below(4)
                };
                let count = if order < 4 { random.below(200) + 1 } else { 1 };
                for _ in 0..count {
                    let order = u32::try_from(order).expect("small");
                    runs.extend(rig.mm.frames_mut().alloc(order, PageKind::Kernel, Mobility::Movable));
                }
            }
            4..=7 => {
                for _ in 0..random.below(300) {
                    if !runs.is_empty() {
                        let at = usize::try_from(random.below(runs.len() as u64)).expect("small");
                        rig.mm.frames_mut().free(runs.swap_remove(at));
                    }
                }
            }
            8 => {
                let pfn = first + random.below(pages);
                if rig.mm.frames().use_of(pfn).is_ok_and(|(kind, _)| kind == PageKind::Free) {
                    rig.mm.pin(pfn).expect("free");
                    pins.push(pfn);
                }
            }
            9 if !pins.is_empty() => {
                let at = usize::try_from(random.below(pins.len() as u64)).expect("small");
                rig.mm.unpin(pins.swap_remove(at)).expect("pinned");
            }
            10 if tenants.len() < 3 => tenants.extend(rig.mm.tenant_new(random.below(500) + 1).ok()),
            10 => {
                let id = tenants.swap_remove(0);
                rig.mm.tenant_check(id).expect("whole");
                rig.mm.tenant_drop(id).expect("not held");
            }
            11 => {
                let pfn = first + random.below(pages);
                poisoned.extend(rig.mm.poison(pfn).map(|_| pfn));
            }
            12 if !poisoned.is_empty() => {
                let at = usize::try_from(random.below(poisoned.len() as u64)).expect("small");
                rig.mm.unpoison(poisoned.swap_remove(at)).expect("poisoned");
            }
            _ => {
                let block = first + random.below(3) * g.section_pages;
                if rig.mm.offline_block(block).is_ok() {
                    rig.assert_clean("a block is offline");
                    if random.below(2) == 0 && !poisoned.is_empty() {
                        rig.mm.unpoison(poisoned.swap_remove(0)).expect("poisoned");
                        rig.assert_clean("unpoisoned");
                    }
                    rig.mm.online_block(block, zone).expect("offline");
                }
            }
        }
        rig.assert_clean(&format!("after operation {op} of seed {seed}"));
    }
    for id in tenants {
        rig.mm.tenant_check(id).expect("whole");
        rig.mm.tenant_drop(id).expect("not held");
    }
    pins.into_iter().for_each(|pfn| rig.mm.unpin(pfn).expect("pinned"));
    poisoned.into_iter().for_each(|pfn| rig.mm.unpoison(pfn).expect("poisoned"));
    runs.into_iter().for_each(|pfn| rig.mm.frames_mut().free(pfn));
    rig.assert_clean("empty");
    assert_eq!(rig.mm.frames().counts(), whole, "a block in which all is free is as it came");
    let figures = rig.mm.frames().demand().figures();
    println!("{} {figures:?}", g.kind);
    assert_eq!(figures.materialised, figures.collapsed);
    rig.mm.unplug(range(AT, len)).expect("all is free");
    rig.machine.unplug(AT);
    rig.assert_clean("gone");
    start.assert_same(&Snapshot::exact(&rig), "after a life on demand");
    assert_eq!(rig.mm.frames().warnings.total(), 0);
}

#[test]
fn random_lives_at_4k() {
    (1..8).for_each(|seed| {
        life(Granule::K4, seed, if seed % 2 == 0 { ZoneKind::Normal } else { ZoneKind::Movable })
    });
}
#[test]
fn random_lives_at_16k() {
    (1..8).for_each(|seed| {
        life(Granule::K16, seed, if seed % 2 == 0 { ZoneKind::Normal } else { ZoneKind::Movable })
    });
}
#[test]
fn random_lives_at_64k() {
    (1..8).for_each(|seed| {
        life(Granule::K64, seed, if seed % 2 == 0 { ZoneKind::Normal } else { ZoneKind::Movable })
    });
}
