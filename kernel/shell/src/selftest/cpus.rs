//! The secondary CPUs: they take interrupts, park, do jobs, and have a stack each.

use hotmap_mm::addr::VirtAddr;
use hotmap_mm::frame::Mobility;
use hotmap_mm::frame::page::PageKind;
use hotmap_mm::pfn::Pfn;

use super::check::{Outcome, check, fail, same, skip};
use super::entries::blink;
use super::subject::{Test, test};
use hotmap_kernel::arch::{fault, image, peek, translate};
use hotmap_kernel::cpus::signals;
use hotmap_kernel::cpus::start::{self, Whereabouts};
use hotmap_kernel::cpus::work::{self, Task};
use hotmap_kernel::kernel::Kernel;
use hotmap_kernel::per_cpu::CPUS;
use hotmap_kernel::readers;

pub(super) const TESTS: &[Test] = &[
    test("every CPU of the device tree runs, up to the limit", all_run),
    test("each secondary CPU takes an interrupt", each_takes_an_interrupt),
    test("each secondary CPU does a job and returns its affinity", each_does_a_job),
    test("a parked CPU makes no progress, and continues when it is released", parked_means_parked),
    test(
        "readers find every tail's head, and wait while a window breaks its mapping",
        readers_wait_in_windows,
    ),
    test("each secondary CPU's stack has a guard page", stacks_have_guards),
];

pub(super) const ONE_CPU: &str = "there is one CPU";
/// Who judges takes "nothing is known" for neither passed nor failed.
pub(super) const NOT_ENTERED: &str = "no reader entered a window: nothing is known";

/// The other CPUs' numbers.
fn others() -> Outcome<impl Iterator<Item = usize>> {
    if start::online().count() > 1 { Ok(start::online().skip(1)) } else { skip(&ONE_CPU) }
}

fn all_run(kernel: &mut Kernel) -> Outcome {
    let _several = others()?;
    let info = kernel.info;
    for (mpidr, place) in start::each(info) {
        let left_out = matches!(place, Whereabouts::LeftOut(_));
        check!(left_out || matches!(place, Whereabouts::Online(_)), "CPU {mpidr:#x}: {place}");
    }
    let room = (info.machine.cpu_count as usize).min(CPUS).min(info.args.max_cpus as usize);
    same("CPUs that run", start::online().count() as u64, room as u64)
}

fn each_takes_an_interrupt(_: &mut Kernel) -> Outcome {
    for number in others()? {
        let before = signals::interrupts(number);
        signals::wake(number);
        let came = start::wait_until(|| signals::interrupts(number) > before);
        check!(came, "CPU {number} has taken {before} interrupts, and no more");
    }
    Ok(())
}

fn result(number: usize) -> Outcome<u64> {
    work::result(number).ok_or_else(|| fail(format_args!("CPU {number} does not end its job")))
}

fn post(number: usize, task: Task) -> Outcome {
    work::post(number, task).map_err(|_| fail(format_args!("CPU {number} takes no job")))
}

fn each_does_a_job(kernel: &mut Kernel) -> Outcome {
    for number in others()? {
        post(number, Task::Answer)?;
    }
    for (mpidr, place) in start::each(kernel.info) {
        if let Whereabouts::Online(number @ 1..) = place {
            same("the affinity of the CPU that did it", result(number)?, mpidr)?;
        }
    }
    Ok(())
}

fn parked_means_parked(_: &mut Kernel) -> Outcome {
    for number in others()? {
        post(number, Task::Count)?;
    }
    let outcome = others()?.try_for_each(makes_progress).and_then(|()| stand_still());
    let outcome = outcome.and_then(|()| others()?.try_for_each(makes_progress));
    for number in others()? {
        work::request_stop(number);
        result(number)?;
    }
    outcome
}

fn makes_progress(number: usize) -> Outcome {
    let before = work::progress(number);
    let goes_on = start::wait_until(|| work::progress(number) != before);
    check!(goes_on, "CPU {number} stands still at {before}");
    Ok(())
}

/// How often the parked are looked at.
const LOOKS: u32 = 100_000;

fn stand_still() -> Outcome {
    let parked = signals::park_others().map_err(|deaf| fail(format_args!("CPU {} does not park", deaf.0)))?;
    for number in others()? {
        let before = work::progress(number);
        for _ in 0..LOOKS {
            same("progress of a parked CPU", work::progress(number), before)?;
        }
    }
    drop(parked);
    Ok(())
}

fn stacks_have_guards(_: &mut Kernel) -> Outcome {
    for number in others()? {
        let stack = image::secondary_stack(image::end(), number as u64);
        let store = translate::store(stack.start);
        check!(store.address().is_some(), "the stack of CPU {number} at {stack}: a store is {store}");
        let below = VirtAddr::new(stack.start.get() - 8);
        let load = translate::load(below);
        check!(
            load.is_unmapped() && peek::load_aborts(below),
            "{below}, below CPU {number}'s stack: a load is {load}"
        );
    }
    Ok(())
}

/// log2 of the pages of the compound page that is read.
const ORDER: u32 = 5;
/// How often a window that no reader has entered is looked at, and how often it is tried again.
pub(super) const TURNS: u64 = 10_000_000;
const TRIES: u32 = 3;

fn readers_wait_in_windows(kernel: &mut Kernel) -> Outcome {
    let _several = others()?;
    let head = kernel.mm.frames_mut().alloc(ORDER, PageKind::Kernel, Mobility::Unmovable)?;
    let tails = || (1..1 << ORDER).map(|index| head + index);
    tails().for_each(|pfn| kernel.mm.frames().pages().get(pfn).set_tail(ORDER));
    let outcome = read_through_windows(kernel, head);
    readers::hide(|page| page.head == head.get());
    tails().for_each(|pfn| kernel.mm.frames().pages().get(pfn).clear_head());
    kernel.mm.frames_mut().free(head);
    outcome
}

fn read_through_windows(kernel: &mut Kernel, head: Pfn) -> Outcome {
    check!(readers::show_huge_page(head, ORDER), "there is no room to show a page to readers");
    let waited = || fault::figures().waited.iter().sum::<u64>();
    let before = waited();
    same("readers", readers::start() as u64, start::online().count() as u64 - 1)?;
    let read = start::wait_until(|| readers::totals().checks > 0);
    let mut tried = Ok(());
    for _ in 0..TRIES {
        fault::stretch_next(TURNS);
        tried = blink(kernel, kernel.mm.space().layout().page_address(head));
        if tried.is_err() || fault::was_entered() {
            break;
        }
    }
    let totals = readers::stop();
    tried?;
    check!(read, "nothing was read");
    check!(totals.wrong == 0, "{totals}");
    if !fault::was_entered() {
        return skip(&NOT_ENTERED);
    }
    check!(waited() > before, "a reader entered the window, and none has waited");
    Ok(())
}
