//! Commands that do harm on purpose, for those who want to see it undone.

use hotmap_mm::addr::Bytes;
use hotmap_mm::debug::faults::Plan;
use hotmap_mm::frame::page::PAGE_BYTES;
use hotmap_mm::hotplug::notify::{Direction, Event, Notifier, Veto};
use hotmap_mm::migrate::compact::Compacted;

use super::args::Words;
use super::{Outcome, ShellError};
use crate::units::Units;
use hotmap_kernel::attention::Attention;
use hotmap_kernel::cpus::start;
use hotmap_kernel::cpus::work::{self, Task};
use hotmap_kernel::kernel::Kernel;
use hotmap_kernel::{kprintln, number, readers};

pub(super) const INJECT: &str = "inject [alloc N|alloc N+|online|offline|off]";

/// Vetoes every attempt to go online.
const NO_ONLINE: Notifier =
    Notifier { name: "inject online", hear: |event, _| veto(event, Direction::Online) };
/// Vetoes every attempt to go offline.
const NO_OFFLINE: Notifier =
    Notifier { name: "inject offline", hear: |event, _| veto(event, Direction::Offline) };

fn veto(event: Event, unwanted: Direction) -> Result<(), Veto> {
    if event == Event::Going(unwanted) { Err(Veto) } else { Ok(()) }
}

pub(super) fn inject(kernel: &mut Kernel, words: &mut Words<'_>) -> Outcome {
    match words.next() {
        None => {}
        Some("alloc") => {
            let plan = plan(words.next().ok_or(ShellError::Usage(INJECT))?)?;
            words.end(INJECT)?;
            kernel.injection.arm(plan);
        }
        Some("online") => {
            words.end(INJECT)?;
            kernel.mm.notifiers.register(NO_ONLINE)?;
        }
        Some("offline") => {
            words.end(INJECT)?;
            kernel.mm.notifiers.register(NO_OFFLINE)?;
        }
        Some("off") => {
            words.end(INJECT)?;
            kernel.injection.arm(Plan::Off);
            for notifier in [NO_ONLINE, NO_OFFLINE] {
                kernel.mm.notifiers.unregister(notifier.name);
            }
        }
        Some(_) => return Err(ShellError::Usage(INJECT)),
    }
    show(kernel);
    Ok(())
}

/// `3`: the third; `3+`: the third and all later ones.
fn plan(word: &str) -> Result<Plan, ShellError> {
    let digits = word.strip_suffix('+');
    match number::parse(digits.unwrap_or(word)) {
        None | Some(0) => Err(ShellError::BadWord("which allocation fails (1 is the first; 1+ is all)")),
        Some(n) if digits.is_some() => Ok(Plan::From(n)),
        Some(n) => Ok(Plan::Nth(n)),
    }
}

pub(super) fn poison(kernel: &mut Kernel, words: &mut Words<'_>) -> Outcome {
    let pfn = words.page(kernel, "poison PFN|addr:A")?;
    match kernel.mm.poison(pfn)? {
        Some(now) => kprintln!("{pfn} is out of use; the tenant's page moved to {now}"),
        None => kprintln!("{pfn} is out of use"),
    }
    Ok(())
}

pub(super) fn unpoison(kernel: &mut Kernel, words: &mut Words<'_>) -> Outcome {
    let pfn = words.page(kernel, "unpoison PFN|addr:A")?;
    kernel.mm.unpoison(pfn)?;
    let offline = kernel.mm.frames().block_of(pfn).is_none_or(|block| block.state.zone().is_none());
    kprintln!(
        "{pfn} is {}",
        if offline { "not poisoned any more; its block is offline" } else { "free again" }
    );
    Ok(())
}

/// Writes what is there: harmless, unless the struct page is a shared tail's, which is read-only.
pub(super) fn scribble(kernel: &mut Kernel, words: &mut Words<'_>) -> Outcome {
    let pfn = words.page(kernel, "scribble PFN|addr:A")?;
    kernel.mm.frames().use_of(pfn)?;
    let page = kernel.mm.frames().pages().get(pfn);
    page.set_refs(page.refs());
    kprintln!("{pfn}: its struct page was written, with what it held");
    Ok(())
}

pub(super) fn crash(_: &mut Kernel, words: &mut Words<'_>) -> Outcome {
    let wanted = if words.left() == 0 { 0 } else { words.number("crash [CPU]")? };
    match start::online().find(|number| *number as u64 == wanted) {
        None => Err(ShellError::BadWord("a CPU that runs (cpus lists them)")),
        Some(0) => {
            kprintln!("read: {}", readers::crash(0));
            Ok(())
        }
        Some(number) => {
            // It is idle or busy; if it is busy it has no time to crash.
            work::post(number, Task::Crash).map_err(|_| ShellError::Failed("that CPU is busy"))?;
            work::result(number).map(|_| ()).ok_or(ShellError::Failed("that CPU does not answer"))
        }
    }
}

const COMPACT: &str = "compact [ORDER|SIZE]";

/// Without a word: a run that the memmap of a memory block fits into.
pub(super) fn compact(kernel: &mut Kernel, words: &mut Words<'_>) -> Outcome {
    let wanted = if words.left() == 0 { kernel.block_pages() * PAGE_BYTES } else { words.number(COMPACT)? };
    let order = match wanted {
        order if order <= kernel.granule().section_order.into() => order,
        size if (kernel.page_size()..=kernel.block_size()).contains(&size) => {
            u64::from(size.div_ceil(kernel.page_size()).next_power_of_two().trailing_zeros())
        }
        _ => return Err(ShellError::BadWord("an order or a size, up to a memory block's")),
    };
    let order = u32::try_from(order).unwrap_or(u32::MAX);
    let mut attention = Attention::new(&"compact");
    let mut stop = |moved: u64| attention.stop(format_args!("{moved} pages have moved"));
    let Compacted { run, moved } = kernel.mm.compact_unless(order, &mut stop)?;
    kprintln!("{} free at {run}; pages moved: {moved}", Bytes(kernel.page_size() << order));
    Ok(())
}

fn show(kernel: &mut Kernel) {
    let plan = kernel.injection.plan();
    match plan {
        Plan::Off => {}
        Plan::Nth(n) => kprintln!("inject: allocation {n} of the next operation will fail"),
        Plan::From(n) => {
            kprintln!("inject: allocation {n} of the next operation and all later ones will fail")
        }
    }
    for notifier in kernel.mm.notifiers.iter() {
        kprintln!("notifier: {}", notifier.name);
    }
    if plan == Plan::Off && kernel.mm.notifiers.iter().next().is_none() {
        kprintln!("inject: nothing is armed");
    }
}
