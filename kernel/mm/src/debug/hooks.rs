//! The places where a fault can be put in on purpose, by name. Each hook says what the faulty kernel does there; with no
//! fault put in, each says what the right one does.

use super::bugs::Bug;
use crate::addr::VirtRange;

/// The fault that is put in, if there is one.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Hooks {
    bug: Option<Bug>,
}

impl Hooks {
    /// No fault.
    pub(crate) const fn new() -> Self {
        Self { bug: None }
    }
    pub(crate) const fn set(&mut self, bug: Option<Bug>) {
        self.bug = bug;
    }
    fn is(self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }
    /// Whether a fault is put in: what holds only without one is not asserted.
    pub(crate) const fn any(self) -> bool {
        self.bug.is_some()
    }

    /// I1: removed memory stays marked as present.
    pub(crate) fn keeps_sections(self) -> bool {
        self.is(Bug::StaleSection)
    }
    /// I2: one page too many is charged to an altmap.
    pub(crate) fn overcharges_altmap(self) -> bool {
        self.is(Bug::AltmapLeak)
    }
    /// I2: an altmap's page is freed as system RAM.
    pub(crate) fn frees_altmap_as_ram(self) -> bool {
        self.is(Bug::AltmapAsRam)
    }
    /// I3: a block's memmap goes to the free lists with its other pages.
    pub(crate) fn frees_memmap(self) -> bool {
        self.is(Bug::FreeMemmap)
    }
    /// I4: the bounds within which empty tables of `region` are freed: nowhere, if they stay.
    pub(crate) fn table_bounds(self, region: VirtRange) -> VirtRange {
        if self.is(Bug::EmptyTable) { VirtRange::default() } else { region }
    }
    /// I5: TLB maintenance is left out.
    pub(crate) fn skips_invalidation(self) -> bool {
        self.is(Bug::SkipTlbi)
    }
    /// I5: a live entry is changed without break-before-make.
    pub(crate) fn skips_break(self) -> bool {
        self.is(Bug::NoBbm)
    }
    /// I3: a run begins in a memmap page that still is the image's.
    pub(crate) fn writes_heads_to_image(self) -> bool {
        self.is(Bug::HeadOnImage)
    }
    /// I3: one frame is lent to two memmap pages.
    pub(crate) fn lends_twice(self) -> bool {
        self.is(Bug::LendTwice)
    }
    /// I3: the image of a free block says something else.
    pub(crate) fn dirties_image(self) -> bool {
        self.is(Bug::ImageDirty)
    }
    /// I6: a memmap page is shared again in which a run begins.
    pub(crate) fn shares_early(self) -> bool {
        self.is(Bug::ShareEarly)
    }
    /// I5: memmap that is populated or given back leaves TLB maintenance out.
    pub(crate) fn skips_populate_invalidation(self) -> bool {
        self.is(Bug::SkipPopulateTlbi)
    }
    /// I6: a freed page of this order gets lost.
    pub(crate) fn loses_page(self, order: u32) -> bool {
        order == 0 && self.is(Bug::LostPage)
    }
    /// I7: the memmap of removed memory stays mapped.
    pub(crate) fn keeps_memmap(self) -> bool {
        self.is(Bug::KeepMemmap)
    }
    /// I7: memmap pages in which no run begins keep their frames.
    pub(crate) fn keeps_private_memmap(self) -> bool {
        self.is(Bug::KeepPrivate)
    }
    /// I7: both halves of a section share a block of memmap.
    pub(crate) fn shares_memmap_block(self) -> bool {
        self.is(Bug::SharedBlock)
    }
    /// I1: a memmap page is freed that a neighbour uses.
    pub(crate) fn frees_neighbours_memmap(self) -> bool {
        self.is(Bug::FreeNeighbour)
    }
    /// I8: removed memory stays in the linear map.
    pub(crate) fn keeps_linear_map(self) -> bool {
        self.is(Bug::KeepLinear)
    }
    /// No invariant: notifiers are asked about a range that is shifted by the self-hosted memmap.
    pub(crate) fn shifts_notified_range(self) -> bool {
        self.is(Bug::VetoRange)
    }
}
