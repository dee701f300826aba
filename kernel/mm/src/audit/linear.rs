//! I8: the linear map is exactly the memory. What must be mapped comes from the blocks, ascending; what is mapped comes from
//! the tables, ascending: the two are walked side by side.

use super::view::View;
use crate::addr::{PhysAddr, PhysRange};
use crate::frame::page::PageKind;
use crate::machine::Machine;
use crate::pfn::{Pfn, PfnRange};

/// The memory that must be mapped, run by run.
struct Expected {
    /// The next block, and where in it.
    block: usize,
    at: Pfn,
    /// The next extent.
    extent: usize,
    /// The next range of a device that the CPU reaches.
    device: Option<PfnRange>,
}

impl Expected {
    fn new<M: Machine>(view: &View<'_, M>) -> Self {
        Self { block: 0, at: Pfn::new(0), extent: 0, device: device_from(view, Pfn::new(0)) }
    }

    /// The next run: a block's or a device's, whichever comes first.
    fn next<M: Machine>(&mut self, view: &View<'_, M>) -> Option<PhysRange> {
        let g = view.mm.granule();
        let mut after = Self { ..*self };
        let memory = after.next_memory(view);
        match (memory, self.device) {
            (Some(m), Some(d)) if d.start.address(g) < m.start => self.give_device(view, d),
            (None, Some(d)) => self.give_device(view, d),
            _ => {
                *self = after;
                memory
            }
        }
    }

    fn give_device<M: Machine>(&mut self, view: &View<'_, M>, range: PfnRange) -> Option<PhysRange> {
        self.device = device_from(view, range.end);
        Some(range.addresses(view.mm.granule()))
    }

    /// The next run of memory: a whole block, or a part of a boot block between holes.
    fn next_memory<M: Machine>(&mut self, view: &View<'_, M>) -> Option<PhysRange> {
        let g = view.mm.granule();
        loop {
            let block = view.mm.frames.blocks.as_slice().get(self.block);
            let extent = view.mm.frames.extents().get(self.extent);
            if let Some(extent) = extent.filter(|e| block.is_none_or(|block| e.pages.start < block.start)) {
                self.extent += 1;
                return Some(extent.pages.addresses(g));
            }
            let block = block?;
            let pages = block.pages(g);
            if block.present == g.section_pages {
                self.block += 1;
                return Some(pages.addresses(g));
            }
            let run = memory_run(view, PfnRange { start: self.at.max(pages.start), end: pages.end });
            if run.is_empty() {
                self.block += 1;
            } else {
                self.at = run.end;
                return Some(run.addresses(g));
            }
        }
    }
}

/// The first range of a device that the CPU reaches, from `start` on. Looked for once for each range, not for each block.
fn device_from<M: Machine>(view: &View<'_, M>, start: Pfn) -> Option<PfnRange> {
    let reachable = view.mm.devices().iter().filter(|device| device.kind().is_reachable());
    let ranges = reachable.flat_map(|device| device.ranges());
    ranges.filter(|range| range.start >= start).min_by_key(|range| range.start).copied()
}

/// The first pages of `range` that are memory, neither holes nor a device's; empty when there are none (or when they cannot
/// be read: I1).
fn memory_run<M: Machine>(view: &View<'_, M>, range: PfnRange) -> PfnRange {
    let (mut start, mut at) = (range.start, range.start);
    while at < range.end {
        let Some(page) = view.page(at) else { break };
        let hole = page.kind() == PageKind::Hole || page.kind().is_device();
        if hole && start < at {
            break;
        }
        at = at + (1 << page.order().min(view.mm.granule().section_order));
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
    pub(super) fn new<M: Machine>(view: &View<'_, M>) -> Self {
        let mut expected = Expected::new(view);
        let run = expected.next(view);
        Self { expected, run }
    }

    fn consume<M: Machine>(&mut self, view: &View<'_, M>, to: PhysAddr) {
        if let Some(run) = &mut self.run {
            run.start = to;
            if run.start >= run.end {
                self.run = self.expected.next(view);
            }
        }
    }

    /// A leaf maps `leaf`.
    pub(super) fn mapped<M: Machine>(
        &mut self,
        view: &View<'_, M>,
        leaf: PhysRange,
        differs: &mut dyn FnMut(Difference),
    ) {
        let mut rest = leaf;
        while let Some(run) = self.run.filter(|run| run.start < leaf.end) {
            if run.end <= rest.start {
                differs(Difference::Missing(run));
                self.consume(view, run.end);
                continue;
            }
            if run.start < rest.start {
                differs(Difference::Missing(PhysRange { start: run.start, end: rest.start }));
            } else if rest.start < run.start {
                differs(Difference::Extra(PhysRange { start: rest.start, end: run.start }));
            }
            rest.start = run.end.min(leaf.end);
            self.consume(view, rest.start);
        }
        if rest.start < rest.end {
            differs(Difference::Extra(rest));
        }
    }

    /// There are no more leaves.
    pub(super) fn finish<M: Machine>(&mut self, view: &View<'_, M>, differs: &mut dyn FnMut(Difference)) {
        while let Some(run) = self.run {
            differs(Difference::Missing(run));
            self.consume(view, run.end);
        }
    }
}
