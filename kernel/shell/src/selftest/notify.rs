//! Notifiers: asked and told in order, of the whole range; a veto is named and leaves everything as it was.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use hotmap_mm::addr::PhysRange;
use hotmap_mm::error::{BlockError, Error, PageError, Result};
use hotmap_mm::frame::zone::ZoneKind;
use hotmap_mm::hotplug::home::MemmapHome;
use hotmap_mm::hotplug::notify::{Event, Notifier, Veto};

use super::check::{Outcome, check, is_refused, same};
use super::expected::Expected;
use super::snapshot::Snapshot;
use super::spare::{Spare, boot_block, with_spare};
use super::subject::{Test, test};
use hotmap_kernel::kernel::Kernel;

pub(super) const TESTS: &[Test] = &[
    test("notifiers are asked and then informed, in order, with the whole block", all_are_asked_and_told),
    test("a veto is named, cancels those asked before it, and changes nothing", a_veto_changes_nothing),
    test("a failure after all have agreed is cancelled, last first", a_failure_is_cancelled),
    test("for self-hosted memory the range includes its memmap", the_memmap_is_of_the_range),
];

/// What was heard, a hexadecimal digit for each: 1 to 3 by the first notifier, 5 to 7 by the second; f for another range.
static HEARD: AtomicU64 = AtomicU64::new(0);
/// The range that they should hear of.
static START: AtomicU64 = AtomicU64::new(0);
static END: AtomicU64 = AtomicU64::new(0);
/// The digit to which the answer is no.
static VETO: AtomicU64 = AtomicU64::new(0);

const GOING: u64 = 1;
const SECOND: u64 = 4;

const NOTIFIERS: [Notifier; 2] = [
    Notifier { name: "first", hear: |event, range| hear(0, event, range) },
    Notifier { name: "second", hear: |event, range| hear(SECOND, event, range) },
];

fn hear(who: u64, event: Event, range: PhysRange) -> core::result::Result<(), Veto> {
    let digit = who
        + match event {
            Event::Going(_) => GOING,
            Event::Done(_) => 2,
            Event::Cancelled(_) => 3,
        };
    let right = (START.load(Relaxed), END.load(Relaxed)) == (range.start.get(), range.end.get());
    HEARD.store(HEARD.load(Relaxed) << 4 | if right { digit } else { 0xf }, Relaxed);
    if VETO.load(Relaxed) == digit { Err(Veto) } else { Ok(()) }
}

/// Does `act`, which changes `range`, with both notifiers registered, of which the second may veto; returns what they got.
fn listened<T>(
    kernel: &mut Kernel,
    range: PhysRange,
    veto: u64,
    act: &dyn Fn(&mut Kernel) -> Result<T>,
) -> Outcome<(Result<T>, u64)> {
    START.store(range.start.get(), Relaxed);
    END.store(range.end.get(), Relaxed);
    VETO.store(veto, Relaxed);
    HEARD.store(0, Relaxed);
    for notifier in NOTIFIERS {
        kernel.mm.notifiers.register(notifier)?;
    }
    let result = act(kernel);
    for notifier in NOTIFIERS {
        kernel.mm.notifiers.unregister(notifier.name);
    }
    Ok((result, HEARD.load(Relaxed)))
}

fn all_are_asked_and_told(kernel: &mut Kernel) -> Outcome {
    let block = boot_block(kernel)?;
    let range = kernel.addresses(kernel.section(block));
    let (result, heard) = listened(kernel, range, 0, &|kernel| kernel.mm.offline_block(block))?;
    result?;
    same("what was heard of going offline", heard, 0x1526)?;
    let (result, heard) =
        listened(kernel, range, 0, &|kernel| kernel.mm.online_block(block, ZoneKind::Normal))?;
    result?;
    same("what was heard of going online", heard, 0x1526)
}

fn a_veto_changes_nothing(kernel: &mut Kernel) -> Outcome {
    let block = boot_block(kernel)?;
    let range = kernel.addresses(kernel.section(block));
    let (before, refused) = (Snapshot::of(kernel), Error::Block(BlockError::Vetoed { range, by: "second" }));
    let (result, heard) = listened(kernel, range, SECOND + GOING, &|kernel| kernel.mm.offline_block(block))?;
    same("what was heard of a block that stays", heard, 0x153)?;
    is_refused(result, refused)?;
    before.is_still(kernel)?;
    kernel.mm.offline_block(block)?;
    let before = Snapshot::of(kernel);
    let vetoed =
        listened(kernel, range, SECOND + GOING, &|kernel| kernel.mm.online_block(block, ZoneKind::Normal));
    let outcome = before.is_still(kernel);
    kernel.mm.online_block(block, ZoneKind::Normal)?;
    let (result, heard) = vetoed?;
    same("what was heard of a block that stays offline", heard, 0x153)?;
    is_refused(result, refused)?;
    outcome
}

fn a_failure_is_cancelled(kernel: &mut Kernel) -> Outcome {
    let block = boot_block(kernel)?;
    let (range, last) = (kernel.addresses(kernel.section(block)), block + (kernel.section_pages() - 1));
    kernel.mm.pin(last)?;
    let before = Snapshot::of(kernel);
    let failed = listened(kernel, range, 0, &|kernel| kernel.mm.offline_block(block));
    let outcome = before.is_still(kernel);
    kernel.mm.unpin(last)?;
    let (result, heard) = failed?;
    same("what was heard", heard, 0x1573)?;
    is_refused(result, Error::Page(PageError::Pinned { pfn: last, refs: 1 }))?;
    outcome
}

fn the_memmap_is_of_the_range(kernel: &mut Kernel) -> Outcome {
    with_spare(kernel, |kernel, spare| {
        let hot = spare.validate(kernel)?;
        kernel.mm.add_memory(&hot, MemmapHome::SelfHosted, |_, _| {})?;
        let before = Snapshot::of(kernel);
        let online = |kernel: &mut Kernel| kernel.mm.online_pages(spare.pages, ZoneKind::Movable, |_, _| {});
        for (veto, by) in [(GOING, "first"), (SECOND + GOING, "second")] {
            let (result, _) = listened(kernel, spare.range, veto, &online)?;
            is_refused(result, Error::Block(BlockError::Vetoed { range: spare.range, by }))?;
            before.is_still(kernel)?;
        }
        let (result, heard) = listened(kernel, spare.range, 0, &online)?;
        result?;
        same("what was heard of going online", heard, 0x1526)?;
        goes_offline(kernel, spare)
    })
}

fn goes_offline(kernel: &mut Kernel, spare: &Spare) -> Outcome {
    let offline = |kernel: &mut Kernel| kernel.mm.offline_pages(spare.pages);
    let before = Snapshot::of(kernel);
    let (result, _) = listened(kernel, spare.range, SECOND + GOING, &offline)?;
    check!(result.is_err(), "a veto was not heard");
    before.is_still(kernel)?;
    let (result, heard) = listened(kernel, spare.range, 0, &offline)?;
    result?;
    same("what was heard of going offline", heard, 0x1526)
}
