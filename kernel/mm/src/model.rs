//! The model: everything that is known about memory, in one value behind one lock.
//!
//! This room holds the state, and the allocator's front: from a zone to a block's free lists. What is done with it lives
//! in the other rooms, one `impl` block each.

use crate::addr::{PhysAddr, VirtRange};
use crate::bugs::Bug;
use crate::device::kmem::Kmem;
use crate::device::pagemap::Pagemap;
use crate::error::{Error, Resource, Result};
use crate::faults::Faults;
use crate::granule::Granule;
use crate::hotplug::block::{BlockState, MemoryBlock};
use crate::hotplug::notify::Chain;
use crate::hugetlb::HugeTlb;
use crate::layout::Layout;
use crate::list::List;
use crate::machine::Machine;
use crate::page::PageKind;
use crate::pages::Pages;
use crate::paging::flush::TlbDebt;
use crate::paging::table::{TableFrames, Tables};
use crate::pfn::{Pfn, PfnRange};
use crate::section::Section;
use crate::tenant::Tenants;
use crate::zone::{Zone, ZoneKind};

/// Pages by use. `free` is kept by the zones: see [`Mm::counts`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Pages of system RAM, an offline block's only for its own memmap.
    pub present: u64,
    /// Pages on free lists.
    pub free: u64,
    /// The kernel's, the tenants', the pinned and the huge pages.
    pub allocated: u64,
    /// Pages that hold their own block's memmap.
    pub memmap_self: u64,
    /// Other pages that hold memmap.
    pub memmap_ram: u64,
    /// Translation tables.
    pub tables: u64,
    /// Kept from boot, and poisoned pages.
    pub reserved: u64,
}

impl Counts {
    /// The count that pages of `kind` are in; free pages and holes are counted elsewhere.
    pub fn of_mut(&mut self, kind: PageKind) -> Option<&mut u64> {
        match kind {
            PageKind::Kernel | PageKind::Tenant | PageKind::Pinned | PageKind::HugeTlb => {
                Some(&mut self.allocated)
            }
            PageKind::MemmapSelf => Some(&mut self.memmap_self),
            PageKind::MemmapRam => Some(&mut self.memmap_ram),
            PageKind::Table => Some(&mut self.tables),
            PageKind::Reserved | PageKind::Poisoned => Some(&mut self.reserved),
            PageKind::Tail | PageKind::Free | PageKind::Hole | PageKind::Device | PageKind::DeviceMemmap => {
                None
            }
        }
    }
    /// Whether the pages are conserved (I6).
    pub const fn balance(&self) -> bool {
        self.present
            == self.free + self.allocated + self.memmap_self + self.memmap_ram + self.tables + self.reserved
    }
}

/// Things that should not happen and were refused without harm.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Warnings {
    /// Frees of pages that are reserved or free already.
    pub bad_free: u64,
    /// Populating or freeing outside of vmemmap.
    pub outside_vmemmap: u64,
    /// Removing memory that is not there.
    pub bad_remove: u64,
    /// Mappings that could not be taken down because they share a block with somebody else's.
    pub stuck: u64,
    /// Altmaps that would have lost pages to padding.
    pub altmap: u64,
    /// A memmap on another node than the memory that it describes: reported once.
    pub remote_memmap: u64,
}

impl Warnings {
    /// All of them.
    pub const fn total(&self) -> u64 {
        self.bad_free + self.outside_vmemmap + self.bad_remove + self.stuck + self.altmap + self.remote_memmap
    }
}

/// Whom an allocation is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mobility {
    /// It stays where it is: only from Normal, oldest block first, so that young blocks can leave.
    Unmovable,
    /// It can be moved: from Movable first, newest block first.
    Movable,
}

/// The memory of a machine.
pub struct Mm<M: Machine> {
    pub(crate) machine: M,
    pub(crate) layout: Layout,
    pub(crate) tables: Tables,
    pub(crate) sections: List<Section>,
    pub(crate) blocks: List<MemoryBlock>,
    pub(crate) devices: List<Pagemap>,
    pub(crate) kmem: List<Kmem>,
    pub(crate) zones: [Zone; 2],
    pub(crate) counts: Counts,
    pub(crate) tenants: Tenants,
    pub(crate) warnings: Warnings,
    pub(crate) owed: u64,
    /// The pools of huge pages.
    pub hugetlb: HugeTlb,
    /// Who is asked before memory goes online or offline.
    pub notifiers: Chain,
    /// Which allocations fail on purpose.
    pub faults: Faults,
    /// The fault to put in on purpose.
    pub bug: Option<Bug>,
}

impl<M: Machine> Mm<M> {
    /// The machine.
    pub const fn machine(&self) -> &M {
        &self.machine
    }
    /// The granule.
    #[inline(always)]
    pub const fn granule(&self) -> Granule {
        self.layout.granule()
    }
    /// Where things are.
    pub const fn layout(&self) -> Layout {
        self.layout
    }
    /// The kernel's tables.
    pub const fn tables(&self) -> Tables {
        self.tables
    }
    /// The present sections, ascending.
    pub fn sections(&self) -> &[Section] {
        self.sections.as_slice()
    }
    /// The memory blocks, ascending.
    pub fn blocks(&self) -> &[MemoryBlock] {
        self.blocks.as_slice()
    }
    /// The devices' page maps, by the address of their first range.
    pub fn devices(&self) -> &[Pagemap] {
        self.devices.as_slice()
    }
    /// A zone.
    pub const fn zone(&self, kind: ZoneKind) -> &Zone {
        &self.zones[kind as usize]
    }
    /// The pages by use.
    pub fn counts(&self) -> Counts {
        Counts { free: self.zones.iter().map(|z| z.free).sum(), ..self.counts }
    }
    /// What should not have happened.
    pub const fn warnings(&self) -> Warnings {
        self.warnings
    }
    /// Go back to `before`: for a test that provokes warnings and has counted them.
    pub const fn forget_warnings(&mut self, before: Warnings) {
        self.warnings = before;
    }
    /// TLB maintenance that was owed and not done.
    pub const fn unpaid_debts(&self) -> u64 {
        self.owed
    }
    pub(crate) fn has_bug(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    /// The section that `pfn` is in, if it is present.
    pub fn section_of(&self, pfn: Pfn) -> Option<&Section> {
        let g = self.granule();
        self.sections.get(pfn.align_down(g.section_order).get())
    }
    /// The sections of which `pages` has something.
    pub(crate) fn sections_of(&self, pages: PfnRange) -> &[Section] {
        let g = self.granule();
        self.sections.range(pages.start.align_down(g.section_order).get()..pages.end.get())
    }
    /// The block that `pfn` is in.
    pub fn block_of(&self, pfn: Pfn) -> Option<&MemoryBlock> {
        let g = self.granule();
        self.blocks.get(pfn.align_down(g.section_order).get())
    }
    pub(crate) fn block_of_mut(&mut self, pfn: Pfn) -> Option<&mut MemoryBlock> {
        let g = self.granule();
        self.blocks.get_mut(pfn.align_down(g.section_order).get())
    }
    /// Whether `pfn` has a struct page (I1).
    pub fn is_valid(&self, pfn: Pfn) -> bool {
        let g = self.granule();
        self.section_of(pfn).is_some_and(|s| s.is_valid(g, pfn))
    }
    /// The use of `pfn` and the head that says so.
    ///
    /// # Errors
    /// `NotPresent`.
    pub fn use_of(&self, pfn: Pfn) -> Result<(PageKind, Pfn)> {
        if self.is_valid(pfn) { Ok(self.pages().use_of(pfn)) } else { Err(Error::NotPresent(pfn)) }
    }
    /// The struct pages.
    pub fn pages(&self) -> Pages<'_, M> {
        Pages::new(&self.machine, self.layout)
    }

    /// Do the TLB maintenance that is owed.
    pub(crate) fn pay(&mut self, debt: TlbDebt) {
        if self.has_bug(Bug::SkipTlbi) && !debt.is_none() {
            self.owed += 1;
        } else {
            debt.pay(&self.machine);
        }
    }

    /// The bounds within which empty tables of `region` may be freed (I4).
    pub(crate) fn bounds(&self, region: VirtRange) -> VirtRange {
        if self.has_bug(Bug::EmptyTable) { VirtRange::default() } else { region }
    }

    /// Ask the fault plan, before whatever can run out; the error is the one of running out for real.
    ///
    /// # Errors
    /// `Out`, on purpose.
    pub fn may_fail(&mut self, resource: Resource) -> Result<()> {
        if self.faults.hit() { Err(Error::Out(resource)) } else { Ok(()) }
    }

    /// Take a run of `1 << order` pages.
    ///
    /// # Errors
    /// `Out` when no zone that may serve it has one.
    pub fn alloc(&mut self, order: u32, kind: PageKind, mobility: Mobility) -> Result<Pfn> {
        self.may_fail(Resource::Frames { order })?;
        self.take(order, kind, mobility).ok_or(Error::Out(Resource::Frames { order }))
    }

    /// [`Self::alloc`] that nobody makes fail: `None` when there really is no such run.
    pub(crate) fn take(&mut self, order: u32, kind: PageKind, mobility: Mobility) -> Option<Pfn> {
        let found = match mobility {
            Mobility::Unmovable => self.take_oldest(order),
            Mobility::Movable => self
                .take_newest(ZoneKind::Movable, order)
                .or_else(|| self.take_newest(ZoneKind::Normal, order)),
        };
        let pfn = found?;
        self.pages().mark(pfn, order, kind);
        if let Some(count) = self.counts.of_mut(kind) {
            *count += 1 << order;
        }
        Some(pfn)
    }

    pub(crate) fn take_from(&mut self, block: Pfn, order: u32) -> Option<Pfn> {
        let pages = Pages::new(&self.machine, self.layout);
        let block = self.blocks.get_mut(block.get())?;
        let BlockState::Online(zone) = block.state else { return None };
        let pfn = block.free.alloc(&pages, order)?;
        self.zones[zone as usize].free -= 1 << order;
        Some(pfn)
    }

    fn take_oldest(&mut self, order: u32) -> Option<Pfn> {
        let blocks = self.zones[ZoneKind::Normal as usize].blocks().len();
        (0..blocks).find_map(|i| self.take_from(self.zones[ZoneKind::Normal as usize].blocks()[i], order))
    }

    fn take_newest(&mut self, zone: ZoneKind, order: u32) -> Option<Pfn> {
        let z = &self.zones[zone as usize];
        let free = |block: Pfn| self.blocks.get(block.get()).and_then(|b| b.free.largest());
        let first = z.newest_first().find(|(_, block)| free(*block).is_some()).map(|(at, _)| at);
        self.zones[zone as usize].note_full(first.map_or(0, |at| at + 1));
        let first = first?;
        (0..=first).rev().find_map(|i| self.take_from(self.zones[zone as usize].blocks()[i], order))
    }

    /// Give back a run that starts at `pfn`. A page that is not the head of something allocated stays as it is: a warning.
    pub fn free(&mut self, pfn: Pfn) {
        let Some((kind, order)) = self.freeable(pfn) else {
            self.warnings.bad_free += 1;
            return;
        };
        if let Some(count) = self.counts.of_mut(kind) {
            *count -= 1 << order;
        }
        if self.has_bug(Bug::LostPage) && order == 0 {
            return;
        }
        self.put_back(pfn, order);
    }

    pub(crate) fn freeable(&self, pfn: Pfn) -> Option<(PageKind, u32)> {
        let page = self.is_valid(pfn).then(|| self.pages().get(pfn))?;
        let freeable = !matches!(
            page.kind(),
            PageKind::Tail
                | PageKind::Free
                | PageKind::Reserved
                | PageKind::Hole
                | PageKind::MemmapSelf
                | PageKind::Device
                | PageKind::DeviceMemmap
                | PageKind::Poisoned
                | PageKind::HugeTlb
        );
        freeable.then(|| (page.kind(), page.order()))
    }

    /// Put a run on its block's free list, whatever it was.
    pub(crate) fn put_back(&mut self, pfn: Pfn, order: u32) {
        let g = self.granule();
        let pages = Pages::new(&self.machine, self.layout);
        let Some(block) = self.blocks.get_mut(pfn.align_down(g.section_order).get()) else { return };
        let Some(zone) = block.state.zone() else { return };
        pages.own(pfn).clear_head();
        block.free.free(&pages, pfn, order);
        let zone = &mut self.zones[zone as usize];
        zone.free += 1 << order;
        zone.note_freed();
    }
}

impl<M: Machine> TableFrames for Mm<M> {
    /// A table page is always system RAM, never an altmap's, and never movable.
    fn alloc_table(&mut self) -> Result<PhysAddr> {
        let g = self.granule();
        self.alloc(0, PageKind::Table, Mobility::Unmovable).map(|pfn| pfn.address(g))
    }
    fn free_table(&mut self, table: PhysAddr) {
        let g = self.granule();
        self.free(Pfn::containing(g, table));
    }
    fn share_table(&mut self, table: PhysAddr) {
        let g = self.granule();
        let page = self.pages().own(Pfn::containing(g, table));
        page.set_refs(page.refs() + 1);
    }
    fn unshare_table(&mut self, table: PhysAddr) -> bool {
        let g = self.granule();
        let page = self.pages().own(Pfn::containing(g, table));
        let refs = page.refs().saturating_sub(1);
        page.set_refs(refs);
        refs == 0
    }
}
