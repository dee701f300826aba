//! `stress`: everything that comes and goes, in a random order, while the other CPUs read struct pages. Huge pages are
//! optimised and restored under readers' eyes; what takes struct pages away hides them from the readers first.
//!
//! ```text
//!   boot CPU     an operation, then another; device events between them      tenants' patterns
//!   other CPUs   for every page of a compound page that is shown: is this its head?
//! ```
//! The same seed does the same operations, as long as nothing comes from outside. However the run ends, what it has made is
//! removed and what it has changed is put back, and then the machine has to be as it was. It changes nothing else: tenants,
//! devices, and huge pages in use that were there before stay as they are; of free memory, a DIMM's blocks and the free huge
//! pages of a pool it puts back as many, in the same zones, not the same ones.

mod operations;

use core::fmt;

use hotmap_mm::addr::PhysRange;
use hotmap_mm::device::compound::Dedup;
use hotmap_mm::errno::Errno;
use hotmap_mm::error::Result;
use hotmap_mm::frame::counts::Counts;
use hotmap_mm::frame::zone::ZoneKind;
use hotmap_mm::granule::MAX_HUGE_SIZES;
use hotmap_mm::pfn::Pfn;
use hotmap_mm::pfn::PfnRange;

use super::args::Words;
use super::{Outcome, ShellError};
use crate::selftest::snapshot::checksum;
use hotmap_kernel::arch::counter;
use hotmap_kernel::drivers::console;
use hotmap_kernel::kernel::Kernel;
use hotmap_kernel::kprintln;
use hotmap_kernel::readers::{self, fault};
use operations::{NAMES, OPERATIONS};

pub(super) const STRESS: &str = "stress SECONDS [SEED]";

/// How often it says that it goes on.
const SECONDS_BETWEEN_LINES: u64 = 2;

pub(super) fn stress(kernel: &mut Kernel, words: &mut Words<'_>) -> Outcome {
    let seconds = words.number(STRESS)?;
    let seed = if words.left() == 0 { 1 } else { words.number(STRESS)? };
    words.end(STRESS)?;
    let before = Before::of(kernel);
    let watching = readers::start();
    kprintln!("stress: seed {seed}, {seconds} s, {watching} CPUs read");
    let was_quiet = console::set_quiet(true);
    let (random, made, tally) = (Random(seed), Made::default(), Tally::default());
    let mut stress = Stress { kernel, before, random, made, tally };
    let run = stress.run_for(seconds);
    // However the run ended. Its own error is the first, and the one that is reported.
    let outcome = run.and(stress.wind_down().map_err(ShellError::from));
    let Stress { before, tally, .. } = stress;
    fault::stretch_next(0);
    let read = readers::stop();
    console::set_quiet(was_quiet);
    kprintln!("stress: done/refused:{tally}");
    report(&read);
    outcome?;
    if read.wrong > 0 {
        return Err(ShellError::Failed("a reader found another head than there is"));
    }
    before.is_still(kernel)?;
    super::act::audit(kernel, &mut Words::new(""))
}

/// What the readers found, and what windows cost.
fn report(read: &readers::Totals) {
    let figures = fault::figures();
    let (waited, late): (u64, u64) = (figures.waited.iter().sum(), figures.late.iter().sum());
    kprintln!("stress: {} heads looked up, {} wrong", read.checks, read.wrong);
    kprintln!(
        "stress: {} windows, the longest {} ticks; readers waited in one {waited} times, came just after {late} times",
        figures.windows,
        figures.longest.ticks
    );
    if let Some(page) = read.page {
        kprintln!("stress: the last wrong answer was of pfn {page:#x}");
    }
}

/// What was there before, and has to be so again at the end.
struct Before {
    counts: Counts,
    dimms: u64,
    /// For each size of huge pages: the order, how many the pool has, and how many of these share their memmap.
    pools: [(u32, u64, u64); MAX_HUGE_SIZES],
}

impl Before {
    fn of(kernel: &Kernel) -> Self {
        let mut pools = [(0, 0, 0); MAX_HUGE_SIZES];
        for (place, pool) in pools.iter_mut().zip(kernel.mm.hugetlb.pools()) {
            *place = (pool.order(), pool.total(), pool.optimised());
        }
        Self { counts: kernel.mm.counts(), dimms: dimms(kernel), pools }
    }

    /// A pool's count. What a run has not added it does not take away.
    fn total(&self, order: u32) -> u64 {
        self.pools.iter().find(|(of, ..)| *of == order).map_or(0, |(_, total, _)| *total)
    }

    /// The pools with their counts, largest pages first.
    fn pools(&self) -> impl DoubleEndedIterator<Item = (u32, u64, u64)> + use<> {
        self.pools.into_iter().rev().filter(|(order, ..)| *order != 0)
    }

    fn is_still(&self, kernel: &Kernel) -> Outcome {
        let now = kernel.mm.counts();
        // Other huge pages are optimised now than at the start, and DIMMs come and go from outside.
        if self.pools.iter().any(|(.., optimised)| *optimised > 0) || dimms(kernel) != self.dimms {
            kprintln!("stress: the page counts are not compared");
            return Ok(());
        }
        if now == self.counts {
            return Ok(());
        }
        kprintln!("before: {:?}\nafter:  {now:?}", self.counts);
        Err(ShellError::Failed("the pages by use are not as they were"))
    }
}

/// One number for the DIMMs that there are.
fn dimms(kernel: &Kernel) -> u64 {
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
struct Made {
    tenants: heapless::Vec<u32, MOST>,
    devices: heapless::Vec<Pfn, MOST>,
    /// Huge pages that were taken out of their pools.
    taken: heapless::Vec<Pfn, MOST>,
    /// Blocks that were taken offline, and the zones that they were in.
    offline: heapless::Vec<(Pfn, ZoneKind), MOST>,
    away: Option<Away>,
}

/// A DIMM whose memory was removed.
#[derive(Clone, Copy)]
struct Away {
    slot: u32,
    range: PhysRange,
    zone: ZoneKind,
}

/// xorshift64* (Vigna, "An experimental exploration of Marsaglia's xorshift generators, scrambled", 2016).
#[derive(Clone, Copy)]
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
    /// One of them, each as likely, if there is one (Vitter, "Random Sampling with a Reservoir": one place).
    fn pick<T>(&mut self, items: impl Iterator<Item = T>) -> Option<T> {
        let mut picked = None;
        for (seen, item) in (1..).zip(items) {
            if self.below(seen) == 0 {
                picked = Some(item);
            }
        }
        picked
    }
}

/// What is refused because of what there is just now.
const EXPECTED: [Errno; 2] = [Errno::ENOMEM, Errno::EBUSY];
/// How often a window is looked at for a reader in it before it closes.
const LOOKS: u64 = 20_000;
/// So many compound pages of each device, and of each list of a pool, are shown and worked on.
const HEADS_OF_EACH: usize = 8;

struct Stress<'a> {
    kernel: &'a mut Kernel,
    before: Before,
    random: Random,
    made: Made,
    tally: Tally,
}

/// How often each operation was done, and how often refused because of what there was.
#[derive(Default)]
struct Tally([[u32; 2]; OPERATIONS.len()]);

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        NAMES
            .split(' ')
            .zip(self.0)
            .try_for_each(|(name, [done, refused])| write!(f, " {name} {done}/{refused}"))
    }
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
                kprintln!("stress: {} s", now / second);
            }
            self.kernel.service();
            fault::stretch_next(LOOKS);
            self.one()?;
            self.show();
        }
    }

    /// One operation. What memory there is decides how it ends; any other refusal is an error of ours.
    fn one(&mut self) -> Outcome {
        let mut draw = self.random.below(OPERATIONS.iter().map(|(weight, _)| weight).sum());
        for (index, (weight, operation)) in OPERATIONS.iter().enumerate() {
            if draw < *weight {
                let how = match operation(self) {
                    Ok(false) => return Ok(()),
                    Ok(true) => 0,
                    Err(error) if EXPECTED.contains(&error.errno()) => 1,
                    Err(error) => return Err(error.into()),
                };
                self.tally.0[index][how] += 1;
                return Ok(());
            }
            draw -= weight;
        }
        Ok(())
    }

    // What readers see.

    /// Hides the compound pages for which `goes` is true, by head and order, and waits until no reader reads them.
    fn hide(&self, goes: impl Fn(Pfn, u32) -> bool) {
        readers::hide(|page| goes(Pfn::new(page.head), u32::from(page.order)));
    }

    /// Hide the compound pages that reach into a range.
    fn hide_range(&self, range: PhysRange) {
        readers::hide_pages(PfnRange::inside(self.kernel.granule(), range));
    }

    /// Show compound pages, as far as there is room.
    fn show(&self) {
        for head in self.huge_pages() {
            readers::show_huge_page(head, self.kernel.mm.pages().get(head).order());
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

    /// Puts back what the run has made or changed and not put back yet. What cannot be put back keeps nothing else from it.
    ///
    /// # Errors
    /// The first.
    fn wind_down(&mut self) -> Result<()> {
        self.hide(|_, _| true);
        let mut first = Ok(());
        let mut note = |result: Result<()>| {
            if first.is_ok() {
                first = result;
            }
        };
        while let Some(id) = self.made.tenants.pop() {
            note(self.kernel.mm.tenant_check(id).map(|_| ()));
            note(self.kernel.mm.tenant_drop(id));
        }
        while let Some(start) = self.made.devices.pop() {
            note(self.kernel.mm.memunmap_pages(start).map(|_| ()));
        }
        while let Some(head) = self.made.taken.pop() {
            note(self.kernel.mm.hugetlb_put(head));
        }
        // Huge pages that are too many go first: the DIMM and what is missing may need their memory.
        for (order, total, _) in self.before.pools() {
            if self.pool(order).total() > total {
                note(self.resize(order, total));
            }
        }
        note(self.bring_back());
        while let Some((start, zone)) = self.made.offline.pop() {
            if self.is_offline(start) {
                note(self.kernel.mm.online_block(start, zone));
            }
        }
        for (order, total, optimised) in self.before.pools() {
            let grown = self.resize(order, total);
            // What a DIMM took along that left during the run is not missing.
            note(if dimms(self.kernel) == self.before.dimms { grown } else { Ok(()) });
            note(self.optimise_as_many(order, optimised));
        }
        first
    }
}
