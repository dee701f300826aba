//! Faults that readers may have, and windows, in which they have them.
//!
//! | data abort | what is done about it |
//! |---|---|
//! | translation fault in vmemmap | in a window: wait for its end; the entry is there again meanwhile: nothing. Then retry |
//! | TLB conflict (with FEAT_BBM level 2) | this CPU's TLB is emptied, and the access retried |
//! | permission fault in vmemmap, on a write | reported with the page: somebody writes to a shared tail |

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use hotmap_mm::addr::{VirtAddr, VirtRange};
use hotmap_sync::cpu::{CPUS, Cpu};
use hotmap_sync::figures::{Clock, Figures};
use hotmap_sync::window::{Entry, Verdict, Window};

use super::pfn_at;
use crate::arch::esr::Syndrome;
use crate::arch::{counter, cpu, tlb, translate};
use crate::cpus::PerCpu;

/// The part of vmemmap that is being changed through an invalid entry.
static WINDOW: Window = Window::new();
/// TLB conflict aborts of each CPU.
static CONFLICTS: PerCpu<AtomicU64> = PerCpu([const { AtomicU64::new(0) }; CPUS]);
/// How long the next window is held open until a reader enters it, in looks; and whether one did.
static STRETCH: AtomicU64 = AtomicU64::new(0);
static ENTERED: AtomicBool = AtomicBool::new(false);

/// Whether the data abort `syndrome` at `far` is one to retry after. It has waited, if it had to.
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

/// As [`Window::fault`] wants it: after what was read before.
fn translates(va: u64) -> bool {
    cpu::finish_accesses();
    translate::load(VirtAddr::new(va)).address().is_some()
}

/// The page whose struct page was written to, if that is why.
pub(crate) fn written_tail(syndrome: Syndrome, far: u64) -> Option<u64> {
    pfn_at(far).filter(|_| syndrome.is_write() && syndrome.is_permission_fault())
}

fn now() -> Clock {
    Clock { ticks: counter::ticks(), instructions: counter::instructions() }
}

/// Entries of `range`, all in vmemmap, are about to be broken: `Machine::window_open`.
pub(crate) fn open(range: VirtRange) {
    assert!(WINDOW.open(range.start.get(), range.end.get(), now()).is_ok(), "a window in a window");
}

/// They are there again: `Machine::window_close`.
pub(crate) fn close() {
    // Whoever opened it has its length in the figures.
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

/// For tests: hold the next window open until a reader enters it, for at most `turns` looks. With 0 it is not held open.
pub fn stretch_next(turns: u64) {
    if turns > 0 {
        ENTERED.store(false, Relaxed);
    }
    STRETCH.store(turns, Relaxed);
}

/// For tests: whether a reader entered the window that was held open. If none did, nothing is known about readers in windows.
pub fn was_entered() -> bool {
    ENTERED.load(Relaxed)
}

/// The windows so far, and what they cost whom.
pub fn figures() -> Figures {
    WINDOW.figures()
}

/// TLB conflict aborts that a CPU has had.
pub fn conflicts(number: usize) -> u64 {
    CONFLICTS[number].load(Relaxed)
}
