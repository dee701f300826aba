//! Shrinking: the highest units first.
//!
//! ```text
//!   excess           |<-------------------------->|          what is plugged beyond what the device asks for
//!   whole blocks          |========|========|=====|          tried as one; if that fails, block by block
//!   units            |==|                                    of the block that stays in part
//! ```
//! A block of which all goes is taken offline and removed. If something in it cannot move, or only a part of it goes, units
//! of it are emptied: as many as go at once, else one by one. A unit that stays is noted, and the next one below is tried.

use core::ops::Range;

use hotmap_mm::error::{BlockError, Error};
use hotmap_mm::machine::Machine;
use hotmap_mm::mm::Mm;
use hotmap_mm::stop::Stop;

use crate::Resizer;
use crate::piece::physical;
use crate::step::Step;

/// What is still to be tried, and in which steps.
pub(crate) struct Candidates {
    /// Units from here on have been tried.
    below: u64,
    /// Chunks that did not go as one: they go by themselves.
    alone: Range<u64>,
    /// A chunk that did not go as a whole: its units go.
    parted: Range<u64>,
    /// Units that did not go at once: they go one by one.
    single: Range<u64>,
}

impl Candidates {
    /// Everything.
    pub(crate) const fn all() -> Self {
        Self { below: u64::MAX, alone: 0..0, parted: 0..0, single: 0..0 }
    }
}

impl Resizer {
    /// Takes the highest piece that is still to be tried out of the kernel's memory, at most `excess` bytes. It is idle then.
    pub(crate) fn shrink<M: Machine>(
        &mut self,
        mm: &mut Mm<M>,
        candidates: &mut Candidates,
        excess: u64,
        stop: Stop<'_>,
    ) -> Step {
        let Some(top) = self.last_used(0..candidates.below) else { return Step::End };
        let last = self.chunk_of(top.end - 1);
        let parted = candidates.parted.contains(&last.start);
        let alone = candidates.alone.contains(&last.start);
        let whole = !parted && top.end == self.used_end(&last) && self.has_alone(mm, &last);
        match whole.then(|| self.whole_chunks(mm, &last, excess, alone)).flatten() {
            Some(run) => self.shrink_chunks(mm, candidates, &run, stop),
            None => self.shrink_units(mm, candidates, top.start.max(last.start)..top.end, excess, stop),
        }
    }

    /// The highest part of `window` that is in the kernel's memory.
    fn last_used(&self, window: Range<u64>) -> Option<Range<u64>> {
        let plugged = self.plugged.inside(window).next_back()?;
        match self.idle.inside(plugged.clone()).next_back() {
            None => Some(plugged),
            Some(idle) if idle.end < plugged.end => Some(idle.end..plugged.end),
            Some(idle) => self.last_used(0..idle.start),
        }
    }
    fn used_in(&self, range: &Range<u64>) -> u64 {
        self.plugged.bytes_in(range) - self.idle.bytes_in(range)
    }
    fn used_end(&self, range: &Range<u64>) -> u64 {
        self.last_used(0..range.end).map_or(0, |used| used.end)
    }

    /// Whether no other device has memory in the chunk. A chunk that lies in the region as a whole has one device.
    fn has_alone<M: Machine>(&self, mm: &Mm<M>, chunk: &Range<u64>) -> bool {
        let region = self.config.region();
        if region.start <= chunk.start && chunk.end <= region.end {
            return true;
        }
        let present = mm.frames().block_of(self.pages(chunk).start).map_or(0, |block| block.present);
        present << self.granule.page_shift == self.used_in(chunk)
    }

    /// Whole chunks, `last` and those below it, of which at most `excess` bytes are used; only `last` if `alone`.
    fn whole_chunks<M: Machine>(
        &self,
        mm: &Mm<M>,
        last: &Range<u64>,
        excess: u64,
        alone: bool,
    ) -> Option<Range<u64>> {
        let (size, mut used) = (self.chunk(), self.used_in(last));
        if used > excess {
            return None;
        }
        let mut start = last.start;
        while !alone && start >= size {
            let below = start - size..start;
            let more = self.used_in(&below);
            if more == 0 || used + more > excess || !self.has_alone(mm, &below) {
                break;
            }
            (start, used) = (below.start, used + more);
        }
        Some(start..last.end)
    }

    fn shrink_chunks<M: Machine>(
        &mut self,
        mm: &mut Mm<M>,
        candidates: &mut Candidates,
        run: &Range<u64>,
        stop: Stop<'_>,
    ) -> Step {
        if let Err(why) = self.idle.reserve(self.plugged.inside(run.clone()).count()) {
            return Step::Short { at: run.clone(), why };
        }
        let single = run.end - run.start == self.chunk();
        match mm.unplug_unless(physical(run), stop) {
            Ok(_) => {
                self.set_idle(run);
                Step::Done
            }
            Err(Error::Block(BlockError::Interrupted { .. })) => Step::Interrupted,
            Err(_) if !single => {
                candidates.alone = run.clone();
                Step::Again
            }
            // A notifier wants the block; or there are no smaller units.
            Err(why) if matches!(why, Error::Block(_)) || self.unit() == self.chunk() => {
                candidates.below = run.start;
                Step::Stays { at: run.clone(), why }
            }
            Err(_) => {
                candidates.parted = run.clone();
                Step::Again
            }
        }
    }

    /// Empties the last units of `used`, of one chunk.
    fn shrink_units<M: Machine>(
        &mut self,
        mm: &mut Mm<M>,
        candidates: &mut Candidates,
        used: Range<u64>,
        excess: u64,
        stop: Stop<'_>,
    ) -> Step {
        if self.unit() == self.chunk() {
            // More is used than is to go, and no smaller units.
            return Step::End;
        }
        let last = used.end - self.unit();
        let several = used.start.max(used.end.saturating_sub(excess));
        let start = if candidates.single.contains(&last) { last } else { several };
        let units = start..used.end;
        if let Err(why) = self.idle.reserve(1) {
            return Step::Short { at: units, why };
        }
        match mm.unplug_part(self.pages(&units), stop) {
            Ok(_) => {
                self.set_idle(&units);
                Step::Done
            }
            Err(Error::Block(BlockError::Interrupted { .. })) => Step::Interrupted,
            Err(_) if start != last => {
                candidates.single = units;
                Step::Again
            }
            Err(why) => {
                candidates.below = last;
                Step::Stays { at: units, why }
            }
        }
    }

    /// What is used in `range` is idle from here on.
    fn set_idle(&mut self, range: &Range<u64>) {
        while let Some(used) = self.last_used(0..range.end).filter(|used| used.end > range.start) {
            self.idle.insert(used.start.max(range.start)..used.end);
        }
    }
}
