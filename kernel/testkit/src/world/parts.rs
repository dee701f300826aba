//! Parts of memory blocks come and go, in lockstep. The machine withholds what is not plugged.

use std::ops::Range;

use hotmap_mm::addr::PhysAddr;
use hotmap_mm::frame::block::Source;
use hotmap_mm::frame::zone::ZoneKind;
use hotmap_mm::hotplug::home::MemmapHome;
use hotmap_mm::hotplug::range::HotRange;
use hotmap_mm::pfn::{Pfn, PfnRange};

use super::World;
use crate::reference::predict::Answer;
use crate::reference::{Home, frames::Frames};
use crate::snapshot::Detail;

const fn pages(frames: &Range<u64>) -> PfnRange {
    PfnRange { start: Pfn::new(frames.start), end: Pfn::new(frames.end) }
}

impl World {
    /// The machine has the memory of `frames`, which are whole units, or withholds it.
    fn provide(&self, frames: &Frames, there: bool) {
        let page = self.granule().page_size;
        for run in frames.runs() {
            self.rig.machine.memory().provide(run.start * page, (run.end - run.start) * page, there);
        }
    }

    /// Adds the block at `start` with the frames of `part` plugged; with `zone` it also goes online.
    pub fn add_part(&mut self, start: u64, part: Range<u64>, home: MemmapHome, zone: Option<ZoneKind>) {
        let what = format!("add {start:#x}, of it {part:x?}, {home:?} {zone:?}");
        let mut answer = self.reference.add_part(&self.rig.machine, &self.seen, start, &part, home);
        let backed = !matches!(answer, Answer::Refused(name, _) if name != "Out");
        if zone.is_some() {
            answer = self.online_veto(answer);
        }
        let (len, frames) = (self.reference.block_bytes(), self.reference.frames_of(start));
        let missing = Frames::of([frames.start..part.start, part.end..frames.end]);
        if backed {
            self.rig.machine.plug(start, len);
            self.provide(&missing, false);
        }
        let moves = home == MemmapHome::Ram && self.reference.spec.page == 0x1000;
        let detail = if moves { Detail::WherePagesMayHaveMoved } else { Detail::Exact };
        let result = self.act(detail, &what, |rig| {
            let hot = HotRange::new(&rig.mm, PhysAddr::new(start), len, Source::VirtioMem(0))?;
            match zone {
                Some(zone) => rig.mm.plug_block_part(&hot, pages(&part), home, zone, |_, _| {}),
                None => rig.mm.add_block_part(&hot, pages(&part), home, |_, _| {}),
            }
        });
        self.answered("add part", answer, &result, &what);
        if result.is_ok() {
            self.reference.added(start, len, home);
            let block = self.reference.blocks.get_mut(&start).expect("it was added");
            missing.runs().into_iter().for_each(|run| block.part_went(run));
            zone.into_iter().for_each(|zone| self.reference.onlined(start, zone));
        } else if backed {
            self.rig.machine.unplug(start);
        }
        self.settle(&what);
    }

    /// A part of the block at `start` comes.
    pub fn plug_part(&mut self, start: u64, part: &Range<u64>) {
        let what = format!("plug {part:x?} of {start:#x}");
        let answer = self.reference.plug_part(&self.seen, start, part);
        let backed = matches!(answer, Answer::Done | Answer::DoneOrOut);
        if backed {
            self.provide(&Frames::of([part.clone()]), true);
        }
        let result = self.act(Detail::Exact, &what, |rig| rig.mm.plug_part(pages(part)));
        self.answered("plug part", answer, &result, &what);
        if result.is_ok() {
            self.reference.blocks.get_mut(&start).expect("it is there").part_came(part);
        } else if backed {
            self.provide(&Frames::of([part.clone()]), false);
        }
        self.settle(&what);
    }

    /// A part of the block at `start` goes; not of boot memory, which comes back whole.
    pub fn unplug_part(&mut self, start: u64, part: &Range<u64>) {
        let what = format!("unplug {part:x?} of {start:#x}");
        let (answer, moving) = self.reference.unplug_part(&self.seen, start, part);
        let boot = self.reference.blocks.get(&start).is_some_and(|block| block.home == Home::Boot);
        let added_again = self.left.contains(&start);
        if (boot || added_again) && !matches!(answer, Answer::Refused(..)) {
            return;
        }
        let faulty = self.fault.is_some();
        let result = self.act(Detail::WherePagesMayHaveMoved, &what, |rig| {
            rig.mm.unplug_part(pages(part), &mut |_| false)
        });
        self.answered("unplug part", answer, &result, &what);
        if let Ok(done) = result {
            assert!(faulty || done.migrated == moving, "{what}: {done:?} of {moving}");
            *self.answers.entry(("unplug part", "migrated")).or_default() += u64::from(moving != 0);
            self.provide(&Frames::of([part.clone()]), false);
            self.reference.blocks.get_mut(&start).expect("it is there").part_went(part.clone());
        }
        self.settle(&what);
    }
}
