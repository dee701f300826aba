//! The operations of `stress`, each as it may come at any time. What takes struct pages away hides them from readers first.

use alloc::vec::Vec;
use hotmap_mm::hotplug::home::MemmapHome;

use hotmap_mm::addr::{PhysAddr, PhysRange};
use hotmap_mm::device::compound::TailScope;
use hotmap_mm::error::{Error, HugeError, Result};
use hotmap_mm::frame::block::{BlockState, MemoryBlock, Source};
use hotmap_mm::frame::zone::ZoneKind;
use hotmap_mm::hugetlb::pool::Use;
use hotmap_mm::pfn::{Pfn, PfnRange};

use super::{HEADS_OF_EACH, Stress};
use hotmap_kernel::devices::Wanted;

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
    fn pool(&mut self) -> Option<(u32, u64)> {
        let count = self.kernel.mm().hugetlb.pools().count() as u64;
        let at = self.random.below(count).min(self.random.below(count));
        let mut pools = self.kernel.mm().hugetlb.pools().map(|pool| (pool.order(), pool.total()));
        pools.nth(usize::try_from(at).unwrap_or(0))
    }

    /// Some of each pool: a page of 1 GiB that was demoted is thousands.
    pub(super) fn huge_pages(&self) -> Vec<Pfn> {
        let huge = self.kernel.mm();
        let lists = huge.hugetlb.pools().flat_map(|pool| [(pool, Use::Free), (pool, Use::Taken)]);
        lists.flat_map(|(pool, which)| pool.heads(huge.frames(), which).take(HEADS_OF_EACH)).collect()
    }

    fn grow(&mut self) -> Done {
        let Some((order, total)) = self.pool() else { return Ok(false) };
        let more = 1 + self.random.below(3);
        let resized = self.kernel.mm_mut().hugetlb_resize(order, total + more)?;
        resized.stopped.map_or(Ok(true), Err)
    }

    fn shrink(&mut self) -> Done {
        let Some((order, total)) = self.pool() else { return Ok(false) };
        let fewer = self.random.below(total + 1);
        self.hide(|_, of| of == order);
        let resized = self.kernel.mm_mut().hugetlb_resize(order, fewer)?;
        resized.stopped.map_or(Ok(true), Err)
    }

    /// Restore a page that readers are looking at, or optimise one.
    fn change_memmap(&mut self, restore: bool) -> Done {
        let mut heads = self.huge_pages();
        heads.retain(|head| self.kernel.page(*head).as_huge_head().is_optimised() == restore);
        let Some(head) = self.random.pick(heads) else { return Ok(false) };
        if restore {
            return self.kernel.mm_mut().restore(head).map(|()| true);
        }
        match self.kernel.mm_mut().optimise(head) {
            Ok(()) => Ok(true),
            // Small memmaps and altmaps' are no news.
            Err(Error::Huge(HugeError::NotOptimisable { .. })) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn take(&mut self) -> Done {
        let Some((order, _)) = self.pool() else { return Ok(false) };
        self.kernel.mm_mut().hugetlb_take(order).map(|_| true)
    }

    fn put(&mut self) -> Done {
        let heads = self.huge_pages().into_iter().filter(|head| self.kernel.page(*head).refs() > 0).collect();
        let Some(head) = self.random.pick(heads) else { return Ok(false) };
        self.kernel.mm_mut().hugetlb_put(head).map(|()| true)
    }

    fn demote(&mut self) -> Done {
        let heads =
            self.huge_pages().into_iter().filter(|head| self.kernel.page(*head).refs() == 0).collect();
        let Some(head) = self.random.pick(heads) else { return Ok(false) };
        let order = self.kernel.page(head).order();
        let smaller =
            self.kernel.mm().hugetlb.pools().map(|pool| pool.order()).filter(|to| *to < order).collect();
        let Some(to) = self.random.pick(smaller) else { return Ok(false) };
        self.hide(|shown, _| shown == head);
        self.kernel.mm_mut().hugetlb_demote(head, to).map(|()| true)
    }

    // Devices.

    fn create(&mut self) -> Done {
        let regions = self.kernel.regions().iter().map(|region| region.range.start);
        let nvdimms = self.kernel.nvdimms().unwrap_or_default().iter().map(|nvdimm| nvdimm.range.start);
        let places: Vec<PhysAddr> = regions.chain(nvdimms).collect();
        let Some(behind) = self.random.pick(places).and_then(|at| self.kernel.memory_behind(at)) else {
            return Ok(false);
        };
        let pages = self.kernel.pages_inside(behind.range);
        if self.kernel.devices().iter().any(|device| device.ranges().iter().any(|r| r.overlaps(&pages))) {
            return Ok(false);
        }
        // What is set aside may be all of a compound page.
        let (memmap, most) = match self.random.below(2) {
            0 => (MemmapHome::Ram, behind.range.len()),
            _ => (MemmapHome::SelfRange { reserve: 0 }, behind.range.len() / 2),
        };
        let sizes = self.kernel.geometry().compound_shifts.iter().map(|shift| 1u64 << shift).collect();
        let align = self.random.pick(sizes).filter(|size| *size <= most);
        let tails = if self.random.below(2) == 0 { TailScope::Page } else { TailScope::Device };
        let range = [(behind.range.start, behind.range.len())];
        self.kernel.make_device(&range, &Wanted { kind: behind.kind, memmap, align, tails }).map(|_| true)
    }

    fn destroy(&mut self) -> Done {
        let starts = self.kernel.devices().iter().map(|device| device.start()).collect();
        let Some(start) = self.random.pick(starts) else { return Ok(false) };
        self.destroy_device(start)
    }

    pub(super) fn destroy_device(&mut self, start: Pfn) -> Done {
        let Some(device) = self.kernel.devices().iter().find(|device| device.start() == start).cloned()
        else {
            return Ok(false);
        };
        self.hide(|head, _| device.contains(head));
        self.kernel.device_destroy(start).map(|_| true)
    }

    // Memory.

    /// The memory of the DIMM in the first slot goes. Those in other slots are who drives the machine's.
    fn dimm_goes(&mut self) -> Done {
        let first = self.kernel.dimms().first().filter(|dimm| dimm.slot == 0 && !dimm.refused);
        let first = first.filter(|_| self.away.is_none()).map(|dimm| (dimm.slot, dimm.range));
        let Some((slot, range)) = first else { return Ok(false) };
        self.hide_range(range);
        let pages = self.kernel.pages_inside(range);
        self.kernel.offline_range(pages)?;
        self.kernel.remove(range)?;
        self.away = Some((slot, range));
        Ok(true)
    }

    /// It comes again.
    fn dimm_comes(&mut self) -> Done {
        self.away.map_or(Ok(false), |(slot, range)| self.bring_back(slot, range))
    }

    pub(super) fn bring_back(&mut self, slot: u32, range: PhysRange) -> Done {
        let hot = self.kernel.hot_range(range.start, range.len(), Source::Dimm(slot))?;
        let home = self.kernel.policy().home;
        self.kernel.add(&hot, home)?;
        self.away = None;
        let pages = self.kernel.pages_inside(range);
        self.kernel.online_range(pages, ZoneKind::Movable).map(|()| true)
    }

    // Blocks of memory that was added.

    fn block(&mut self, is: impl Fn(BlockState) -> bool) -> Option<Pfn> {
        let added = |block: &&MemoryBlock| matches!(block.source, Source::Dimm(_)) && is(block.state);
        let blocks = self.kernel.blocks().iter().filter(added).map(|block| block.start).collect();
        self.random.pick(blocks)
    }

    fn offline(&mut self) -> Done {
        let Some(start) = self.block(|state| state != BlockState::Offline) else { return Ok(false) };
        self.hide_range(self.kernel.addresses(PfnRange::new(start, self.kernel.block_pages())));
        self.kernel.offline(start).map(|_| true)
    }

    fn online(&mut self) -> Done {
        let Some(start) = self.block(|state| state == BlockState::Offline) else { return Ok(false) };
        self.kernel.online(start, ZoneKind::Movable).map(|()| true)
    }

    fn tenant(&mut self) -> Done {
        let most = (1 << 20) / self.kernel.page_size();
        let pages = 1 + self.random.below(most);
        self.kernel.tenant_new(pages).map(|_| true)
    }

    /// A tenant looks whether its pattern is still there, and goes.
    fn leave(&mut self) -> Done {
        let tenants = self.kernel.tenants().iter().map(|tenant| tenant.id).collect();
        let Some(id) = self.random.pick(tenants) else { return Ok(false) };
        self.kernel.tenant_check(id)?;
        self.kernel.tenant_drop(id).map(|()| true)
    }
}
