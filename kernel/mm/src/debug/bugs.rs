//! Faults to put into the model on purpose, at least one for each invariant, so that a test can see the auditor name it.
//! A switch that is off changes nothing.

use core::fmt;

/// A fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bug {
    /// I1: removing memory leaves its sections marked as present.
    StaleSection,
    /// I2: the altmap is charged a page too many.
    AltmapLeak,
    /// I3: a frame that holds a memmap is put on the free list as well.
    FreeMemmap,
    /// I4: empty tables stay.
    EmptyTable,
    /// I5: broken entries are reused without TLB invalidation.
    SkipTlbi,
    /// I6: a freed page gets lost.
    LostPage,
    /// I7: the memmap of removed memory stays mapped.
    KeepMemmap,
    /// I8: removed memory stays in the linear map.
    KeepLinear,
    /// I7: a part of a section is given a block that both its halves share.
    SharedBlock,
    /// I1: a memmap page is freed that a neighbour uses (I7 forbids it).
    FreeNeighbour,
    /// I2: an altmap's page is freed as system RAM.
    AltmapAsRam,
    /// I5: a live entry is changed without break-before-make.
    NoBbm,
    /// I3: a run begins in a memmap page that still is the image's, which is made writable for it.
    HeadOnImage,
    /// I3: one frame is lent to two memmap pages.
    LendTwice,
    /// I3: the image of a free block says something else.
    ImageDirty,
    /// I5: memmap is populated on demand without TLB invalidation.
    SkipPopulateTlbi,
    /// I6: a memmap page is shared again in which a run begins, so that its head is lost.
    ShareEarly,
    /// I7: a memmap page in which no run begins keeps its frame.
    KeepPrivate,
    /// No invariant: the notifiers are asked about a range that is shifted by the self-hosted memmap.
    VetoRange,
}

impl Bug {
    /// Every switch, in the order of the invariants.
    pub const ALL: [Self; 19] = [
        Self::StaleSection,
        Self::AltmapLeak,
        Self::FreeMemmap,
        Self::EmptyTable,
        Self::SkipTlbi,
        Self::LostPage,
        Self::KeepMemmap,
        Self::KeepLinear,
        Self::SharedBlock,
        Self::FreeNeighbour,
        Self::AltmapAsRam,
        Self::NoBbm,
        Self::HeadOnImage,
        Self::LendTwice,
        Self::ImageDirty,
        Self::SkipPopulateTlbi,
        Self::ShareEarly,
        Self::KeepPrivate,
        Self::VetoRange,
    ];

    /// The word after `bug=`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::StaleSection => "stale-section",
            Self::AltmapLeak => "altmap-leak",
            Self::FreeMemmap => "free-memmap",
            Self::EmptyTable => "empty-table",
            Self::SkipTlbi => "skip-tlbi",
            Self::LostPage => "lost-page",
            Self::KeepMemmap => "keep-memmap",
            Self::KeepLinear => "keep-linear",
            Self::SharedBlock => "shared-block",
            Self::FreeNeighbour => "free-neighbour",
            Self::AltmapAsRam => "altmap-as-ram",
            Self::NoBbm => "no-bbm",
            Self::HeadOnImage => "head-on-image",
            Self::LendTwice => "lend-twice",
            Self::ImageDirty => "image-dirty",
            Self::SkipPopulateTlbi => "skip-populate-tlbi",
            Self::ShareEarly => "share-early",
            Self::KeepPrivate => "keep-private",
            Self::VetoRange => "veto-range",
        }
    }
    /// The number of the invariant that the fault breaks, if it is one that can be seen in memory.
    pub const fn invariant(self) -> Option<u8> {
        Some(match self {
            Self::StaleSection | Self::FreeNeighbour => 1,
            Self::AltmapLeak | Self::AltmapAsRam => 2,
            Self::FreeMemmap | Self::HeadOnImage | Self::LendTwice | Self::ImageDirty => 3,
            Self::EmptyTable => 4,
            Self::SkipTlbi | Self::NoBbm | Self::SkipPopulateTlbi => 5,
            Self::LostPage | Self::ShareEarly => 6,
            Self::KeepMemmap | Self::SharedBlock | Self::KeepPrivate => 7,
            Self::KeepLinear => 8,
            Self::VetoRange => return None,
        })
    }
    /// The switch that `name` names.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|bug| bug.name() == name)
    }
}

/// `breaks I3`, or what else it does.
impl fmt::Display for Bug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.invariant() {
            Some(invariant) => write!(f, "breaks I{invariant}"),
            None => f.write_str("breaks no invariant: a veto is missed"),
        }
    }
}
