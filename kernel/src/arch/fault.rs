//! The faults of readers of vmemmap ([`crate::readers`]), and the windows in which they occur.
//!
//! | data abort | handling |
//! |---|---|
//! | translation fault in vmemmap | wait for the end of a window that covers the address; retry if it translates now |
//! | TLB conflict (with FEAT_BBM level 2) | invalidate this CPU's TLB; retry |
//! | permission fault in vmemmap, on a write | report the page: a write to a shared tail |

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use hotmap_mm::addr::{VirtAddr, VirtRange};
use hotmap_sync::cpu::Cpu;
use hotmap_sync::figures::{Clock, Figures};
use hotmap_sync::window::{Entry, Verdict, Window};

use super::esr::Syndrome;
use super::vmemmap::pfn_at;
use super::{counter, cpu, tlb, translate};
use crate::per_cpu::{CPUS, PerCpu};

/// The window of vmemmap.
static WINDOW: Window = Window::new();
/// TLB conflict aborts of each CPU.
static CONFLICTS: PerCpu<AtomicU64> = PerCpu([const { AtomicU64::new(0) }; CPUS]);
/// For how many looks the next window is held open for a reader to enter; and whether one did.
static STRETCH: AtomicU64 = AtomicU64::new(0);
static ENTERED: AtomicBool = AtomicBool::new(false);

/// Handles the data abort `syndrome` at `far`; returns whether to retry the access. Waits if a window is open.
pub(crate) fn retry(syndrome: Syndrome, far: u64) -> bool {
    let Some(this) = Cpu::new(cpu::number()) else { return false };
    if syndrome.is_tlb_conflict() {
        CONFLICTS[this.index()].fetch_add(1, Relaxed);
        tlb::invalidate_here();
        return true;
    }
    syndrome.is_translation_fault()
        && pfn_at(far).is_some()
        && WINDOW.fault(this, far, || translates(far), cpu::relax) == Verdict::Retry
}

/// Whether `va` translates now, ordered after earlier reads as [`Window::fault`] requires.
fn translates(va: u64) -> bool {
    cpu::finish_accesses();
    translate::load(VirtAddr::new(va)).address().is_some()
}

/// The page whose struct page was written to, if the abort is a write to a shared tail.
pub(crate) fn written_tail(syndrome: Syndrome, far: u64) -> Option<u64> {
    pfn_at(far).filter(|_| syndrome.is_write() && syndrome.is_permission_fault())
}

fn now() -> Clock {
    Clock { ticks: counter::ticks(), instructions: counter::instructions() }
}

/// `Machine::window_open`: entries of `range`, all in vmemmap, are about to be broken.
pub(crate) fn open(range: VirtRange) {
    assert!(WINDOW.open(range.start.get(), range.end.get(), now()).is_ok(), "a window in a window");
}

/// `Machine::window_close`: the entries are written.
pub(crate) fn close() {
    // The length is in the figures.
    let _ = WINDOW.close(now());
}

/// Called when an entry is broken and no TLB has it any more.
#[inline]
pub(crate) fn broken() {
    if STRETCH.load(Relaxed) != 0 && WINDOW.is_open() {
        let (turns, from) = (STRETCH.swap(0, Relaxed), now());
        ENTERED.store(WINDOW.stretch(turns, cpu::relax) == Entry::Reader, Relaxed);
        WINDOW.leave_out(from, now());
    }
}

/// For tests: holds the next window open until a reader enters it, for at most `turns` looks; 0 does not hold it open.
pub fn stretch_next(turns: u64) {
    if turns > 0 {
        ENTERED.store(false, Relaxed);
    }
    STRETCH.store(turns, Relaxed);
}

/// For tests: whether a reader entered the window that was held open. If not, that proves nothing about readers.
pub fn was_entered() -> bool {
    ENTERED.load(Relaxed)
}

/// The windows so far, and the readers' retries.
pub fn figures() -> Figures {
    WINDOW.figures()
}

/// TLB conflict aborts that a CPU has had.
pub fn conflicts(number: usize) -> u64 {
    CONFLICTS[number].load(Relaxed)
}
