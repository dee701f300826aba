//! Random operations: what can be asked of a machine with some DIMM slots, as data, and how it is done to a [`World`].

use hotmap_mm::granule::Granule;
use hotmap_mm::hotplug::steps::MemmapHome;
use hotmap_mm::zone::ZoneKind;
use proptest::prelude::*;

use crate::layout;
use crate::reference::{Block, Home};
use crate::world::World;

/// An operation; `pick` chooses among what there is when it is done.
#[derive(Clone, Copy, Debug)]
pub enum Op {
    /// Plug a DIMM of some blocks into a slot and add it; perhaps online it in the same breath.
    Add {
        /// The slot.
        slot: usize,
        /// Its blocks.
        blocks: u64,
        /// Its memmap's home.
        home: MemmapHome,
        /// The zone, if it goes online at once.
        plug: Option<ZoneKind>,
    },
    /// Try to add what may not be: the slot's range, moved or cut.
    AddWrong {
        /// The slot.
        slot: usize,
        /// What is wrong with it.
        wrong: u8,
    },
    /// Unplug a DIMM.
    Unplug(usize),
    /// Remove a DIMM whose blocks should be offline.
    Remove(usize),
    /// Online a block.
    Online(usize, ZoneKind),
    /// Offline a block.
    Offline(usize),
    /// A tenant moves in.
    TenantNew(u64),
    /// Tenants check.
    TenantsCheck,
    /// A tenant leaves.
    TenantDrop(usize),
    /// Pin some frame.
    Pin(usize, u64),
    /// Pin a tenant's frame.
    PinTenant(usize),
    /// Unpin a frame that is pinned, or some other.
    Unpin(usize),
    /// Poison some frame.
    Poison(usize, u64),
    /// Poison a tenant's frame.
    PoisonTenant(usize),
    /// Give back a frame that is poisoned, or some other.
    Unpoison(usize),
    /// The kernel takes a run of some order.
    KernelAlloc(u32),
    /// The kernel takes all of Normal but for so many pages.
    KernelTakesAllBut(u64),
    /// The kernel gives one run back.
    KernelFree(usize),
    /// The kernel gives all its runs back.
    KernelFreesAll,
}

/// An operation, and which of its allocations fails at first.
pub type Step = (Op, Option<u64>);

/// Random steps.
pub fn steps(most: usize) -> impl Strategy<Value = Vec<Step>> {
    let fault = prop_oneof![3 => Just(None), 1 => (1..12u64).prop_map(Some)];
    prop::collection::vec((op(), fault), most / 2..=most)
}

fn op() -> impl Strategy<Value = Op> {
    let home = || prop_oneof![3 => Just(MemmapHome::SelfHosted), 2 => Just(MemmapHome::Ram)];
    let zone = || prop_oneof![2 => Just(ZoneKind::Movable), 1 => Just(ZoneKind::Normal)];
    let pick = || 0..64usize;
    prop_oneof![
        5 => (pick(), 1..=3u64, home(), prop::option::of(zone()))
            .prop_map(|(slot, blocks, home, plug)| Op::Add { slot, blocks, home, plug }),
        1 => (pick(), any::<u8>()).prop_map(|(slot, wrong)| Op::AddWrong { slot, wrong }),
        4 => pick().prop_map(Op::Unplug),
        2 => pick().prop_map(Op::Remove),
        5 => (pick(), zone()).prop_map(|(block, zone)| Op::Online(block, zone)),
        5 => pick().prop_map(Op::Offline),
        5 => prop_oneof![0..40u64, 40..700u64].prop_map(Op::TenantNew),
        1 => Just(Op::TenantsCheck),
        3 => pick().prop_map(Op::TenantDrop),
        2 => (pick(), any::<u64>()).prop_map(|(block, frame)| Op::Pin(block, frame)),
        1 => pick().prop_map(Op::PinTenant),
        3 => pick().prop_map(Op::Unpin),
        1 => (pick(), any::<u64>()).prop_map(|(block, frame)| Op::Poison(block, frame)),
        1 => pick().prop_map(Op::PoisonTenant),
        3 => pick().prop_map(Op::Unpoison),
        3 => (0..16u32).prop_map(Op::KernelAlloc),
        2 => prop_oneof![0..16u64, 16..2000u64].prop_map(Op::KernelTakesAllBut),
        2 => pick().prop_map(Op::KernelFree),
        2 => Just(Op::KernelFreesAll),
    ]
}

/// The `pick`-th of some things, if there are any.
fn pick<T: Clone>(mut from: impl ExactSizeIterator<Item = T>, pick: usize) -> Option<T> {
    let len = from.len();
    (len != 0).then(|| from.nth(pick % len)).flatten()
}

impl<G: Granule> World<G> {
    /// Where DIMMs can be: beside boot RAM, and where tables are missing at one, two or all levels, up to the very end of
    /// the linear map.
    fn slots(&self) -> [u64; 5] {
        let end = layout::base(self.reference.spec, self.reference.ram_start) + (1 << 47);
        [0x8000_0000, 64 << 30, 1 << 40, 9 << 40, end - 3 * self.reference.block_bytes()]
    }

    /// Do a step.
    pub fn step(&mut self, step: Step) {
        self.fault = step.1;
        let blocks: Vec<u64> = self.reference.blocks.keys().copied().collect();
        let dimms: Vec<(u64, u64)> = self.reference.dimms.iter().map(|d| (*d.0, *d.1)).collect();
        let block = |i: usize| blocks[i % blocks.len()];
        match step.0 {
            Op::Add { slot, blocks, home, plug } => {
                let start = self.slots()[slot % 5];
                self.add(start, blocks * self.reference.block_bytes(), home, plug);
            }
            Op::AddWrong { slot, wrong } => self.add_wrong(slot, wrong),
            Op::Unplug(i) => pick(dimms.iter(), i).into_iter().for_each(|d| self.unplug(d.0, d.1)),
            Op::Remove(i) => pick(dimms.iter(), i).into_iter().for_each(|d| self.remove(d.0, d.1)),
            Op::Online(i, zone) => self.online(self.prefer(i, |b| b.online.is_none()), zone),
            Op::Offline(i) => self.offline(self.prefer(i, |b| b.online.is_some() && b.home != Home::Boot)),
            // Large tenants have as many bytes at every granule.
            Op::TenantNew(pages @ 0..40) => self.tenant_new(pages),
            Op::TenantNew(pages) => self.tenant_new(pages / (G::SIZE >> 12)),
            Op::TenantsCheck => self.tenants_check(),
            Op::TenantDrop(i) => {
                let id = pick(self.reference.tenants.keys().copied(), i).unwrap_or(77);
                self.tenant_drop(id);
            }
            Op::Pin(i, frame) => {
                let frames = self.reference.frames_of(block(i));
                self.pin(frames.start + frame % (frames.end - frames.start));
            }
            Op::PinTenant(i) => {
                let frames: Vec<u64> = self.seen.tenants.values().copied().collect();
                pick(frames.into_iter(), i).into_iter().for_each(|frame| self.pin(frame));
            }
            Op::Unpin(i) => {
                let tenants = self.reference.held.keys().filter_map(|va| self.seen.tenants.get(va));
                let frames: Vec<u64> = tenants.chain(self.reference.pinned.keys()).copied().collect();
                let other = self.reference.frames_of(block(i)).start;
                self.unpin(pick(frames.into_iter(), i).unwrap_or(other));
            }
            Op::Poison(i, frame) => {
                let frames = self.reference.frames_of(block(i));
                self.poison(frames.start + frame % (frames.end - frames.start));
            }
            Op::PoisonTenant(i) => {
                let frames: Vec<u64> = self.seen.tenants.values().copied().collect();
                pick(frames.into_iter(), i).into_iter().for_each(|frame| self.poison(frame));
            }
            Op::Unpoison(i) => {
                let frames: Vec<u64> = self.reference.poisoned.iter().copied().collect();
                let other = self.reference.frames_of(block(i)).start;
                self.unpoison(pick(frames.into_iter(), i).unwrap_or(other));
            }
            Op::KernelAlloc(order) => self.kernel_alloc(order % (G::BLOCK_ORDER + 1)),
            Op::KernelTakesAllBut(pages) => self.kernel_takes_all_but(pages),
            Op::KernelFreesAll => {
                let all: Vec<u64> = self.reference.kernel.keys().copied().collect();
                self.kernel_free(&all);
            }
            Op::KernelFree(i) => {
                pick(self.reference.kernel.keys().copied(), i)
                    .into_iter()
                    .for_each(|f| self.kernel_free(&[f]));
            }
        }
        self.fault = None;
    }

    /// Some block, three times out of four one of those that are wanted.
    fn prefer(&self, i: usize, wanted: impl Fn(&Block) -> bool) -> u64 {
        let all = &self.reference.blocks;
        let some: Vec<u64> = all.iter().filter(|b| i % 4 == 3 || wanted(b.1)).map(|b| *b.0).collect();
        let any = all.keys().copied().nth(i / 4 % all.len());
        pick(some.into_iter(), i / 4).or(any).unwrap_or_default()
    }

    fn add_wrong(&mut self, slot: usize, wrong: u8) {
        let (start, size) = (self.slots()[slot % 5], self.reference.block_bytes());
        let (start, len) = match wrong % 7 {
            0 => (start + size / 2, size),
            1 => (start, size + (2 << 20)),
            2 => (start, 0),
            3 => (u64::MAX / size * size, 2 * size),
            4 => (self.slots()[4] + 2 * size, 2 * size),
            5 => (0, size),
            _ => (0x4000_0000 / size * size, size),
        };
        // At 64K the linear map begins at 0, where this would be right.
        if wrong % 7 != 5 || layout::base(self.reference.spec, self.reference.ram_start) != 0 {
            assert!(!self.add(start, len, MemmapHome::SelfHosted, None), "{start:#x} + {len:#x}");
        }
    }
}
