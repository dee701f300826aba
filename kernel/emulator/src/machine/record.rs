//! What a machine does while it is recorded, in steps.
//!
//! ```text
//!  step ends:   at a checkpoint of the model, which names it
//!               before an invalidation that a TLB needs, and after it: so stale entries can be seen
//! ```

use std::ops::Range;

use hotmap_mm::machine::Checkpoint;

use super::journal::Journal;
use super::memory::PhysMemory;
use super::tlb::Stale;
use super::violation::Violation;

/// The most steps: what comes then is one more.
const MOST_STEPS: usize = 600;
/// The most events of all steps: what comes then is left out.
const MOST_EVENTS: usize = 200_000;

/// How far back the same violation is looked for.
const LOOKED_AT: usize = 64;

/// The name of a step that is an invalidation.
const INVALIDATE: &str = "invalidate the TLB";

/// Where an entry is that was written, and what the architecture says to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// The level of its table.
    pub level: usize,
    /// The first virtual address that it serves.
    pub va: u64,
    /// How many times it is reached, through tables that are shared.
    pub times: usize,
    /// Whether its change is legal in one step, and why.
    pub judged: Result<&'static str, &'static str>,
}

/// Something that happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// An entry of a table was written; no place: nothing leads to the table yet.
    Write {
        /// The entry's address.
        at: u64,
        /// Where it is.
        place: Option<Place>,
        /// What it was.
        old: u64,
        /// What it is.
        new: u64,
    },
    /// TLBI by address, for every so many bytes of a range.
    Invalidate {
        /// The range.
        range: Range<u64>,
        /// From one address to the next.
        stride: u64,
        /// Whether entries that lead to tables go too.
        tables: bool,
    },
    /// DSB: what was written is seen by walks.
    Publish,
    /// Readers wait from here on, at these addresses; `None`: no more.
    Window(Option<Range<u64>>),
    /// A TLB may hold what is no longer in the tables.
    Stale(Stale),
    /// Something that can run out was asked for.
    Asked {
        /// What.
        what: String,
        /// It was made to fail.
        failed: bool,
    },
    /// Memory came or went.
    Ram {
        /// Where.
        range: Range<u64>,
        /// It is there now.
        there: bool,
    },
    /// A rule was broken.
    Violation(Violation),
}

/// A step.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Step {
    /// What it did.
    pub name: String,
    /// It took back an earlier one.
    pub undo: bool,
    /// What happened.
    pub events: Vec<Event>,
    /// What is stale at its end.
    pub stale: Vec<Stale>,
}

/// The recorder.
#[derive(Default)]
pub(super) struct Recorder {
    steps: Vec<Step>,
    events: Vec<Event>,
    /// How many events there are in all.
    count: usize,
    /// How many steps there were at the last checkpoint.
    named: usize,
    /// Events were left out.
    truncated: bool,
    pub(super) journal: Journal,
}

impl Recorder {
    pub(super) fn steps(&self) -> &[Step] {
        &self.steps
    }
    pub(super) const fn is_truncated(&self) -> bool {
        self.truncated
    }

    pub(super) fn push(&mut self, event: Event) {
        if event == Event::Publish && self.events.last() == Some(&Event::Publish) {
            return;
        }
        if self.count == MOST_EVENTS {
            self.truncated = true;
            return;
        }
        self.count += 1;
        self.events.push(event);
    }

    /// As [`Self::push`], unless it is among the last events.
    pub(super) fn push_once(&mut self, event: Event) {
        if !self.events.iter().rev().take(LOOKED_AT).any(|other| *other == event) {
            self.push(event);
        }
    }

    /// An invalidation of what is `stale`: it is a step of its own.
    pub(super) fn before_invalidate(&mut self, memory: &PhysMemory, stale: &[Stale]) {
        let writes = || self.events.iter().filter(|event| matches!(event, Event::Write { .. }));
        let more = self.events.is_empty() && self.steps.len() > self.named;
        if self.is_full()
            || stale.is_empty()
            || more && self.steps.last().is_some_and(|step| step.name == INVALIDATE)
        {
            return;
        }
        let broken = |event: &Event| matches!(event, Event::Write { new, .. } if new & 1 == 0);
        let what = if writes().all(broken) { "break" } else { "change" };
        let name = match writes().count() {
            1 => format!("{what} an entry"),
            count => format!("{what} {count} entries"),
        };
        self.end(memory, name, false, stale);
    }

    /// The invalidation has been done; `stale` is left.
    pub(super) fn after_invalidate(
        &mut self,
        memory: &PhysMemory,
        event: Event,
        needed: bool,
        stale: &[Stale],
    ) {
        let more = self.events.is_empty() && self.steps.len() > self.named;
        match self.steps.last_mut().filter(|step| more && step.name == INVALIDATE) {
            Some(step) => {
                step.events.push(event);
                step.stale = stale.to_vec();
                self.count += 1;
            }
            None => {
                self.push(event);
                if needed && !self.is_full() {
                    self.end(memory, INVALIDATE.to_owned(), false, stale);
                }
            }
        }
    }

    /// The model's step is done: what came since the last is part of it.
    pub(super) fn checkpoint(&mut self, memory: &PhysMemory, checkpoint: Checkpoint, stale: &[Stale]) {
        if self.is_full() {
            return;
        }
        let (name, undo) = match checkpoint {
            Checkpoint::Done(name) => (name.to_owned(), false),
            Checkpoint::Undone(name) => (format!("undo: {name}"), true),
        };
        let own =
            self.steps.len() == self.named || !self.events.is_empty() || self.journal.has_changes(memory);
        for step in &mut self.steps[self.named..] {
            step.name = format!("{name}: {}", step.name);
            step.undo = undo;
        }
        if own {
            self.end(memory, name, undo, stale);
        }
        self.named = self.steps.len();
    }

    /// The operation is over.
    pub(super) fn finish(&mut self, memory: &PhysMemory, name: &str, stale: &[Stale]) {
        if !self.events.is_empty() || self.journal.has_changes(memory) {
            self.end(memory, name.to_owned(), false, stale);
        }
        self.journal.stop();
    }

    const fn is_full(&self) -> bool {
        self.steps.len() == MOST_STEPS
    }

    fn end(&mut self, memory: &PhysMemory, name: String, undo: bool, stale: &[Stale]) {
        let events = std::mem::take(&mut self.events);
        self.steps.push(Step { name, undo, events, stale: stale.to_vec() });
        self.journal.end_step(memory);
    }
}
