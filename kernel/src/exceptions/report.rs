//! The report of what ends the run: an unexpected exception, or a panic. One CPU reports, and stops the others.
#![expect(unsafe_code, reason = "takes the console, and reads the stack of what failed; rules M2, M7")]

use core::ops::Range;
use core::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};

use super::frame::Frame;
use crate::arch::backtrace::Backtrace;
use crate::arch::esr::Syndrome;
use crate::arch::{cpu, fault, mmu_control};
use crate::cpus::signals;
use crate::exit::{Status, exit, leave};
use crate::per_cpu::{CPUS, PerCpu};
use crate::{console, kprint, kprintln};

/// Vector numbers are four times a place plus a kind.
const KINDS: [&str; 4] = ["synchronous exception", "IRQ", "FIQ", "SError"];
/// Of these, a synchronous exception and an SError set ESR_EL1.
const KINDS_WITH_SYNDROME: [usize; 2] = [0, 3];
const PLACES: [&str; 4] =
    ["from this EL on SP_EL0", "from this EL", "from a lower EL (AArch64)", "from a lower EL (AArch32)"];

/// The kernel stack of each CPU: lowest address of its guard page, of the stack, and the stack's end.
static STACKS: PerCpu<[AtomicU64; 3]> = PerCpu([const { [const { AtomicU64::new(0) }; 3] }; CPUS]);

/// How many reports this CPU has begun: a second one means that the first failed.
static REPORTS: PerCpu<AtomicU8> = PerCpu([const { AtomicU8::new(0) }; CPUS]);

/// One more than the number of the CPU that reports, 0 for none. Of several CPUs, the first reports.
static REPORTER: AtomicUsize = AtomicUsize::new(0);
/// How often a report checks whether another CPU has released the console. A line takes much less.
const PATIENCE: u32 = 1_000_000;

/// Tells where this CPU's stack is (its bytes, without the guard page) and that `guard_bytes` below it are unmapped.
/// Before this, backtraces are empty and an overflow is not called one.
pub fn set_kernel_stack(stack: Range<u64>, guard_bytes: u64) {
    let [guard, low, high] = &STACKS[cpu::number()];
    guard.store(stack.start.saturating_sub(guard_bytes), Ordering::Relaxed);
    low.store(stack.start, Ordering::Relaxed);
    high.store(stack.end, Ordering::Relaxed);
}

/// This CPU's stack and the guard page below it.
fn kernel_stack() -> (Range<u64>, Range<u64>) {
    let [guard, low, high] = STACKS[cpu::number()].each_ref().map(|word| word.load(Ordering::Relaxed));
    (low..high, guard..low)
}

/// Reports an unexpected exception, and ends the run.
pub(super) fn fail(frame: &Frame) -> ! {
    begin_report();
    report(frame);
    exit(Status::Crashed, "unexpected exception")
}

/// Guards against an exception in a report: the second report is one line, the third only the exit status, which needs no
/// console, and the fourth nothing.
pub(super) fn begin_report() {
    stop_the_others();
    // No exclusive access: the MMU may be off, and only this CPU changes the word.
    let reports = &REPORTS[cpu::number()];
    let before = reports.load(Ordering::Relaxed);
    reports.store(before.saturating_add(1), Ordering::Relaxed);
    // SAFETY: M7: a report ends in an exit, so this CPU does not continue what it was printing. Another CPU has had the
    // time to end its line, and stops at the signal.
    unsafe { console::seize() };
    // SAFETY: M4: before the MMU goes on, boot has called `console::init`.
    unsafe { console::init_last_resort() };
    match before {
        0 => {}
        1 => {
            kprintln!("\nexception: double fault in the report above");
            exit(Status::Crashed, "double fault")
        }
        2 => leave(Status::Crashed),
        _ => cpu::halt(),
    }
}

/// Makes this CPU the only one that prints; it ends the run.
fn stop_the_others() {
    if !mmu_control::is_on() {
        return; // B1: there are no others yet.
    }
    let me = cpu::number() + 1;
    if REPORTER.compare_exchange(0, me, Ordering::Relaxed, Ordering::Relaxed).is_err_and(|by| by != me) {
        cpu::halt();
    }
    signals::stop_others();
    let mut left = PATIENCE;
    while console::is_held_elsewhere() && left > 0 {
        cpu::relax();
        left -= 1;
    }
}

fn report(frame: &Frame) {
    let vector = (frame.vector % 16) as usize;
    let (kind, place) = (vector % 4, vector / 4);
    kprintln!("\nexception: unexpected {} {} on CPU {}", KINDS[kind], PLACES[place], cpu::number());
    let (stack, guard) = kernel_stack();
    // An interrupt changes neither ESR nor FAR.
    if KINDS_WITH_SYNDROME.contains(&kind) {
        report_syndrome(frame, &guard);
    }
    kprintln!("  ELR  {:#018x}  SPSR {:#x}", frame.elr, frame.spsr);
    kprintln!("  SP   {:#018x}  stack {:#x}..{:#x}", frame.sp, stack.start, stack.end);
    for (number, value) in frame.x.iter().enumerate() {
        let end = if number % 4 == 3 || number == 30 { "\n" } else { "" };
        kprint!("  x{number:<2} {value:#018x}{end}");
    }
    // The link register too: after a branch to a wrong address only this register says where it came from.
    print_backtrace(&[frame.elr, frame.x[30]], frame.x[29]);
}

fn report_syndrome(frame: &Frame, guard: &Range<u64>) {
    let syndrome = Syndrome(frame.esr);
    kprintln!("  ESR  {:#018x}  {syndrome}", frame.esr);
    if !syndrome.has_far() {
        return;
    }
    let overflow = syndrome.is_data_abort() && guard.contains(&frame.far);
    kprintln!("  FAR  {:#018x}{}", frame.far, if overflow { "  kernel stack overflow" } else { "" });
    if let Some(pfn) = fault::written_tail(syndrome, frame.far) {
        kprintln!("  struct page of pfn {pfn:#x}: a shared tail is read-only");
    }
}

/// Prints `first`, if there is one, and the return addresses above `frame_pointer`, as one line.
pub(super) fn print_backtrace(first: &[u64], frame_pointer: u64) {
    let (stack, _) = kernel_stack();
    // SAFETY: M2; `Backtrace` asks only for aligned words inside the stack, which is mapped and which does not
    // change while this runs on the CPU that owns it.
    let read = |address: u64| unsafe { (address as *const u64).read_volatile() };
    kprint!("  backtrace");
    for address in first.iter().copied().chain(Backtrace::new(frame_pointer, stack, read)) {
        kprint!(" {address:#x}");
    }
    kprintln!();
}
