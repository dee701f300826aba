//! The memmap of a block on demand, as values: where it is mapped, and the image that free blocks share. What is done with
//! them is in frame/demand.

use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

use crate::addr::{PhysAddr, VirtAddr, VirtRange};
use crate::entry::descriptor::{Attributes, Descriptor};
use crate::entry::slot::Entries;
use crate::frame::page::{PAGE_BYTES_SHIFT, PageKind};
use crate::frame::zone::ZoneKind;
use crate::granule::{Granule, LAST_LEVEL};
use crate::layout::Layout;
use crate::machine::{self, Machine};
use crate::pfn::{Pfn, PfnRange};

/// Where the memmap of a block is mapped: where a table serves one section (4K) the entry of level 2 that leads to it, else
/// the first of the block's entries of level 3.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DemandMemmap {
    /// The table.
    pub(crate) table: PhysAddr,
    /// The entry's index in it.
    pub(crate) index: u32,
    /// Where the list of lent pages begins that are not among those set aside: an offset into the block plus one, or 0.
    pub(crate) outside: u32,
}

/// What is done on demand.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DemandFigures {
    /// Memmap pages that got a frame of their own.
    pub populated: u64,
    /// Memmap pages that lost it.
    pub given_back: u64,
}

/// The blocks whose memmap is populated on demand.
#[derive(Clone, Copy, Debug, Default)]
pub struct Demand {
    pub(super) image: Option<Image>,
    pub(super) blocks: u64,
    pub(super) figures: DemandFigures,
    pub(super) skipped: u64,
    /// The index of the block that was looked for last: where it is, most of the time, when it is looked for again.
    pub(super) last: usize,
}

impl Demand {
    /// The image, while there is a block on demand.
    pub const fn image(&self) -> Option<Image> {
        self.image
    }
    /// How many blocks are on demand.
    pub const fn blocks(&self) -> u64 {
        self.blocks
    }
    /// What was done.
    pub const fn figures(&self) -> DemandFigures {
        self.figures
    }
    /// TLB maintenance that a fault on purpose left out.
    pub(crate) const fn skipped(&self) -> u64 {
        self.skipped
    }
}

/// log2 of the pages that one memmap page describes: 6, 8, 10 at 4K, 16K, 64K.
pub(crate) fn described_order(g: Granule) -> u32 {
    g.page_shift - PAGE_BYTES_SHIFT
}

/// log2 of the pages that a block on demand sets aside for its memmap, at its start: as many as its whole memmap has. 9, 5, 3
/// at 4K, 16K, 64K.
pub(crate) fn aside_order(g: Granule) -> u32 {
    g.section_order - described_order(g)
}

/// The least of [`aside_order`].
pub(crate) const LEAST_ASIDE_ORDER: u32 = 3;

/// The level of the entries of a block's memmap that lead to the image: above the last where a table serves one section (4K).
pub(crate) fn image_level(g: Granule) -> u8 {
    if g.shares_tables() { LAST_LEVEL - 1 } else { LAST_LEVEL }
}

/// What the groups that `memmap` has a part of cover of vmemmap: what one entry does, one level above the image's.
pub(crate) fn group_spans(g: Granule, memmap: VirtRange) -> impl Iterator<Item = VirtRange> {
    let size = 1u64 << g.level_shift(image_level(g) - 1);
    let mut next = memmap.start.align_down(size);
    core::iter::from_fn(move || {
        let group = VirtRange { start: next, end: VirtAddr::new(next.get().saturating_add(size)) };
        next = group.end;
        (group.start < memmap.end).then_some(group)
    })
}

/// Which groups of those that have memory of some pages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Which {
    All,
    /// Those of which the pages have all.
    Whole,
    /// Those of which the pages have a part.
    Cut,
    None,
}

/// Some groups: of the blocks whose memmap one entry covers, one level above the image's (frame/demand/group).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Groups {
    pages: PfnRange,
    which: Which,
}

impl Groups {
    /// Those that have memory of `pages`.
    pub(crate) const fn of(pages: PfnRange) -> Self {
        Self { pages, which: Which::All }
    }
    /// Those of which `pages` are a part, but not all: as those go, the rest of the group stays.
    pub(crate) const fn cut_by(pages: PfnRange) -> Self {
        Self { pages, which: Which::Cut }
    }
    /// Those that share a table from the moment at which `pages` are added: those that are all in `pages`.
    pub(crate) const fn shared_by(pages: PfnRange) -> Self {
        Self { pages, which: Which::Whole }
    }
    /// None, since `pages` are in Normal, where tables come from.
    pub(crate) const fn in_normal(pages: PfnRange) -> Self {
        Self { pages, which: Which::None }
    }
    /// Those that do not share as `pages` go online in `zone`: in Normal, where tables come from, all.
    pub(crate) const fn unshared_by(pages: PfnRange, zone: ZoneKind) -> Self {
        match zone {
            ZoneKind::Normal => Self::of(pages),
            ZoneKind::Movable => Self { pages, which: Which::None },
        }
    }
    /// Whether their tables are got some time before they are needed: others may come to share meanwhile.
    pub(crate) fn are_for_later(self) -> bool {
        self.which == Which::Cut
    }
    /// What each covers of vmemmap.
    pub(crate) fn spans(self, layout: Layout) -> impl Iterator<Item = VirtRange> {
        let memmap = layout.memmap(self.pages);
        group_spans(layout.granule(), memmap).filter(move |group| match self.which {
            Which::All => true,
            Which::Whole => memmap.covers(group),
            Which::Cut => !memmap.covers(group),
            Which::None => false,
        })
    }
}

/// Tables for groups that share one: a stack of frames. To be used or given back.
#[derive(Debug, Default)]
#[must_use]
pub(crate) struct GroupTables(pub(super) Option<Pfn>);

/// The entries of free blocks, of which each block has `each`.
#[derive(Clone, Copy)]
pub(crate) struct Pattern {
    pub(crate) each: usize,
    /// The first of a block, and each other.
    pub(crate) entries: [Descriptor; 2],
}

impl Pattern {
    /// Fills `table`, of `level`, which no walk reaches yet.
    pub(crate) fn fill<M: Machine>(&self, machine: &M, g: Granule, table: PhysAddr, level: u8) {
        let (count, [first, other]) = (g.entries(level), self.entries);
        machine::fill_table(machine, table, 0..count, other.bits());
        if first != other {
            let blocks = machine::table(machine, table, count).iter().step_by(self.each);
            blocks.for_each(|entry| entry.store(first.bits(), Relaxed));
        }
    }
    /// Which of neighbouring entries, beginning with a block's, is the first that is another.
    pub(crate) fn first_other<M: Machine>(&self, machine: &M, run: &Entries) -> Option<usize> {
        let Entries { first, count } = *run;
        let entries = &machine::table(machine, first.table, first.index + count)[first.index..];
        let [head, other] = self.entries.map(|entry| entry.bits());
        entries.chunks(self.each).enumerate().find_map(|(block, entries)| {
            let says =
                |(i, entry): (usize, &AtomicU64)| entry.load(Relaxed) != if i == 0 { head } else { other };
            entries.iter().enumerate().position(says).map(|i| block * self.each + i)
        })
    }
}

/// The frames of the image: system RAM, made with the first block on demand and freed with the last.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Image {
    /// The first memmap page of a free block: the head of all of it, then zeroed struct pages.
    pub head: PhysAddr,
    /// Each other page: zeroed struct pages.
    pub zero: PhysAddr,
    /// The table of both, where a table serves one section (4K).
    pub table: Option<PhysAddr>,
    /// The table of free blocks that groups share (frame/demand/group), while one does.
    pub group_table: Option<PhysAddr>,
}

impl Image {
    /// The entry of the memmap page `number` of a free block.
    pub(crate) fn leaf(&self, number: u64) -> Descriptor {
        let frame = if number == 0 { self.head } else { self.zero };
        Descriptor::leaf(frame, Attributes::RODATA, LAST_LEVEL, false).shared()
    }

    /// The entries of free blocks, at the level of the image.
    pub(crate) fn pattern(&self, g: Granule) -> Pattern {
        match self.table.map(|table| Descriptor::table(table).shared()) {
            Some(table) => Pattern { each: 1, entries: [table; 2] },
            None => self.leaves(g),
        }
    }

    /// The entries of the last level.
    pub(crate) fn leaves(&self, g: Granule) -> Pattern {
        let each = usize::try_from(g.section_memmap >> g.page_shift).unwrap_or(1);
        Pattern { each, entries: [self.leaf(0), self.leaf(1)] }
    }

    /// Whether `pa` is in one of its frames.
    pub fn contains(&self, pa: PhysAddr, g: Granule) -> bool {
        let frame = pa.align_down(g.page_size);
        [Some(self.head), Some(self.zero), self.table, self.group_table].contains(&Some(frame))
    }

    /// Whether the frames still say what a free block says: nothing but the one head, without links. The tables likewise.
    pub(crate) fn is_clean<M: Machine>(&self, machine: &M, g: Granule) -> bool {
        let words = usize::try_from(g.page_size / 8).unwrap_or(0);
        let clean = |frame, from: usize| {
            machine::table(machine, frame, words)[from..].iter().all(|word| word.load(Relaxed) == 0)
        };
        let leads = |table: Option<PhysAddr>, pattern: Pattern, level: u8| {
            table.is_none_or(|table| pattern.first_other(machine, &Entries::all(g, table, level)).is_none())
        };
        let head = machine::page_in(machine, self.head, 0);
        let says = (head.kind(), head.order(), head.refs(), head.private(), head.links());
        says == (PageKind::Free, g.section_order, 0, 0, (0, 0))
            && clean(self.head, 3)
            && clean(self.zero, 0)
            && leads(self.table, self.leaves(g), LAST_LEVEL)
            && leads(self.group_table, self.pattern(g), image_level(g))
    }
}
