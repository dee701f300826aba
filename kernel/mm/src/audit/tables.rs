//! What the tables say: I3, I4, I5, I7 and I8, in one walk over every entry.

use super::ledger::{Ledger, Sharing};
use super::linear::{Cover, Difference};
use super::runs::Runs;
use super::{Auditor, Offender};
use crate::addr::{PhysAddr, PhysRange, VirtAddr, VirtRange};
use crate::entry::descriptor::Descriptor;
use crate::entry::slot::{Entries, Slot};
use crate::frame::page::{PAGE_BYTES, PageKind};
use crate::layout::{self, LINEAR_SIZE, LINEAR_START, TENANTS};
use crate::machine::Machine;
use crate::pfn::{Pfn, PfnRange};

/// All of the linear map.
const LINEAR: VirtRange =
    VirtRange { start: LINEAR_START, end: VirtAddr::new(LINEAR_START.get() + LINEAR_SIZE) };

/// What entries that follow each other are part of.
struct Open {
    cover: Cover,
    runs: Runs,
}

impl<M: Machine> Auditor<'_, M> {
    /// Every table and every leaf.
    pub(super) fn tables(&mut self) {
        let mm = self.mm;
        let mut open = Open { cover: Cover::new(&self.view), runs: Runs::default() };
        self.table_frame(mm.space.root(), LINEAR_START);
        let upper_half = VirtRange { start: layout::LINEAR_START, end: VirtAddr::new(u64::MAX) };
        let walked = mm.space.scan_where(upper_half, |run, d| self.entry(run, d, &mut open));
        debug_assert!(walked.is_ok(), "a scan has nothing to fail at");
        if self.stopped {
            return;
        }
        let Open { mut cover, mut runs } = open;
        self.run_broken(runs.finish());
        let Sharing { found, known } = self.ledger.sharing;
        let what = "entries that share a frame, and entries that a device or a huge page accounts for";
        self.find_unless(found == known, 3, what, Offender::Count { found, expected: known });
        let ledger = &mut self.ledger;
        cover.finish(&self.view, &mut |difference| ledger.linear_differs(difference));
    }

    /// An entry that is not empty, or leaves that continue the first. Returns whether what is below is to be looked at.
    fn entry(&mut self, run: &Entries, d: Descriptor, open: &mut Open) -> bool {
        if self.stopped {
            return false;
        }
        let slot = &run.first;
        if d.is_valid() && d.is_shared() {
            return self.shared_entry(slot, d);
        }
        if d.is_leaf(slot.level) {
            let broken = open.runs.leaves(self.mm.granule(), run, d);
            self.run_broken(broken);
            self.leaves(run, d, &mut open.cover);
        } else if !d.is_table(slot.level) {
            let at = Offender::Va(slot.span.start);
            self.find(5, "an entry that was taken down is still remembered", at);
        } else if self.is_of_demand(slot) && self.is_lent_frame(d) {
            self.lent_table(slot, d);
        } else {
            self.table(slot, d);
            return !self.is_stopped() && (!self.is_group(slot) || self.own_group(slot, d, open));
        }
        true
    }

    /// The table of a group that does not share one. What it says of extents is looked at in bulk, since all of it is alike;
    /// returns whether all of it remains to be looked at.
    fn own_group(&mut self, slot: &Slot, d: Descriptor, open: &mut Open) -> bool {
        self.refuse_idle_group(slot);
        let (mm, table) = (self.mm, d.address(self.mm.granule()));
        let mut rest = slot.span;
        let extents = self.group_pages(slot).map_or(&[][..], |group| mm.frames.extents_in(group));
        for extent in extents {
            let memmap = mm.space.layout().memmap(extent.pages);
            let part = VirtRange { start: memmap.start.max(rest.start), end: memmap.end.min(rest.end) };
            self.below(table, slot.level + 1, VirtRange { start: rest.start, end: part.start }, open);
            self.image_run(table, part);
            rest.start = part.end;
        }
        if !extents.is_empty() {
            self.below(table, slot.level + 1, rest, open);
        }
        extents.is_empty()
    }

    fn below(&mut self, table: PhysAddr, level: u8, part: VirtRange, open: &mut Open) {
        let mm = self.mm;
        let walked = mm.space.scan_below(table, level, part, |run, d| self.entry(run, d, open));
        debug_assert!(walked.is_ok(), "a scan has nothing to fail at");
    }

    /// An entry that leads where others do. The device or the huge page that shares that counts it, and checks what is there;
    /// the image checks its own. Returns whether what is below is to be looked at.
    fn shared_entry(&mut self, slot: &Slot, d: Descriptor) -> bool {
        self.ledger.sharing.found += 1;
        self.ledger.summary.leaves += u64::from(d.is_leaf(slot.level));
        let at = Offender::Va(slot.span.start);
        let read_only = d.is_table(slot.level) || !d.is_writable();
        self.find_unless(read_only, 3, "a frame that many entries share can be written", at);
        if self.is_group(slot) {
            self.group_entry(slot, d);
            return false;
        }
        if self.is_of_demand(slot) && !self.is_of_huge_pages(slot, d) {
            self.image_entry(slot, d);
        } else {
            self.ledger.huge_tail(&self.view, slot, d);
        }
        true
    }

    fn run_broken(&mut self, at: Option<VirtAddr>) {
        if let Some(va) = at {
            self.find(5, "the entries under one Contiguous bit disagree", Offender::Va(va));
        }
    }

    fn table(&mut self, slot: &Slot, d: Descriptor) {
        let g = self.mm.granule();
        let table = d.address(g);
        self.table_frame(table, slot.span.start);
        let regions = [LINEAR, self.mm.space.layout().vmemmap_bounds(), TENANTS];
        let could_go = regions.iter().any(|region| region.covers(&slot.span));
        if could_go && self.mm.space.is_empty_table(table, slot.level + 1) {
            let at = Offender::Mapping { va: slot.span.start, pfn: Pfn::containing(g, table) };
            self.find(4, "an empty table was not freed", at);
        }
    }

    /// The frame of a table is marked so.
    fn table_frame(&mut self, table: PhysAddr, va: VirtAddr) {
        let g = self.mm.granule();
        self.ledger.summary.tables += 1;
        let pfn = Pfn::containing(g, table);
        self.ledger.used.add(PageKind::Table, pfn, 1);
        self.in_use(PfnRange::new(pfn, 1), va, "the frame of a table", &mut |kind| kind == PageKind::Table);
    }

    /// Every head of `frames` is of a kind that is `right`.
    pub(super) fn in_use(
        &mut self,
        frames: PfnRange,
        va: VirtAddr,
        what: &'static str,
        right: &mut dyn FnMut(PageKind) -> bool,
    ) {
        let mut at = frames.start;
        while at < frames.end {
            let Some((head, kind, order)) = self.use_of(at) else {
                self.find(3, what, Offender::Mapping { va, pfn: at });
                return;
            };
            self.find_unless(right(kind), 3, what, Offender::Page { pfn: at, kind });
            at = head + (1 << order);
        }
    }

    /// Leaves that continue the first, which is `d`. Those of the linear map are looked at together.
    fn leaves(&mut self, run: &Entries, d: Descriptor, cover: &mut Cover) {
        let (g, span) = (self.mm.granule(), run.span(0, run.count));
        self.ledger.summary.leaves += run.count as u64;
        let both = d.is_writable() && d.is_executable();
        self.find_unless(!both, 8, "a mapping that is writable and executable", Offender::Va(span.start));
        if LINEAR.contains(span.start) {
            return self.linear_leaves(span, d.address(g), cover);
        }
        let memmap = self.mm.space.layout().vmemmap().contains(span.start);
        if !memmap && !TENANTS.contains(span.start) {
            return;
        }
        let mut pa = d.address(g);
        for i in 0..run.count {
            let slot = run.nth(i);
            let frames = PfnRange::new(Pfn::containing(g, pa), slot.span.len() >> g.page_shift);
            if memmap {
                self.memmap_leaf(&slot, d.moved_to(pa, g), frames);
            } else {
                self.tenant_leaf(slot.span, frames.start);
            }
            pa = pa + slot.span.len();
        }
    }

    fn linear_leaves(&mut self, span: VirtRange, pa: PhysAddr, cover: &mut Cover) {
        let (g, va) = (self.mm.granule(), span.start);
        if self.mm.space.layout().phys_base + (va - LINEAR_START) != pa {
            let at = Offender::Mapping { va, pfn: Pfn::containing(g, pa) };
            self.find(8, "the linear map leads to other memory than its address says", at);
            return;
        }
        let memory = PhysRange { start: pa, end: pa + span.len() };
        let ledger = &mut self.ledger;
        cover.mapped(&self.view, memory, &mut |difference| ledger.linear_differs(difference));
    }

    /// A leaf of vmemmap: memmap that a block on demand has of its own, or other.
    fn memmap_leaf(&mut self, slot: &Slot, d: Descriptor, frames: PfnRange) {
        self.memmap_frames(slot.span, frames);
        if self.is_of_demand(slot) && (self.is_lent_frame(d) || !self.is_huge_head(slot)) {
            self.lent_leaf(slot, d);
        }
    }

    /// A leaf of vmemmap is needed, and its frames are marked as memmap: as self-hosted when they lie in what they describe.
    fn memmap_frames(&mut self, span: VirtRange, frames: PfnRange) {
        let at = Offender::Mapping { va: span.start, pfn: frames.start };
        let first = self.mm.space.layout().pfn_of_page(span.start).unwrap_or_default();
        let needed = self.described.any_valid(PfnRange::new(first, span.len() / PAGE_BYTES));
        self.find_unless(needed, 7, "the memmap of memory that is not present is mapped", at);
        let mut home = None;
        self.in_use(frames, span.start, "the frame of a memmap page", &mut |kind| {
            let memmap = matches!(kind, PageKind::MemmapRam | PageKind::MemmapSelf | PageKind::DeviceMemmap);
            memmap && *home.get_or_insert(kind) == kind
        });
        let Some(kind) = home else { return };
        self.ledger.used.add(kind, frames.start, frames.len());
        // Memmap that lies in an altmap describes what the altmap is for.
        let at_home = kind == PageKind::MemmapRam
            || self.described.altmap(first) == self.view.place.altmap(frames.start);
        self.find_unless(at_home, 3, "memmap of other memory than the altmap's that it lies in", at);
    }
}

impl Ledger<'_> {
    fn linear_differs(&mut self, difference: Difference) {
        match difference {
            Difference::Missing(memory) => {
                self.find(8, "memory that the linear map does not reach", Offender::Memory(memory));
            }
            Difference::Extra(memory) => {
                self.find(8, "the linear map reaches what is no memory", Offender::Memory(memory));
            }
        }
    }
}
