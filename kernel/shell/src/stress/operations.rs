//! The operations of `stress`, each as it may come at any time. What takes struct pages away hides them from readers first.

use hotmap_mm::addr::{PhysAddr, PhysRange};
use hotmap_mm::device::compound::TailScope;
use hotmap_mm::device::pagemap::DeviceType;
use hotmap_mm::error::{Error, HugeError, Result};
use hotmap_mm::frame::block::{BlockState, Source};
use hotmap_mm::frame::page::Page;
use hotmap_mm::frame::zone::ZoneKind;
use hotmap_mm::granule::SUBSECTION_SHIFT;
use hotmap_mm::hotplug::home::MemmapHome;
use hotmap_mm::hotplug::range::HotRange;
use hotmap_mm::hugetlb::pool::{Pool, Use};
use hotmap_mm::pfn::{Pfn, PfnRange};

use super::run::{Away, Stress};
use crate::units::Units;
use hotmap_kernel::devices::Wanted;
use hotmap_kernel::dimms::Dimm;
use hotmap_kernel::kernel::Kernel;

/// What an operation came to: whether there was something to do.
pub(super) type Done = Result<bool>;

/// An operation.
type Operation = fn(&mut Stress<'_>) -> Done;

/// Their names, in the order of [`OPERATIONS`].
pub(super) const NAMES: &str =
    "grow shrink optimise restore take put demote create destroy remove add offline online tenant leave";

/// The operations, as often as they shall be done beside each other.
pub(super) const OPERATIONS: [(u64, Operation); 15] = [
    (6, |s| s.grow()),
    (3, |s| s.shrink()),
    (15, |s| s.change_memmap(false)),
    (15, |s| s.change_memmap(true)),
    (4, |s| s.take()),
    (4, |s| s.put()),
    (2, |s| s.demote()),
    (8, |s| s.create()),
    (7, |s| s.destroy()),
    (2, |s| s.dimm_goes()),
    (3, |s| s.dimm_comes()),
    (2, |s| s.offline()),
    (3, |s| s.online()),
    (4, |s| s.tenant()),
    (4, |s| s.leave()),
];

impl Stress<'_> {
    // Huge pages.

    /// One of the sizes, the smaller ones more often: a page of 1 GiB takes as long as hundreds of others.
    fn any_pool(&mut self) -> Option<Pool> {
        let count = self.kernel.mm.hugetlb.pools().count() as u64;
        let at = self.random.below(count).min(self.random.below(count));
        self.kernel.mm.hugetlb.pools().nth(usize::try_from(at).unwrap_or(0)).copied()
    }

    /// One of [`Self::huge_pages`] that is free or was taken by this run, and that `is` says so of.
    fn huge_page(&mut self, is: impl Fn(&Page) -> bool) -> Option<Pfn> {
        let mut random = self.random;
        let is_usable = |head: &Pfn| {
            let page = self.kernel.mm.frames().pages().get(*head);
            (page.refs() == 0 || self.made.taken.contains(head)) && is(page)
        };
        let head = random.pick(self.huge_pages().filter(is_usable));
        self.random = random;
        head
    }

    pub(super) fn resize(&mut self, order: u32, count: u64) -> Result<()> {
        self.kernel.mm.hugetlb_resize(order, count)?.stopped.map_or(Ok(()), Err)
    }

    fn grow(&mut self) -> Done {
        let Some(pool) = self.any_pool() else { return Ok(false) };
        let more = 1 + self.random.below(3);
        self.resize(pool.order(), pool.total() + more).map(|()| true)
    }

    fn shrink(&mut self) -> Done {
        let Some(pool) = self.any_pool() else { return Ok(false) };
        let least = self.before.total(pool.order());
        let Some(own) = pool.total().checked_sub(least) else { return Ok(false) };
        let fewer = least + self.random.below(own + 1);
        self.hide(|_, of| of == pool.order());
        self.resize(pool.order(), fewer).map(|()| true)
    }

    /// Restores a page that readers read, or optimises one.
    fn change_memmap(&mut self, restore: bool) -> Done {
        let Some(head) = self.huge_page(|page| page.as_huge_head().is_optimised() == restore) else {
            return Ok(false);
        };
        let changed = if restore { self.kernel.mm.restore(head) } else { self.kernel.mm.optimise(head) };
        match changed {
            Ok(()) => Ok(true),
            // Small memmaps, and those in altmaps or on demand.
            Err(Error::Huge(HugeError::NotOptimisable { .. })) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Lets `wanted` pages of a pool share their memmap, as far as its free ones can.
    pub(super) fn optimise_as_many(&mut self, order: u32, wanted: u64) -> Result<()> {
        loop {
            let pool = self.pool(order);
            let restore = pool.optimised() > wanted;
            let mut free = pool.heads(self.kernel.mm.frames(), Use::Free);
            let head = free.find(|head| {
                self.kernel.mm.frames().pages().get(*head).as_huge_head().is_optimised() == restore
            });
            drop(free);
            let Some(head) = head.filter(|_| pool.optimised() != wanted) else { return Ok(()) };
            let changed = match restore {
                true => self.kernel.mm.restore(head),
                false => self.kernel.mm.optimise(head),
            };
            match changed {
                Err(Error::Huge(HugeError::NotOptimisable { .. })) => return Ok(()),
                other => other?,
            }
        }
    }

    fn take(&mut self) -> Done {
        let Some(pool) = self.any_pool().filter(|_| !self.made.taken.is_full()) else { return Ok(false) };
        let head = self.kernel.mm.hugetlb_take(pool.order())?;
        Ok(self.made.taken.push(head).is_ok())
    }

    fn put(&mut self) -> Done {
        let Some(head) = self.random.pick(self.made.taken.iter().copied()) else { return Ok(false) };
        self.kernel.mm.hugetlb_put(head)?;
        self.made.taken.retain(|taken| *taken != head);
        Ok(true)
    }

    /// A pool that has no more pages than before the run keeps them.
    fn demote(&mut self) -> Done {
        let Some(head) = self.huge_page(|page| page.refs() == 0) else { return Ok(false) };
        let order = self.kernel.mm.frames().pages().get(head).order();
        let pools = self.kernel.mm.hugetlb.pools();
        let to = self.random.pick(pools.map(Pool::order).filter(|to| *to < order));
        let is_own = self.pool(order).total() > self.before.total(order);
        let Some(to) = to.filter(|_| is_own) else { return Ok(false) };
        self.hide(|shown, _| shown == head);
        match self.kernel.mm.hugetlb_demote(head, to) {
            Err(Error::Huge(HugeError::NotDemotable(_))) => Ok(false),
            other => other.map(|()| true),
        }
    }

    // Devices.

    fn create(&mut self) -> Done {
        let regions = self.kernel.regions.all().iter().map(|region| region.range.start);
        let nvdimms = self.kernel.nvdimms.all().iter().map(|nvdimm| nvdimm.range.start);
        let unused = regions.chain(nvdimms).filter_map(|start| unused(self.kernel, start));
        let found = self.random.pick(unused).filter(|_| !self.made.devices.is_full());
        let Some((kind, range)) = found else { return Ok(false) };
        // What is set aside may be all of a compound page.
        let (memmap, most) = match self.random.below(2) {
            0 => (MemmapHome::Ram, range.len()),
            _ => (MemmapHome::SelfRange { reserve: 0 }, range.len() / 2),
        };
        let sizes = self.kernel.granule().compound_shifts.into_iter().map(|shift| 1u64 << shift);
        let fits = |size: &u64| *size <= most && range.start.is_aligned(*size) && range.end.is_aligned(*size);
        let align = self.random.pick(sizes.filter(fits));
        let tails = if self.random.below(2) == 0 { TailScope::Page } else { TailScope::Device };
        let wanted = Wanted { kind, memmap, align, tails };
        let start = self.kernel.make_device(&[(range.start, range.len())], &wanted)?;
        Ok(self.made.devices.push(start).is_ok())
    }

    fn destroy(&mut self) -> Done {
        let Some(start) = self.random.pick(self.made.devices.iter().copied()) else { return Ok(false) };
        let device = self.kernel.mm.devices().iter().find(|device| device.start() == start).cloned();
        self.hide(|head, _| device.as_ref().is_some_and(|device| device.contains(head)));
        self.kernel.mm.memunmap_pages(start)?;
        self.made.devices.retain(|made| *made != start);
        Ok(true)
    }

    // Memory.

    /// The memory of the DIMM in the first slot goes. Those in other slots are for what drives the machine from outside.
    fn dimm_goes(&mut self) -> Done {
        let first = self.kernel.dimms.all().first().filter(|dimm| dimm.slot == 0 && dimm.refusal.is_none());
        let Some(Dimm { slot, range, .. }) = first.filter(|_| self.made.away.is_none()).copied() else {
            return Ok(false);
        };
        let pages = PfnRange::inside(self.kernel.granule(), range);
        let Some(zone) = self.zone_of_all(pages) else { return Ok(false) };
        self.hide_range(range);
        self.kernel.mm.unplug(range)?;
        self.made.offline.retain(|(start, _)| !pages.contains(*start));
        self.made.away = Some(Away { slot, range, zone });
        Ok(true)
    }

    /// The zone of all blocks of `pages`, those that the run has taken offline included, if there is one.
    fn zone_of_all(&self, pages: PfnRange) -> Option<ZoneKind> {
        let mut zones =
            self.kernel.mm.frames().blocks().filter(|block| pages.contains(block.start)).map(|block| {
                let was = self.made.offline.iter().find(|(start, _)| *start == block.start);
                block.state.zone().or(was.map(|(_, zone)| *zone))
            });
        let first = zones.next()??;
        zones.all(|zone| zone == Some(first)).then_some(first)
    }

    fn dimm_comes(&mut self) -> Done {
        if self.made.away.is_none() {
            return Ok(false);
        }
        self.bring_back().map(|()| true)
    }

    /// Adds the memory of the DIMM that is away again, unless the DIMM has been ejected.
    pub(super) fn bring_back(&mut self) -> Result<()> {
        let Some(Away { slot, range, zone }) = self.made.away else { return Ok(()) };
        let here = self.kernel.dimms.all().iter().any(|dimm| dimm.slot == slot && dimm.range == range);
        let pages = PfnRange::inside(self.kernel.granule(), range);
        if here && !self.kernel.mm.frames().blocks().any(|block| pages.contains(block.start)) {
            let hot = HotRange::new(&self.kernel.mm, range.start, range.len(), Source::Dimm(slot))?;
            let home = self.kernel.policy().home;
            self.kernel.mm.plug(&hot, home, zone, |_, _| {})?;
        }
        self.made.away = None;
        Ok(())
    }

    // Blocks of memory that was added.

    fn offline(&mut self) -> Done {
        let online = self.kernel.mm.frames().blocks().filter(|block| matches!(block.source, Source::Dimm(_)));
        let online = online.filter_map(|block| Some((block.start, block.state.zone()?)));
        let found = self.random.pick(online).filter(|_| !self.made.offline.is_full());
        let Some((start, zone)) = found else { return Ok(false) };
        self.hide_range(self.kernel.addresses(PfnRange::new(start, self.kernel.block_pages())));
        self.kernel.mm.offline_block(start)?;
        Ok(self.made.offline.push((start, zone)).is_ok())
    }

    pub(super) fn is_offline(&self, start: Pfn) -> bool {
        self.kernel.mm.frames().block_of(start).is_some_and(|block| block.state == BlockState::Offline)
    }

    fn online(&mut self) -> Done {
        let Some((start, zone)) = self.random.pick(self.made.offline.iter().copied()) else {
            return Ok(false);
        };
        // Its DIMM may have left meanwhile, and another one come.
        if self.is_offline(start) {
            self.kernel.mm.online_block(start, zone)?;
        }
        self.made.offline.retain(|(offline, _)| *offline != start);
        Ok(true)
    }

    fn tenant(&mut self) -> Done {
        if self.made.tenants.is_full() {
            return Ok(false);
        }
        let most = (1 << 20) / self.kernel.page_size();
        let id = self.kernel.mm.tenant_new(1 + self.random.below(most))?;
        Ok(self.made.tenants.push(id).is_ok())
    }

    /// A tenant of the run checks its pattern and leaves.
    fn leave(&mut self) -> Done {
        let Some(id) = self.random.pick(self.made.tenants.iter().copied()) else { return Ok(false) };
        self.kernel.mm.tenant_check(id)?;
        self.kernel.mm.tenant_drop(id)?;
        self.made.tenants.retain(|made| *made != id);
        Ok(true)
    }
}

/// The whole subsections of the region or NVDIMM that starts at `start`, if none of it is used.
fn unused(kernel: &Kernel, start: PhysAddr) -> Option<(DeviceType, PhysRange)> {
    let behind = kernel.memory_behind(start)?;
    let start = PhysAddr::new(start.get().checked_next_multiple_of(1 << SUBSECTION_SHIFT)?);
    let range = PhysRange { start, end: behind.range.end.align_down(1 << SUBSECTION_SHIFT) };
    let ranges = [(start, range.end.get().checked_sub(start.get())?)];
    kernel.mm.device_range(&ranges, behind.kind, MemmapHome::Ram).ok().map(|_| (behind.kind, range))
}
