//! Readers: the other CPUs read struct pages without a lock, while the boot CPU changes what maps them.
//!
//! ```text
//!  boot CPU                                    reader
//!  show_huge_page, show_device_page            enters a section of READERS
//!                                              finds the page on BOARD
//!  Machine::window_open, an entry is broken    reads a struct page: translation fault -> fault::retry: waits, reads on
//!  Machine::window_close                       head of every page right? counts
//!  hide: off BOARD, waits for READERS          leaves the section
//! ```

use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use hotmap_mm::frame::pages::find_head;
use hotmap_mm::pfn::{Pfn, PfnRange};
use hotmap_sync::board::{Board, Compound, Grace, Kind};
use hotmap_sync::cpu::Cpu;
use hotmap_sync::readers::Readers;

use crate::arch::{cpu, peek, vmemmap};
use crate::cpus::start::online;
use crate::cpus::work::{self, Task};
use crate::per_cpu::{CPUS, PerCpu};

/// The most compound pages that can be shown.
const BOARD_SLOTS: usize = 64;
/// The compound pages that readers check.
static BOARD: Board<BOARD_SLOTS> = Board::new();
/// The readers' sections.
static READERS: Readers = Readers::new();

/// Larger compound pages are sampled: this many pages at random, and at each end as many as one entry of vmemmap maps.
const ALL_OF: u64 = 1 << 13;
const AT_RANDOM: u64 = 1 << 10;
const AT_ENDS: u64 = 1 << 10;

/// A reader's findings, written by its CPU.
struct Count {
    checks: AtomicU64,
    wrong: AtomicU64,
    /// The last page with a wrong answer.
    page: AtomicU64,
}

static COUNTS: PerCpu<Count> = PerCpu(
    [const { Count { checks: AtomicU64::new(0), wrong: AtomicU64::new(0), page: AtomicU64::new(0) } }; CPUS],
);

/// The findings of all readers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Totals {
    /// Pages whose head was looked up.
    pub checks: u64,
    /// How many of them had a wrong head.
    pub wrong: u64,
    /// The pfn of one of these.
    pub page: Option<u64>,
}

impl fmt::Display for Totals {
    /// `5400 heads read, 0 wrong`, and a page with a wrong head.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} heads read, {} wrong", self.checks, self.wrong)?;
        self.page.map_or(Ok(()), |pfn| write!(f, ", one of them of pfn {pfn:#x}"))
    }
}

/// Starts a reader on every other CPU; returns how many there are.
pub fn start() -> usize {
    for count in &COUNTS.0 {
        for word in [&count.checks, &count.wrong, &count.page] {
            word.store(0, Relaxed);
        }
    }
    online().skip(1).filter(|number| work::post(*number, Task::Read).is_ok()).count()
}

/// The findings so far.
pub fn totals() -> Totals {
    let mut totals = Totals::default();
    for count in &COUNTS.0 {
        totals.checks += count.checks.load(Relaxed);
        totals.wrong += count.wrong.load(Relaxed);
        if count.wrong.load(Relaxed) != 0 {
            totals.page = Some(count.page.load(Relaxed));
        }
    }
    totals
}

/// Stops the readers, waits for their end, and returns their findings.
///
/// # Panics
/// A CPU does not end. What it may be reading cannot be removed then.
pub fn stop() -> Totals {
    let reading = || online().skip(1).filter(|number| work::task(*number) == Some(Task::Read));
    reading().for_each(work::request_stop);
    for number in reading() {
        assert!(work::result(number).is_some(), "CPU {number} does not stop reading");
    }
    totals()
}

/// Shows readers the huge page of `1 << order` pages at `head`, whose struct pages are complete. Returns whether it is
/// shown: there may be no room.
pub fn show_huge_page(head: Pfn, order: u32) -> bool {
    show(head, order, Kind::HugeTlb)
}

/// Shows readers a compound page of a device.
pub fn show_device_page(head: Pfn, order: u32) -> bool {
    show(head, order, Kind::Dax)
}

fn show(head: Pfn, order: u32, kind: Kind) -> bool {
    let Ok(order) = u8::try_from(order) else { return false };
    let page = Compound { head: head.get(), order, kind };
    shown().any(|other| other == page) || BOARD.publish(page).is_ok()
}

/// The compound pages that are shown, for the boot CPU, which shows and hides them.
fn shown() -> impl Iterator<Item = Compound> {
    // The boot CPU does not wait for itself, so the section may end before the result is used.
    let section = READERS.enter(Cpu::BOOT);
    let mut pages = [None; BOARD_SLOTS];
    for (place, page) in pages.iter_mut().zip(BOARD.scan(&section)) {
        *place = Some(page);
    }
    pages.into_iter().flatten()
}

/// Hides the compound pages for which `goes` is true. On return no reader reads them, and they may change or be removed.
pub fn hide(goes: impl Fn(&Compound) -> bool) {
    let hidden = shown().filter(goes).map(|page| BOARD.withdraw(page.head, page.head + 1));
    // One wait for all.
    if let Some(grace) = hidden.reduce(Grace::and) {
        grace.wait(&READERS, |_| cpu::relax());
    }
}

/// Hides the compound pages that overlap `pages`.
pub fn hide_pages(pages: PfnRange) {
    hide(|page| PfnRange::new(Pfn::new(page.head), 1 << page.order).overlaps(&pages));
}

/// The job [`Task::Read`]: checks every page of the board, again and again.
pub(crate) fn read(number: usize, mut stop: impl FnMut() -> bool) {
    let Some(this) = Cpu::new(number) else { return };
    let mut random = Random(number as u64 + 1);
    let mut slot = 0;
    while !stop() {
        // A section for each page, so that the writer waits for one page at most.
        let section = READERS.enter(this);
        let Some(compound) = BOARD.scan(&section).nth(slot) else {
            drop(section);
            if slot == 0 {
                cpu::relax();
            }
            slot = 0;
            continue;
        };
        slot += 1;
        each_page(compound, &mut random, |pfn| {
            let page = |pfn: Pfn| Some(peek::struct_page(&section, vmemmap::struct_page(pfn.get())));
            let found = find_head(Pfn::new(pfn), compound.order.into(), page);
            note(&COUNTS[number], pfn, found, compound);
        });
    }
}

/// Reads a struct page that is not mapped: that of the last page that vmemmap can describe. It ends the run.
pub fn crash(number: usize) -> u64 {
    let this = Cpu::new(number).unwrap_or(Cpu::BOOT);
    let section = READERS.enter(this);
    peek::struct_page(&section, vmemmap::last()).kind() as u64
}

/// The pages to check of a compound page.
fn each_page(compound: Compound, random: &mut Random, mut check: impl FnMut(u64)) {
    let (head, len) = (compound.head, 1 << compound.order);
    if len <= ALL_OF {
        (head..head + len).for_each(check);
        return;
    }
    (head..head + AT_ENDS).for_each(&mut check);
    (head + len - AT_ENDS..head + len).for_each(&mut check);
    (0..AT_RANDOM).for_each(|_| check(head + random.next() % len));
}

fn note(count: &Count, pfn: u64, found: Option<Pfn>, compound: Compound) {
    count.checks.fetch_add(1, Relaxed);
    if found != Some(Pfn::new(compound.head)) {
        count.page.store(pfn, Relaxed);
        count.wrong.fetch_add(1, Relaxed);
    }
}

/// xorshift64 (Marsaglia, "Xorshift RNGs").
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}
