//! What memory held before it was changed, step by step, so that it can be read as it was after any step.
//!
//! A pointer that the model gets to write through is when a page is saved: the model keeps none over the end of a step.

use std::collections::HashMap;
use std::ops::Range;

use super::memory::{Backing, FILL, PhysMemory, host};

/// Memory is saved in pieces of this size.
const PAGE: u64 = 4096;
/// The most that is saved.
const MOST_BYTES: usize = 96 << 20;

/// What a piece held; `None`: what memory reads that was never touched.
type Contents = Option<Box<[u8]>>;

struct Saved {
    step: usize,
    /// The order of all changes.
    number: u64,
    contents: Contents,
}

/// Memory that came or went.
struct RamChange {
    step: usize,
    number: u64,
    range: Range<u64>,
    there: bool,
    /// What went.
    gone: Option<Backing>,
}

/// The journal.
#[derive(Default)]
pub(super) struct Journal {
    step: usize,
    number: u64,
    /// The pieces saved in this step.
    touched: Vec<u64>,
    /// The piece that was touched last in this step.
    last: Option<u64>,
    saved: HashMap<u64, Vec<Saved>>,
    ram: Vec<RamChange>,
    bytes: usize,
    /// Nothing more is saved: there was too much, or the operation is over.
    stopped: bool,
    full: bool,
}

fn contents(memory: &PhysMemory, piece: u64) -> Contents {
    if memory.is_untouched(piece, PAGE) {
        return None;
    }
    let mut bytes = vec![0; host(PAGE)];
    let touched = memory.copy_out(piece, &mut bytes) && bytes.iter().any(|byte| *byte != FILL);
    touched.then(|| bytes.into_boxed_slice())
}

impl Journal {
    /// Memory at `pa` may be written from here on.
    pub(super) fn touch(&mut self, memory: &PhysMemory, pa: u64, len: u64) {
        let first = pa / PAGE * PAGE;
        if self.last == Some(first) && pa + len <= first + PAGE {
            return;
        }
        self.last = Some(first);
        for piece in (first..pa + len).step_by(host(PAGE)) {
            self.save(memory, piece);
        }
    }

    fn save(&mut self, memory: &PhysMemory, piece: u64) {
        if self.stopped {
            return;
        }
        let step = self.step;
        let saved = self.saved.entry(piece).or_default();
        if saved.last().is_some_and(|saved| saved.step == step) {
            return;
        }
        let contents = contents(memory, piece);
        self.bytes += contents.as_ref().map_or(0, |bytes| bytes.len());
        saved.push(Saved { step, number: self.number, contents });
        self.number += 1;
        self.touched.push(piece);
        if self.bytes > MOST_BYTES {
            (self.stopped, self.full) = (true, true);
        }
    }

    /// Memory came, or is about to go.
    pub(super) fn ram(&mut self, memory: &PhysMemory, range: Range<u64>, there: bool, gone: Option<Backing>) {
        if self.stopped {
            return;
        }
        if !there && gone.is_none() {
            for piece in range.clone().step_by(host(PAGE)) {
                if !memory.is_untouched(piece, PAGE) {
                    self.save(memory, piece);
                }
            }
        }
        self.last = None;
        self.ram.push(RamChange { step: self.step, number: self.number, range, there, gone });
        self.number += 1;
    }

    /// Whether anything that was touched in this step has changed.
    pub(super) fn has_changes(&self, memory: &PhysMemory) -> bool {
        let ram = self.ram.last().is_some_and(|change| change.step == self.step);
        ram || self.touched.iter().any(|piece| self.changed(memory, *piece))
    }

    fn changed(&self, memory: &PhysMemory, piece: u64) -> bool {
        let saved = self.saved.get(&piece).and_then(|saved| saved.last());
        saved.is_some_and(|saved| saved.contents != contents(memory, piece))
    }

    /// The step is over: what has not changed is forgotten.
    pub(super) fn end_step(&mut self, memory: &PhysMemory) {
        for piece in std::mem::take(&mut self.touched) {
            if !self.changed(memory, piece)
                && let Some(saved) = self.saved.get_mut(&piece).and_then(Vec::pop)
            {
                self.bytes -= saved.contents.map_or(0, |bytes| bytes.len());
            }
        }
        self.last = None;
        self.step += 1;
    }

    /// The operation is over.
    pub(super) const fn stop(&mut self) {
        self.stopped = true;
    }
    /// Whether memory can be read as it was.
    pub(super) const fn is_complete(&self) -> bool {
        !self.full
    }

    /// Fills `bytes` with what was at `pa` after step `after` (`None`: before the first). `false` when not all of it was there.
    pub(super) fn read(&self, memory: &PhysMemory, after: Option<usize>, pa: u64, bytes: &mut [u8]) -> bool {
        let mut at = pa;
        let mut rest = bytes;
        while !rest.is_empty() {
            let piece = at / PAGE * PAGE;
            let within = host(at - piece);
            let (part, next) = rest.split_at_mut(rest.len().min(host(PAGE) - within));
            if !self.read_piece(memory, after, piece, within, part) {
                return false;
            }
            at += part.len() as u64;
            rest = next;
        }
        true
    }

    fn read_piece(
        &self,
        memory: &PhysMemory,
        after: Option<usize>,
        piece: u64,
        within: usize,
        bytes: &mut [u8],
    ) -> bool {
        let later = |step: usize| after.is_none_or(|after| step > after);
        let change = self.ram.iter().find(|change| later(change.step) && change.range.contains(&piece));
        let end = change.map_or(u64::MAX, |change| change.number);
        let saved = self.saved.get(&piece).into_iter().flatten();
        let saved = saved.filter(|saved| later(saved.step)).find(|saved| saved.number < end);
        match (saved, change) {
            (_, Some(change)) if change.there => return false,
            (Some(Saved { contents: Some(contents), .. }), _) => {
                bytes.copy_from_slice(&contents[within..within + bytes.len()]);
            }
            (Some(_), _) => bytes.fill(FILL),
            (None, Some(change)) => match &change.gone {
                Some(gone) => gone.copy_out(piece - gone.base() + within as u64, bytes),
                None => bytes.fill(FILL),
            },
            (None, None) => return memory.copy_out(piece + within as u64, bytes),
        }
        true
    }
}
