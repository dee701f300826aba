//! A run of `stress`: what was there before it, what it has made, and what readers are shown of it.

use hotmap_mm::addr::PhysRange;
use hotmap_mm::device::compound::Dedup;
use hotmap_mm::frame::counts::Counts;
use hotmap_mm::frame::zone::ZoneKind;
use hotmap_mm::granule::MAX_HUGE_SIZES;
use hotmap_mm::hugetlb::pool::{Pool, Use};
use hotmap_mm::pfn::{Pfn, PfnRange};

use crate::checksum::checksum;
use crate::{Outcome, ShellError, show};
use hotmap_kernel::kernel::Kernel;
use hotmap_kernel::kprintln;
use hotmap_kernel::readers;

/// What was there before, and has to be so again at the end.
pub(super) struct Before {
    counts: Counts,
    pub(super) dimms: u64,
    /// For each size of huge pages: the order, how many the pool has, and how many of these share their memmap.
    pools: [(u32, u64, u64); MAX_HUGE_SIZES],
}

impl Before {
    pub(super) fn of(kernel: &Kernel) -> Self {
        let mut pools = [(0, 0, 0); MAX_HUGE_SIZES];
        for (place, pool) in pools.iter_mut().zip(kernel.mm.hugetlb.pools()) {
            *place = (pool.order(), pool.total(), pool.optimised());
        }
        Self { counts: kernel.mm.frames().counts(), dimms: dimms(kernel), pools }
    }

    /// A pool's count. What a run has not added it does not take away.
    pub(super) fn total(&self, order: u32) -> u64 {
        self.pools.iter().find(|(of, ..)| *of == order).map_or(0, |(_, total, _)| *total)
    }

    /// The pools with their counts, largest pages first.
    pub(super) fn pools(&self) -> impl DoubleEndedIterator<Item = (u32, u64, u64)> + use<> {
        self.pools.into_iter().rev().filter(|(order, ..)| *order != 0)
    }

    pub(super) fn is_still(&self, kernel: &Kernel) -> Outcome {
        let now = kernel.mm.frames().counts();
        let why = if dimms(kernel) != self.dimms {
            Some("a DIMM came or went during the run")
        } else if self.pools.iter().any(|(.., optimised)| *optimised > 0) {
            Some("other huge pages share their memmap now than before")
        } else {
            None
        };
        if let Some(why) = why {
            kprintln!("stress: the pages by use are not compared with those before: {why}");
        } else if now == self.counts {
            kprintln!("stress: the pages by use are as before");
        } else {
            let (before, now) = (show::by_use(&self.counts), show::by_use(&now));
            for ((name, before), (_, now)) in
                before.into_iter().zip(now).filter(|(before, now)| before != now)
            {
                kprintln!("stress: pages {name}: {before} before, {now} now");
            }
            return Err(ShellError::Failed("the pages by use are not as before"));
        }
        Ok(())
    }
}

/// One number for the DIMMs that there are.
pub(super) fn dimms(kernel: &Kernel) -> u64 {
    checksum(
        kernel
            .dimms
            .all()
            .iter()
            .flat_map(|dimm| [dimm.slot.into(), dimm.range.start.get(), dimm.range.len()]),
    )
}

/// The most of each kind that a run has at a time.
const MOST: usize = 64;

/// What a run has made or changed and puts back at its end. It needs no heap, which may be full by then.
#[derive(Default)]
pub(super) struct Made {
    pub(super) tenants: heapless::Vec<u32, MOST>,
    pub(super) devices: heapless::Vec<Pfn, MOST>,
    /// Huge pages that were taken out of their pools.
    pub(super) taken: heapless::Vec<Pfn, MOST>,
    /// Blocks that were taken offline, and the zones that they were in.
    pub(super) offline: heapless::Vec<(Pfn, ZoneKind), MOST>,
    pub(super) away: Option<Away>,
}

/// A DIMM whose memory was removed.
#[derive(Clone, Copy)]
pub(super) struct Away {
    pub(super) slot: u32,
    pub(super) range: PhysRange,
    pub(super) zone: ZoneKind,
}

/// xorshift64* (Vigna, "An experimental exploration of Marsaglia's xorshift generators, scrambled", 2016).
#[derive(Clone, Copy)]
pub(super) struct Random(pub(super) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 |= u64::from(self.0 == 0);
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32
    }
    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }
    /// One of them, each as likely, if there is one (Vitter, "Random Sampling with a Reservoir": one place).
    pub(super) fn pick<T>(&mut self, items: impl Iterator<Item = T>) -> Option<T> {
        let mut picked = None;
        for (seen, item) in (1..).zip(items) {
            if self.below(seen) == 0 {
                picked = Some(item);
            }
        }
        picked
    }
}

/// So many compound pages of each device, and of each list of a pool, are shown and worked on.
const HEADS_OF_EACH: usize = 8;

/// A run.
pub(super) struct Stress<'a> {
    pub(super) kernel: &'a mut Kernel,
    pub(super) before: Before,
    pub(super) random: Random,
    pub(super) made: Made,
}

impl Stress<'_> {
    /// The pool of pages of this order; an empty one if there is none.
    pub(super) fn pool(&self, order: u32) -> Pool {
        self.kernel.mm.hugetlb.pool(order).copied().unwrap_or_default()
    }

    /// Some of each pool: a page of 1 GiB that was demoted is thousands.
    pub(super) fn huge_pages(&self) -> impl Iterator<Item = Pfn> + '_ {
        let lists = self.kernel.mm.hugetlb.pools().flat_map(|pool| [(pool, Use::Free), (pool, Use::Taken)]);
        lists.flat_map(|(pool, which)| pool.heads(self.kernel.mm.frames(), which).take(HEADS_OF_EACH))
    }

    /// Hides the compound pages for which `goes` is true, by head and order, and waits until no reader reads them.
    pub(super) fn hide(&self, goes: impl Fn(Pfn, u32) -> bool) {
        readers::hide(|page| goes(Pfn::new(page.head), u32::from(page.order)));
    }

    /// Hides the compound pages that reach into a range.
    pub(super) fn hide_range(&self, range: PhysRange) {
        readers::hide_pages(PfnRange::inside(self.kernel.granule(), range));
    }

    /// Shows compound pages, as far as there is room.
    pub(super) fn show(&self) {
        for head in self.huge_pages() {
            readers::show_huge_page(head, self.kernel.mm.frames().pages().get(head).order());
        }
        // Without sharing the tails say nothing: one has to look for the head.
        for device in self.kernel.mm.devices().iter().filter(|device| device.dedup() == Dedup::Shared) {
            let (order, usable) = (device.compound().order(), device.usable());
            let heads = usable
                .as_slice()
                .iter()
                .flat_map(|range| (0..range.len() >> order).map(move |index| range.start + (index << order)));
            heads.take(HEADS_OF_EACH).for_each(|head| {
                readers::show_device_page(head, order);
            });
        }
    }
}
