//! Every allocation fails in turn: each operation is undone completely, and works once nothing fails.

use hotmap_mm::debug::faults::Plan;
use hotmap_mm::error::{Resource, Result};
use hotmap_mm::frame::block::{BlockState, Source};
use hotmap_mm::frame::counts::Counts;
use hotmap_mm::frame::zone::ZoneKind;
use hotmap_mm::hotplug::home::MemmapHome;
use hotmap_mm::hotplug::range::HotRange;
use hotmap_mm::pfn::PfnRange;

use super::check::{Outcome, check, fail, ran_out, same, skip};
use super::expected::Expected;
use super::migrate::{PAGES, home};
use super::snapshot::{Snapshot, counts_are};
use super::spare::{Spare, boot_block, with_spare};
use super::subject::{Test, test};
use super::tenant::with_tenant;
use hotmap_kernel::kernel::Kernel;

pub(super) const TESTS: &[Test] = &[
    test("a tenant that cannot be made leaves nothing behind", a_tenant_moving_in),
    test("a block that cannot go online stays offline", a_block_going_online),
    test("self-hosted memory that cannot be plugged leaves nothing behind", plugging_self_hosted),
    test(
        "memory with its memmap in system RAM that cannot be plugged leaves nothing behind",
        plugging_with_memmap_in_ram,
    ),
    test("a block stays online whichever of its pages cannot migrate", a_block_going_offline),
    test("removing memory allocates nothing", removing),
];

/// More allocations than any operation here makes.
const LIMIT: u64 = 1 << 12;

type Act<'a> = &'a dyn Fn(&mut Kernel) -> Result<()>;

/// Makes the first allocation of `act` fail, then the second, and so on, until none fails. `take_back` undoes a success.
pub(super) fn fail_each(kernel: &mut Kernel, act: Act<'_>, take_back: Act<'_>) -> Outcome {
    let (before, mut failures) = (Snapshot::of(kernel), 0);
    for n in 1..LIMIT {
        kernel.mm.frames_mut().faults.arm(Plan::Nth(n));
        let result = act(kernel);
        let fired = kernel.mm.frames().faults.fired();
        kernel.mm.frames_mut().faults.arm(Plan::Off);
        match result {
            Ok(()) => take_back(kernel)?,
            Err(_) => failures += 1,
        }
        let unchanged = before.is_still(kernel);
        check!(unchanged.is_ok(), "that was with allocation {n} failing");
        if !fired {
            check!(failures > 0, "there was no allocation to fail");
            return Ok(result?);
        }
        // What can be done without, like a whole block for vmemmap, may fail and be replaced.
        if result.is_err() {
            ran_out(result, |_| true)?;
        }
    }
    Err(fail(format_args!("still allocating after {LIMIT} allocations")))
}

fn a_tenant_moving_in(kernel: &mut Kernel) -> Outcome {
    let newest = |kernel: &mut Kernel| {
        let newest = kernel.mm.tenants().iter().map(|tenant| tenant.id).max();
        newest.map_or(Ok(()), |id| kernel.mm.tenant_drop(id))
    };
    fail_each(kernel, &|kernel| kernel.mm.tenant_new(4).map(drop), &newest)
}

fn a_block_going_online(kernel: &mut Kernel) -> Outcome {
    let block = boot_block(kernel)?;
    kernel.mm.offline_block(block)?;
    let online = |kernel: &mut Kernel| kernel.mm.online_block(block, ZoneKind::Normal);
    let outcome = fail_each(kernel, &online, &|kernel| kernel.mm.offline_block(block).map(drop));
    kernel.mm.online_block(block, ZoneKind::Normal)?;
    outcome
}

/// All seven steps, as a DIMM goes through them, for no more than two blocks: what fails in a third fails in the second.
fn plug(kernel: &mut Kernel, spare: &Spare, home: MemmapHome) -> Outcome {
    let blocks = spare.blocks(kernel).min(2);
    let needed = blocks * kernel.numbers().memmap_pages;
    if home == MemmapHome::Ram && kernel.mm.frames().zone(ZoneKind::Normal).free < 2 * needed {
        return skip(&"system RAM has no room for the DIMM's memmap");
    }
    let pages = PfnRange::new(spare.pages.start, blocks * kernel.section_pages());
    let memory = kernel.addresses(pages);
    let plug = |kernel: &mut Kernel| {
        let range = HotRange::new(&kernel.mm, memory.start, memory.len(), Source::Dimm(255))?;
        kernel.mm.add_memory(&range, home, |_, _| {})?;
        let online = kernel.mm.online_pages(pages, ZoneKind::Movable, |_, _| {});
        if online.is_err() {
            kernel.mm.remove_memory(memory)?;
        }
        online
    };
    fail_each(kernel, &plug, &|kernel| {
        kernel.mm.offline_pages(pages)?;
        kernel.mm.remove_memory(memory)
    })
}

fn plugging_self_hosted(kernel: &mut Kernel) -> Outcome {
    with_spare(kernel, |kernel, spare| plug(kernel, spare, MemmapHome::SelfHosted))
}

fn plugging_with_memmap_in_ram(kernel: &mut Kernel) -> Outcome {
    with_spare(kernel, |kernel, spare| plug(kernel, spare, MemmapHome::Ram))
}

/// All allocations from the second on fail each time, so that one more page has moved, until only one is left to move.
fn a_block_going_offline(kernel: &mut Kernel) -> Outcome {
    with_tenant(kernel, PAGES, |kernel, guest| {
        let (block, zone) = home(kernel, guest)?;
        let before = Snapshot::of(kernel);
        let counts = with_lent(&kernel.mm.frames().counts(), -lent(kernel));
        for n in 1..=PAGES {
            kernel.mm.frames_mut().faults.arm(Plan::From(n.min(2)));
            let result = kernel.mm.offline_block(block);
            let fired = kernel.mm.frames().faults.fired();
            kernel.mm.frames_mut().faults.arm(Plan::Off);
            check!(fired && result.is_err(), "with page {n} failing the block went offline");
            ran_out(result, |out| matches!(out, Resource::Frames { order: 0 }))?;
            if n == 1 {
                before.is_still(kernel)?;
            }
            let state = kernel.block_of(block).map(|block| (block.state, block.tenant_pages));
            let expected = (BlockState::Online(zone), PAGES + 1 - n);
            check!(state == Some(expected), "the block is {state:?} instead of {expected:?}");
            counts_are(&kernel.mm.frames().counts(), &with_lent(&counts, lent(kernel)))?;
            same("pages that hold what was written", kernel.mm.tenant_check(guest.id)?, PAGES)?;
        }
        kernel.mm.offline_block(block)?;
        kernel.mm.online_block(block, zone)?;
        same("pages that hold what was written", kernel.mm.tenant_check(guest.id)?, PAGES)
    })
}

/// The pages that blocks on demand lend to their memmap: a block that pages move to is used, and lends some.
fn lent(kernel: &Kernel) -> i64 {
    let blocks = kernel.mm.frames().blocks().filter(|block| block.demand.is_some());
    blocks.map(|block| block.memmap_inside.cast_signed()).sum()
}

/// The pages by use with `lent` more of them lent.
fn with_lent(counts: &Counts, lent: i64) -> Counts {
    let (free, memmap_self) =
        (counts.free.wrapping_add_signed(-lent), counts.memmap_self.wrapping_add_signed(lent));
    Counts { free, memmap_self, ..*counts }
}

fn removing(kernel: &mut Kernel) -> Outcome {
    with_spare(kernel, |kernel, spare| {
        let hot = spare.validate(kernel)?;
        let before = Snapshot::of(kernel);
        kernel.mm.add_memory(&hot, MemmapHome::SelfHosted, |_, _| {})?;
        kernel.mm.frames_mut().faults.arm(Plan::From(1));
        let result = kernel.mm.remove_memory(spare.range);
        let fired = kernel.mm.frames().faults.fired();
        kernel.mm.frames_mut().faults.arm(Plan::Off);
        result?;
        check!(!fired, "removing memory allocates");
        before.is_still(kernel)
    })
}
