//! I3 for what compound pages of devices share: a page of tails counts the entries that map it, a shared table those that
//! lead to it, and what they say is what every tail says.

use super::{Auditor, Offender};
use crate::addr::PhysAddr;
use crate::device::compound::Dedup;
use crate::device::pagemap::Pagemap;
use crate::entry::descriptor::Descriptor;
use crate::entry::slot::Slot;
use crate::frame::page::{PAGE_BYTES, PageKind};
use crate::machine::{self, Machine};
use crate::pfn::{Pfn, PfnRange};

/// A frame, and the entries that lead to it.
type Shared = (PhysAddr, u64);

/// One more entry leads to `target`; returns what the entries before led to, if that is something else.
fn count(current: &mut Option<Shared>, target: PhysAddr) -> Option<Shared> {
    match current {
        Some((frame, entries)) if *frame == target => {
            *entries += 1;
            None
        }
        _ => current.replace((target, 1)),
    }
}

/// What is shared where the walk is: entries that share follow each other, with entries of their own between them.
#[derive(Default)]
struct Sharers {
    tail: Option<Shared>,
    table: Option<Shared>,
    /// Whether the walk is in a shared table that it has seen before.
    again: bool,
}

impl<M: Machine> Auditor<'_, M> {
    /// Every page of tails of `device`, and every table that is shared.
    pub(super) fn device_tails(&mut self, device: &Pagemap) {
        if device.dedup() != Dedup::Shared {
            return;
        }
        let (mm, mut sharers) = (self.mm, Sharers::default());
        for range in device.usable().as_slice() {
            let memmap = mm.space.layout().memmap(*range);
            let walked = mm.space.scan(memmap, |slot, d| {
                let of_compound = memmap.covers(&slot.span) && d.is_valid();
                if of_compound && (d.is_shared() || d.is_leaf(slot.level)) {
                    self.entry_of_compound(device, &mut sharers, slot, d);
                }
            });
            debug_assert!(walked.is_ok(), "a scan has nothing to fail at");
        }
        if let Some(tail) = sharers.tail {
            self.tail_done(device, tail);
        }
        if let Some(table) = sharers.table {
            self.table_done(table);
        }
    }

    fn entry_of_compound(&mut self, device: &Pagemap, sharers: &mut Sharers, slot: &Slot, d: Descriptor) {
        let g = self.mm.granule();
        let target = d.address(g);
        self.ledger.sharing.known += u64::from(d.is_shared());
        let pfn = self.mm.space.layout().pfn_of_page(slot.span.start).unwrap_or_default();
        let tails = device.head_of(pfn) != pfn;
        if tails != d.is_shared() {
            let what = "the pages of a compound page's memmap: the first is its own, the others are shared";
            self.find(3, what, Offender::Mapping { va: slot.span.start, pfn });
        }
        if !d.is_shared() {
            return;
        }
        if d.is_table(slot.level) {
            sharers.again = sharers.table.is_some_and(|(table, _)| table == target);
            if let Some(done) = count(&mut sharers.table, target) {
                self.table_done(done);
            }
        } else if !(sharers.again && sharers.table.is_some_and(|(table, _)| table == slot.table)) {
            // The entries of a shared table count once.
            if let Some(done) = count(&mut sharers.tail, target) {
                self.tail_done(device, done);
            }
        }
    }

    /// A page of tails is marked as memmap, lies where the device's memmap does, counts its entries, and says what tails
    /// say.
    fn tail_done(&mut self, device: &Pagemap, (frame, found): Shared) {
        let g = self.mm.granule();
        let pfn = Pfn::containing(g, frame);
        let kind = self.use_of(pfn).map_or(PageKind::Tail, |(_, kind, _)| kind);
        let home = if self.mm.frames.altmap(device.start()).is_some() {
            PageKind::DeviceMemmap
        } else {
            PageKind::MemmapRam
        };
        let aside = kind == PageKind::MemmapRam || device.set_aside().contains(pfn);
        if kind != home || !aside {
            self.find(3, "the frame of a page of tails", Offender::Page { pfn, kind });
            return;
        }
        self.ledger.used.add(kind, pfn, 1);
        let expected = machine::page_in(self.mm.space.machine(), frame, 0).as_shared_tail().mappings();
        let what = "entries that map a page of tails, and its count";
        self.find_unless(found == expected, 3, what, Offender::Count { found, expected });
        let order = device.compound().order();
        let right = |i| {
            let page = machine::page_in(self.mm.space.machine(), frame, i);
            let count = if i == 0 { expected } else { 0 };
            page.tail_order() == Some(order)
                && (page.refs(), page.private(), page.links()) == (0, count, (0, 0))
        };
        let tails = (0..g.page_size / PAGE_BYTES).all(right);
        self.find_unless(tails, 1, "a page of tails does not say what tails say", Offender::Pfn(pfn));
    }

    /// A shared table counts the entries that lead to it.
    fn table_done(&mut self, (table, found): Shared) {
        let g = self.mm.granule();
        let pfn = Pfn::containing(g, table);
        let refs = self.page(pfn).map_or(0, |page| u64::from(page.as_table().entries()));
        let what = "entries that lead to a shared table, and its count";
        self.find_unless(found == refs, 3, what, Offender::Count { found, expected: refs });
        self.ledger.summary.tables += 1;
        self.ledger.used.add(PageKind::Table, pfn, 1);
        let frames = PfnRange::new(pfn, 1);
        let va = self.mm.space.layout().linear(table);
        self.in_use(frames, va, "the frame of a shared table", &mut |kind| kind == PageKind::Table);
    }
}
