//! A machine with memory on demand, everything that was handed out of it, and the check of both against each other.

use std::collections::{BTreeMap, BTreeSet};

use hotmap_emulator::layout;
use hotmap_emulator::rig::{Rig, Shape, range};
use hotmap_mm::addr::PhysAddr;
use hotmap_mm::debug::faults::Plan;
use hotmap_mm::device::pagemap::DeviceType;
use hotmap_mm::error::{Error, PageError, Result};
use hotmap_mm::frame::Mobility;
use hotmap_mm::frame::block::BlockState;
use hotmap_mm::frame::page::PageKind;
use hotmap_mm::frame::zone::ZoneKind;
use hotmap_mm::granule::Granule;
use hotmap_mm::hotplug::home::MemmapHome;
use hotmap_mm::hugetlb::pool::Use;
use hotmap_mm::pfn::Pfn;
use hotmap_testkit::reference::demand::{self, RawImage, Runs};
use hotmap_testkit::reference::whole::{self, RawTails};
use hotmap_testkit::snapshot::{Detail, Snapshot};

/// Where memory on demand is: a DIMM that stays, one that comes and goes, a device that gives its memory.
pub(crate) const DIMM: u64 = 0x1_0000_0000;
pub(crate) const GUEST: u64 = 0x40_0000_0000;
pub(crate) const DEVICE: u64 = 0x80_0000_0000;

/// A machine, and what was handed out.
pub(crate) struct Life {
    pub(crate) rig: Rig,
    pub(crate) g: Granule,
    /// Runs of the kernel, wherever they are: the order by the first frame.
    pub(crate) runs: BTreeMap<u64, u32>,
    pub(crate) pins: BTreeSet<u64>,
    pub(crate) poisoned: BTreeSet<u64>,
    pub(crate) tenants: Vec<u32>,
    /// Huge pages that were taken out of their pools.
    pub(crate) taken: Vec<Pfn>,
    /// Which allocation of the next operation fails.
    pub(crate) fault: Option<u64>,
    /// How many operations were undone because an allocation failed.
    pub(crate) undone: u64,
    /// How many huge pages of whole blocks were made.
    pub(crate) large: u64,
    /// The runs of each block on demand, by its first byte.
    pub(crate) blocks: BTreeMap<u64, Runs>,
}

impl Life {
    pub(crate) fn new(g: Granule, shape: &Shape) -> Self {
        let mut rig = Rig::boot(g, shape);
        rig.mm.hugetlb.hvo = false;
        let (runs, blocks) = (BTreeMap::new(), BTreeMap::new());
        let (pins, poisoned, tenants, taken) = Default::default();
        Self { rig, g, runs, pins, poisoned, tenants, taken, fault: None, undone: 0, large: 0, blocks }
    }

    /// Does something, with an allocation that fails if one is to: what was undone left the machine as it was, and the
    /// operation is done again without the fault.
    pub(crate) fn act<T>(
        &mut self,
        detail: Detail,
        what: &str,
        act: impl Fn(&mut Rig) -> Result<T>,
    ) -> Result<T> {
        let Some(n) = self.fault.take() else { return act(&mut self.rig) };
        let before = Snapshot::of(&self.rig, detail);
        self.rig.mm.frames_mut().faults.arm(Plan::Nth(n));
        let result = act(&mut self.rig);
        let fired = self.rig.mm.frames().faults.fired();
        self.rig.mm.frames_mut().faults.arm(Plan::Off);
        let shortage = |e: &Error| matches!(e, Error::Out(_) | Error::Page(PageError::Stays { .. }));
        if !fired || !result.as_ref().is_err_and(shortage) {
            return result;
        }
        self.undone += 1;
        before.assert_same(&Snapshot::of(&self.rig, detail), &format!("{what}, allocation {n} failed"));
        self.check(what);
        act(&mut self.rig)
    }

    /// A run for the kernel. It is refused only when no block has a free run for it.
    pub(crate) fn alloc(&mut self, order: u32, mobility: Mobility) -> bool {
        let what = format!("a run of order {order}");
        let got = self
            .act(Detail::Exact, &what, |rig| rig.mm.frames_mut().alloc(order, PageKind::Kernel, mobility));
        match got {
            Ok(pfn) => drop(self.runs.insert(pfn.get(), order)),
            Err(_) => {
                self.check(&what);
                for (block, runs) in self.blocks.iter().filter(|b| self.serves(*b.0, mobility)) {
                    let whole = self.g.section_order;
                    let fits = |run: &(PageKind, u32)| run.0 == PageKind::Free && run.1 >= order;
                    let free = runs.values().any(fits);
                    assert!(!free || order == whole, "{what}: there is one in {block:#x}");
                }
            }
        }
        got.is_ok()
    }

    fn serves(&self, block: u64, mobility: Mobility) -> bool {
        let zone = self.rig.mm.frames().block_of(Rig::pfn(self.g, block)).and_then(|b| b.state.zone());
        zone.is_some_and(|zone| mobility == Mobility::Movable || zone == ZoneKind::Normal)
    }

    pub(crate) fn free(&mut self, frame: u64) {
        self.runs.remove(&frame).expect("the kernel has it");
        self.rig.mm.frames_mut().free(Pfn::new(frame));
    }

    /// Makes a device of two blocks, whose memory the system can have.
    pub(crate) fn make_device(&mut self) {
        let (page, len) = (PhysAddr::new(DEVICE), Rig::blocks(self.g, 2));
        self.rig.machine.plug(DEVICE, len);
        let home = MemmapHome::SelfRange { reserve: 0 };
        let device = self.rig.mm.device_range(&[(page, len)], DeviceType::FsDax, home).expect("free");
        self.rig.mm.memremap_pages(&device, |_, _| {}).expect("room");
    }

    pub(crate) fn is_offline(&self, block: u64) -> bool {
        let block = self.rig.mm.frames().block_of(Rig::pfn(self.g, block));
        block.is_some_and(|b| b.state == BlockState::Offline)
    }

    /// The blocks on demand that are present, by the first byte, as the sections say.
    pub(crate) fn starts(&self) -> Vec<u64> {
        let blocks = self.rig.mm.frames().blocks();
        blocks.filter(|b| b.demand.is_some()).map(|b| b.start.get() * self.g.page_size).collect()
    }

    /// What was handed out of the block at `block`. Where tenants, tables and other blocks' memmap are is the walker's to say.
    fn used(&self, block: u64, all: &hotmap_emulator::arch::walker::Everything) -> Runs {
        let (page, first) = (self.g.page_size, block / self.g.page_size);
        let inside = |frame: u64| (first..first + self.g.section_pages).contains(&frame);
        let mut used = Runs::new();
        let mut add = |frame: u64, kind, order| {
            if inside(frame) {
                assert_eq!(used.insert(frame, (kind, order)), None, "{kind} at {frame:#x}: handed out twice");
            }
        };
        self.runs.iter().for_each(|(frame, order)| add(*frame, PageKind::Kernel, *order));
        self.pins.iter().for_each(|frame| add(*frame, PageKind::Pinned, 0));
        self.poisoned.iter().for_each(|frame| add(*frame, PageKind::Poisoned, 0));
        let pools = self.rig.mm.hugetlb.pools().filter(|pool| pool.order() < self.g.section_order);
        for (pool, which) in pools.flat_map(|pool| [(pool, Use::Free), (pool, Use::Taken)]) {
            let heads = pool.heads(self.rig.mm.frames(), which);
            heads.for_each(|head| add(head.get(), PageKind::HugeTlb, pool.order()));
        }
        let described = self.described(block);
        // What huge pages of whole blocks share is mapped more than once.
        let (mut shared, mut tables) = (BTreeSet::new(), BTreeSet::new());
        for leaf in &all.leaves {
            if layout::TENANTS.contains(&leaf.va) {
                add(leaf.leaf.pa / page, PageKind::Tenant, 0);
            } else if layout::vmemmap(self.rig.machine.spec()).contains(&leaf.va)
                && !described.contains(&leaf.va)
                && (leaf.leaf.writable || shared.insert(leaf.leaf.pa))
            {
                add(leaf.leaf.pa / page, PageKind::MemmapRam, (leaf.size / page).trailing_zeros());
            }
        }
        for table in all.tables.iter().filter(|t| !(t.level == 3 && described.contains(&t.va))) {
            if tables.insert((table.pa, table.level)) {
                add(table.pa / page, PageKind::Table, 0);
            }
        }
        used
    }

    /// The addresses of a block's struct pages; at 16K and 64K the table of them has others in it as well.
    fn described(&self, block: u64) -> std::ops::Range<u64> {
        let spec = self.rig.machine.spec();
        let base = layout::base(spec, self.rig.shape.ram.iter().map(|r| r.0).min().unwrap_or(0));
        let start = layout::vmemmap(spec).start + (block - base) / spec.page * layout::STRUCT_PAGE;
        start..start + layout::block(spec) / spec.page * layout::STRUCT_PAGE
    }

    /// Audits, and holds every block on demand against what was handed out of it.
    pub(crate) fn check(&mut self, when: &str) {
        self.rig.assert_clean(when);
        let all = self.rig.machine.everything();
        let ram_start = self.rig.shape.ram.iter().map(|r| r.0).min().unwrap_or(0);
        let mut image = RawImage::default();
        self.blocks.clear();
        let large = self.large_pages();
        for block in self.starts() {
            let frame = block / self.g.page_size;
            if let Some((head, order)) =
                large.iter().find(|(head, order)| (*head..head + (1 << order)).contains(&frame))
            {
                self.check_lists(block, &Runs::new(), when);
                self.blocks.insert(block, Runs::from([(*head, (PageKind::HugeTlb, *order))]));
                continue;
            }
            let used = self.used(block, &all);
            let machine = &self.rig.machine;
            let runs = demand::check(machine, ram_start, block, &used, &mut image, when);
            self.check_lists(block, &runs, when);
            self.check_aside(block, &runs, when);
            self.blocks.insert(block, runs);
        }
        self.check_large_pages(&large, &image, when);
        assert_eq!(self.rig.mm.frames().warnings.total(), 0, "{when}");
    }

    /// The huge pages of whole blocks on demand: first frame and order.
    pub(crate) fn large_pages(&self) -> Vec<(u64, u32)> {
        let pools = self.rig.mm.hugetlb.pools().filter(|pool| pool.order() >= self.g.section_order);
        let uses = pools.flat_map(|pool| [(pool, Use::Free), (pool, Use::Taken)]);
        let heads = uses.flat_map(|(pool, which)| {
            let heads: Vec<Pfn> = pool.heads(self.rig.mm.frames(), which).collect();
            heads.into_iter().map(|head| (head.get(), pool.order()))
        });
        let on_demand = |(head, _): &(u64, u32)| {
            self.rig.mm.frames().block_of(Pfn::new(*head)).is_some_and(|block| block.demand.is_some())
        };
        heads.filter(on_demand).collect()
    }

    /// Each huge page of whole blocks on demand has a frame for its head, and shares the rest with those of its zone and order.
    fn check_large_pages(&self, large: &[(u64, u32)], image: &RawImage, when: &str) {
        let ram_start = self.rig.shape.ram.iter().map(|r| r.0).min().unwrap_or(0);
        let mut tails = BTreeMap::<_, RawTails>::new();
        for (head, order) in large {
            let block = self.rig.mm.frames().block_of(Pfn::new(*head)).expect("present");
            let page = head * self.g.page_size..(head + (1 << order)) * self.g.page_size;
            let zone = block.state.zone().map(|zone| zone as usize);
            let shared = tails.entry((zone, *order)).or_default();
            whole::check(&self.rig.machine, ram_start, (page, *order), image, shared, when);
        }
        let frames: BTreeSet<_> = tails.values().map(|tails| tails.frame).collect();
        assert_eq!(frames.len(), tails.len(), "{when}: zones or orders share a page of tails");
    }

    /// How many pages at the start of a block are set aside for its memmap: as many as its whole memmap has.
    pub(crate) fn set_aside(&self) -> u64 {
        self.g.section_pages * layout::STRUCT_PAGE / self.g.page_size
    }

    /// A page behind those that are set aside is lent only while none of them is free.
    fn check_aside(&self, block: u64, runs: &Runs, when: &str) {
        let end = block / self.g.page_size + self.set_aside();
        let is = |kind, aside: bool| {
            runs.iter().filter(move |run| run.1.0 == kind && (*run.0 < end) == aside).map(|run| *run.0)
        };
        let image = runs.len() == 1;
        if let (Some(free), Some(lent)) =
            (is(PageKind::Free, true).next(), is(PageKind::MemmapSelf, false).next())
            && !image
        {
            panic!("{when}: block {block:#x}: {lent:#x} is lent and {free:#x} is free");
        }
    }

    /// The block's free lists have the free runs, each once.
    fn check_lists(&self, block: u64, runs: &Runs, when: &str) {
        let found = self.rig.mm.frames().block_of(Rig::pfn(self.g, block)).expect("present");
        let pages = self.rig.mm.frames().pages();
        for order in 0..=self.g.section_order {
            let mut listed: Vec<u64> = found.free.heads(&pages, order).map(Pfn::get).collect();
            listed.sort_unstable();
            let of_order = runs.iter().filter(|run| *run.1 == (PageKind::Free, order));
            let expected: Vec<u64> = of_order.map(|run| *run.0).collect();
            assert_eq!(listed, expected, "{when}: block {block:#x}: free runs of order {order}");
        }
    }

    /// Whether there are blocks on demand for a huge page of `1 << order` frames: online in one zone, and each one free run.
    pub(crate) fn has_free_blocks(&self, order: u32) -> bool {
        let (page, each) = (self.g.page_size << order, self.g.section_size);
        let free = |block: u64| {
            let whole = (PageKind::Free, self.g.section_order);
            let found = self.rig.mm.frames().block_of(Rig::pfn(self.g, block))?;
            let is_free = self.blocks.get(&block)?.values().eq([&whole]);
            found.state.zone().filter(|_| is_free).map(|zone| zone as usize)
        };
        let runs = self.blocks.keys().filter(|block| block.is_multiple_of(page));
        let mut zones =
            runs.map(|run| (*run..run + page).step_by(usize::try_from(each).expect("small")).map(free));
        zones.any(|mut zones| {
            zones.next().flatten().is_some_and(|zone| zones.all(|other| other == Some(zone)))
        })
    }

    /// The blocks of boot memory that are on demand, by the first byte.
    fn boot_blocks(&self) -> Vec<u64> {
        self.starts().into_iter().filter(|block| *block < DIMM).collect()
    }

    /// The blocks of boot memory join zone Normal again, in the order in which boot had them join it.
    pub(crate) fn boot_blocks_as_they_came(&mut self) {
        let blocks: Vec<Pfn> = self.boot_blocks().into_iter().map(|block| Rig::pfn(self.g, block)).collect();
        for block in &blocks {
            self.rig.mm.offline_block(*block).expect("all is free");
        }
        for block in blocks {
            self.rig.mm.online_block(block, ZoneKind::Normal).expect("offline");
        }
    }

    /// Everything goes back: all blocks on demand are the image.
    pub(crate) fn empty(&mut self) {
        for id in std::mem::take(&mut self.tenants) {
            self.rig.mm.tenant_check(id).expect("whole");
            self.rig.mm.tenant_drop(id).expect("not held");
        }
        std::mem::take(&mut self.taken)
            .into_iter()
            .for_each(|head| self.rig.mm.hugetlb_put(head).expect("taken"));
        let orders: Vec<u32> = self.rig.mm.hugetlb.pools().map(|pool| pool.order()).collect();
        for order in orders {
            assert_eq!(self.rig.mm.hugetlb_resize(order, 0).map(|r| r.total), Ok(0));
        }
        let frame = |frame: u64| Pfn::new(frame);
        std::mem::take(&mut self.pins).into_iter().for_each(|f| self.rig.mm.unpin(frame(f)).expect("pinned"));
        let poisoned = std::mem::take(&mut self.poisoned);
        poisoned.into_iter().for_each(|f| self.rig.mm.unpoison(frame(f)).expect("poisoned"));
        let runs: Vec<u64> = self.runs.keys().copied().collect();
        runs.into_iter().for_each(|f| self.free(f));
        self.check("empty");
    }

    /// Unplugs `len` bytes at `start`.
    pub(crate) fn unplug(&mut self, start: u64, len: u64) -> Result<()> {
        self.act(Detail::WherePagesMayHaveMoved, "unplug", |rig| rig.mm.unplug(range(start, len)).map(drop))?;
        self.rig.machine.unplug(start);
        self.poisoned.retain(|frame| !(start..start + len).contains(&(frame * self.g.page_size)));
        Ok(())
    }
}
