//! What huge pages need of memory, without its granule: they are rare, so what is done with them is compiled once, over this.

use super::HugeTlb;
use crate::addr::{PhysAddr, VirtAddr, VirtRange};
use crate::bugs::Bug;
use crate::error::{Error, Resource, Result};
use crate::granule::{Granule, LAST_LEVEL};
use crate::hotplug::block::BlockState;
use crate::machine::{self, Machine};
use crate::model::{Mm, Mobility};
use crate::page::{Page, PageKind};
use crate::paging::change::Rewrite;
use crate::paging::flush::TlbDebt;
use crate::paging::live_update::Contents;
use crate::pfn::Pfn;
use crate::section::Section;
use crate::zone::ZoneKind;

/// A frame that holds memmap.
#[derive(Clone, Copy)]
pub struct MemmapFrame {
    /// The frame.
    pub frame: Pfn,
    /// Whether it is mapped by a block, together with others.
    pub in_block: bool,
}

/// Memory. Each is the model's function of that name, unless something else is said.
pub trait Memory {
    /// The granule's row of the table.
    fn geometry(&self) -> Granule;
    /// The pools.
    fn hugetlb(&self) -> &HugeTlb;
    /// The pools, to change.
    fn hugetlb_mut(&mut self) -> &mut HugeTlb;
    /// Whether this fault is put in.
    fn has_bug(&self, bug: Bug) -> bool;

    /// The struct page of a valid page, to look at.
    fn page(&self, pfn: Pfn) -> &Page;
    /// The struct page of a valid page, to write to.
    fn own(&self, pfn: Pfn) -> &Page;
    /// The struct page of `pfn`, if it is valid and mapped: for the auditor.
    fn readable(&self, pfn: Pfn) -> Option<&Page>;
    /// The struct page number `index` in a frame that is full of them.
    fn page_in(&self, frame: Pfn, index: u64) -> &Page;
    /// The use of `pfn` and the head that says so.
    ///
    /// # Errors
    /// `NotPresent`.
    fn use_of(&self, pfn: Pfn) -> Result<(PageKind, Pfn)>;
    /// The first page that vmemmap describes.
    fn first_pfn(&self) -> Pfn;
    /// Where the struct page of `pfn` is.
    fn page_address(&self, pfn: Pfn) -> VirtAddr;
    /// The page whose struct page is at `va`.
    fn pfn_of_page(&self, va: VirtAddr) -> Option<Pfn>;
    /// The zone of the block that `pfn` is in.
    fn zone_of(&self, pfn: Pfn) -> Option<ZoneKind>;
    /// The present sections.
    fn sections(&self) -> &[Section];
    /// The section that starts at `start`.
    fn section_mut(&mut self, start: Pfn) -> Option<&mut Section>;

    /// A huge page out of free memory, in no pool yet.
    ///
    /// # Errors
    /// `Out`.
    fn compound_alloc(&mut self, order: u32) -> Result<Pfn>;
    /// The head and the tails of a huge page that is in no pool.
    fn compound_mark(&self, head: Pfn, order: u32);
    /// The inverse of [`Self::compound_alloc`]. All of its struct pages can be written.
    fn compound_free(&mut self, head: Pfn, order: u32);
    /// A page that stays where it is: `home`, if that is free.
    ///
    /// # Errors
    /// `Out`.
    fn alloc_page(&mut self, home: Option<Pfn>, kind: PageKind) -> Result<Pfn>;
    /// A run that stays where it is, made out of pieces if there is none.
    ///
    /// # Errors
    /// `Out`.
    fn alloc_or_compact(&mut self, order: u32, kind: PageKind) -> Result<Pfn>;
    /// Give back what starts at `pfn`.
    fn free(&mut self, pfn: Pfn);
    /// Make a frame, which nobody uses yet, a page of ordered tails.
    fn fill_tail_page(&self, frame: Pfn, order: u32);
    /// Whether two frames of struct pages hold the same words.
    #[cfg(debug_assertions)]
    fn same_contents(&self, a: Pfn, b: Pfn) -> bool;
    /// Copy a frame to one that nobody uses yet.
    fn copy_frame(&self, from: Pfn, to: Pfn);

    /// What is mapped at `va`, in vmemmap.
    fn memmap_frame(&self, va: VirtAddr) -> Option<MemmapFrame>;
    /// One step for every entry of `range`, between places with the same contents.
    ///
    /// # Errors
    /// `BreakBeforeMake`.
    fn rewrite(&self, range: VirtRange, change: Rewrite<'_>) -> Result<TlbDebt>;
    /// Do the TLB maintenance that is owed.
    fn pay(&mut self, debt: TlbDebt);
    /// Let the block at `va` be the table of its pieces.
    ///
    /// # Errors
    /// `NotMapped`, `BreakBeforeMake`; nothing has changed then.
    fn split_block(&self, va: VirtAddr, table: Pfn) -> Result<()>;
    /// Let the table of pages at `va` be a block; returns what was the table.
    ///
    /// # Errors
    /// `NotMapped`, `BreakBeforeMake`; nothing has changed then.
    fn join_block(&self, va: VirtAddr) -> Result<Pfn>;
}

impl dyn Memory + '_ {
    /// The bytes of a page.
    pub(crate) fn page_size(&self) -> u64 {
        1 << self.geometry().page_shift
    }
    /// The bytes of a page of `1 << order`; 0 when there can be none.
    pub(crate) fn bytes(&self, order: u32) -> u64 {
        self.page_size().checked_shl(order).unwrap_or(0)
    }
    /// The address of a frame.
    pub(crate) fn address(&self, frame: Pfn) -> PhysAddr {
        PhysAddr::new(frame.get() << self.geometry().page_shift)
    }
    /// The frame at an address.
    pub(crate) fn frame(&self, address: PhysAddr) -> Pfn {
        Pfn::new(address.get() >> self.geometry().page_shift)
    }
    /// The order of a section.
    pub(crate) fn section_order(&self) -> u32 {
        self.geometry().section_shift - self.geometry().page_shift
    }
    /// The sections that a page of `1 << order` at `head` is in: the first, and how many.
    pub(crate) fn sections_of(&self, head: Pfn, order: u32) -> impl Iterator<Item = Pfn> + use<> {
        let section = self.section_order();
        (0..1u64 << order.saturating_sub(section)).map(move |i| head.align_down(section) + (i << section))
    }
    /// One step for every entry of `range`, on every CPU on return.
    pub(super) fn rewrite_all(&mut self, range: VirtRange, change: Rewrite<'_>) -> Result<()> {
        let debt = self.rewrite(range, change)?;
        self.pay(debt);
        Ok(())
    }
}

impl<M: Machine> Memory for Mm<M> {
    fn geometry(&self) -> Granule {
        self.granule()
    }
    fn hugetlb(&self) -> &HugeTlb {
        &self.hugetlb
    }
    fn hugetlb_mut(&mut self) -> &mut HugeTlb {
        &mut self.hugetlb
    }
    fn has_bug(&self, bug: Bug) -> bool {
        self.has_bug(bug)
    }

    fn page(&self, pfn: Pfn) -> &Page {
        self.pages().get(pfn)
    }
    fn own(&self, pfn: Pfn) -> &Page {
        self.pages().own(pfn)
    }
    fn readable(&self, pfn: Pfn) -> Option<&Page> {
        // Valid first: the struct page of a pfn out of nowhere has no address.
        let va = self.is_valid(pfn).then(|| self.layout.page_address(pfn))?;
        self.tables.translate(&self.machine, va).map(|_| self.pages().get(pfn))
    }
    fn page_in(&self, frame: Pfn, index: u64) -> &Page {
        let g = self.granule();
        machine::page_in(&self.machine, frame.address(g), index)
    }
    fn use_of(&self, pfn: Pfn) -> Result<(PageKind, Pfn)> {
        self.use_of(pfn)
    }
    fn first_pfn(&self) -> Pfn {
        self.layout.first_pfn()
    }
    fn page_address(&self, pfn: Pfn) -> VirtAddr {
        self.layout.page_address(pfn)
    }
    fn pfn_of_page(&self, va: VirtAddr) -> Option<Pfn> {
        self.layout.pfn_of_page(va)
    }
    fn zone_of(&self, pfn: Pfn) -> Option<ZoneKind> {
        self.block_of(pfn)?.state.zone()
    }
    fn sections(&self) -> &[Section] {
        self.sections()
    }
    fn section_mut(&mut self, start: Pfn) -> Option<&mut Section> {
        self.sections.get_mut(start.get())
    }

    fn compound_alloc(&mut self, order: u32) -> Result<Pfn> {
        self.new_compound(order)
    }
    fn compound_mark(&self, head: Pfn, order: u32) {
        self.mark_compound(head, order);
    }
    fn compound_free(&mut self, head: Pfn, order: u32) {
        self.dissolve_compound(head, order);
    }
    fn alloc_page(&mut self, home: Option<Pfn>, kind: PageKind) -> Result<Pfn> {
        self.may_fail(Resource::Frames { order: 0 })?;
        let serves =
            |pfn| self.block_of(pfn).is_some_and(|b| b.state == BlockState::Online(ZoneKind::Normal));
        let free = |pfn| serves(pfn) && matches!(self.use_of(pfn), Ok((PageKind::Free, _)));
        if let Some(home) = home.filter(|home| free(*home)) {
            self.take_free(home, 0, kind);
            return Ok(home);
        }
        self.take(0, kind, Mobility::Unmovable).ok_or(Error::Out(Resource::Frames { order: 0 }))
    }
    fn alloc_or_compact(&mut self, order: u32, kind: PageKind) -> Result<Pfn> {
        self.alloc_or_compact(order, kind)
    }
    fn free(&mut self, pfn: Pfn) {
        self.free(pfn);
    }
    fn fill_tail_page(&self, frame: Pfn, order: u32) {
        let g = self.granule();
        self.pages().fill_tail_page(frame.address(g), order);
    }
    #[cfg(debug_assertions)]
    fn same_contents(&self, a: Pfn, b: Pfn) -> bool {
        let g = self.granule();
        machine::same_contents(&self.machine, a.address(g), b.address(g), g.page_size)
    }
    fn copy_frame(&self, from: Pfn, to: Pfn) {
        let g = self.granule();
        machine::copy_frame(&self.machine, from.address(g), to.address(g), g.page_size);
    }

    fn memmap_frame(&self, va: VirtAddr) -> Option<MemmapFrame> {
        let g = self.granule();
        let path = self.tables.path(&self.machine, va);
        let leaf = path.leaf()?;
        let address = leaf.descriptor.address(g) + (va - leaf.slot.span.start);
        Some(MemmapFrame { frame: Pfn::containing(g, address), in_block: leaf.slot.level < LAST_LEVEL })
    }
    fn rewrite(&self, range: VirtRange, change: Rewrite<'_>) -> Result<TlbDebt> {
        self.tables.rewrite(&self.machine, range, Contents::Same, change)
    }
    fn pay(&mut self, debt: TlbDebt) {
        self.pay(debt);
    }
    // Only where a section's memmap is a block is there something to split: elsewhere nothing of this is compiled.
    fn split_block(&self, va: VirtAddr, table: Pfn) -> Result<()> {
        let g = self.granule();
        if g.section_memmap != g.pmd_size {
            return Err(Error::NotMapped(va));
        }
        self.tables.split_block(&self.machine, va, table.address(g), self.bug)
    }
    fn join_block(&self, va: VirtAddr) -> Result<Pfn> {
        let g = self.granule();
        if g.section_memmap != g.pmd_size {
            return Err(Error::NotMapped(va));
        }
        let table = self.tables.join_block(&self.machine, va, LAST_LEVEL - 1, self.bug)?;
        Ok(Pfn::containing(g, table))
    }
}
