//! I8: the linear map is exactly the memory. What must be mapped comes from the blocks, ascending; what is mapped comes from
//! the tables, ascending: the two are walked side by side.

use crate::addr::{PhysAddr, PhysRange};
use crate::frame::page::PageKind;
use crate::granule::Granule;
use crate::machine::Machine;
use crate::mm::Mm;
use crate::pfn::{Pfn, PfnRange};

/// The memory that must be mapped, run by run.
pub(super) struct Expected {
    /// The next block, and where in it.
    block: usize,
    at: Pfn,
    /// Where the last device's range ended that was given out.
    device: Pfn,
}

impl Expected {
    pub(super) const fn new() -> Self {
        Self { block: 0, at: Pfn::new(0), device: Pfn::new(0) }
    }

    /// The next run: a block's or a device's, whichever comes first.
    pub(super) fn next<M: Machine>(&mut self, mm: &Mm<M>) -> Option<PhysRange> {
        let g = mm.granule();
        let mut after = Self { ..*self };
        let (memory, device) = (after.next_memory(mm), self.next_device(mm));
        match (memory, device) {
            (Some(m), Some(d)) if d.start.address(g) < m.start => self.give_device(g, d),
            (None, Some(d)) => self.give_device(g, d),
            _ => {
                *self = after;
                memory
            }
        }
    }

    fn give_device(&mut self, g: Granule, range: PfnRange) -> Option<PhysRange> {
        self.device = range.end;
        Some(range.addresses(g))
    }

    /// The next range of a device that the CPU reaches.
    fn next_device<M: Machine>(&self, mm: &Mm<M>) -> Option<PfnRange> {
        let reachable = mm.devices().iter().filter(|device| device.kind().is_reachable());
        let ranges = reachable.flat_map(|device| device.ranges());
        ranges.filter(|range| range.start >= self.device).min_by_key(|range| range.start).copied()
    }

    /// The next run of memory: a whole block, or a part of a boot block between holes.
    fn next_memory<M: Machine>(&mut self, mm: &Mm<M>) -> Option<PhysRange> {
        let g = mm.granule();
        loop {
            let block = mm.frames.blocks().get(self.block)?;
            let pages = block.pages(g);
            if block.present == g.section_pages {
                self.block += 1;
                return Some(pages.addresses(g));
            }
            let run = memory_run(mm, PfnRange { start: self.at.max(pages.start), end: pages.end });
            if run.is_empty() {
                self.block += 1;
            } else {
                self.at = run.end;
                return Some(run.addresses(g));
            }
        }
    }
}

/// The first pages of `range` that are memory, neither holes nor a device's; empty when there are none (or when they cannot
/// be read: I1).
fn memory_run<M: Machine>(mm: &Mm<M>, range: PfnRange) -> PfnRange {
    let g = mm.granule();
    let (mut start, mut at) = (range.start, range.start);
    while at < range.end {
        let readable =
            mm.frames.is_valid(at) && mm.space.translate(mm.space.layout().page_address(at)).is_some();
        if !readable {
            break;
        }
        let page = mm.frames.pages().get(at);
        let hole = page.kind() == PageKind::Hole || page.kind().is_device();
        if hole && start < at {
            break;
        }
        at = at + (1 << page.order().min(g.section_order));
        if hole {
            start = at;
        }
    }
    PfnRange { start, end: at.min(range.end) }
}

/// Two ascending lists of ranges, held against each other: one is expected, the other comes leaf by leaf.
pub(super) struct Cover {
    expected: Expected,
    run: Option<PhysRange>,
}

/// How the two differ.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Difference {
    /// Memory that is not mapped.
    Missing(PhysRange),
    /// A part of a leaf that is not memory.
    Extra(PhysRange),
}

impl Cover {
    pub(super) fn new<M: Machine>(mm: &Mm<M>) -> Self {
        let mut expected = Expected::new();
        let run = expected.next(mm);
        Self { expected, run }
    }

    fn consume<M: Machine>(&mut self, mm: &Mm<M>, to: PhysAddr) {
        if let Some(run) = &mut self.run {
            run.start = to;
            if run.start >= run.end {
                self.run = self.expected.next(mm);
            }
        }
    }

    /// A leaf maps `leaf`.
    pub(super) fn mapped<M: Machine>(
        &mut self,
        mm: &Mm<M>,
        leaf: PhysRange,
        differs: &mut dyn FnMut(Difference),
    ) {
        let mut rest = leaf;
        while let Some(run) = self.run.filter(|run| run.start < leaf.end) {
            if run.end <= rest.start {
                differs(Difference::Missing(run));
                self.consume(mm, run.end);
                continue;
            }
            if run.start < rest.start {
                differs(Difference::Missing(PhysRange { start: run.start, end: rest.start }));
            } else if rest.start < run.start {
                differs(Difference::Extra(PhysRange { start: rest.start, end: run.start }));
            }
            rest.start = run.end.min(leaf.end);
            self.consume(mm, rest.start);
        }
        if rest.start < rest.end {
            differs(Difference::Extra(rest));
        }
    }

    /// There are no more leaves.
    pub(super) fn finish<M: Machine>(&mut self, mm: &Mm<M>, differs: &mut dyn FnMut(Difference)) {
        while let Some(run) = self.run {
            differs(Difference::Missing(run));
            self.consume(mm, run.end);
        }
    }
}
