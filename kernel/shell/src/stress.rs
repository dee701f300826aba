//! `stress`: all operations in random order, while the other CPUs read struct pages. Huge pages are optimised and restored
//! while readers read them; an operation that removes struct pages hides them from the readers first.
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
mod run;

use core::fmt;

use hotmap_mm::errno::Errno;
use hotmap_mm::error::Result;

use super::args::Words;
use super::{Outcome, ShellError};
use hotmap_kernel::arch::{counter, fault};
use hotmap_kernel::attention::Attention;
use hotmap_kernel::drivers::console;
use hotmap_kernel::kernel::Kernel;
use hotmap_kernel::kprintln;
use hotmap_kernel::readers;
use operations::{NAMES, OPERATIONS};
use run::{Before, Made, Random, Stress, dimms};

pub(super) const STRESS: &str = "stress SECONDS [SEED]";

pub(super) fn stress(kernel: &mut Kernel, words: &mut Words<'_>) -> Outcome {
    let seconds = words.number(STRESS)?;
    let seed = if words.left() == 0 { 1 } else { words.number(STRESS)? };
    words.end(STRESS)?;
    let (before, mut attention) = (Before::of(kernel), Attention::new(&"stress"));
    let watching = readers::start();
    kprintln!("stress: seed {seed}, {seconds} s, {watching} CPUs read");
    let was_quiet = console::set_quiet(true);
    let mut tally = Tally::default();
    let mut stress = Stress { kernel, before, random: Random(seed), made: Made::default() };
    let run = stress.run_for(seconds, &mut tally, &mut attention);
    // However the run ended. Its own error is the first, and the one that is reported.
    let outcome = run.and(stress.wind_down().map_err(ShellError::from));
    let Stress { before, .. } = stress;
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
    super::act::audit(kernel, &mut Words::new(""))?;
    Ok(attention.outcome()?)
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

/// What is refused because of what there is just now.
const EXPECTED: [Errno; 2] = [Errno::ENOMEM, Errno::EBUSY];
/// How often a window is looked at for a reader in it before it closes.
const LOOKS: u64 = 20_000;

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
    fn run_for(&mut self, seconds: u64, tally: &mut Tally, attention: &mut Attention<'_>) -> Outcome {
        let (second, start) = (counter::ticks_per_second(), counter::ticks());
        let end = seconds.saturating_mul(second);
        loop {
            let now = counter::ticks().wrapping_sub(start);
            if now >= end {
                return Ok(());
            }
            if attention.stop(format_args!("{} s", now / second)) {
                return Ok(());
            }
            self.kernel.service();
            fault::stretch_next(LOOKS);
            self.one(tally)?;
            self.show();
        }
    }

    /// One operation. What memory there is decides how it ends; any other refusal is a defect.
    fn one(&mut self, tally: &mut Tally) -> Outcome {
        let mut draw = self.random.below(OPERATIONS.iter().map(|(weight, _)| weight).sum());
        for (index, (weight, operation)) in OPERATIONS.iter().enumerate() {
            if draw < *weight {
                let how = match operation(self) {
                    Ok(false) => return Ok(()),
                    Ok(true) => 0,
                    Err(error) if EXPECTED.contains(&error.errno()) => 1,
                    Err(error) => return Err(error.into()),
                };
                tally.0[index][how] += 1;
                return Ok(());
            }
            draw -= weight;
        }
        Ok(())
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
