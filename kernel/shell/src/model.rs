//! The memory model as the commands and the self-tests use it, without its granule: the model is compiled once for each
//! granule, they once for all. What else a kernel has is in [`system`](crate::system).

use core::sync::atomic::AtomicU64;

use hotmap_mm::addr::{PhysAddr, PhysRange, VirtAddr, VirtRange};
use hotmap_mm::audit::{AuditSummary, Finding};
use hotmap_mm::debug::faults::Plan;
use hotmap_mm::device::compound::{Compound, TailScope};
use hotmap_mm::device::given::Kmem;
use hotmap_mm::device::holds::Teardown;
use hotmap_mm::device::pagemap::{DeviceType, Pagemap};
use hotmap_mm::device::range::DeviceRange;
use hotmap_mm::error::{Error, Result, SpaceError};
use hotmap_mm::frame::block::{MemoryBlock, Source};
use hotmap_mm::frame::page::{Page, PageKind};
use hotmap_mm::frame::section::Section;
use hotmap_mm::frame::tables::TableFrames;
use hotmap_mm::frame::zone::{Zone, ZoneKind};
use hotmap_mm::frame::{
    Mobility,
    counts::{Counts, Warnings},
};
use hotmap_mm::granule::Granule;
use hotmap_mm::hotplug::home::MemmapHome;
use hotmap_mm::hotplug::isolate::Used;
use hotmap_mm::hotplug::notify::Chain;
use hotmap_mm::hotplug::offline::Offlined;
use hotmap_mm::hotplug::range::HotRange;
use hotmap_mm::layout::{LINEAR_START, TENANTS};
use hotmap_mm::machine::Machine;
use hotmap_mm::migrate::compact::Compacted;
use hotmap_mm::migrate::tenant::Tenant;
use hotmap_mm::pfn::{Pfn, PfnRange};
use hotmap_mm::space::descriptor::Descriptor;
use hotmap_mm::space::live_update::Contents;
use hotmap_mm::space::request::{Gone, MapRequest};
use hotmap_mm::space::walk::{Path, Slot};
use hotmap_mm::vmemmap::cost::MemmapCost;

use hotmap_kernel::arch::{machine::Arm, peek};
use hotmap_kernel::boot_info::BootInfo;
use hotmap_kernel::dimms::Dimm;
use hotmap_kernel::kernel::Kernel;
use hotmap_mm::mm::Mm;

/// Where memory starts, and how many bytes it is.
pub(crate) type Bytes = (PhysAddr, u64);

/// A kernel's memory. Each is the model's function of that name.
pub(crate) trait Model {
    // The machine.
    fn granule(&self) -> Granule;
    fn info(&self) -> &'static BootInfo;
    fn dimms(&self) -> &[Dimm];

    // The books.
    fn counts(&self) -> Counts;
    fn zone(&self, kind: ZoneKind) -> &Zone;
    fn blocks(&self) -> &[MemoryBlock];
    fn sections(&self) -> &[Section];
    fn devices(&self) -> &[Pagemap];
    fn tenants(&self) -> &[Tenant];
    fn warnings(&self) -> Warnings;
    fn forget_warnings(&mut self, before: Warnings);
    fn skipped_invalidations(&self) -> u64;
    fn audit(&self, report: &mut dyn FnMut(&Finding)) -> AuditSummary;

    // Pages.
    fn is_valid(&self, pfn: Pfn) -> bool;
    fn use_of(&self, pfn: Pfn) -> Result<(PageKind, Pfn)>;
    fn page(&self, pfn: Pfn) -> &Page;
    fn each_free_run(&self, block: &MemoryBlock, found: &mut dyn FnMut(Pfn, u32));
    fn alloc(&mut self, order: u32, kind: PageKind, mobility: Mobility) -> Result<Pfn>;
    fn free(&mut self, pfn: Pfn);
    fn pin(&mut self, pfn: Pfn) -> Result<()>;
    fn unpin(&mut self, pfn: Pfn) -> Result<()>;

    // Addresses and tables.
    fn linear(&self, pa: PhysAddr) -> VirtAddr;
    fn vmemmap(&self) -> VirtRange;
    fn page_address(&self, pfn: Pfn) -> VirtAddr;
    fn pfn_of_page(&self, va: VirtAddr) -> Option<Pfn>;
    fn root(&self) -> PhysAddr;
    fn path(&self, va: VirtAddr) -> Path;
    fn translate(&self, va: VirtAddr) -> Option<PhysAddr>;
    /// Every entry of the upper half that is not empty.
    fn scan(&self, found: &mut dyn FnMut(&Slot, Descriptor)) -> Result<()>;
    fn map(&mut self, request: &MapRequest) -> Result<()>;
    /// Break, invalidate, empty, and free the tables; the memory stays.
    fn unmap(&mut self, range: VirtRange) -> Result<()>;
    fn exchange_page(&mut self, va: VirtAddr, pa: PhysAddr) -> Result<()>;
    /// Break the leaf of vmemmap at `va`, and make it again, in a window.
    fn blink(&mut self, va: VirtAddr) -> Result<()>;

    // Memory that comes and goes.
    fn hot_range(&self, start: PhysAddr, len: u64, source: Source) -> Result<HotRange>;
    fn add(&mut self, range: &HotRange, home: MemmapHome) -> Result<()>;
    fn online(&mut self, start: Pfn, zone: ZoneKind) -> Result<()>;
    fn online_range(&mut self, pages: PfnRange, zone: ZoneKind) -> Result<()>;
    fn offline(&mut self, start: Pfn) -> Result<Offlined>;
    fn offline_range(&mut self, pages: PfnRange) -> Result<Offlined>;
    fn remove(&mut self, range: PhysRange) -> Result<()>;

    // Devices.
    fn device(&self, ranges: &[Bytes], kind: DeviceType, memmap: MemmapHome) -> Result<DeviceRange>;
    /// In compound pages of `size` bytes.
    fn compound_device(
        &self,
        range: Bytes,
        kind: DeviceType,
        memmap: MemmapHome,
        size: u64,
        tails: TailScope,
    ) -> Result<DeviceRange>;
    fn device_create(&mut self, device: &DeviceRange) -> Result<()>;
    fn device_destroy(&mut self, start: Pfn) -> Result<Teardown>;
    fn kmem(&self) -> &[Kmem];
    /// Self-hosted, into zone Movable.
    fn device_to_memory(&mut self, start: Pfn) -> Result<PfnRange>;
    fn memory_to_device(&mut self, start: Pfn) -> Result<u64>;

    // Tenants.
    fn tenant_new(&mut self, count: u64) -> Result<u32>;
    fn tenant_check(&self, id: u32) -> Result<u64>;
    fn tenant_drop(&mut self, id: u32) -> Result<()>;
    fn tenant_word(&self, pfn: Pfn, index: usize) -> Option<&AtomicU64>;

    // Emptying memory, and keeping it out of use.
    fn start_isolate(&mut self, pages: PfnRange) -> Result<PfnRange>;
    fn test_isolated(&self, pages: PfnRange) -> Option<Pfn>;
    fn undo_isolate(&mut self, pages: PfnRange);
    fn next_used(&self, pages: PfnRange) -> Option<Used>;
    fn host_memmap(&mut self, pfn: Pfn, order: u32) -> Result<()>;
    fn unhost_memmap(&mut self, pfn: Pfn) -> Result<()>;
    fn compact(&mut self, order: u32) -> Result<Compacted>;
    fn poison(&mut self, pfn: Pfn) -> Result<Option<Pfn>>;
    fn unpoison(&mut self, pfn: Pfn) -> Result<()>;

    // Huge pages.
    /// What is done with them.
    fn memmap_cost(&self, pages: PfnRange) -> MemmapCost;
    fn mm(&self) -> &Mm<Arm>;
    fn mm_mut(&mut self) -> &mut Mm<Arm>;

    // Faults, and those who may say no.
    fn notifiers(&mut self) -> &mut Chain;
    fn arm(&mut self, plan: Plan);
    fn fired(&self) -> bool;
}

impl Model for Kernel {
    fn granule(&self) -> Granule {
        self.mm.granule()
    }
    fn info(&self) -> &'static BootInfo {
        self.info
    }
    fn dimms(&self) -> &[Dimm] {
        self.dimms.all()
    }

    fn counts(&self) -> Counts {
        self.mm.counts()
    }
    fn zone(&self, kind: ZoneKind) -> &Zone {
        self.mm.zone(kind)
    }
    fn blocks(&self) -> &[MemoryBlock] {
        self.mm.blocks()
    }
    fn sections(&self) -> &[Section] {
        self.mm.sections()
    }
    fn devices(&self) -> &[Pagemap] {
        self.mm.devices()
    }
    fn tenants(&self) -> &[Tenant] {
        self.mm.tenants()
    }
    fn warnings(&self) -> Warnings {
        self.mm.warnings()
    }
    fn forget_warnings(&mut self, before: Warnings) {
        self.mm.forget_warnings(before);
    }
    fn skipped_invalidations(&self) -> u64 {
        self.mm.skipped_invalidations()
    }
    fn audit(&self, report: &mut dyn FnMut(&Finding)) -> AuditSummary {
        self.mm.audit(report)
    }

    fn is_valid(&self, pfn: Pfn) -> bool {
        self.mm.is_valid(pfn)
    }
    fn use_of(&self, pfn: Pfn) -> Result<(PageKind, Pfn)> {
        self.mm.use_of(pfn)
    }
    fn page(&self, pfn: Pfn) -> &Page {
        self.mm.pages().get(pfn)
    }
    fn each_free_run(&self, block: &MemoryBlock, found: &mut dyn FnMut(Pfn, u32)) {
        let g = self.granule();
        for order in 0..=g.section_order {
            block.free.heads(&self.mm.pages(), order).for_each(|pfn| found(pfn, order));
        }
    }
    fn alloc(&mut self, order: u32, kind: PageKind, mobility: Mobility) -> Result<Pfn> {
        self.mm.alloc(order, kind, mobility)
    }
    fn free(&mut self, pfn: Pfn) {
        self.mm.free(pfn);
    }
    fn pin(&mut self, pfn: Pfn) -> Result<()> {
        self.mm.pin(pfn)
    }
    fn unpin(&mut self, pfn: Pfn) -> Result<()> {
        self.mm.unpin(pfn)
    }

    fn linear(&self, pa: PhysAddr) -> VirtAddr {
        self.mm.layout().linear(pa)
    }
    fn vmemmap(&self) -> VirtRange {
        self.mm.layout().vmemmap()
    }
    fn page_address(&self, pfn: Pfn) -> VirtAddr {
        self.mm.layout().page_address(pfn)
    }
    fn pfn_of_page(&self, va: VirtAddr) -> Option<Pfn> {
        self.mm.layout().pfn_of_page(va)
    }
    fn root(&self) -> PhysAddr {
        self.mm.space().root()
    }
    fn path(&self, va: VirtAddr) -> Path {
        self.mm.space().path(va)
    }
    fn translate(&self, va: VirtAddr) -> Option<PhysAddr> {
        self.mm.space().translate(va)
    }
    fn scan(&self, found: &mut dyn FnMut(&Slot, Descriptor)) -> Result<()> {
        let everything = VirtRange { start: LINEAR_START, end: VirtAddr::new(u64::MAX) };
        self.mm.space().scan(everything, found)
    }
    fn map(&mut self, request: &MapRequest) -> Result<()> {
        let (space, frames) = self.mm.parts_mut();
        space.map(frames, request)?;
        space.publish();
        Ok(())
    }
    fn unmap(&mut self, range: VirtRange) -> Result<()> {
        let (space, frames) = self.mm.parts_mut();
        let debt = space.break_range(range, TENANTS, |_| false)?;
        space.invalidate(debt);
        space.reap(range, |gone| {
            if let Gone::Table(table) = gone {
                frames.free_table(table);
            }
        })
    }
    fn exchange_page(&mut self, va: VirtAddr, pa: PhysAddr) -> Result<()> {
        self.mm.parts_mut().0.exchange_page(va, pa, |_| {})
    }
    fn blink(&mut self, va: VirtAddr) -> Result<()> {
        let machine = *self.mm.machine();
        let (space, _) = self.mm.parts_mut();
        let leaf = space
            .path(va)
            .leaf()
            .map(|step| step.slot.span)
            .ok_or(Error::Space(SpaceError::NotMapped(va)))?;
        let mut rewrite = |change: fn(Descriptor) -> Descriptor| -> Result<()> {
            let debt = space.rewrite(leaf, Contents::MayDiffer, &mut |_, old| change(old))?;
            space.invalidate(debt);
            Ok(())
        };
        machine.window_open(leaf);
        let made = rewrite(Descriptor::broken).and_then(|()| rewrite(Descriptor::unbroken));
        machine.window_close();
        made
    }

    fn hot_range(&self, start: PhysAddr, len: u64, source: Source) -> Result<HotRange> {
        HotRange::new(&self.mm, start, len, source)
    }
    fn add(&mut self, range: &HotRange, home: MemmapHome) -> Result<()> {
        self.mm.add_memory(range, home, |_, _| {})
    }
    fn online(&mut self, start: Pfn, zone: ZoneKind) -> Result<()> {
        self.mm.online_block(start, zone)
    }
    fn online_range(&mut self, pages: PfnRange, zone: ZoneKind) -> Result<()> {
        self.mm.online_pages(pages, zone, |_, _| {})
    }
    fn offline(&mut self, start: Pfn) -> Result<Offlined> {
        self.mm.offline_block(start)
    }
    fn offline_range(&mut self, pages: PfnRange) -> Result<Offlined> {
        self.mm.offline_pages(pages)
    }
    fn remove(&mut self, range: PhysRange) -> Result<()> {
        self.mm.remove_memory(range)
    }

    fn device(&self, ranges: &[Bytes], kind: DeviceType, memmap: MemmapHome) -> Result<DeviceRange> {
        self.mm.device_range(ranges, kind, memmap)
    }
    fn compound_device(
        &self,
        range: Bytes,
        kind: DeviceType,
        memmap: MemmapHome,
        size: u64,
        tails: TailScope,
    ) -> Result<DeviceRange> {
        let g = self.granule();
        let compound = Compound::new(g, size, tails)?;
        self.mm.compound_device_range(&[range], kind, memmap, compound)
    }
    fn device_create(&mut self, device: &DeviceRange) -> Result<()> {
        self.mm.memremap_pages(device, |_, _| {})
    }
    fn device_destroy(&mut self, start: Pfn) -> Result<Teardown> {
        self.mm.memunmap_pages(start)
    }
    fn kmem(&self) -> &[Kmem] {
        self.mm.kmem()
    }
    fn device_to_memory(&mut self, start: Pfn) -> Result<PfnRange> {
        self.mm.device_to_memory(start, MemmapHome::SelfHosted, ZoneKind::Movable)
    }
    fn memory_to_device(&mut self, start: Pfn) -> Result<u64> {
        self.mm.memory_to_device(start)
    }

    fn tenant_new(&mut self, count: u64) -> Result<u32> {
        self.mm.tenant_new(count)
    }
    fn tenant_check(&self, id: u32) -> Result<u64> {
        self.mm.tenant_check(id)
    }
    fn tenant_drop(&mut self, id: u32) -> Result<()> {
        self.mm.tenant_drop(id)
    }
    fn tenant_word(&self, pfn: Pfn, index: usize) -> Option<&AtomicU64> {
        peek::tenant_word(&self.mm, pfn, index)
    }

    fn start_isolate(&mut self, pages: PfnRange) -> Result<PfnRange> {
        self.mm.start_isolate(pages)
    }
    fn test_isolated(&self, pages: PfnRange) -> Option<Pfn> {
        self.mm.frames().test_isolated(pages)
    }
    fn undo_isolate(&mut self, pages: PfnRange) {
        self.mm.undo_isolate(pages);
    }
    fn next_used(&self, pages: PfnRange) -> Option<Used> {
        self.mm.frames().next_used(pages)
    }
    fn host_memmap(&mut self, pfn: Pfn, order: u32) -> Result<()> {
        self.mm.host_memmap(pfn, order)
    }
    fn unhost_memmap(&mut self, pfn: Pfn) -> Result<()> {
        self.mm.unhost_memmap(pfn)
    }
    fn compact(&mut self, order: u32) -> Result<Compacted> {
        self.mm.compact(order)
    }
    fn poison(&mut self, pfn: Pfn) -> Result<Option<Pfn>> {
        self.mm.poison(pfn)
    }
    fn unpoison(&mut self, pfn: Pfn) -> Result<()> {
        self.mm.unpoison(pfn)
    }

    fn memmap_cost(&self, pages: PfnRange) -> MemmapCost {
        self.mm.memmap_cost(pages)
    }
    fn mm(&self) -> &Mm<Arm> {
        &self.mm
    }
    fn mm_mut(&mut self) -> &mut Mm<Arm> {
        &mut self.mm
    }

    fn notifiers(&mut self) -> &mut Chain {
        &mut self.mm.notifiers
    }
    fn arm(&mut self, plan: Plan) {
        self.mm.faults_mut().arm(plan);
    }
    fn fired(&self) -> bool {
        self.mm.faults().fired()
    }
}
