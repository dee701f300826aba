//! Why a huge page or a pool of them is refused.

use core::fmt;

use crate::addr::Bytes;
use crate::pfn::Pfn;

/// Why a huge page or a pool of them is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HugeError {
    /// A size that no huge page has at this granule.
    Size {
        /// The size in bytes.
        bytes: u64,
    },
    /// A pool that is to be smaller than what is in use of it.
    InUse {
        /// The huge pages' size in bytes.
        bytes: u64,
        /// How many are in use.
        used: u64,
        /// How many were to remain.
        asked: u64,
    },
    /// A huge page in use.
    Taken(Pfn),
    /// A huge page of whole blocks on demand, of which no page is left for the memmap of its parts.
    NotDemotable(Pfn),
    /// A huge page whose memmap cannot be shared.
    NotOptimisable {
        /// Its first page.
        pfn: Pfn,
        /// Why not.
        rule: HvoRule,
    },
}

impl fmt::Display for HugeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Size { bytes } => write!(f, "{} is no huge page size at this granule", Bytes(bytes)),
            Self::InUse { bytes, used, asked } => {
                write!(f, "{used} huge pages of {} are in use: the pool cannot have {asked}", Bytes(bytes))
            }
            Self::Taken(pfn) => {
                write!(f, "{pfn} cannot go: a huge page in use, which is not migrated (Linux migrates it)")
            }
            Self::NotDemotable(pfn) => write!(
                f,
                "{pfn} is a huge page of whole blocks on demand: it has no page for the memmap of its parts; dissolve it, and take smaller ones"
            ),
            Self::NotOptimisable { pfn, rule } => write!(f, "{pfn} is not optimised: {rule}"),
        }
    }
}

/// Why a huge page's memmap is not shared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HvoRule {
    /// Two pages or less: there is nothing to save.
    Memmap {
        /// How many there are.
        pages: u64,
    },
    /// It lies in an altmap, which has its own account.
    Altmap,
    /// The memmap is on demand, and shared already.
    Demand,
}

impl fmt::Display for HvoRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memmap { pages: 1 } => f.write_str("its memmap is 1 page, and sharing begins with 3"),
            Self::Memmap { pages } => write!(f, "its memmap is {pages} pages, and sharing begins with 3"),
            Self::Demand => f.write_str("its memmap is on demand, and shared already"),
            Self::Altmap => f.write_str(
                "its memmap is self-hosted, and an altmap's frames do not go to the buddy allocator",
            ),
        }
    }
}
