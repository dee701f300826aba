//! What can be asked of parts of memory blocks.

use std::ops::Range;

use hotmap_mm::frame::zone::ZoneKind;
use hotmap_mm::hotplug::home::MemmapHome;
use proptest::prelude::*;

use super::pick::{pick, pick_index, zone};
use crate::reference::frames::Frames;
use crate::world::World;

/// An operation on parts; `from` and `count` are units.
#[derive(Clone, Copy, Debug)]
pub enum PartOp {
    /// A block of a slot comes with a part.
    Add {
        /// The slot.
        slot: usize,
        /// Its memmap's home.
        home: MemmapHome,
        /// The part.
        part: (u64, u64),
        /// The zone, if it goes online at once.
        plug: Option<ZoneKind>,
    },
    /// A part more.
    Plug(usize, (u64, u64)),
    /// A part less.
    Unplug(usize, (u64, u64)),
}

/// A random one.
pub(super) fn op() -> impl Strategy<Value = PartOp> {
    let home = prop_oneof![
        2 => Just(MemmapHome::Ram),
        2 => Just(MemmapHome::SelfHosted),
        3 => Just(MemmapHome::Demand),
    ];
    let from = prop_oneof![1 => Just(0u64), 2 => any::<u64>()];
    let part = (from, prop_oneof![3 => 0..4u64, 2 => 0..300u64]);
    prop_oneof![
        2 => (pick_index(), home, part.clone(), prop::option::weighted(0.8, zone()))
            .prop_map(|(slot, home, part, plug)| PartOp::Add { slot, home, part, plug }),
        3 => (pick_index(), part.clone()).prop_map(|(block, part)| PartOp::Plug(block, part)),
        4 => (pick_index(), part).prop_map(|(block, part)| PartOp::Unplug(block, part)),
    ]
}

impl World {
    /// Does an operation on parts; `blocks` are the blocks that are present, `slot` a place for one more.
    pub(super) fn part_step(&mut self, op: PartOp, blocks: &[u64], slots: &[u64]) {
        match op {
            PartOp::Add { slot, home, part, plug } => {
                let start = slots[slot % slots.len()];
                // Where boot memory was there still is RAM.
                if !self.left.contains(&start) {
                    let whole = self.reference.frames_of(start);
                    let first = home != MemmapHome::Ram && !slot.is_multiple_of(4);
                    let part = if first { (0, part.1) } else { part };
                    self.add_part(start, self.part_of(&whole, part), home, plug);
                }
            }
            PartOp::Plug(i, part) => {
                let missing = |start: &u64| self.reference.blocks[start].missing();
                let (start, inside) = self.choose(blocks, i, missing);
                self.plug_part(start, &self.part_of(&inside, part));
            }
            PartOp::Unplug(i, part) => {
                let dimm = |start: &u64| self.reference.dimms.contains_key(start);
                let memory = |start: &u64| self.reference.blocks[start].memory.clone();
                let plugged = |start: &u64| if dimm(start) { memory(start) } else { Frames::default() };
                let (start, inside) = self.choose(blocks, i, plugged);
                self.unplug_part(start, &self.part_of(&inside, part));
            }
        }
    }

    /// Three times out of four a run of what `wanted` has of some block, else all of any block.
    fn choose(&self, blocks: &[u64], i: usize, wanted: impl Fn(&u64) -> Frames) -> (u64, Range<u64>) {
        let runs = blocks.iter().flat_map(|start| wanted(start).runs().into_iter().map(|run| (*start, run)));
        let any = blocks[i / 4 % blocks.len()];
        let some = pick(runs.collect::<Vec<_>>().into_iter(), i / 4).filter(|_| !i.is_multiple_of(4));
        some.unwrap_or_else(|| (any, self.reference.frames_of(any)))
    }

    /// A part of `whole`: at least one unit.
    fn part_of(&self, whole: &Range<u64>, (from, count): (u64, u64)) -> Range<u64> {
        let unit = self.reference.unit();
        let units = (whole.end - whole.start) / unit;
        let from = from % units;
        let count = (count + 1).min(units - from);
        whole.start + from * unit..whole.start + (from + count) * unit
    }
}
