//! `stress`: everything that comes and goes, in a random order, while the other CPUs read struct pages. Huge pages are
//! optimised and restored under readers' eyes; what takes struct pages away hides them from the readers first.
//!
//! ```text
//!   boot CPU     an operation, then another; device events between them      tenants' patterns
//!   other CPUs   for every page of a compound page that is shown: is this its head?
//! ```
//! The same seed does the same operations, as long as nothing comes from outside. At the end all that was made is undone, and
//! the machine has to be as it was.

use alloc::vec::Vec;

use hotmap_mm::addr::{PhysAddr, PhysRange};
use hotmap_mm::device::compound::Compound;
use hotmap_mm::device::range::DeviceMemmap;
use hotmap_mm::error::{Error, Result};
use hotmap_mm::hotplug::block::{BlockState, Source};
use hotmap_mm::model::Counts;
use hotmap_mm::pfn::{Pfn, PfnRange};
use hotmap_mm::zone::ZoneKind;

use super::args::Words;
use super::{Outcome, ShellError};
use crate::system::System;
use hotmap_kernel::arch::counter;
use hotmap_kernel::{kprintln, readers};

pub(super) const STRESS: &str = "stress SECONDS [SEED]";

/// How often it says that it goes on.
const SECONDS_BETWEEN_LINES: u64 = 2;

pub(super) fn stress(kernel: &mut dyn System, words: &mut Words<'_>) -> Outcome {
    let seconds = words.number(STRESS)?;
    let seed = if words.left() == 0 { 1 } else { words.number(STRESS)? };
    let before = Before::of(kernel);
    let watching = readers::start(kernel.reading());
    kprintln!("stress: seed {seed}, {seconds} s, {watching} CPUs read");
    let was_quiet = hotmap_kernel::console::set_quiet(true);
    let mut stress = Stress { kernel, random: Random(seed), away: None, done: 0, refused: 0 };
    let outcome = stress.run_for(seconds).and_then(|()| stress.wind_down(&before));
    let (done, refused) = (stress.done, stress.refused);
    let read = readers::stop();
    hotmap_kernel::console::set_quiet(was_quiet);
    kprintln!("stress: {done} operations, {refused} refused; {read}");
    outcome?;
    if read.wrong > 0 {
        return Err(ShellError::Failed("a reader found another head than there is"));
    }
    before.is_still(kernel)?;
    super::act::audit(kernel, &mut Words::new(""))
}

/// What has to be so again at the end.
struct Before {
    counts: Counts,
    dimms: usize,
    devices: Vec<Pfn>,
    tenants: usize,
    pools: Vec<(u32, u64)>,
    online: Vec<(Pfn, ZoneKind)>,
}

impl Before {
    fn of(kernel: &dyn System) -> Self {
        let online = |block: &hotmap_mm::hotplug::block::MemoryBlock| match block.state {
            BlockState::Online(zone) => Some((block.start, zone)),
            _ => None,
        };
        Self {
            counts: kernel.counts(),
            dimms: kernel.dimms().len(),
            devices: kernel.devices().iter().map(|device| device.start()).collect(),
            tenants: kernel.tenants().len(),
            pools: kernel.hugetlb().pools().map(|pool| (pool.order(), pool.total())).collect(),
            online: kernel.blocks().iter().filter_map(online).collect(),
        }
    }

    fn is_still(&self, kernel: &dyn System) -> Outcome {
        let now = kernel.counts();
        if kernel.dimms().len() != self.dimms {
            kprintln!("stress: DIMMs came or went from outside: the page counts are not compared");
            return Ok(());
        }
        if now == self.counts {
            return Ok(());
        }
        kprintln!("before: {:?}\nafter:  {now:?}", self.counts);
        Err(ShellError::Failed("the pages by use are not as they were"))
    }
}

/// xorshift64* (Vigna, "An experimental exploration of Marsaglia's xorshift generators, scrambled", 2016).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 |= u64::from(self.0 == 0);
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32
    }
    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }
    /// One of them, if there is one.
    fn pick<T>(&mut self, mut items: Vec<T>) -> Option<T> {
        if items.is_empty() {
            return None;
        }
        let at = usize::try_from(self.below(items.len() as u64)).unwrap_or(0);
        Some(items.swap_remove(at))
    }
}

/// What an operation came to: whether there was something to do.
type Done = Result<bool>;

/// The operations, as often as they shall be done beside each other.
const OPERATIONS: &[(u64, fn(&mut Stress<'_>) -> Done)] = &[
    (6, Stress::grow),
    (3, Stress::shrink),
    (30, Stress::change_memmap),
    (4, Stress::take),
    (4, Stress::put),
    (1, Stress::demote),
    (8, Stress::create),
    (7, Stress::destroy),
    (3, Stress::dimm),
    (3, Stress::block),
    (4, Stress::tenant),
    (4, Stress::leave),
];

struct Stress<'a> {
    kernel: &'a mut dyn System,
    random: Random,
    /// The DIMM of the first slot, while its memory is out.
    away: Option<(u32, PhysRange)>,
    done: u64,
    refused: u64,
}

impl Stress<'_> {
    fn run_for(&mut self, seconds: u64) -> Outcome {
        let (second, start) = (counter::ticks_per_second(), counter::ticks());
        let (end, mut line) = (seconds * second, SECONDS_BETWEEN_LINES * second);
        loop {
            let now = counter::ticks().wrapping_sub(start);
            if now >= end {
                return Ok(());
            }
            if now >= line {
                line += SECONDS_BETWEEN_LINES * second;
                kprintln!("stress: {} s, {} operations", now / second, self.done + self.refused);
            }
            self.kernel.service();
            self.one()?;
            self.show();
        }
    }

    /// One operation. What memory there is decides how it ends; any other refusal is an error of ours.
    fn one(&mut self) -> Outcome {
        let mut draw = self.random.below(OPERATIONS.iter().map(|(weight, _)| weight).sum());
        for (weight, operation) in OPERATIONS {
            if draw < *weight {
                return self.note(operation);
            }
            draw -= weight;
        }
        Ok(())
    }

    fn note(&mut self, operation: impl Fn(&mut Self) -> Done) -> Outcome {
        match operation(self) {
            Ok(done) => self.done += u64::from(done),
            Err(error) if matches!(error.errno().name(), "ENOMEM" | "EBUSY" | "EAGAIN") => self.refused += 1,
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    // Huge pages.

    fn pool(&mut self) -> Option<(u32, u64)> {
        let pools = self.kernel.hugetlb().pools().map(|pool| (pool.order(), pool.total())).collect();
        self.random.pick(pools)
    }

    fn huge_pages(&self) -> Vec<Pfn> {
        let mut all = Vec::new();
        let orders: Vec<u32> = self.kernel.hugetlb().pools().map(|pool| pool.order()).collect();
        orders.iter().for_each(|order| self.kernel.each_huge_page(*order, &mut |head| all.push(head)));
        all
    }

    fn grow(&mut self) -> Done {
        let Some((order, total)) = self.pool() else { return Ok(false) };
        let more = 1 + self.random.below(3);
        let resized = self.kernel.hugetlb_resize(order, total + more)?;
        resized.stopped.map_or(Ok(true), Err)
    }

    fn shrink(&mut self) -> Done {
        let Some((order, total)) = self.pool() else { return Ok(false) };
        let fewer = self.random.below(total + 1);
        self.hide(|_, of| of == order);
        let resized = self.kernel.hugetlb_resize(order, fewer)?;
        resized.stopped.map_or(Ok(true), Err)
    }

    /// Optimise or restore a page that readers are looking at.
    fn change_memmap(&mut self) -> Done {
        let heads = self.huge_pages();
        let Some(head) = self.random.pick(heads) else { return Ok(false) };
        let changed = if self.kernel.page(head).is_optimised() {
            self.kernel.hugetlb_restore(head)
        } else {
            self.kernel.hugetlb_optimise(head)
        };
        match changed {
            Ok(()) => Ok(true),
            // Small memmaps and altmaps' are no news.
            Err(Error::NotOptimised { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn take(&mut self) -> Done {
        let Some((order, _)) = self.pool() else { return Ok(false) };
        self.kernel.hugetlb_take(order).map(|_| true)
    }

    fn put(&mut self) -> Done {
        let heads = self.huge_pages().into_iter().filter(|head| self.kernel.page(*head).refs() > 0).collect();
        let Some(head) = self.random.pick(heads) else { return Ok(false) };
        self.kernel.hugetlb_put(head).map(|()| true)
    }

    fn demote(&mut self) -> Done {
        let heads = self.huge_pages().into_iter().filter(|head| self.kernel.page(*head).refs() == 0).collect();
        let Some(head) = self.random.pick(heads) else { return Ok(false) };
        let order = self.kernel.page(head).order();
        let smaller = self.kernel.hugetlb().pools().map(|pool| pool.order()).filter(|to| *to < order).collect();
        let Some(to) = self.random.pick(smaller) else { return Ok(false) };
        self.hide(|shown, _| shown == head);
        self.kernel.hugetlb_demote(head, to).map(|()| true)
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
        let sizes = self.kernel.geometry().compound_shifts.iter().map(|shift| 1u64 << shift).collect();
        let align = self.random.pick(sizes).filter(|size| *size <= behind.range.len() / 2);
        let compound = Compound::of(self.kernel.geometry(), align.unwrap_or(self.kernel.page_size()))?;
        let memmap = match self.random.below(2) {
            0 => DeviceMemmap::Ram,
            _ => DeviceMemmap::Device { reserve: 0 },
        };
        let range = [(behind.range.start, behind.range.len())];
        self.kernel.make_device(&range, behind.kind, memmap, compound).map(|_| true)
    }

    fn destroy(&mut self) -> Done {
        let starts = self.kernel.devices().iter().map(|device| device.start()).collect();
        let Some(start) = self.random.pick(starts) else { return Ok(false) };
        self.destroy_device(start)
    }

    fn destroy_device(&mut self, start: Pfn) -> Done {
        let Some(device) = self.kernel.devices().iter().find(|device| device.start() == start).cloned() else {
            return Ok(false);
        };
        self.hide(|head, _| device.contains(head));
        self.kernel.device_destroy(start).map(|_| true)
    }

    // Memory.

    /// The memory of the DIMM in the first slot goes, or comes. Those in other slots are who drives the machine's.
    fn dimm(&mut self) -> Done {
        if let Some((slot, range)) = self.away {
            return self.bring_back(slot, range);
        }
        let first = self.kernel.dimms().first().filter(|dimm| dimm.slot == 0 && !dimm.refused);
        let Some((slot, range)) = first.map(|dimm| (dimm.slot, dimm.range)) else { return Ok(false) };
        self.hide_range(range);
        let pages = self.kernel.pages_inside(range);
        self.kernel.offline_range(pages)?;
        self.kernel.remove(range)?;
        self.away = Some((slot, range));
        Ok(true)
    }

    fn bring_back(&mut self, slot: u32, range: PhysRange) -> Done {
        let hot = self.kernel.hot_range(range.start, range.len(), Source::Dimm(slot))?;
        let home = self.kernel.policy().home;
        self.kernel.add(&hot, home)?;
        self.away = None;
        let pages = self.kernel.pages_inside(range);
        self.kernel.online_range(pages, ZoneKind::Movable).map(|()| true)
    }

    /// A block that was added goes offline, or online.
    fn block(&mut self) -> Done {
        let added = |block: &&hotmap_mm::hotplug::block::MemoryBlock| matches!(block.source, Source::Dimm(_));
        let blocks = self.kernel.blocks().iter().filter(added).map(|block| (block.start, block.state)).collect();
        match self.random.pick(blocks) {
            Some((start, BlockState::Offline)) => self.kernel.online(start, ZoneKind::Movable).map(|()| true),
            Some((start, _)) => {
                let block = self.kernel.addresses(PfnRange::new(start, self.kernel.block_pages()));
                self.hide_range(block);
                self.kernel.offline(start).map(|_| true)
            }
            None => Ok(false),
        }
    }

    fn tenant(&mut self) -> Done {
        let pages = 1 + self.random.below(200);
        self.kernel.tenant_new(pages).map(|_| true)
    }

    /// A tenant looks whether its pattern is still there, and goes.
    fn leave(&mut self) -> Done {
        let tenants = self.kernel.tenants().iter().map(|tenant| tenant.id).collect();
        let Some(id) = self.random.pick(tenants) else { return Ok(false) };
        self.kernel.tenant_check(id)?;
        self.kernel.tenant_drop(id).map(|()| true)
    }

    // What readers see.

    /// Hide the compound pages of which `goes` says so, by head and order, and wait until nobody reads them.
    fn hide(&mut self, goes: impl Fn(Pfn, u32) -> bool) {
        readers::hide(|page| goes(Pfn::new(page.head), u32::from(page.order)));
    }

    /// Hide the compound pages that reach into a range.
    fn hide_range(&mut self, range: PhysRange) {
        let pages = self.kernel.pages_inside(range);
        self.hide(|head, order| PfnRange::new(head, 1 << order).overlaps(&pages));
    }

    /// Show all compound pages, as far as there is room.
    fn show(&mut self) {
        for head in self.huge_pages() {
            readers::show_huge_page(head, self.kernel.page(head).order());
        }
        for device in self.kernel.devices().iter().filter(|device| device.compound().order() > 0) {
            for head in device.heads().take(8) {
                readers::show_device_page(head, device.compound().order());
            }
        }
    }

    /// Undo all that is left.
    fn wind_down(&mut self, before: &Before) -> Outcome {
        self.hide(|_, _| true);
        while let Some(tenant) = self.kernel.tenants().get(before.tenants) {
            let id = tenant.id;
            self.kernel.tenant_check(id)?;
            self.kernel.tenant_drop(id)?;
        }
        let starts: Vec<Pfn> = self.kernel.devices().iter().map(|device| device.start()).collect();
        for start in starts.into_iter().filter(|start| !before.devices.contains(start)) {
            self.destroy_device(start)?;
        }
        for head in self.huge_pages() {
            if self.kernel.page(head).refs() > 0 {
                self.kernel.hugetlb_put(head)?;
            }
        }
        for (order, total) in &before.pools {
            let resized = self.kernel.hugetlb_resize(*order, *total)?;
            resized.stopped.map_or(Ok(()), Err)?;
        }
        if let Some((slot, range)) = self.away {
            self.bring_back(slot, range)?;
        }
        for (start, zone) in &before.online {
            if self.kernel.block_of(*start).is_some_and(|block| block.state == BlockState::Offline) {
                self.kernel.online(*start, *zone)?;
            }
        }
        Ok(())
    }
}
