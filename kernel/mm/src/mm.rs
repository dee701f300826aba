//! The memory of a machine: page frames, the address space, and what uses them, in one value behind one lock.

use crate::debug::bugs::Bug;
use crate::debug::faults::Faults;
use crate::device::given::Kmem;
use crate::device::pagemap::Pagemap;
use crate::error::{Resource, Result};
use crate::frame::block::MemoryBlock;
use crate::frame::counts::{Counts, Warnings};
use crate::frame::page::PageKind;
use crate::frame::pages::Pages;
use crate::frame::section::Section;
use crate::frame::zone::{Zone, ZoneKind};
use crate::frame::{Frames, Mobility};
use crate::granule::Granule;
use crate::hotplug::notify::Chain;
use crate::hugetlb::HugeTlb;
use crate::layout::Layout;
use crate::list::List;
use crate::machine::Machine;
use crate::migrate::compact::{self, Compacted};
use crate::migrate::tenant::Tenants;
use crate::pfn::{Pfn, PfnRange};
use crate::space::table::KernelSpace;

/// The memory of a machine.
pub struct Mm<M: Machine> {
    pub(crate) frames: Frames<M>,
    pub(crate) space: KernelSpace<M>,
    pub(crate) devices: List<Pagemap>,
    pub(crate) kmem: List<Kmem>,
    pub(crate) tenants: Tenants,
    /// The pools of huge pages.
    pub hugetlb: HugeTlb,
    /// Who is asked before memory goes online or offline.
    pub notifiers: Chain,
}

impl<M: Machine> Mm<M> {
    /// The page frames.
    pub const fn frames(&self) -> &Frames<M> {
        &self.frames
    }
    /// The kernel's address space.
    pub const fn space(&self) -> &KernelSpace<M> {
        &self.space
    }
    /// The address space and the page frames, to change: what a user of the tables needs, which takes its frames from the other.
    pub const fn parts_mut(&mut self) -> (&mut KernelSpace<M>, &mut Frames<M>) {
        (&mut self.space, &mut self.frames)
    }
    /// The machine.
    pub const fn machine(&self) -> &M {
        self.space.machine()
    }
    /// The granule.
    #[inline(always)]
    pub const fn granule(&self) -> Granule {
        self.space.granule()
    }
    /// Where things are.
    pub const fn layout(&self) -> Layout {
        self.space.layout()
    }
    /// The devices' page maps, by the address of their first range.
    pub fn devices(&self) -> &[Pagemap] {
        self.devices.as_slice()
    }
    /// What should not have happened.
    pub const fn warnings(&self) -> Warnings {
        self.frames.warnings
    }
    /// Go back to `before`: for a test that provokes warnings and has counted them.
    pub const fn forget_warnings(&mut self, before: Warnings) {
        self.frames.warnings = before;
    }
    /// TLB maintenance that was owed and not done.
    pub const fn skipped_invalidations(&self) -> u64 {
        self.space.skipped_invalidations()
    }
    /// Which allocations fail on purpose.
    pub const fn faults_mut(&mut self) -> &mut Faults {
        &mut self.frames.faults
    }
    /// Which allocations fail on purpose.
    pub const fn faults(&self) -> &Faults {
        &self.frames.faults
    }
    /// Ask the fault plan, before what can run out.
    ///
    /// # Errors
    /// `Out`, on purpose.
    pub fn may_fail(&mut self, resource: Resource) -> Result<()> {
        self.frames.may_fail(resource)
    }
    /// Put a fault in on purpose, or none.
    pub const fn set_bug(&mut self, bug: Option<Bug>) {
        self.frames.hooks.set(bug);
        self.space.hooks.set(bug);
    }

    /// The present sections, ascending.
    pub fn sections(&self) -> &[Section] {
        self.frames.sections()
    }
    /// The memory blocks, ascending.
    pub fn blocks(&self) -> &[MemoryBlock] {
        self.frames.blocks()
    }
    /// A zone.
    pub const fn zone(&self, kind: ZoneKind) -> &Zone {
        self.frames.zone(kind)
    }
    /// The pages by use.
    pub fn counts(&self) -> Counts {
        self.frames.counts()
    }
    /// The section that `pfn` is in, if it is present.
    pub fn section_of(&self, pfn: Pfn) -> Option<&Section> {
        self.frames.section_of(pfn)
    }
    /// The block that `pfn` is in.
    pub fn block_of(&self, pfn: Pfn) -> Option<&MemoryBlock> {
        self.frames.block_of(pfn)
    }
    /// Whether `pfn` has a struct page (I1).
    pub fn is_valid(&self, pfn: Pfn) -> bool {
        self.frames.is_valid(pfn)
    }
    /// The use of `pfn` and the head that says so.
    ///
    /// # Errors
    /// `NotPresent`.
    pub fn use_of(&self, pfn: Pfn) -> Result<(PageKind, Pfn)> {
        self.frames.use_of(pfn)
    }
    /// The struct pages.
    pub fn pages(&self) -> Pages<'_, M> {
        self.frames.pages()
    }
    /// Take a run of `1 << order` pages.
    ///
    /// # Errors
    /// `Out` when no zone that may serve it has one.
    pub fn alloc(&mut self, order: u32, kind: PageKind, mobility: Mobility) -> Result<Pfn> {
        self.frames.alloc(order, kind, mobility)
    }
    /// See to it that zone Normal has a free run of `1 << order` pages.
    ///
    /// # Errors
    /// `Out` when no such run can be made, or a page finds no place to move to.
    pub fn compact(&mut self, order: u32) -> Result<Compacted> {
        compact::compact(&mut self.space, &mut self.frames, order)
    }
    /// Isolate every block of `pages` that is not offline: from here on nothing is allocated from them. Returns the pages
    /// from the first such block to the last (Linux: `start_isolate_page_range`).
    ///
    /// # Errors
    /// `NoBlock`, `BlockState` when one is isolated already, `NotWhole` for a boot block with holes; nothing has changed then.
    pub fn start_isolate(&mut self, pages: PfnRange) -> Result<PfnRange> {
        self.frames.start_isolate(pages)
    }
    /// The inverse of [`Self::start_isolate`].
    pub fn undo_isolate(&mut self, pages: PfnRange) {
        self.frames.undo_isolate(pages);
    }
    /// Give back a run that starts at `pfn`. A page that is not the head of something allocated stays as it is: a warning.
    pub fn free(&mut self, pfn: Pfn) {
        self.frames.free(pfn);
    }
}
