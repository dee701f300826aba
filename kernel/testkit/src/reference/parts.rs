//! Parts of memory blocks that come and go: what is unplugged, in which runs, and what the operations should answer.

use std::ops::Range;

use hotmap_mm::hotplug::home::MemmapHome;

use super::frames::Frames;
use super::predict::{Answer, OUT};
use super::seen::Seen;
use super::{Block, Home, Reference};
use hotmap_emulator::machine::Emulated;

/// What a part begins and ends at a multiple of, in bytes.
pub const UNIT: u64 = 2 << 20;

impl Block {
    /// Its frames that are not plugged.
    pub fn missing(&self) -> Frames {
        Frames::of(self.unplugged.iter().map(|(first, order)| *first..first + (1 << order)))
    }
    /// Its frames that are in the linear map: those that are no holes.
    pub fn spanned(&self) -> Frames {
        Frames::of(self.memory.runs().into_iter().chain(self.missing().runs()))
    }

    /// The frames of `part` went.
    pub fn part_went(&mut self, part: Range<u64>) {
        self.memory = self.memory.without(&Frames::of([part.clone()]));
        let mut at = part.start;
        while at < part.end {
            let order = at.trailing_zeros().min((part.end - at).ilog2());
            self.unplugged.insert(at, order);
            at += 1 << order;
        }
    }

    /// The frames of `part` came: a run that reaches out of it is halved until no piece does.
    pub fn part_came(&mut self, part: &Range<u64>) {
        self.memory = Frames::of(self.memory.runs().into_iter().chain([part.clone()]));
        let mut all: Vec<_> = std::mem::take(&mut self.unplugged).into_iter().collect();
        while let Some((first, order)) = all.pop() {
            let run = first..first + (1 << order);
            let inside = part.start <= run.start && run.end <= part.end;
            let outside = run.end <= part.start || part.end <= run.start;
            if outside {
                self.unplugged.insert(first, order);
            } else if !inside {
                all.extend([(first, order - 1), (first + (1 << (order - 1)), order - 1)]);
            }
        }
    }
}

impl Reference {
    /// How many frames a unit has.
    pub fn unit(&self) -> u64 {
        UNIT / self.spec.page
    }

    /// Adding the block at `start` with the frames of `part` plugged.
    pub fn add_part(
        &self,
        machine: &Emulated,
        seen: &Seen,
        start: u64,
        part: &Range<u64>,
        home: MemmapHome,
    ) -> Answer {
        let answer = self.add(machine, seen, start, self.block_bytes(), home);
        let validated = matches!(answer, Answer::Done | Answer::DoneOrOut | OUT);
        let hosted = home != MemmapHome::Ram && part.start != start / self.spec.page;
        if validated && hosted { Answer::Refused("MemmapUnplugged", None) } else { answer }
    }

    /// A part of the block at `start` comes.
    pub fn plug_part(&self, seen: &Seen, start: u64, part: &Range<u64>) -> Answer {
        if let Some(refused) = self.refuse_part(start) {
            return refused;
        }
        let missing = self.blocks[&start].missing().within(part.clone());
        if missing.len() != part.end - part.start {
            return Answer::Refused("PageState", None);
        }
        self.if_it_lends_enough(seen, start, &Frames::default())
    }

    /// A part of the block at `start` goes; and how many pages move.
    pub fn unplug_part(&self, seen: &Seen, start: u64, part: &Range<u64>) -> (Answer, u64) {
        let moving = seen.tenant_frames().within(part.clone()).len();
        (self.unplug_part_of(seen, start, part, moving), moving)
    }

    fn unplug_part_of(&self, seen: &Seen, start: u64, part: &Range<u64>, moving: u64) -> Answer {
        if let Some(refused) = self.refuse_part(start) {
            return refused;
        }
        let block = &self.blocks[&start];
        if self.is_on_demand(start) && part.start < start / self.spec.page + self.memmap_frames() {
            return Answer::Refused("MemmapUnplugged", None);
        }
        let first = |frames: Frames| frames.within(part.clone()).first();
        let refused = [
            ("PageState", first(block.missing())),
            ("Poisoned", self.poisoned.range(part.clone()).next().copied()),
            ("Unmovable", first(Frames::of([self.own_memmap(start)]))),
        ];
        if let Some((frame, why)) = refused.into_iter().filter_map(|(why, at)| Some((at?, why))).min() {
            return Answer::Refused(why, (why != "PageState").then_some(frame));
        }
        let goes = Frames::of([part.clone()]);
        if block.online.is_none() {
            return self.if_it_lends_enough(seen, start, &goes);
        }
        if block.spanned().len() != self.block_bytes() / self.spec.page {
            return Answer::Refused("NotWhole", None);
        }
        if let Some(stuck) = self.first_stuck_in(seen, start, part.clone()) {
            return stuck;
        }
        let used = self.used(seen);
        let free: u64 = self.blocks.keys().map(|s| self.free_in(*s, &used).without(&goes).len()).sum();
        let lendable: u64 = self.on_demand().map(|start| self.most_lent(seen, start)).sum();
        match self.if_it_lends_enough(seen, start, &goes) {
            _ if moving > free => Answer::Refused("Stays", None),
            Answer::Done if moving + lendable <= free || moving == 0 => Answer::Done,
            _ if lendable == 0 => Answer::Done,
            _ => Answer::DoneOrOut,
        }
    }

    /// Done, if a block on demand can lend what a whole memmap may take without its frames in `goes`.
    fn if_it_lends_enough(&self, seen: &Seen, start: u64, goes: &Frames) -> Answer {
        let left = self.left_in(start, &self.used(seen)).without(goes).len();
        let enough = !self.is_on_demand(start) || left >= self.most_lent(seen, start);
        if enough { Answer::Done } else { Answer::DoneOrOut }
    }

    /// How many more frames the block at `start` can lend; the frames that are lent may have to move as well.
    fn most_lent(&self, seen: &Seen, start: u64) -> u64 {
        self.memmap_frames() + 1 + self.lent_by(seen, start).len()
    }

    fn is_on_demand(&self, start: u64) -> bool {
        self.blocks[&start].home == Home::Added(MemmapHome::Demand)
    }

    /// What has no parts: what is not there, and what a device has given.
    fn refuse_part(&self, start: u64) -> Option<Answer> {
        if !self.blocks.contains_key(&start) {
            return Some(Answer::Refused("NoBlock", None));
        }
        let given = self.given.values().any(|given| given.memory.contains(&start));
        given.then_some(Answer::Refused("BlockState", None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn a_run_is_cut_no_further_than_its_ends_ask_for() {
        let mut block = Block {
            memory: Frames::default(),
            home: Home::Boot,
            kept: 0,
            memmap: None,
            group: 0..0,
            unplugged: BTreeMap::new(),
            online: None,
        };
        let all = 0..16;
        block.part_went(all.clone());
        assert_eq!(block.unplugged, BTreeMap::from([(0, 4)]));
        let part = 6..9;
        block.part_came(&part);
        assert_eq!(block.unplugged, BTreeMap::from([(0, 2), (4, 1), (9, 0), (10, 1), (12, 2)]));
        assert_eq!(block.memory.runs(), [part]);
        assert_eq!(block.spanned().runs(), [all]);
    }
}
