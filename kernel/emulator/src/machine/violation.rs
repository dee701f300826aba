//! What the emulated machine finds wrong with what the model does to it.

use std::fmt;

/// A rule of the architecture, or of the model's own, that only this machine notices.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rule {
    /// An access to an address that is not mapped.
    Unmapped,
    /// A store through a mapping that is read-only.
    ReadOnly,
    /// An access that may still use a translation that has been taken down.
    StaleTranslation,
    /// An access through an entry that has not been published (Arm ARM D8.2.6: the write needs a DSB first).
    Unpublished,
    /// A long access whose pages are not neighbours in physical memory.
    NotContiguous,
    /// Entries under one Contiguous bit that disagree.
    ContiguousRun,
    /// A live entry changed in a way that needs break-before-make.
    BreakBeforeMake,
    /// A block and a table that replace each other through an invalid entry, with no window around it.
    NoWindow,
    /// A new entry where the old one may still be cached.
    MakeBeforeInvalidate,
    /// Memory that is used for something new while an old translation still leads to it.
    ReuseWhileCached,
    /// Memory that is taken away while a translation, live or cached, leads to it.
    UnplugWhileMapped,
    /// An entry that leads to memory that is not there.
    LeadsNowhere,
    /// A table that does not hold entries: it was linked before it was cleared.
    GarbageTable,
    /// A table in force that is cleared.
    TableCleared,
}

/// A rule that was broken, and where.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Violation {
    /// The rule.
    pub rule: Rule,
    /// The virtual address that it is about.
    pub va: u64,
    /// The physical address.
    pub pa: u64,
    /// What else there is to say.
    pub note: &'static str,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} at va {:#x}, pa {:#x}", self.rule, self.va, self.pa)?;
        if self.note.is_empty() { Ok(()) } else { write!(f, ": {}", self.note) }
    }
}
