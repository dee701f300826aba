//! Memory that devices can be made of. Persistent memory waits for `dax create` in the shell; with `pmem=` it becomes a
//! device at boot, or when an NVDIMM is plugged.

use hotmap_mm::addr::{Bytes, PhysAddr, PhysRange};
use hotmap_mm::device::compound::{Compound, TailScope};
use hotmap_mm::device::pagemap::{DeviceType, Pagemap};
use hotmap_mm::error::Result;
use hotmap_mm::frame::block::Source;
use hotmap_mm::hotplug::home::MemmapHome;
use hotmap_mm::pfn::Pfn;

use crate::args::PmemUse;
use crate::kernel::Kernel;
use crate::plug::{self, Name};
use crate::regions::{Refusal, RegionKind, RegionUse};
use crate::{klog, kprintln};

/// Memory that boot does not use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Behind {
    /// Its range.
    pub range: PhysRange,
    /// The type of a device made of it, unless the request names one.
    pub kind: DeviceType,
    /// Its NUMA node, or 0 if none is named.
    pub node: u32,
}

/// A request for a device.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Its type.
    pub kind: DeviceType,
    /// Where its memmap lies.
    pub memmap: MemmapHome,
    /// The size of its compound pages in bytes, or `None` for single pages.
    pub align: Option<u64>,
    /// Which compound pages share a page of tails.
    pub tails: TailScope,
}

impl Wanted {
    /// A request for a device of single pages.
    pub const fn new(kind: DeviceType, memmap: MemmapHome) -> Self {
        Self { kind, memmap, align: None, tails: TailScope::Page }
    }
}

impl Kernel {
    /// The memory around `at` that a device can be made of: a region that waits, or an NVDIMM.
    pub fn memory_behind(&self, at: PhysAddr) -> Option<Behind> {
        self.all_behind().find(|behind| behind.range.contains(at))
    }

    fn all_behind(&self) -> impl Iterator<Item = Behind> + '_ {
        let free = self.regions.all().iter().filter(|region| !matches!(region.usage, RegionUse::Refused(_)));
        let regions = free.map(|region| Behind {
            range: region.range,
            kind: device_type(region.kind),
            node: region.node.unwrap_or(0),
        });
        let kind = DeviceType::FsDax;
        let nvdimms = self.nvdimms.all().iter().map(move |nvdimm| Behind {
            range: nvdimm.range,
            kind,
            node: nvdimm.node.unwrap_or(0),
        });
        regions.chain(nvdimms)
    }

    /// The use of `range`, if a device is made of some of it: `device`, or `kmem` if the system has its memory.
    pub fn device_use(&self, range: PhysRange) -> Option<&'static str> {
        let g = self.granule();
        let overlaps = |device: &Pagemap| device.addresses(g).any(|part| part.overlaps(&range));
        if self.mm.devices().iter().any(overlaps) {
            return Some("device");
        }
        let given = self.mm.devices().kmem().iter().any(|kmem| kmem.device().addresses(g).overlaps(&range));
        given.then_some("kmem")
    }

    /// The whole memory block of boot RAM at `start`, present or removed.
    pub fn boot_block(&self, start: PhysAddr) -> Option<PhysRange> {
        let g = self.granule();
        let block =
            PhysRange::checked_new(start, g.section_size).filter(|_| start.is_aligned(g.section_size))?;
        self.info.memblock.ram().iter().any(|ram| ram.covers(&block)).then_some(block)
    }

    /// The name of a block of boot RAM.
    pub fn boot_name(&self, block: PhysRange) -> Name {
        // From the device tree: the model does not know a block that was removed.
        let node = self.info.machine.numa_node_at(block.start.get()).unwrap_or(0);
        Name { source: Source::Boot, start: block.start, node }
    }

    /// Adds the region at `start`, `len` bytes of it, or a block of boot memory that was removed, as the policy says.
    ///
    /// # Errors
    /// Why it cannot be added; everything is as it was.
    pub fn add_region(&mut self, start: PhysAddr, len: Option<u64>) -> core::result::Result<(), Refusal> {
        let policy = self.policy();
        match self.boot_block(start).filter(|block| len.is_none_or(|len| len == block.len())) {
            Some(block) => {
                let name = self.boot_name(block);
                Ok(plug::bring_in(&mut self.mm, name, block.len(), policy)?)
            }
            None => self.regions.add(&mut self.mm, start, len, policy),
        }
    }

    /// Removes the block of boot memory at `start`, or what was added there.
    ///
    /// # Errors
    /// Why it cannot be removed; everything is as it was.
    pub fn remove_region(&mut self, start: PhysAddr) -> core::result::Result<(), Refusal> {
        match self.boot_block(start) {
            Some(block) => {
                let name = self.boot_name(block);
                Ok(plug::take_away(&mut self.mm, name, block)?)
            }
            None => self.regions.remove(&mut self.mm, start),
        }
    }

    /// Makes a device of `ranges`, and reports it.
    ///
    /// # Errors
    /// Why it cannot be made; everything is as it was.
    pub fn make_device(&mut self, ranges: &[(PhysAddr, u64)], wanted: &Wanted) -> Result<Pfn> {
        let g = self.granule();
        let Wanted { kind, memmap, align, tails } = *wanted;
        let compound = align.map_or(Ok(Compound::PAGE), |size| Compound::new(g, size, tails))?;
        let node = ranges.first().and_then(|(start, _)| self.memory_behind(*start)).map_or(0, |b| b.node);
        let device = self.mm.compound_device_range(ranges, kind, memmap, compound)?.on_node(node);
        let remote = self.mm.frames().warnings.remote_memmap;
        self.mm.memremap_pages(&device, |_, _| {})?;
        let start = device.start();
        if self.mm.frames().warnings.remote_memmap > remote {
            let at = start.address(g).get();
            kprintln!(
                "warning: dax@{at:x} is on node {node}, and its memmap is not (this is said once; --map dev avoids it)"
            );
        }
        self.tell_device(start);
        Ok(start)
    }

    fn tell_device(&self, start: Pfn) {
        let g = self.granule();
        let Some(device) = self.mm.devices().of(start) else { return };
        let at = start.address(g);
        let memmap = self.mm.frames().altmap(start).map_or(0, |altmap| altmap.alloc());
        klog!(
            "dax@{:x}: {} {} is here, {memmap} pages of it its own memmap, usable from {}",
            at.get(),
            Bytes(device.pages() << g.page_shift),
            device.kind(),
            device.usable_start().address(g)
        );
    }

    /// Does what `pmem=` says: makes a device of each region of persistent memory and each NVDIMM without one.
    pub(crate) fn use_pmem(&mut self) {
        let memmap = match self.info.args.pmem {
            PmemUse::Off => return,
            PmemUse::MapDevice => MemmapHome::SelfRange { reserve: 0 },
            PmemUse::MapMemory => MemmapHome::Ram,
        };
        let mut after = PhysAddr::new(0);
        // One after the other, by address: making a device changes the list.
        while let Some(Behind { range, kind, .. }) = self.next_pmem(after) {
            after = range.end;
            if let Err(error) = self.make_device(&[(range.start, range.len())], &Wanted::new(kind, memmap)) {
                kprintln!("dax@{:x}: refused: {error}", range.start.get());
            }
        }
    }

    /// The first persistent memory from `after` on without a device.
    fn next_pmem(&self, after: PhysAddr) -> Option<Behind> {
        let is_pmem = |behind: &Behind| {
            let region = self.regions.all().iter().find(|region| region.range == behind.range);
            region.is_none_or(|region| region.kind != RegionKind::Hotpluggable)
        };
        let waits = |b: &Behind| b.range.start >= after && is_pmem(b) && self.device_use(b.range).is_none();
        self.all_behind().filter(waits).min_by_key(|behind| behind.range.start)
    }
}

/// Persistent memory becomes a device for file systems; other memory becomes a generic device.
const fn device_type(kind: RegionKind) -> DeviceType {
    match kind {
        RegionKind::Pmem { volatile: false } => DeviceType::FsDax,
        RegionKind::Pmem { volatile: true } | RegionKind::Hotpluggable => DeviceType::Generic,
    }
}
