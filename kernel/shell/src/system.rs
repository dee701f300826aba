//! The kernel as the commands use it, without its granule: its memory ([`Model`]), and what memory comes from. A command is
//! compiled once; what is compiled for each granule is a line here.

use core::sync::atomic::AtomicU64;

use hotmap_mm::addr::{PhysAddr, PhysRange, VirtRange};
use hotmap_mm::error::Result;
use hotmap_mm::frame::block::MemoryBlock;
use hotmap_mm::frame::page::PageKind;
use hotmap_mm::frame::zone::ZoneKind;
use hotmap_mm::granule::Granule;
use hotmap_mm::pfn::{Pfn, PfnRange};
use hotmap_mm::space::dump::Run;

use crate::model::{Bytes, Model};
use hotmap_kernel::arch::peek;
use hotmap_kernel::devices::{Behind, Wanted};
use hotmap_kernel::dimms::Dimm;
use hotmap_kernel::inject::Injection;
use hotmap_kernel::kernel::Kernel;
use hotmap_kernel::nvdimms::NvdimmRange;
use hotmap_kernel::plug::{self, Policy};
use hotmap_kernel::regions::{Refusal, Region};

/// A kernel. Each is the function or the field of that name, unless something else is said.
pub(crate) trait System: Model {
    fn policy(&self) -> Policy;
    fn status(&self) -> u32;
    /// What `inject` has armed for the next whole operation.
    fn injection(&mut self) -> &mut Injection;
    /// A whole operation starts, and what is armed with it.
    fn begin_operation(&mut self);
    fn end_operation(&mut self);
    /// Deal with what devices have to say.
    fn service(&mut self);

    // What memory comes from.
    /// How many slots for DIMMs there are, if there can be any.
    fn slots(&self) -> Option<u32>;
    fn dimm_state(&self, dimm: &Dimm) -> &'static str;
    /// The NVDIMMs, if there can be any.
    fn nvdimms(&self) -> Option<&[NvdimmRange]>;
    fn nvdimm_state(&self, nvdimm: &NvdimmRange) -> &'static str;
    fn regions(&self) -> &[Region];
    fn region_state(&self, region: &Region) -> &'static str;
    /// Add a region, or `len` bytes of one, as the policy says.
    fn add_region(&mut self, start: PhysAddr, len: Option<u64>) -> core::result::Result<(), Refusal>;
    fn remove_region(&mut self, start: PhysAddr) -> core::result::Result<(), Refusal>;
    fn memory_behind(&self, at: PhysAddr) -> Option<Behind>;
    fn make_device(&mut self, ranges: &[Bytes], wanted: &Wanted) -> Result<Pfn>;
    /// Give a device's memory to the system, with its memmap where the policy says, in zone Movable.
    fn give_device(&mut self, start: Pfn) -> Result<PfnRange>;
    /// A word in the usable part of a device.
    fn device_word(&self, at: PhysAddr) -> Option<&AtomicU64>;

    // How it is.
    fn phys_base(&self) -> PhysAddr;
    /// The whole pages inside `range`.
    fn pages_inside(&self, range: PhysRange) -> PfnRange;
    fn block_of(&self, pfn: Pfn) -> Option<&MemoryBlock>;
    fn memmap_of(&self, block: &MemoryBlock) -> &'static str;
    /// What the blocks of `range` are: `online`, `offline` or `mixed`.
    fn state_of(&self, range: PhysRange) -> &'static str;
    /// What the struct page of a valid page says, whatever becomes of its block.
    fn kind_of(&self, pfn: Pfn) -> PageKind;
    fn table_pages(&self, range: VirtRange) -> u64;
    fn runs(&self, range: VirtRange, line: &mut dyn FnMut(&Run)) -> Result<()>;
}

impl System for Kernel {
    fn policy(&self) -> Policy {
        self.policy()
    }
    fn status(&self) -> u32 {
        self.status
    }
    fn injection(&mut self) -> &mut Injection {
        &mut self.injection
    }
    fn begin_operation(&mut self) {
        self.injection.begin(self.mm.faults_mut());
    }
    fn end_operation(&mut self) {
        self.injection.end(self.mm.faults_mut());
    }
    fn service(&mut self) {
        self.service();
    }

    fn slots(&self) -> Option<u32> {
        self.platform.ged.as_ref().map(|ged| ged.slot_count())
    }
    fn dimm_state(&self, dimm: &Dimm) -> &'static str {
        self.dimm_state(dimm)
    }
    fn nvdimms(&self) -> Option<&[NvdimmRange]> {
        self.platform.nvdimm.as_ref().map(|_| self.nvdimms.all())
    }
    fn nvdimm_state(&self, nvdimm: &NvdimmRange) -> &'static str {
        self.nvdimm_state(nvdimm)
    }
    fn regions(&self) -> &[Region] {
        self.regions.all()
    }
    fn region_state(&self, region: &Region) -> &'static str {
        self.region_state(region)
    }
    fn add_region(&mut self, start: PhysAddr, len: Option<u64>) -> core::result::Result<(), Refusal> {
        let policy = self.policy();
        match self.boot_block(start).filter(|block| len.is_none_or(|len| len == block.len())) {
            Some(block) => {
                let name = self.boot_name(block);
                Ok(plug::bring_in(&mut self.mm, name, block.len(), policy)?)
            }
            None => self.regions.add(&mut self.mm, start, len, policy),
        }
    }
    fn remove_region(&mut self, start: PhysAddr) -> core::result::Result<(), Refusal> {
        match self.boot_block(start) {
            Some(block) => {
                let name = self.boot_name(block);
                Ok(plug::take_away(&mut self.mm, name, block)?)
            }
            None => self.regions.remove(&mut self.mm, start),
        }
    }
    fn memory_behind(&self, at: PhysAddr) -> Option<Behind> {
        self.memory_behind(at)
    }
    fn make_device(&mut self, ranges: &[Bytes], wanted: &Wanted) -> Result<Pfn> {
        self.make_device(ranges, wanted)
    }
    fn give_device(&mut self, start: Pfn) -> Result<PfnRange> {
        self.mm.device_to_memory(start, self.policy().home, ZoneKind::Movable)
    }
    fn device_word(&self, at: PhysAddr) -> Option<&AtomicU64> {
        peek::device_word(&self.mm, at)
    }

    fn phys_base(&self) -> PhysAddr {
        self.mm.layout().phys_base
    }
    fn pages_inside(&self, range: PhysRange) -> PfnRange {
        let g = self.granule();
        PfnRange::inside(g, range)
    }
    fn block_of(&self, pfn: Pfn) -> Option<&MemoryBlock> {
        self.mm.block_of(pfn)
    }
    fn memmap_of(&self, block: &MemoryBlock) -> &'static str {
        self.memmap_of(block)
    }
    fn state_of(&self, range: PhysRange) -> &'static str {
        plug::state_of(&self.mm, range)
    }
    fn kind_of(&self, pfn: Pfn) -> PageKind {
        self.mm.pages().use_of(pfn).0
    }
    fn table_pages(&self, range: VirtRange) -> u64 {
        self.mm.space().table_pages(range)
    }
    fn runs(&self, range: VirtRange, line: &mut dyn FnMut(&Run)) -> Result<()> {
        self.mm.space().runs(range, line)
    }
}

/// The granule's arithmetic, from the model's own table.
impl dyn System + '_ {
    pub(crate) fn geometry(&self) -> Granule {
        self.granule()
    }
    /// The bytes of a page.
    pub(crate) fn page_size(&self) -> u64 {
        1 << self.geometry().page_shift
    }
    /// The bytes of a memory block.
    pub(crate) fn block_size(&self) -> u64 {
        1 << self.geometry().section_shift
    }
    /// The pages of a memory block.
    pub(crate) fn block_pages(&self) -> u64 {
        1 << self.block_order()
    }
    /// The order of a whole memory block.
    pub(crate) fn block_order(&self) -> u32 {
        self.geometry().section_shift - self.geometry().page_shift
    }
    /// The page that contains `address`.
    #[inline(never)]
    pub(crate) fn pfn(&self, address: PhysAddr) -> Pfn {
        Pfn::new(address.get() >> self.geometry().page_shift)
    }
    /// The first byte of a page.
    #[inline(never)]
    pub(crate) fn address(&self, pfn: Pfn) -> PhysAddr {
        PhysAddr::new(pfn.get() << self.geometry().page_shift)
    }
    /// The bytes of pages.
    pub(crate) fn addresses(&self, pages: PfnRange) -> PhysRange {
        PhysRange { start: self.address(pages.start), end: self.address(pages.end) }
    }
    /// The first page that the buddy allocator may have of a block, by its address.
    pub(crate) fn usable_start(&self, block: &MemoryBlock) -> PhysAddr {
        self.address(block.start + block.memmap_pages)
    }
}
