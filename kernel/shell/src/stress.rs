//! `stress`: everything that comes and goes, in a random order, while the other CPUs read struct pages. Huge pages are
//! optimised and restored under readers' eyes; what takes struct pages away hides them from the readers first.
//!
//! ```text
//!   boot CPU     an operation, then another; device events between them      tenants' patterns
//!   other CPUs   for every page of a compound page that is shown: is this its head?
//! ```
//! The same seed does the same operations, as long as nothing comes from outside. At the end all that was made is undone, and
//! the machine has to be as it was.

mod operations;

use alloc::vec::Vec;
use core::fmt;

use hotmap_mm::addr::PhysRange;
use hotmap_mm::device::compound::Dedup;
use hotmap_mm::errno::Errno;
use hotmap_mm::frame::block::{BlockState, MemoryBlock};
use hotmap_mm::frame::counts::Counts;
use hotmap_mm::frame::zone::ZoneKind;
use hotmap_mm::pfn::Pfn;

use operations::{NAMES, OPERATIONS};

use super::args::Words;
use super::{Outcome, ShellError};
use crate::system::System;
use hotmap_kernel::arch::counter;
use hotmap_kernel::drivers::console;
use hotmap_kernel::kprintln;
use hotmap_kernel::readers::{self, fault};

pub(super) const STRESS: &str = "stress SECONDS [SEED]";

/// How often it says that it goes on.
const SECONDS_BETWEEN_LINES: u64 = 2;

pub(super) fn stress(kernel: &mut dyn System, words: &mut Words<'_>) -> Outcome {
    let seconds = words.number(STRESS)?;
    let seed = if words.left() == 0 { 1 } else { words.number(STRESS)? };
    let before = Before::of(kernel);
    let watching = readers::start();
    kprintln!("stress: seed {seed}, {seconds} s, {watching} CPUs read");
    let was_quiet = console::set_quiet(true);
    let random = Random(seed);
    let mut stress = Stress { kernel, random, away: None, tally: Tally::default() };
    let outcome = stress.run_for(seconds).and_then(|()| stress.wind_down(&before));
    let tally = stress.tally;
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

/// What has to be so again at the end.
struct Before {
    counts: Counts,
    dimms: Vec<PhysRange>,
    devices: Vec<Pfn>,
    tenants: usize,
    pools: Vec<(u32, u64)>,
    optimised: bool,
    online: Vec<(Pfn, ZoneKind)>,
}

impl Before {
    fn of(kernel: &dyn System) -> Self {
        let online = |block: &MemoryBlock| match block.state {
            BlockState::Online(zone) => Some((block.start, zone)),
            _ => None,
        };
        Self {
            counts: kernel.counts(),
            dimms: kernel.dimms().iter().map(|dimm| dimm.range).collect(),
            devices: kernel.devices().iter().map(|device| device.start()).collect(),
            tenants: kernel.tenants().len(),
            pools: kernel.mm().hugetlb.pools().map(|pool| (pool.order(), pool.total())).collect(),
            optimised: kernel.mm().hugetlb.pools().any(|pool| pool.optimised() > 0),
            online: kernel.blocks().iter().filter_map(online).collect(),
        }
    }

    fn is_still(&self, kernel: &dyn System) -> Outcome {
        let now = kernel.counts();
        // Other huge pages are optimised now than at the start, and DIMMs come and go from outside.
        let same = kernel.dimms().iter().map(|dimm| &dimm.range).eq(&self.dimms);
        if self.optimised || !same {
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

/// What is refused because of what there is just now.
const EXPECTED: [Errno; 2] = [Errno::ENOMEM, Errno::EBUSY];
/// How often a window is looked at for a reader in it before it closes.
const LOOKS: u64 = 20_000;
/// So many compound pages of each device, and of each list of a pool, are shown and worked on.
const HEADS_OF_EACH: usize = 8;

struct Stress<'a> {
    kernel: &'a mut dyn System,
    random: Random,
    /// The DIMM of the first slot, while its memory is out.
    away: Option<(u32, PhysRange)>,
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
        readers::hide_pages(self.kernel.pages_inside(range));
    }

    /// Show compound pages, as far as there is room.
    fn show(&self) {
        for head in self.huge_pages() {
            readers::show_huge_page(head, self.kernel.page(head).order());
        }
        // Without sharing the tails say nothing: one has to look for the head.
        for device in self.kernel.devices().iter().filter(|device| device.dedup() == Dedup::Shared) {
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
        while let Some(head) = self.huge_pages().into_iter().find(|head| self.kernel.page(*head).refs() > 0) {
            self.kernel.mm_mut().hugetlb_put(head)?;
        }
        for (order, total) in &before.pools {
            let resized = self.kernel.mm_mut().hugetlb_resize(*order, *total)?;
            // What a DIMM took along that went from outside is not there any more.
            let fewer_dimms = self.kernel.dimms().len() < before.dimms.len();
            resized.stopped.filter(|_| !fewer_dimms).map_or(Ok(()), Err)?;
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
