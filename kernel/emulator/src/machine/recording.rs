//! A recording of the machine: its steps, memory as it was after each, and what a TLB may hold.

use std::ops::Range;

use hotmap_mm::machine::{Access, Checkpoint};

use super::Emulated;
use super::memory::{Backing, PhysMemory};
use super::record::{Event, Place, Recorder, Step};
use super::tlb::Stale;
use super::violation::Violation;
use crate::arch::spec::Leaf;
use crate::arch::walker::{self, Memory};

/// When the machine is looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Moment {
    /// Now.
    Now,
    /// After a step of the recording; `None`: before the first.
    After(Option<usize>),
}

/// A translation that a TLB may hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cached {
    /// The first virtual address.
    pub va: u64,
    /// How many bytes.
    pub bytes: u64,
    /// The physical address that it leads to.
    pub pa: u64,
    /// The leaf; `None` for an entry that leads to a table.
    pub leaf: Option<Leaf>,
    /// The tables do not say so any more.
    pub stale: bool,
}

/// Memory at a moment.
struct Past<'a>(&'a Emulated, Moment);

impl Memory for Past<'_> {
    fn read(&self, pa: u64) -> u64 {
        let mut word = [0; 8];
        // What is not there leads nowhere.
        if self.0.copy_out(self.1, pa, &mut word) { u64::from_le_bytes(word) } else { 0 }
    }
}

impl Emulated {
    /// Records from here on, in place of what was recorded.
    pub fn record(&self) {
        *self.0.recorder.borrow_mut() = Recorder::default();
        self.0.recording.set(true);
    }

    /// Ends the recording; what came after the last checkpoint is a step called `name`.
    pub fn finish_record(&self, name: &str) {
        if self.0.recording.replace(false) {
            self.with_stale(|stale| self.0.recorder.borrow_mut().finish(&self.0.memory, name, stale));
        }
    }

    /// The steps of the recording, and whether it leaves something out.
    pub fn steps(&self) -> (Vec<Step>, bool) {
        let recorder = self.0.recorder.borrow();
        (recorder.steps().to_vec(), recorder.is_truncated())
    }

    /// How many steps there are.
    pub fn step_count(&self) -> usize {
        self.0.recorder.borrow().steps().len()
    }

    /// Whether there is such a moment.
    pub fn has_moment(&self, moment: Moment) -> bool {
        let recorder = self.0.recorder.borrow();
        match moment {
            Moment::Now => true,
            Moment::After(step) => {
                recorder.journal.is_complete() && step.is_none_or(|step| step < recorder.steps().len())
            }
        }
    }

    /// Fills `bytes` with what was at `pa`. `false` when not all of it was there.
    pub fn copy_out(&self, moment: Moment, pa: u64, bytes: &mut [u8]) -> bool {
        match moment {
            Moment::Now => self.0.memory.copy_out(pa, bytes),
            Moment::After(step) => self.0.recorder.borrow().journal.read(&self.0.memory, step, pa, bytes),
        }
    }

    /// What a TLB may hold: of the translations that were used last, those that the tables have; and all that is stale.
    pub fn cached(&self, moment: Moment) -> Vec<Cached> {
        let used: Vec<u64> =
            self.0.mmu.borrow().as_ref().map_or_else(Vec::new, |mmu| mmu.used.iter().copied().collect());
        let stale = match moment {
            Moment::After(Some(step)) => {
                self.0.recorder.borrow().steps().get(step).map_or_else(Vec::new, |step| step.stale.clone())
            }
            Moment::After(None) => Vec::new(),
            Moment::Now => self.with_stale(<[Stale]>::to_vec),
        };
        let old =
            stale.iter().map(|s| Cached { va: s.va, bytes: s.size, pa: s.pa, leaf: s.leaf, stale: true });
        let (past, root) = (Past(self, moment), self.root());
        let walk = |va: &u64| walker::walk(self.0.spec, &past, root, *va).ok();
        let mut good: Vec<Cached> = used.iter().filter_map(walk).map(good).collect();
        good.sort_by_key(|cached| cached.va);
        good.dedup();
        old.chain(good).collect()
    }
}

const fn good(walk: walker::Walk) -> Cached {
    Cached { va: walk.va, bytes: walk.size, pa: walk.leaf.pa, leaf: Some(walk.leaf), stale: false }
}

/// What the machine notes while it is recorded.
impl Emulated {
    fn recorder(&self, f: impl FnOnce(&mut Recorder, &PhysMemory)) {
        if self.0.recording.get() {
            f(&mut self.0.recorder.borrow_mut(), &self.0.memory);
        }
    }

    pub(super) fn note(&self, event: impl FnOnce() -> Event) {
        self.recorder(|recorder, _| recorder.push(event()));
    }

    /// The model gets a pointer.
    #[inline]
    pub(super) fn note_access(&self, pa: u64, len: u64, access: Access) {
        if access == Access::Write {
            self.recorder(|recorder, memory| recorder.journal.touch(memory, pa, len));
        }
    }

    pub(super) fn note_written(&self, at: u64, place: Option<Place>, (old, new): (u64, u64), before: usize) {
        self.recorder(|recorder, _| {
            recorder.push(Event::Write { at, place, old, new });
            self.with_stale(|stale| {
                for stale in stale.get(before..).unwrap_or_default() {
                    recorder.push(Event::Stale(*stale));
                }
            });
        });
    }

    /// Whether something is stale.
    pub(super) fn note_before_invalidate(&self) -> bool {
        self.recorder(|recorder, memory| self.with_stale(|stale| recorder.before_invalidate(memory, stale)));
        self.stale_entries() != 0
    }

    pub(super) fn note_invalidate(&self, range: Range<u64>, stride: u64, tables: bool, needed: bool) {
        self.recorder(|recorder, memory| {
            let event = Event::Invalidate { range, stride, tables };
            self.with_stale(|stale| recorder.after_invalidate(memory, event, needed, stale));
        });
    }

    pub(super) fn note_checkpoint(&self, checkpoint: Checkpoint) {
        self.recorder(|recorder, memory| {
            self.with_stale(|stale| recorder.checkpoint(memory, checkpoint, stale));
        });
    }

    pub(super) fn note_ram(&self, range: Range<u64>, there: bool) {
        self.recorder(|recorder, memory| {
            recorder.journal.ram(memory, range.clone(), there, None);
            recorder.push(Event::Ram { range, there });
        });
    }

    pub(super) fn note_gone(&self, gone: Backing) {
        let range = gone.range();
        self.recorder(|recorder, memory| {
            recorder.journal.ram(memory, range.clone(), false, Some(gone));
            recorder.push(Event::Ram { range, there: false });
        });
    }

    pub(super) fn note_violations(&self, found: &[Violation]) {
        for violation in found {
            self.recorder(|recorder, _| recorder.push_once(Event::Violation(*violation)));
        }
    }
}
