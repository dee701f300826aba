//! Host model. What happened, line by line: which frames were taken and given back, which entries were written.

use std::fmt;

use hotmap_mm::addr::PhysAddr;
use hotmap_mm::pfn::Pfn;

/// What frames are for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Use {
    /// A translation table.
    Table,
    /// Struct pages.
    Memmap,
    /// Entries of powerpc's backing list.
    Tracking,
}

/// Where frames come from and go back to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    /// The node's RAM.
    Ram,
    /// The altmap of the device that starts here.
    Altmap(Pfn),
}

/// A run of frames in use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Frames {
    /// What for.
    pub what: Use,
    /// Where from.
    pub from: Source,
    /// The first.
    pub first: Pfn,
    /// How many.
    pub pages: u64,
}

impl fmt::Display for Frames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.what {
            Use::Table => "table",
            Use::Memmap => "memmap",
            Use::Tracking => "tracking",
        };
        let from = match self.from {
            Source::Ram => "RAM",
            Source::Altmap(_) => "the altmap",
        };
        let plural = if self.pages == 1 { "" } else { "s" };
        write!(f, "{what}: {} page{plural} at {} of {from}", self.pages, self.first)
    }
}

/// One line of the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// Frames were taken.
    Taken(Frames),
    /// Frames were given back.
    Given(Frames),
    /// An entry that was in use before, or is from now on, was written.
    Wrote {
        /// Its address.
        at: PhysAddr,
        /// What it was.
        old: u64,
        /// What it is.
        new: u64,
    },
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Taken(frames) => write!(f, "take {frames}"),
            Self::Given(frames) => write!(f, "give {frames}"),
            Self::Wrote { at, new, .. } => write!(f, "entry at {at}: {new:#018x}"),
        }
    }
}
