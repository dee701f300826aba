//! Every allocation fails in turn: each operation is undone completely, and works once nothing fails.

use hotmap_mm::debug::faults::Plan;
use hotmap_mm::error::{Resource, Result};
use hotmap_mm::frame::block::{BlockState, Source};
use hotmap_mm::frame::zone::ZoneKind;
use hotmap_mm::hotplug::home::MemmapHome;
use hotmap_mm::pfn::PfnRange;

use super::check::{Outcome, check, fail, ran_out, same, skip};
use super::migrate::{PAGES, home};
use super::model::Model;
use super::snapshot::{Snapshot, counts_are};
use super::spare::{Spare, boot_block, with_spare};
use super::tenant::with_tenant;
use super::{Test, test};

pub(super) const TESTS: &[Test] = &[
    test("a tenant that cannot move in leaves nothing", a_tenant_moving_in),
    test("a block that cannot go online stays offline", a_block_going_online),
    test("self-hosted memory that cannot be plugged leaves nothing", plugging_self_hosted),
    test("nor does memory with its memmap in system RAM", plugging_with_memmap_in_ram),
    test("a block whose pages find no place stays online, whichever page it is", a_block_going_offline),
    test("what goes away needs nothing", removing),
];

/// More allocations than any operation here makes.
const LIMIT: u64 = 1 << 12;

type Act<'a> = &'a dyn Fn(&mut dyn Model) -> Result<()>;

/// Fail the first allocation of `act`, then the second, and so on, until none is left to fail. `take_back` undoes a success.
pub(super) fn fail_each(model: &mut dyn Model, act: Act<'_>, take_back: Act<'_>) -> Outcome {
    let (before, mut failures) = (Snapshot::of(model), 0);
    for n in 1..LIMIT {
        model.arm(Plan::Nth(n));
        let result = act(model);
        let fired = model.fired();
        model.arm(Plan::Off);
        match result {
            Ok(()) => take_back(model)?,
            Err(_) => failures += 1,
        }
        let unchanged = before.is_still(model);
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

fn a_tenant_moving_in(model: &mut dyn Model) -> Outcome {
    let newest = |model: &mut dyn Model| {
        let newest = model.tenants().iter().map(|tenant| tenant.id).max();
        newest.map_or(Ok(()), |id| model.tenant_drop(id))
    };
    fail_each(model, &|model| model.tenant_new(4).map(drop), &newest)
}

fn a_block_going_online(model: &mut dyn Model) -> Outcome {
    let block = boot_block(model)?;
    model.offline(block)?;
    let online = |model: &mut dyn Model| model.online(block, ZoneKind::Normal);
    let outcome = fail_each(model, &online, &|model| model.offline(block).map(drop));
    model.online(block, ZoneKind::Normal)?;
    outcome
}

/// All seven steps, as a DIMM goes through them, for no more than two blocks: what fails in a third fails in the second.
fn plug(model: &mut dyn Model, spare: &Spare, home: MemmapHome) -> Outcome {
    let blocks = spare.blocks(model).min(2);
    let needed = blocks * model.numbers().memmap_pages;
    if home == MemmapHome::Ram && model.zone(ZoneKind::Normal).free < 2 * needed {
        return skip(&"system RAM has no room for the DIMM's memmap");
    }
    let pages = PfnRange::new(spare.pages.start, blocks * model.section_pages());
    let memory = model.addresses(pages);
    let plug = |model: &mut dyn Model| {
        let range = model.hot_range(memory.start, memory.len(), Source::Dimm(255))?;
        model.add(&range, home)?;
        let online = model.online_range(pages, ZoneKind::Movable);
        if online.is_err() {
            model.remove(memory)?;
        }
        online
    };
    fail_each(model, &plug, &|model| {
        model.offline_range(pages)?;
        model.remove(memory)
    })
}

fn plugging_self_hosted(model: &mut dyn Model) -> Outcome {
    with_spare(model, |model, spare| plug(model, spare, MemmapHome::SelfHosted))
}

fn plugging_with_memmap_in_ram(model: &mut dyn Model) -> Outcome {
    with_spare(model, |model, spare| plug(model, spare, MemmapHome::Ram))
}

/// The second allocation fails each time, so that one more page has moved, until only one is left to move.
fn a_block_going_offline(model: &mut dyn Model) -> Outcome {
    with_tenant(model, PAGES, |model, guest| {
        let (block, zone) = home(model, guest)?;
        let (before, counts) = (Snapshot::of(model), model.counts());
        for n in 1..=PAGES {
            model.arm(Plan::Nth(n.min(2)));
            let result = model.offline(block);
            let fired = model.fired();
            model.arm(Plan::Off);
            check!(fired && result.is_err(), "with page {n} failing the block went offline");
            ran_out(result, |out| matches!(out, Resource::Frames { order: 0 }))?;
            if n == 1 {
                before.is_still(model)?;
            }
            let state = model.block_of(block).map(|block| (block.state, block.tenant_pages));
            let expected = (BlockState::Online(zone), PAGES + 1 - n);
            check!(state == Some(expected), "the block is {state:?} instead of {expected:?}");
            counts_are(&model.counts(), &counts)?;
            same("pages that hold what was written", model.tenant_check(guest.id)?, PAGES)?;
        }
        model.offline(block)?;
        model.online(block, zone)?;
        same("pages that hold what was written", model.tenant_check(guest.id)?, PAGES)
    })
}

fn removing(model: &mut dyn Model) -> Outcome {
    with_spare(model, |model, spare| {
        let hot = spare.validate(model)?;
        let before = Snapshot::of(model);
        model.add(&hot, MemmapHome::SelfHosted)?;
        model.arm(Plan::From(1));
        let result = model.remove(spare.range);
        let fired = model.fired();
        model.arm(Plan::Off);
        result?;
        check!(!fired, "removing memory allocates");
        before.is_still(model)
    })
}
