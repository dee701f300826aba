//! Random operations: what can be asked of a machine with some DIMM slots, as data, and how it is done to a [`World`].

pub mod devices;
pub mod pages;
pub mod parts;
mod pick;

use hotmap_mm::frame::altmap::Altmap;
use hotmap_mm::frame::zone::ZoneKind;
use hotmap_mm::hotplug::home::MemmapHome;
use hotmap_mm::hotplug::notify::Direction;
use proptest::prelude::*;

use devices::DeviceOp;
use pages::PageOp;
use parts::PartOp;
use pick::{pick, pick_index, zone};

use crate::reference::{Block, Home};
use crate::world::World;
use hotmap_emulator::layout;
use hotmap_emulator::rig::Rig;

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
        home: HomeChoice,
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
    /// Remove one block of a DIMM, or what is not there.
    RemovePart(usize),
    /// Remove a block of boot memory that should have no users.
    UnplugBoot(usize),
    /// Add a block of boot memory that was removed.
    AddBoot(usize, HomeChoice),
    /// Online a block.
    Online(usize, ZoneKind),
    /// Offline a block.
    Offline(usize),
    /// A free run of some order is made in Normal.
    Compact(u32),
    /// Something with pages.
    Page(PageOp),
    /// Something with devices.
    Device(DeviceOp),
    /// Something with parts of blocks.
    Part(PartOp),
}

/// Where the memmap of added memory goes, before it is known where that memory is.
#[derive(Clone, Copy, Debug)]
pub enum HomeChoice {
    /// One of those that need nothing.
    Plain(MemmapHome),
    /// An altmap at the range's start, with so many times 512 pages for the driver, and so many more than it needs.
    Given {
        /// In units of 512 pages.
        reserve: u64,
        /// Pages.
        extra: u64,
    },
    /// An altmap with something wrong.
    Wrong(u8),
}

/// An operation, which of its allocations fails at first, and what is vetoed.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// The operation.
    pub op: Op,
    /// The allocation, counted from 1.
    pub fault: Option<u64>,
    /// The veto.
    pub veto: Option<Direction>,
}

/// Random steps.
pub fn steps(most: usize) -> impl Strategy<Value = Vec<Step>> {
    let fault = prop_oneof![3 => Just(None), 1 => (1..16u64).prop_map(Some)];
    let veto = prop_oneof![12 => Just(None), 1 => Just(Some(Direction::Online)), 1 => Just(Some(Direction::Offline))];
    let step = (op(), fault, veto).prop_map(|(op, fault, veto)| Step { op, fault, veto });
    prop::collection::vec(step, most / 2..=most)
}

fn home() -> impl Strategy<Value = HomeChoice> {
    prop_oneof![
        6 => Just(HomeChoice::Plain(MemmapHome::SelfHosted)),
        4 => Just(HomeChoice::Plain(MemmapHome::Ram)),
        5 => Just(HomeChoice::Plain(MemmapHome::Demand)),
        4 => Just(HomeChoice::Plain(MemmapHome::SelfRange { reserve: 0 })),
        2 => (0..3u64, 0..700u64).prop_map(|(reserve, extra)| HomeChoice::Given { reserve, extra }),
        1 => any::<u8>().prop_map(HomeChoice::Wrong),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let pick = pick_index;
    prop_oneof![
        23 => devices::op().prop_map(Op::Device),
        8 => parts::op().prop_map(Op::Part),
        2 => (5..16u32).prop_map(Op::Compact),
        3 => pick().prop_map(Op::RemovePart),
        2 => pick().prop_map(Op::UnplugBoot),
        2 => (pick(), home()).prop_map(|(i, home)| Op::AddBoot(i, home)),
        5 => (pick(), 1..=3u64, home(), prop::option::of(zone()))
            .prop_map(|(slot, blocks, home, plug)| Op::Add { slot, blocks, home, plug }),
        2 => (pick(), any::<u8>()).prop_map(|(slot, wrong)| Op::AddWrong { slot, wrong }),
        4 => pick().prop_map(Op::Unplug),
        2 => pick().prop_map(Op::Remove),
        5 => (pick(), zone()).prop_map(|(block, zone)| Op::Online(block, zone)),
        5 => pick().prop_map(Op::Offline),
        7 => prop_oneof![1 => Just(0u64), 8 => 0..40u64, 8 => 40..700u64].prop_map(PageOp::TenantNew).prop_map(Op::Page),
        1 => Just(Op::Page(PageOp::TenantsCheck)),
        3 => pick().prop_map(PageOp::TenantDrop).prop_map(Op::Page),
        2 => (pick(), any::<u64>()).prop_map(|(block, frame)| Op::Page(PageOp::Pin(block, frame))),
        1 => pick().prop_map(PageOp::PinTenant).prop_map(Op::Page),
        3 => pick().prop_map(PageOp::Unpin).prop_map(Op::Page),
        2 => (pick(), any::<u64>()).prop_map(|(block, frame)| Op::Page(PageOp::Poison(block, frame))),
        1 => pick().prop_map(PageOp::PoisonTenant).prop_map(Op::Page),
        3 => pick().prop_map(PageOp::Unpoison).prop_map(Op::Page),
        3 => (0..16u32).prop_map(PageOp::KernelAlloc).prop_map(Op::Page),
        2 => prop_oneof![0..16u64, 16..2000u64].prop_map(PageOp::KernelTakesAllBut).prop_map(Op::Page),
        2 => pick().prop_map(PageOp::KernelFree).prop_map(Op::Page),
        2 => Just(Op::Page(PageOp::KernelFreesAll)),
    ]
}

impl World {
    /// Where DIMMs can be: beside boot RAM, and where tables are missing at one, two or all levels, up to the very end of
    /// the linear map.
    fn slots(&self) -> [u64; 5] {
        let end = layout::base(self.reference.spec, self.reference.ram_start) + (1 << 47);
        [0x8000_0000, 64 << 30, 1 << 40, 9 << 40, end - 3 * self.reference.block_bytes()]
    }

    /// Does a step.
    pub fn step(&mut self, step: Step) {
        let g = self.granule();
        (self.fault, self.veto) = (step.fault, step.veto);
        let blocks: Vec<u64> = self.reference.blocks.keys().copied().collect();
        let dimms: Vec<(u64, u64)> = self.reference.dimms.iter().map(|d| (*d.0, *d.1)).collect();
        match step.op {
            Op::Add { slot, blocks, home, plug } => {
                let (start, len) = (self.slots()[slot % 5], blocks * self.reference.block_bytes());
                self.add(start, len, self.home(home, start, len), plug);
            }
            Op::RemovePart(i) => self.remove_part(&dimms, i),
            Op::UnplugBoot(i) => {
                let boot = self.reference.blocks.iter().filter(|b| b.1.home == Home::Boot).map(|b| *b.0);
                let boot: Vec<u64> = boot.collect();
                pick(boot.into_iter(), i)
                    .into_iter()
                    .for_each(|b| self.unplug(b, self.reference.block_bytes()));
            }
            Op::AddBoot(i, home) => {
                let left: Vec<u64> = self.left.iter().copied().collect();
                let len = self.reference.block_bytes();
                pick(left.into_iter(), i).into_iter().for_each(|start| {
                    self.add(start, len, self.home(home, start, len), None);
                });
            }
            Op::Compact(order) => self.compact(order % (g.section_order + 1)),
            Op::Page(op) => self.page_step(op, &blocks),
            Op::Device(op) => self.device_step(op),
            Op::Part(op) => self.part_step(op, &blocks, &self.slots()),
            Op::AddWrong { slot, wrong } => self.add_wrong(slot, wrong),
            Op::Unplug(i) => pick(dimms.iter(), i).into_iter().for_each(|d| self.unplug(d.0, d.1)),
            Op::Remove(i) => pick(dimms.iter(), i).into_iter().for_each(|d| self.remove(d.0, d.1)),
            Op::Online(i, zone) => self.online(self.prefer(i, |b| b.online.is_none()), zone),
            Op::Offline(i) => self.offline(self.prefer(i, |b| b.online.is_some() && b.home != Home::Boot)),
        }
        (self.fault, self.veto) = (None, None);
    }

    /// The home of the memmap of `len` bytes at `start`.
    fn home(&self, choice: HomeChoice, start: u64, len: u64) -> MemmapHome {
        let g = self.granule();
        let (base, pages) = (Rig::pfn(g, start), len / g.page_size);
        let needed = pages * layout::STRUCT_PAGE / g.page_size;
        match choice {
            HomeChoice::Plain(home) => home,
            HomeChoice::Given { reserve, extra } => {
                MemmapHome::Given(Altmap::new(base, reserve * 512, needed + extra))
            }
            HomeChoice::Wrong(wrong) => MemmapHome::Given(match wrong % 5 {
                0 => Altmap::new(base, 0, needed - 1),
                1 => Altmap::new(base + 1, 0, needed),
                2 => Altmap::new(base, 1, pages),
                3 => Altmap::new(base, 3, needed + 512),
                _ => Altmap::new(base, u64::MAX, needed),
            }),
        }
    }

    /// Removes the first or last block of a DIMM whose blocks go together, or a block where nothing is.
    fn remove_part(&mut self, dimms: &[(u64, u64)], i: usize) {
        let size = self.reference.block_bytes();
        let together = |d: &&(u64, u64)| self.reference.blocks[&d.0].group == (d.0..d.0 + d.1) && d.1 > size;
        let all: Vec<_> = dimms.iter().filter(together).copied().collect();
        let absent = self.slots()[i % 5] + 3 * size;
        match pick(all.into_iter(), i / 4).filter(|_| !i.is_multiple_of(4)) {
            Some((start, len)) => self.remove(if i % 4 == 1 { start } else { start + len - size }, size),
            None if !self.reference.blocks.contains_key(&absent) && i % 5 != 4 => self.remove(absent, size),
            None => {}
        }
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
