//! I5: entries under one Contiguous bit say the same and map neighbouring memory, whole runs of them.

use crate::addr::{PhysAddr, VirtAddr};
use crate::entry::descriptor::Descriptor;
use crate::entry::slot::Slot;
use crate::granule::Granule;

/// The run that leaves, coming in ascending order, are in.
#[derive(Default)]
pub(super) struct Runs {
    open: Option<Run>,
}

struct Run {
    next: VirtAddr,
    end: VirtAddr,
    pa: PhysAddr,
    attributes: u64,
}

impl Runs {
    /// A leaf; the address at which a run is broken, if it breaks one.
    pub(super) fn leaf(&mut self, g: Granule, slot: &Slot, d: Descriptor) -> Option<VirtAddr> {
        let (va, pa) = (slot.span.start, d.address(g));
        let attributes = d.bits() ^ pa.get();
        let mut broken = None;
        if let Some(run) = self.open.take() {
            if run.next == va && run.pa == pa && run.attributes == attributes {
                self.keep(Run { next: slot.span.end, pa: pa + slot.span.len(), ..run });
                return None;
            }
            broken = Some(run.next);
        }
        if d.is_contiguous() {
            let size = g.contiguous_bytes(slot.level).unwrap_or(1);
            if !va.is_aligned(size) || !pa.is_aligned(size) || size == 1 {
                return Some(va);
            }
            self.keep(Run { next: slot.span.end, end: va + size, pa: pa + slot.span.len(), attributes });
        }
        broken
    }

    fn keep(&mut self, run: Run) {
        self.open = (run.next < run.end).then_some(run);
    }

    /// There are no more leaves.
    pub(super) fn finish(&mut self) -> Option<VirtAddr> {
        self.open.take().map(|run| run.next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::VirtRange;
    use crate::entry::descriptor::Attributes;
    use crate::granule::Granule;

    const START: u64 = 0xffff_0000_0000_0000;

    /// Page `i` of a run of 16 at 4K.
    fn page(i: u64, pa: u64, contiguous: bool) -> (Slot, Descriptor) {
        let start = VirtAddr::new(START + i * 0x1000);
        let span = VirtRange { start, end: start + 0x1000 };
        let slot = Slot { table: PhysAddr::new(0), level: 3, index: 0, span, part: span };
        (slot, Descriptor::leaf(PhysAddr::new(pa), Attributes::DATA, 3, contiguous))
    }

    fn first_broken(pages: impl Iterator<Item = (Slot, Descriptor)>) -> Option<VirtAddr> {
        let mut runs = Runs::default();
        let mut found = None;
        for (slot, d) in pages {
            found = found.or(runs.leaf(Granule::K4, &slot, d));
        }
        found.or(runs.finish())
    }

    #[test]
    fn whole_runs_are_right() {
        assert_eq!(first_broken((0..32).map(|i| page(i, 0x10_0000 + i * 0x1000, true))), None);
        assert_eq!(first_broken((0..20).map(|i| page(i, 0x10_0000 + i * 0x1000, i < 16))), None);
    }

    #[test]
    fn a_run_that_ends_early_skips_changes_or_is_misaligned_is_found() {
        let at = |i: u64| Some(VirtAddr::new(START + i * 0x1000));
        let pa = |i: u64| 0x10_0000 + i * 0x1000;
        assert_eq!(first_broken((0..15).map(|i| page(i, pa(i), true))), at(15));
        assert_eq!(first_broken((0..16).map(|i| page(i, pa(i), i != 7))), at(7));
        assert_eq!(first_broken((0..16).map(|i| page(i, pa(i) + u64::from(i > 4) * 0x1000, true))), at(5));
        assert_eq!(first_broken((1..17).map(|i| page(i, pa(i), true))), at(1));
        assert_eq!(first_broken((0..16).map(|i| page(i, pa(i) + 0x1000, true))), at(0));
    }
}
