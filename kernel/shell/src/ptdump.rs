//! `ptdump`: what is mapped, in the largest pieces that are alike. Compound pages that share memmap repeat a group of lines,
//! the first of which is their own frames. Groups that are alike and follow each other are one line.
//!
//! ```text
//!   0xfffffdffc2000000..0xfffffdffc2001000 -> 0x41a00000    4 KiB leaves  rw- normal
//!   0xfffffdffc2001000..0xfffffdffc2008000 -> 0x4010e000    4 KiB leaves  r-- normal, all to one frame
//!   0xfffffdffc2008000..0xfffffdffc4000000    the 2 lines above, 1023 times more, to the same shared frame
//! ```

use heapless::Vec;

use hotmap_mm::addr::{Bytes, VirtAddr};
use hotmap_mm::granule::Granule;
use hotmap_mm::space::dump::Run;

use super::args::Words;
use super::show::regions;
use super::{Outcome, ShellError};
use hotmap_kernel::attention::Attention;
use hotmap_kernel::kernel::Kernel;
use hotmap_kernel::kprintln;

pub(super) fn ptdump(kernel: &mut Kernel, words: &mut Words<'_>) -> Outcome {
    let wanted = words.next();
    let regions = regions(kernel);
    if wanted.is_some_and(|name| !regions.iter().any(|(known, _)| *known == name)) {
        return Err(ShellError::BadWord("one of linear, image, devices, tenants, vmemmap"));
    }
    let mut attention = Attention::new(&"ptdump");
    for (name, range) in regions.iter().filter(|(name, _)| wanted.is_none_or(|wanted| wanted == *name)) {
        kprintln!("{name}:");
        let mut fold = Fold::new(kernel.granule());
        kernel.mm.space().runs(*range, |run| {
            // What is left of the walk is short without the lines.
            if !attention.stop(format_args!("at {}", run.range.start)) {
                fold.take(run);
            }
        })?;
        fold.finish();
        attention.outcome()?;
    }
    Ok(())
}

fn show(run: &Run) {
    if run.is_table() {
        let each = Bytes(run.leaf);
        kprintln!("  {} -> the table above, {}, again for each {each}", run.range, run.pa);
        return;
    }
    let one = if run.is_one_frame() && run.range.len() > run.leaf { ", all to one frame" } else { "" };
    kprintln!("  {} -> {}  {:>7} leaves  {}{one}", run.range, run.pa, Bytes(run.leaf), run.descriptor);
}

/// The most runs of a group: a compound page has one of its own frames, one of the shared frame, and one of shared tables.
const MOST: usize = 4;

/// Runs that follow each other.
type Group = Vec<Run, MOST>;

/// Prints groups of runs, and counts those that are like the last one printed.
struct Fold {
    granule: Granule,
    /// The last group that was printed.
    printed: Group,
    /// The runs since then.
    open: Group,
    /// The groups that were not printed, and where they end.
    more: u64,
    end: VirtAddr,
    /// Whether all of them share what the printed one does.
    same: bool,
}

impl Fold {
    fn new(granule: Granule) -> Self {
        let (printed, open) = (Group::new(), Group::new());
        Self { granule, printed, open, more: 0, end: VirtAddr::new(0), same: true }
    }

    /// A group ends where a run is like its first.
    fn take(&mut self, run: &Run) {
        if self.open.is_full() || self.open.first().is_some_and(|first| self.is_start(first, run)) {
            self.close();
        }
        // There is room: a full group was closed.
        let _ = self.open.push(*run);
    }

    /// Whether `run` begins a group, after one that begins with `first`.
    fn is_start(&self, first: &Run, run: &Run) -> bool {
        !run.is_one_frame() || self.are_alike(first, run)
    }

    /// Counts the open group if it is like the last that was printed, and prints it otherwise.
    fn close(&mut self) {
        let open = core::mem::take(&mut self.open);
        let follows = open.first().is_some_and(|run| run.range.start == self.end);
        let shares = self.printed.iter().any(Run::is_one_frame);
        let alike = self.printed.len() == open.len()
            && self.printed.iter().zip(&open).all(|(one, other)| self.are_alike(one, other));
        let end = open.last().map_or(self.end, |run| run.range.end);
        if follows && shares && alike {
            self.more += 1;
            let shared = |(one, other): (&Run, &Run)| !one.is_one_frame() || one.pa == other.pa;
            self.same &= self.printed.iter().zip(&open).all(shared);
        } else {
            self.flush();
            open.iter().for_each(show);
            self.printed = open;
        }
        self.end = end;
    }

    /// Prints how many groups were counted, and forgets them.
    fn flush(&mut self) {
        let more = core::mem::take(&mut self.more);
        let same = core::mem::replace(&mut self.same, true);
        let Some(last) = self.printed.last().filter(|_| more > 0) else { return };
        let frames = if same { "the same shared frame" } else { "shared frames of their own" };
        kprintln!(
            "  {}..{}    the {} lines above, {more} times more, to {frames}",
            last.range.end,
            self.end,
            self.printed.len()
        );
    }

    fn finish(mut self) {
        self.close();
        self.flush();
    }

    /// Whether two runs have leaves of the same size and attributes, and as many of them.
    fn are_alike(&self, one: &Run, other: &Run) -> bool {
        let of = |run: &Run| {
            let attributes = run.descriptor.bits() ^ run.descriptor.address(self.granule).get();
            (run.range.len(), run.leaf, run.is_table(), attributes)
        };
        of(one) == of(other)
    }
}
