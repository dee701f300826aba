//! What an audit says.

use core::fmt;

use crate::addr::{PhysAddr, PhysRange, VirtAddr};
use crate::frame::page::PageKind;
use crate::frame::zone::ZoneKind;
use crate::pfn::Pfn;

/// The value that breaks an invariant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u64)]
pub enum Offender {
    /// A page.
    Pfn(Pfn),
    /// A page, and what its struct page says that it is.
    Page {
        /// The page.
        pfn: Pfn,
        /// What it is marked as.
        kind: PageKind,
    },
    /// A virtual address.
    Va(VirtAddr),
    /// A virtual address and the page that it is mapped to.
    Mapping {
        /// The virtual address.
        va: VirtAddr,
        /// The page.
        pfn: Pfn,
    },
    /// Physical memory.
    Memory(PhysRange),
    /// A number that should be another.
    Count {
        /// What was counted.
        found: u64,
        /// What the counts say.
        expected: u64,
    },
    /// The same for one memory block (or section).
    Block {
        /// The block's start.
        block: PhysAddr,
        /// What was counted.
        found: u64,
        /// What the counts say.
        expected: u64,
    },
    /// The same for one zone.
    Zone {
        /// The zone.
        zone: ZoneKind,
        /// What was counted.
        found: u64,
        /// What the counts say.
        expected: u64,
    },
    /// The same for the pages of one use.
    Kind {
        /// The use.
        kind: PageKind,
        /// What was counted.
        found: u64,
        /// What the counts say.
        expected: u64,
    },
}

impl fmt::Display for Offender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Pfn(pfn) => write!(f, "{pfn}"),
            Self::Page { pfn, kind } => write!(f, "{pfn} is marked {kind}"),
            Self::Va(va) => write!(f, "va {va}"),
            Self::Mapping { va, pfn } => write!(f, "va {va}, {pfn}"),
            Self::Memory(range) => write!(f, "memory {range}"),
            Self::Count { found, expected } => write!(f, "{found} instead of {expected}"),
            Self::Block { block, found, expected } => {
                write!(f, "block {block}: {found} instead of {expected}")
            }
            Self::Zone { zone, found, expected } => write!(f, "zone {zone}: {found} instead of {expected}"),
            Self::Kind { kind, found, expected } => write!(f, "{kind} pages: {found} instead of {expected}"),
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Finding {
    /// The number of the invariant that is broken: 1 to 8.
    pub invariant: u8,
    /// What is wrong.
    pub what: &'static str,
    /// The value that is.
    pub at: Offender,
}

/// `I3: what is wrong: pfn 0x40a00 is marked free`.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "I{}: {}: {}", self.invariant, self.what, self.at)
    }
}

/// How many invariants there are.
const INVARIANTS: usize = 8;

/// What an audit looked at, and how much it found.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct AuditSummary {
    findings: [u32; INVARIANTS],
    /// Sections.
    pub sections: u64,
    /// Memory blocks.
    pub blocks: u64,
    /// Struct pages that are the head of something.
    pub heads: u64,
    /// Table pages, the root included.
    pub tables: u64,
    /// Leaves: blocks and pages.
    pub leaves: u64,
}

impl AuditSummary {
    pub(super) fn note(&mut self, invariant: u8) {
        if let Some(count) = self.findings.get_mut(usize::from(invariant).wrapping_sub(1)) {
            *count += 1;
        }
    }
    /// How many findings there are under `invariant`, 1 to 8.
    pub fn findings(&self, invariant: u8) -> u32 {
        self.findings.get(usize::from(invariant).wrapping_sub(1)).copied().unwrap_or(0)
    }
    /// All findings.
    pub fn total(&self) -> u32 {
        self.findings.iter().sum()
    }
    /// Whether all invariants hold.
    pub fn is_clean(&self) -> bool {
        self.total() == 0
    }
}

/// `clean: 16 sections, ...` or `3 findings (I3 2, I6 1): 16 sections, ...`.
impl fmt::Display for AuditSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_clean() {
            f.write_str("clean")?;
        } else {
            write!(f, "{} {} (", self.total(), if self.total() == 1 { "finding" } else { "findings" })?;
            let mut comma = "";
            for (i, count) in self.findings.iter().enumerate().filter(|(_, count)| **count != 0) {
                write!(f, "{comma}I{} {count}", i + 1)?;
                comma = ", ";
            }
            f.write_str(")")?;
        }
        let Self { sections, blocks, heads, tables, leaves, .. } = self;
        write!(f, ": {sections} sections, {blocks} blocks, {heads} heads, {tables} tables, {leaves} leaves")
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::string::ToString;

    #[test]
    fn a_finding_begins_with_its_invariant() {
        let at = Offender::Page { pfn: Pfn::new(0x40a), kind: PageKind::Free };
        let finding = Finding { invariant: 3, what: "a free frame is mapped as memmap", at };
        assert_eq!(finding.to_string(), "I3: a free frame is mapped as memmap: pfn 0x40a is marked free");
    }

    #[test]
    fn a_summary_counts_by_invariant() {
        let mut summary = AuditSummary { tables: 6, ..AuditSummary::default() };
        assert!(summary.is_clean() && summary.to_string().starts_with("clean: 0 sections"));
        for invariant in [3, 8, 3] {
            summary.note(invariant);
        }
        assert_eq!(
            (summary.findings(3), summary.findings(8), summary.findings(1), summary.total()),
            (2, 1, 0, 3)
        );
        assert!(summary.to_string().starts_with("3 findings (I3 2, I8 1): "));
    }
}
