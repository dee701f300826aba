//! What an audit has counted and found. It knows no granule: the comparisons are compiled once.

use super::finding::{AuditSummary, Finding, Offender};
use super::tally::Tally;
use crate::frame::block::{BlockState, MemoryBlock};
use crate::frame::counts::Counts;
use crate::frame::extent::Extent;
use crate::frame::page::PageKind;
use crate::frame::zone::ZoneKind;
use crate::granule::MAX_HUGE_SIZES;

/// What was seen of shared memmap, for each zone and size.
#[derive(Default)]
pub(super) struct SharedSeen {
    /// Entries that map a shared page.
    pub(super) mapped: [[u64; MAX_HUGE_SIZES]; ZoneKind::ALL.len()],
    /// Entries that lead to a shared table.
    pub(super) tables: [[u32; MAX_HUGE_SIZES]; ZoneKind::ALL.len()],
    /// Pages of memmap that optimised huge pages do without.
    pub(super) saved: [[u64; MAX_HUGE_SIZES]; ZoneKind::ALL.len()],
    /// Huge pages that say they are optimised, once for each section that they are in.
    pub(super) in_sections: u64,
}

/// What an audit has counted.
pub(super) struct Ledger<'a> {
    report: &'a mut dyn FnMut(&Finding),
    pub(super) summary: AuditSummary,
    /// What the struct pages say.
    pub(super) marked: Tally,
    /// What the tables say.
    pub(super) used: Tally,
    /// Whether a device's altmap lost pages to padding: which ones, its account does not say.
    pub(super) padded: bool,
    /// What was seen of huge pages' shared memmap.
    pub(super) shared: SharedSeen,
    /// Of blocks on demand: the memmap pages in which runs begin, by what they describe.
    pub(super) begun: Tally,
    /// The memmap pages with a frame of their own.
    pub(super) own: Tally,
    /// Entries that lead to a frame which others lead to as well.
    pub(super) sharing: Sharing,
    /// Entries of groups of free blocks that lead to one table.
    pub(super) groups: u64,
}

/// Shared entries, as a walk reports them.
#[derive(Clone, Copy, Default)]
pub(super) struct Sharing {
    /// All that there are.
    pub(super) found: u64,
    /// Those that a device or a huge page accounts for.
    pub(super) known: u64,
}

impl<'a> Ledger<'a> {
    /// Nothing yet; `report` hears of each thing that is wrong.
    pub(super) fn new(report: &'a mut dyn FnMut(&Finding)) -> Self {
        let (summary, marked, used) = (AuditSummary::default(), Tally::default(), Tally::default());
        let (shared, sharing) = (SharedSeen::default(), Sharing::default());
        let (begun, own) = (Tally::default(), Tally::default());
        Self { report, summary, marked, used, padded: false, shared, begun, own, sharing, groups: 0 }
    }

    #[cold]
    #[inline(never)]
    pub(super) fn find(&mut self, invariant: u8, what: &'static str, at: Offender) {
        self.summary.note(invariant);
        (self.report)(&Finding { invariant, what, at });
    }

    pub(super) fn find_unless(&mut self, holds: bool, invariant: u8, what: &'static str, at: Offender) {
        if !holds {
            self.find(invariant, what, at);
        }
    }

    /// Holds what the struct pages say against what the tables say, and the TLB maintenance that was skipped against none.
    pub(super) fn compare(&mut self, skipped: u64) {
        let device = (!self.padded).then_some(PageKind::DeviceMemmap);
        let all =
            [PageKind::MemmapRam, PageKind::MemmapSelf, PageKind::Table, PageKind::Tenant, PageKind::HugeTlb];
        for kind in all.into_iter().chain(device) {
            let (found, expected) = (self.used.pages(kind), self.marked.pages(kind));
            let what = "the frames in use differ from the frames that are marked so";
            self.find_unless(found == expected, 3, what, Offender::Kind { kind, found, expected });
            let same = found != expected || self.used.same_frames(&self.marked, kind);
            let what = "one frame is in use twice and another, marked so, is not";
            self.find_unless(same, 3, what, Offender::Kind { kind, found, expected });
        }
        let of = |tally: &Tally| tally.pages(PageKind::MemmapSelf);
        let (found, expected) = (of(&self.own), of(&self.begun));
        let same = found == expected && self.own.same_frames(&self.begun, PageKind::MemmapSelf);
        let what =
            "a memmap page on demand has a frame of its own exactly when a run begins in it: pages described";
        self.find_unless(same, 7, what, Offender::Count { found, expected });
        let what = "TLB maintenance was due and not done";
        self.find_unless(skipped == 0, 5, what, Offender::Count { found: skipped, expected: 0 });
    }

    /// I6: the counts of the pages by use, against `blocks` and what the struct pages say.
    pub(super) fn counts(&mut self, blocks: &[MemoryBlock], extents: &[Extent], counts: &Counts) {
        let marked = self.marked;
        let present = |online: bool| {
            let blocks = blocks.iter().filter(move |b| (b.state != BlockState::Offline) == online);
            blocks.map(|b| if online { b.present } else { b.own_memmap() }).sum::<u64>()
        };
        let online = extents.iter().filter(|extent| extent.state != BlockState::Offline);
        let folded = online.map(|extent| extent.pages.len());
        let of = |kinds: &[PageKind]| kinds.iter().map(|kind| marked.pages(*kind)).sum::<u64>();
        let found = Counts {
            present: present(true) + present(false) + folded.sum::<u64>(),
            free: of(&[PageKind::Free]),
            allocated: of(&[PageKind::Kernel, PageKind::Tenant, PageKind::Pinned, PageKind::HugeTlb]),
            memmap_self: of(&[PageKind::MemmapSelf]),
            memmap_ram: of(&[PageKind::MemmapRam]),
            tables: of(&[PageKind::Table]),
            reserved: of(&[PageKind::Reserved, PageKind::Poisoned]),
        };
        let mut check = |what, found, expected| {
            self.find_unless(found == expected, 6, what, Offender::Count { found, expected });
        };
        check("present pages", found.present, counts.present);
        check("free pages", found.free, counts.free);
        check("allocated pages", found.allocated, counts.allocated);
        check("self-hosted memmap pages", found.memmap_self, counts.memmap_self);
        check("memmap pages in system RAM", found.memmap_ram, counts.memmap_ram);
        check("table pages", found.tables, counts.tables);
        check("reserved pages", found.reserved, counts.reserved);
        let sum = counts.free
            + counts.allocated
            + counts.memmap_self
            + counts.memmap_ram
            + counts.tables
            + counts.reserved;
        check("pages by use are not all that are present", sum, counts.present);
    }
}
