//! What a page is used for: the kinds of docs/reference/memory-map.md, and the run that a page is in.

use serde::Serialize;

use crate::struct_pages::{StructPage, StructPages};

/// What pages are used for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Use {
    /// On a free list.
    Free,
    /// A tenant's.
    Tenant,
    /// Holds struct pages, or is set aside for them.
    Memmap,
    /// Translation tables.
    Table,
    /// Huge pages of a pool.
    Huge,
    /// Taken off the free list by hand.
    Pinned,
    /// The kernel's heap and stacks.
    Kernel,
    /// Kept from boot: the image, the device tree, what the firmware reserved.
    Reserved,
    /// No memory since boot.
    Hole,
    /// Out of use.
    Poisoned,
    /// A device's.
    Device,
    /// Of an offline block.
    Offline,
    /// No memory now.
    Unplugged,
    /// Several of these: not looked at one by one.
    Mixed,
    /// The kernel has not initialised the struct page yet, or no longer uses it: its bytes mean nothing.
    Uninitialised,
    /// The struct page is one that no rule writes here.
    Damaged,
    /// The struct page cannot be read.
    Unreadable,
}

/// What the struct pages of a block may say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Phase {
    /// Each page is in a run.
    Online,
    /// Pages are zero, or in the runs that a block on demand keeps.
    Offline,
    /// Between the steps of an operation: some are in a run, others zero.
    Transit,
    /// Not looked at.
    Uninitialised,
}

impl Phase {
    /// What a page in a run is used for.
    pub(crate) const fn in_run(self, used_for: Use) -> Use {
        match (self, used_for) {
            // A block on demand keeps its heads when it is offline.
            (Self::Offline, Use::Free) => Use::Offline,
            (Self::Uninitialised, _) => Use::Uninitialised,
            _ => used_for,
        }
    }
    /// What a page in no run is.
    const fn without_run(self, page: &StructPage) -> Use {
        match self {
            Self::Offline | Self::Transit if page.is_zero_tail() => Use::Offline,
            Self::Uninitialised => Use::Uninitialised,
            Self::Online | Self::Offline | Self::Transit => Use::Damaged,
        }
    }
}

/// A kind of page: the byte 0 of its struct page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Kind {
    pub name: &'static str,
    pub used_for: Use,
}

const fn kind(name: &'static str, used_for: Use) -> Kind {
    Kind { name, used_for }
}

/// By number.
const KINDS: [Kind; 15] = [
    kind("Tail", Use::Damaged),
    kind("Free", Use::Free),
    kind("Reserved", Use::Reserved),
    kind("Hole", Use::Hole),
    kind("MemmapRam", Use::Memmap),
    kind("MemmapSelf", Use::Memmap),
    kind("Table", Use::Table),
    kind("Kernel", Use::Kernel),
    kind("Tenant", Use::Tenant),
    kind("Pinned", Use::Pinned),
    kind("Poisoned", Use::Poisoned),
    kind("Device", Use::Device),
    kind("DeviceMemmap", Use::Memmap),
    kind("HugeTlb", Use::Huge),
    kind("Unplugged", Use::Unplugged),
];

impl Kind {
    /// The kind that a struct page says.
    pub(crate) fn of(page: &StructPage) -> Option<Self> {
        KINDS.get(usize::from(page.kind())).copied()
    }
}

/// No run has more pages than 16 GiB at 4K.
const MOST_ORDER: u32 = 22;

/// The head of a run, as it says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Head {
    pub pfn: u64,
    pub kind: Kind,
    pub order: u32,
    pub refs: u64,
    pub private: u64,
}

impl Head {
    pub(crate) const fn end(&self) -> u64 {
        self.pfn + (1 << self.order)
    }

    /// The head that `page` is, at `pfn`; `None` when it is none, or no rule writes it there.
    pub(crate) fn at(pfn: u64, page: &StructPage) -> Option<Self> {
        let kind = Kind::of(page).filter(|kind| kind.used_for != Use::Damaged)?;
        let order = page.order();
        let aligned = order <= MOST_ORDER && pfn.is_multiple_of(1 << order);
        aligned.then_some(Self { pfn, kind, order, refs: page.refs(), private: page.private() })
    }
}

/// The head of the run that `pfn` is in: its number rounded down to order 0, 1, 2, ... until a page is a head that covers it.
/// `None` when there is no such head.
pub(crate) fn head_of(pages: &StructPages<'_, '_>, pfn: u64) -> Option<Head> {
    let mut order = 0;
    while order <= MOST_ORDER {
        let at = pfn >> order << order;
        let page = pages.get(at).ok()?;
        if page.kind() != 0 {
            return Head::at(at, &page).filter(|head| pfn < head.end());
        }
        // An ordered tail knows its head by its own number.
        order = if page.order() > order { page.order() } else { order + 1 };
    }
    None
}

/// What `page` is, pfn's, that is in no run.
pub(crate) fn use_without_head(
    pages: &StructPages<'_, '_>,
    pfn: u64,
    page: &StructPage,
    phase: Phase,
) -> Use {
    let order = page.order();
    if page.kind() != 0 || order == 0 || order > MOST_ORDER || phase == Phase::Uninitialised {
        return phase.without_run(page);
    }
    match pages.get(pfn >> order << order) {
        // An entry of vmemmap that is broken for a moment leaves tails whose head is not there to say what they are.
        Err(_) => Use::Unreadable,
        // An operation clears the pages of one block after another, and a run may span several: its head is cleared, or
        // heads a shorter run.
        Ok(head) if phase == Phase::Transit && (head.is_zero_tail() || head.order() < order) => Use::Offline,
        Ok(_) => phase.without_run(page),
    }
}
