//! I5: entries under one Contiguous bit say the same and map neighbouring memory, whole runs of them.

use crate::addr::{PhysAddr, VirtAddr};
use crate::entry::descriptor::Descriptor;
use crate::entry::slot::Entries;
use crate::granule::Granule;

/// The run that leaves, coming in ascending order, are in.
#[derive(Default)]
pub(super) struct Runs {
    open: Option<Run>,
}

struct Run {
    next: VirtAddr,
    pa: PhysAddr,
    attributes: u64,
}

impl Runs {
    /// Leaves that continue the first, which is `d`; the address at which a run is broken, if they break one.
    pub(super) fn leaves(&mut self, g: Granule, leaves: &Entries, d: Descriptor) -> Option<VirtAddr> {
        let (span, pa) = (leaves.span(0, leaves.count), d.address(g));
        let attributes = d.bits() ^ pa.get();
        let open = self.open.take();
        let same = |run: &Run| run.next == span.start && run.pa == pa && run.attributes == attributes;
        let broken = open.as_ref().filter(|run| !same(run)).map(|run| run.next);
        if !d.is_contiguous() {
            return broken;
        }
        let size = g.contiguous_bytes(leaves.first.level).unwrap_or(1);
        let begins = span.start.is_aligned(size) && pa.is_aligned(size);
        if size == 1 || !begins && (open.is_none() || broken.is_some()) {
            return Some(span.start);
        }
        // Where runs begin both addresses are aligned, so that they end where the virtual one is.
        let last = span.end.align_down(size);
        if last < span.end {
            self.open = Some(Run { next: span.end, pa: pa + span.len(), attributes });
        }
        broken
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
    use crate::entry::slot::Slot;
    use crate::granule::Granule;

    const START: u64 = 0xffff_0000_0000_0000;

    /// Page `i` of a run of 16 at 4K.
    fn page(i: u64, pa: u64, contiguous: bool) -> (Entries, Descriptor) {
        pages(i, 1, pa, contiguous)
    }

    /// `count` pages from page `i` on.
    fn pages(i: u64, count: usize, pa: u64, contiguous: bool) -> (Entries, Descriptor) {
        let start = VirtAddr::new(START + i * 0x1000);
        let span = VirtRange { start, end: start + 0x1000 };
        let first = Slot { table: PhysAddr::new(0), level: 3, index: 0, span, part: span };
        (Entries { first, count }, Descriptor::leaf(PhysAddr::new(pa), Attributes::DATA, 3, contiguous))
    }

    fn first_broken(pages: impl IntoIterator<Item = (Entries, Descriptor)>) -> Option<VirtAddr> {
        let mut runs = Runs::default();
        let mut found = None;
        for (leaves, d) in pages {
            found = found.or(runs.leaves(Granule::K4, &leaves, d));
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

    #[test]
    fn leaves_that_come_together_are_as_one_by_one() {
        let pa = |i: u64| 0x10_0000 + i * 0x1000;
        for (first, count) in [(0, 16), (0, 48), (16, 16), (0, 20), (3, 13), (3, 14), (5, 40), (15, 2)] {
            for (next, contiguous) in [(0, true), (0, false), (1, true)] {
                let start = first + count + next;
                let after = || (start..start + 16).map(|i| page(i, pa(i), contiguous));
                let single = (first..first + count).map(|i| page(i, pa(i), true));
                let whole = [pages(first, usize::try_from(count).expect("few"), pa(first), true)];
                let [one, all] =
                    [first_broken(single.chain(after())), first_broken(whole.into_iter().chain(after()))];
                assert_eq!(one, all, "{count} from {first}, then {next} {contiguous}");
            }
        }
    }
}
