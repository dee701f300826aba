//! Why there is no view, or no translation.

use std::fmt;

use serde::Serialize;

/// There is no memory at a physical address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unreadable {
    /// The physical address.
    pub pa: u64,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no memory at {:#x}", self.pa)
    }
}

/// Why there is no view.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ViewError {
    /// `state` has a granule that the architecture does not have.
    Granule(u64),
    /// `state` has no `root`: the kernel is older than the key.
    NoRoot,
    /// This key of `state` has a value that no machine has.
    State(&'static str),
    /// The target is neither `addr:0x...` nor `pfn:0x...`.
    Target(String),
    /// vmemmap has no struct page for this pfn.
    OutOfReach(u64),
    /// There is no view of this name.
    Name(String),
}

impl fmt::Display for ViewError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Granule(bytes) => write!(f, "granule: {bytes} bytes: a page has 4096, 16384 or 65536"),
            Self::NoRoot => f.write_str("state has no root: the kernel is older than this program"),
            Self::State(key) => write!(f, "state: {key}: there is no such machine"),
            Self::Target(text) => write!(f, "\"{text}\" is neither addr:0x... nor pfn:0x..."),
            Self::OutOfReach(pfn) => write!(f, "pfn {pfn:#x}: vmemmap does not reach it"),
            Self::Name(name) => write!(f, "there is no view \"{name}\""),
        }
    }
}

impl std::error::Error for ViewError {}

/// Why an address is not translated.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Fault {
    /// The level of the table whose entry ends the walk.
    pub level: usize,
    /// What is wrong with it.
    pub kind: FaultKind,
    /// The same in words.
    pub why: &'static str,
}

/// Kinds of faults.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// The entry is invalid.
    Translation,
    /// The access flag is clear.
    AccessFlag,
    /// The architecture reserves the encoding.
    Reserved,
    /// TTBR1_EL1 does not translate the address.
    NotUpperHalf,
    /// There is no memory where the table is to be.
    NoMemory,
}

impl Fault {
    pub(crate) const fn new(level: usize, kind: FaultKind, why: &'static str) -> Self {
        Self { level, kind, why }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "level {}: {}", self.level, self.why)
    }
}
