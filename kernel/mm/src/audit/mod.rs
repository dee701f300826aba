//! The auditor: checks the invariants by walking everything, on the host after every operation of a test and on the live
//! kernel. It trusts nothing that it can look up twice: what the struct pages say is held against what the tables say, and
//! both against the counts. Head by head and leaf by leaf, not page by page but where single pages are marked; without
//! allocating; changing nothing. The cost is linear in heads and leaves: `view` does not look up twice what lies side by side.
//!
//! | | what is checked | where |
//! |---|---|---|
//! | I1 | sections, blocks and the mapped memmap agree; every head is one | `sections`, `pages` |
//! | I2 | an altmap's account is what is mapped from it | `sections`, `devices` |
//! | I3 | the frames marked as memmap, table, tenant are those in use as such, each once | `tables`, `tally` |
//! | | a frame that many entries share counts them | `compound`, `hugetlb` |
//! | I4 | no empty table that could have been freed | `tables` |
//! | I5 | no TLB maintenance pending, no entry half taken down, contiguous runs agree | `tables`, `runs` |
//! | I6 | pages by use add up, from heads, free lists, zones, pools and counts alike | `pages`, `zones`, `hugetlb` |
//! | I7 | a vmemmap leaf describes some present page | `tables` |
//! | I8 | the linear map is exactly the memory; nothing is writable and executable | `linear`, `tables` |

mod compound;
mod demand;
mod devices;
mod finding;
mod hugetlb;
mod ledger;
mod linear;
mod pages;
mod runs;
mod sections;
mod tables;
mod tally;
mod tenants;
mod view;
mod zones;

pub use finding::{AuditSummary, Finding, Offender};

use crate::frame::page::{Page, PageKind};
use crate::frame::pages::find_head;
use crate::machine::Machine;
use crate::mm::Mm;
use crate::pfn::Pfn;
use crate::stop::Stop;
use ledger::Ledger;
use view::{Place, View};

/// An audit while it walks.
struct Auditor<'a, M: Machine> {
    mm: &'a Mm<M>,
    /// The struct pages that the audit reads, and the memory that they describe.
    view: View<'a, M>,
    /// The memory that leaves of vmemmap describe.
    described: Place<'a, M>,
    ledger: Ledger<'a>,
    stop: Stop<'a>,
    /// Whether `stop` has ended the audit: what is left is not looked at.
    stopped: bool,
}

impl<M: Machine> Mm<M> {
    /// Checks I1 to I8 by walking everything. `report` is called for each finding.
    pub fn audit(&self, report: &mut dyn FnMut(&Finding)) -> AuditSummary {
        self.audit_unless(report, &mut |_| false).unwrap_or_default()
    }

    /// [`Self::audit`], unless `stop`, asked at each block and each table with how many heads and leaves were looked at, ends
    /// it: `None`, and what was reported until then holds.
    pub fn audit_unless(&self, report: &mut dyn FnMut(&Finding), stop: Stop<'_>) -> Option<AuditSummary> {
        let (view, described) = (View::new(self), Place::new(self));
        let mut auditor =
            Auditor { mm: self, view, described, ledger: Ledger::new(report), stop, stopped: false };
        auditor.sections();
        auditor.blocks();
        if auditor.stopped {
            return None;
        }
        auditor.extents();
        auditor.devices();
        auditor.ledger.pools(&auditor.view);
        auditor.zones();
        auditor.tables();
        if auditor.stopped {
            return None;
        }
        auditor.tenants();
        auditor.ledger.shared_tails(&auditor.view);
        auditor.image();
        let skipped = self.space.skipped_invalidations() + self.frames.demand().skipped();
        auditor.ledger.compare(skipped);
        Some(auditor.ledger.summary)
    }
}

impl<M: Machine> Auditor<'_, M> {
    /// Whether the audit ends here.
    fn is_stopped(&mut self) -> bool {
        let summary = &self.ledger.summary;
        self.stopped = self.stopped || (self.stop)(summary.heads + summary.leaves);
        self.stopped
    }

    fn find(&mut self, invariant: u8, what: &'static str, at: Offender) {
        self.ledger.find(invariant, what, at);
    }

    fn find_unless(&mut self, holds: bool, invariant: u8, what: &'static str, at: Offender) {
        if !holds {
            self.find(invariant, what, at);
        }
    }

    /// The struct page of `pfn`, if it can be read.
    fn page(&self, pfn: Pfn) -> Option<&Page> {
        self.view.page(pfn)
    }

    /// The head that speaks for `pfn`, its kind and its order, in memory that may be damaged.
    #[inline(never)]
    fn use_of(&self, pfn: Pfn) -> Option<(Pfn, PageKind, u32)> {
        let largest = self.mm.granule().section_order;
        let head = find_head(pfn, largest, |pfn| self.page(pfn))?;
        let page = self.page(head)?;
        let compound = self.page(pfn)?.tail_order();
        Some((head, page.kind(), compound.unwrap_or(page.order().min(largest))))
    }
}
