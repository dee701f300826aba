//! Why nothing can be done with a page, or why it cannot go.

use core::fmt;

use super::resource::Resource;
use crate::frame::page::PageKind;
use crate::pfn::Pfn;

/// Why nothing can be done with a page, or why it cannot go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PageError {
    /// A page that is not described by a struct page.
    NotPresent(Pfn),
    /// A page that is not in the state that the operation needs.
    State {
        /// The page.
        pfn: Pfn,
        /// What it is.
        is: PageKind,
        /// What the operation needs.
        needs: PageNeeds,
    },
    /// A page that cannot be moved away.
    Unmovable {
        /// The page.
        pfn: Pfn,
        /// What it is used for.
        kind: PageKind,
    },
    /// A page that is held.
    Pinned {
        /// The page.
        pfn: Pfn,
        /// Its references, the owner's included.
        refs: u32,
    },
    /// A page that is still in use after all passes over the range that was to go.
    Stays {
        /// The page, the first that is left.
        pfn: Pfn,
        /// The passes.
        tries: u32,
        /// What moving it ran out of.
        out: Resource,
    },
    /// A page that was taken out of use.
    Poisoned(Pfn),
}

impl fmt::Display for PageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NotPresent(pfn) => write!(f, "{pfn} is not present"),
            Self::State { pfn, is, needs } => write!(f, "{pfn} is {is}, not {needs}"),
            Self::Unmovable { pfn, kind } => {
                write!(f, "{pfn} cannot be moved: {kind} memory is unmovable")
            }
            Self::Pinned { pfn, refs } => write!(f, "{pfn} cannot go: pinned, references held: {refs}"),
            Self::Stays { pfn, tries, out } => {
                write!(f, "{pfn} cannot go: out of memory: {out}; tries: {tries}")
            }
            Self::Poisoned(pfn) => {
                write!(f, "{pfn} is poisoned already: it stays out of use until it is unpoisoned")
            }
        }
    }
}

/// What an operation needs a page to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PageNeeds {
    /// An aligned part of a free run.
    FreeRun,
    /// A page of a block that is not populated on demand, which lends pages by itself.
    NotOnDemand,
    /// Memmap inside of an online block.
    MemmapInside,
    /// A page of a device that is not set aside.
    UsableOfDevice,
    /// Held.
    Held,
    /// Pinned.
    Pinned,
    /// Poisoned.
    Poisoned,
    /// Of a part that is plugged.
    Plugged,
    /// Of a part that is not plugged.
    Unplugged,
    /// Free or a tenant's.
    FreeOrTenant,
    /// Free, a tenant's or a device's.
    FreeTenantOrDevice,
    /// The first page of a huge page.
    HugeHead,
    /// A huge page in use.
    HugeInUse,
    /// A huge page that is optimised.
    Optimised,
    /// A huge page that is not optimised.
    NotOptimised,
}

impl fmt::Display for PageNeeds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::FreeRun => "a part of a free run",
            Self::NotOnDemand => "in a block whose memmap is not on demand",
            Self::MemmapInside => "memmap inside of an online block",
            Self::UsableOfDevice => "a usable page of a device",
            Self::Held => "held",
            Self::Pinned => "pinned",
            Self::Poisoned => "poisoned",
            Self::Plugged => "plugged",
            Self::Unplugged => "unplugged",
            Self::FreeOrTenant => "free or a tenant's",
            Self::FreeTenantOrDevice => "free, a tenant's or a device's",
            Self::HugeHead => "the first page of a huge page",
            Self::HugeInUse => "a huge page in use",
            Self::Optimised => "optimised",
            Self::NotOptimised => "a huge page that is not optimised",
        })
    }
}
