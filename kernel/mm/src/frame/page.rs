//! `struct Page`: 64 bytes for every page frame, in vmemmap.
//!
//! **A zeroed struct page means something**: "ask your head". A run of `1 << order` pages that is used for one purpose
//! (free, a block's memmap, a table, ...) is described by its first page only; the others stay all zero. So a block of
//! 32768 pages that has just been added needs one bulk clearing and a handful of heads, and no per-page work.
//!
//! ```text
//!  pfn    +0            +512              +1024                    +2048 ...
//!        [MemmapSelf 9][Free, order 9   ][Free, order 10          ][Free, order 11 ...
//!         head, then    head, then        head, then 1023 zeroed    each run naturally aligned
//!         511 zeroed    511 zeroed
//! ```
//!
//! A **compound page** is a run that is used as one large page. Its tails are *ordered*: kind `Tail`, and the order of
//! the whole. So a tail knows its head by its own number alone (rounded down to the order), and says nothing else: the same
//! 64 bytes are right for every tail of that order, wherever it is. That is what makes one page of them good for all.

use core::fmt;
use core::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering::Relaxed};

use crate::addr::VirtAddr;
pub use crate::granule::{PAGE_BYTES, PAGE_BYTES_SHIFT};
use crate::pfn::Pfn;

/// What a run of pages is used for. The kind is written on the run's head.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum PageKind {
    /// Not a head: the head of the run around it says what it is; while the block is offline, no head does. With an order it
    /// is a compound page's, whose head is the page's number rounded down to it.
    Tail = 0,
    /// Free, on its block's free list of that order, or on that of what is set aside.
    Free = 1,
    /// Kept from boot: the kernel's image, the device tree, what the firmware reserved.
    Reserved = 2,
    /// A hole in a boot section: there is no memory behind the page.
    Hole = 3,
    /// Holds struct pages, and is system RAM.
    MemmapRam = 4,
    /// Holds struct pages of its own block, or the table that maps them: an altmap's frames, and what a block on demand lends.
    MemmapSelf = 5,
    /// Holds a translation table.
    Table = 6,
    /// Kernel data: the heap, stacks.
    Kernel = 7,
    /// A tenant's page: movable.
    Tenant = 8,
    /// Taken off the free list by hand.
    Pinned = 9,
    /// Not to be used: what was in it has moved away.
    Poisoned = 10,
    /// A page of a device: the buddy allocator never sees it.
    Device = 11,
    /// A page of a device that its altmap or its driver set aside.
    DeviceMemmap = 12,
    /// A huge page of the pool: a compound page, whose tails say their order.
    HugeTlb = 13,
    /// There is no memory behind the page now: a part of its block that is not plugged. Nothing touches its contents.
    Unplugged = 14,
}

impl PageKind {
    /// How many kinds there are.
    pub(crate) const COUNT: usize = 15;
    const ALL: [Self; Self::COUNT] = [
        Self::Tail,
        Self::Free,
        Self::Reserved,
        Self::Hole,
        Self::MemmapRam,
        Self::MemmapSelf,
        Self::Table,
        Self::Kernel,
        Self::Tenant,
        Self::Pinned,
        Self::Poisoned,
        Self::Device,
        Self::DeviceMemmap,
        Self::HugeTlb,
        Self::Unplugged,
    ];

    /// Whether the page is a device's, and so not system RAM.
    pub const fn is_device(self) -> bool {
        matches!(self, Self::Device | Self::DeviceMemmap)
    }
    /// The word that messages use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tail => "tail",
            Self::Free => "free",
            Self::Reserved => "reserved",
            Self::Hole => "hole",
            Self::MemmapRam => "memmap (system RAM)",
            Self::MemmapSelf => "memmap (self-hosted)",
            Self::Table => "table",
            Self::Kernel => "kernel",
            Self::Tenant => "tenant",
            Self::Pinned => "pinned",
            Self::Device => "device",
            Self::DeviceMemmap => "device (set aside)",
            Self::Poisoned => "poisoned",
            Self::HugeTlb => "huge page",
            Self::Unplugged => "unplugged",
        }
    }
}

impl fmt::Display for PageKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The descriptor of one page frame.
///
/// Holding a `&Page` proves that the frame is valid and that the memmap page with this struct was mapped and initialised
/// when the reference was made (I1). It proves nothing about the frame's use: only the block's state and the head's kind
/// do. Fields are atomics, so that a reader on another CPU sees each whole; the model's lock decides which CPU writes.
#[repr(C, align(64))]
#[cfg_attr(test, derive(Default))]
pub struct Page {
    kind: AtomicU8,
    order: AtomicU8,
    flags: AtomicU16,
    refs: AtomicU32,
    /// Free: the next head on the list, as an offset into the block plus one; 0 ends the list.
    next: AtomicU32,
    /// Free: the previous head likewise.
    prev: AtomicU32,
    /// What it means depends on the use: see the views.
    private: AtomicU64,
    spare: [AtomicU64; 5],
}

const _: () = assert!(size_of::<Page>() as u64 == PAGE_BYTES && 1 << PAGE_BYTES_SHIFT == PAGE_BYTES);

impl Page {
    /// The kind written here; [`PageKind::Tail`] when this is not a head. A byte that is no kind reads as `None`.
    pub fn checked_kind(&self) -> Option<PageKind> {
        PageKind::ALL.get(usize::from(self.kind.load(Relaxed))).copied()
    }
    /// The kind written here. A byte that is no kind (only a bug writes one) reads as reserved: such a page is left alone.
    pub fn kind(&self) -> PageKind {
        self.checked_kind().unwrap_or(PageKind::Reserved)
    }
    /// log2 of the pages that this head speaks for.
    pub fn order(&self) -> u32 {
        u32::from(self.order.load(Relaxed))
    }
    /// Makes this the head of a run of `1 << order` pages.
    pub fn set_head(&self, kind: PageKind, order: u32) {
        self.kind.store(kind as u8, Relaxed);
        self.set_order(order);
    }
    #[inline(always)]
    fn set_order(&self, order: u32) {
        #[expect(clippy::cast_possible_truncation, reason = "an order is below 64")]
        self.order.store(order as u8, Relaxed);
    }
    /// Makes this zeroed struct page an ordered tail: one of a compound page of `1 << order` pages.
    #[inline(always)]
    pub fn set_tail(&self, order: u32) {
        self.set_order(order);
    }
    /// [`Self::set_tail`] for each of `pages`, four at a time: written out, since a large device does little else.
    #[inline(never)]
    pub fn set_tails(pages: &[Self], order: u32) {
        let (fours, rest) = pages.as_chunks::<4>();
        for [a, b, c, d] in fours {
            a.set_tail(order);
            b.set_tail(order);
            c.set_tail(order);
            d.set_tail(order);
        }
        rest.iter().for_each(|page| page.set_tail(order));
    }
    /// The order of the compound page that this is an ordered tail of.
    pub fn tail_order(&self) -> Option<u32> {
        let order = self.order();
        (order != 0 && self.kind.load(Relaxed) == PageKind::Tail as u8).then_some(order)
    }
    /// Makes this a tail again: every field that is ever written is zero.
    pub fn clear_head(&self) {
        self.kind.store(0, Relaxed);
        self.order.store(0, Relaxed);
        self.refs.store(0, Relaxed);
        self.private.store(0, Relaxed);
        self.set_links(0, 0);
    }
    /// All of it, as it lies in memory (`repr(C)`, little-endian).
    pub fn bytes(&self) -> [u8; 64] {
        let word = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
        let [kind, order] = [&self.kind, &self.order].map(|byte| u32::from(byte.load(Relaxed)));
        let first = word(kind | order << 8 | u32::from(self.flags.load(Relaxed)) << 16, self.refs());
        let (next, prev) = self.links();
        let mut words = [first, word(next, prev), self.private(), 0, 0, 0, 0, 0];
        for (word, spare) in words[3..].iter_mut().zip(&self.spare) {
            *word = spare.load(Relaxed);
        }
        let mut bytes = [0; 64];
        for (part, word) in bytes.chunks_exact_mut(8).zip(words) {
            part.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }
    /// The references held on the run.
    pub fn refs(&self) -> u32 {
        self.refs.load(Relaxed)
    }
    /// Sets the references.
    pub fn set_refs(&self, refs: u32) {
        self.refs.store(refs, Relaxed);
    }
    /// The word that belongs to the use of the page, as it is: what it means is for the views below to say.
    pub fn private(&self) -> u64 {
        self.private.load(Relaxed)
    }
    /// Sets that word.
    pub fn set_private(&self, value: u64) {
        self.private.store(value, Relaxed);
    }
    /// The free-list links: next, previous.
    pub fn links(&self) -> (u32, u32) {
        (self.next.load(Relaxed), self.prev.load(Relaxed))
    }
    /// Sets both links.
    pub fn set_links(&self, next: u32, prev: u32) {
        self.next.store(next, Relaxed);
        self.prev.store(prev, Relaxed);
    }
    /// Sets the link to the next head.
    pub fn set_next(&self, next: u32) {
        self.next.store(next, Relaxed);
    }
    /// Sets the link to the previous head.
    pub fn set_prev(&self, prev: u32) {
        self.prev.store(prev, Relaxed);
    }
}

/// Views: one for each use of a page that keeps something in the words that all uses share.
impl Page {
    /// The struct page of a tenant's page.
    pub fn as_tenant(&self) -> TenantPage<'_> {
        TenantPage(self)
    }
    /// The head of a huge page.
    pub fn as_huge_head(&self) -> HugeHead<'_> {
        HugeHead(self)
    }
    /// The first struct page of a tail page that the compound pages of a device share.
    pub fn as_shared_tail(&self) -> SharedTailPage<'_> {
        SharedTailPage(self)
    }
    /// The struct page of a translation table.
    pub fn as_table(&self) -> TablePage<'_> {
        TablePage(self)
    }
    /// The struct page of a page that a block on demand lends to its memmap.
    pub fn as_lent(&self) -> LentPage<'_> {
        LentPage(self)
    }
    /// The struct page of a frame that waits on a stack of frames.
    pub(crate) fn as_stacked(&self) -> StackedPage<'_> {
        StackedPage(self)
    }
}

/// A tenant's page knows the address that maps it (I3).
pub struct TenantPage<'a>(&'a Page);

impl TenantPage<'_> {
    /// The virtual address that maps the page.
    pub fn address(&self) -> VirtAddr {
        VirtAddr::new(self.0.private())
    }
    /// Sets the virtual address that maps the page.
    pub fn set_address(&self, va: VirtAddr) {
        self.0.set_private(va.get());
    }
}

/// The head of a huge page says whether the page is in use, and whether its memmap is shared.
pub struct HugeHead<'a>(&'a Page);

impl HugeHead<'_> {
    /// Whether the page is in use, and not free in its pool.
    pub fn is_in_use(&self) -> bool {
        self.0.refs() != 0
    }
    pub(crate) fn set_in_use(&self, in_use: bool) {
        self.0.set_refs(u32::from(in_use));
    }
    /// Whether the page's memmap is shared (HVO).
    pub fn is_optimised(&self) -> bool {
        self.0.private() != 0
    }
    pub(crate) fn set_optimised(&self, optimised: bool) {
        self.0.set_private(u64::from(optimised));
    }
}

/// A tail page that compound pages share counts the entries that map it, in its first struct page.
pub struct SharedTailPage<'a>(&'a Page);

impl SharedTailPage<'_> {
    /// How many entries map the page; those of a shared table count once.
    pub fn mappings(&self) -> u64 {
        self.0.private()
    }
    pub(crate) fn set_mappings(&self, mappings: u64) {
        self.0.set_private(mappings);
    }
}

/// A translation table counts the entries that lead to it.
pub struct TablePage<'a>(&'a Page);

impl TablePage<'_> {
    /// How many entries lead to the table.
    pub fn entries(&self) -> u32 {
        self.0.refs()
    }
    pub(crate) fn set_entries(&self, entries: u32) {
        self.0.set_refs(entries);
    }
}

/// A lent page knows which memmap page of its block it is the frame of (I3).
pub struct LentPage<'a>(&'a Page);

impl LentPage<'_> {
    /// The number of the memmap page in its block; none for the table of the block's entries (4K).
    pub fn memmap_page(&self) -> Option<u64> {
        self.0.private().checked_sub(1)
    }
    pub(crate) fn set_memmap_page(&self, number: Option<u64>) {
        self.0.set_private(number.map_or(0, |number| number + 1));
    }
}

/// A frame on a stack names the one below it.
pub(crate) struct StackedPage<'a>(&'a Page);

impl StackedPage<'_> {
    pub(crate) fn below(&self) -> Option<Pfn> {
        self.0.private().checked_sub(1).map(Pfn::new)
    }
    pub(crate) fn set_below(&self, below: Option<Pfn>) {
        self.0.set_private(below.map_or(0, |pfn| pfn.get() + 1));
    }
}
