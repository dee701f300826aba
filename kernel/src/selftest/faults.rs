//! Every allocation fails in turn: each operation is undone completely, and works once nothing fails.

use hotmap_mm::error::Error;
use hotmap_mm::faults::Plan;
use hotmap_mm::granule::Granule;
use hotmap_mm::hotplug::block::Source;
use hotmap_mm::hotplug::range::HotRange;
use hotmap_mm::hotplug::steps::MemmapHome;
use hotmap_mm::pfn::PfnRange;
use hotmap_mm::zone::ZoneKind;

use super::check::{Outcome, check, fail, ran_out, skip};
use super::expected::numbers;
use super::snapshot::Snapshot;
use super::spare::{Spare, boot_block, with_spare};
use super::{Test, test};
use crate::kernel::Kernel;

pub(super) const fn tests<G: Granule>() -> &'static [Test<G>] {
    const {
        &[
            test("a tenant that cannot move in leaves nothing", a_tenant_moving_in),
            test("a block that cannot go online stays offline", a_block_going_online),
            test("self-hosted memory that cannot be plugged leaves nothing", plugging_self_hosted),
            test("nor does memory with its memmap in system RAM", plugging_with_memmap_in_ram),
        ]
    }
}

/// An operation, and how to take a success back.
trait Act<G: Granule> {
    fn act(&self, kernel: &mut Kernel<G>) -> Result<(), Error>;
    fn take_back(&self, kernel: &mut Kernel<G>) -> Result<(), Error>;
}

/// More allocations than any operation here makes.
const LIMIT: u64 = 1 << 12;

/// Fail the first allocation of `act`, then the second, and so on, until none is left to fail.
fn fail_each<G: Granule>(kernel: &mut Kernel<G>, act: &dyn Act<G>) -> Outcome {
    let (before, mut failures) = (Snapshot::of(kernel), 0);
    for n in 1..LIMIT {
        kernel.mm.faults.arm(Plan::Nth(n));
        let result = act.act(kernel);
        let fired = kernel.mm.faults.fired();
        kernel.mm.faults.arm(Plan::Off);
        match result {
            // What is done without, like a whole block for vmemmap, may fail and be replaced.
            Ok(()) => act.take_back(kernel)?,
            Err(_) => failures += 1,
        }
        if result.is_err() || fired {
            says_how(n, fired, result, before.is_still(kernel))?;
        } else {
            check!(failures > 0, "no allocation failed");
            return before.is_still(kernel);
        }
    }
    Err(fail(format_args!("still allocating after {LIMIT} allocations")))
}

fn says_how(n: u64, fired: bool, result: Result<(), Error>, unchanged: Outcome) -> Outcome {
    check!(unchanged.is_ok(), "that was after allocation {n} failed: {result:?}");
    check!(fired, "refused although no allocation failed: {result:?}");
    if result.is_err() { ran_out("with an allocation failing", result) } else { Ok(()) }
}

struct MoveIn;

impl<G: Granule> Act<G> for MoveIn {
    fn act(&self, kernel: &mut Kernel<G>) -> Result<(), Error> {
        kernel.mm.tenant_new(4).map(drop)
    }
    fn take_back(&self, kernel: &mut Kernel<G>) -> Result<(), Error> {
        let newest = kernel.mm.tenants().iter().map(|tenant| tenant.id).max();
        newest.map_or(Ok(()), |id| kernel.mm.tenant_drop(id))
    }
}

fn a_tenant_moving_in<G: Granule>(kernel: &mut Kernel<G>) -> Outcome {
    fail_each(kernel, &MoveIn)
}

struct GoOnline(hotmap_mm::pfn::Pfn);

impl<G: Granule> Act<G> for GoOnline {
    fn act(&self, kernel: &mut Kernel<G>) -> Result<(), Error> {
        kernel.mm.online(self.0, ZoneKind::Normal)
    }
    fn take_back(&self, kernel: &mut Kernel<G>) -> Result<(), Error> {
        kernel.mm.offline(self.0).map(drop)
    }
}

fn a_block_going_online<G: Granule>(kernel: &mut Kernel<G>) -> Outcome {
    let block = boot_block(kernel)?;
    kernel.mm.offline(block)?;
    let outcome = fail_each(kernel, &GoOnline(block));
    kernel.mm.online(block, ZoneKind::Normal)?;
    outcome
}

struct Plug {
    pages: PfnRange,
    home: MemmapHome,
}

impl<G: Granule> Act<G> for Plug {
    fn act(&self, kernel: &mut Kernel<G>) -> Result<(), Error> {
        let memory = self.pages.addresses::<G>();
        let range = HotRange::new(&kernel.mm, memory.start, memory.len(), Source::Dimm(255))?;
        kernel.mm.plug(&range, self.home, ZoneKind::Movable, |_, _| {})
    }
    fn take_back(&self, kernel: &mut Kernel<G>) -> Result<(), Error> {
        kernel.mm.unplug(self.pages.addresses::<G>()).map(drop)
    }
}

/// All seven steps, for no more than two blocks: what fails in the third fails in the second.
fn plug<G: Granule>(kernel: &mut Kernel<G>, spare: &Spare, home: MemmapHome) -> Outcome {
    let blocks = spare.block_count::<G>().min(2);
    if home == MemmapHome::Ram && kernel.mm.zone(ZoneKind::Normal).free < 2 * blocks * numbers(G::KIND).memmap_pages {
        return skip("system RAM has no room for the DIMM's memmap");
    }
    fail_each(kernel, &Plug { pages: PfnRange::new(spare.pages.start, blocks * G::SECTION_PAGES), home })
}

fn plugging_self_hosted<G: Granule>(kernel: &mut Kernel<G>) -> Outcome {
    with_spare(kernel, |kernel, spare| plug(kernel, spare, MemmapHome::SelfHosted))
}

fn plugging_with_memmap_in_ram<G: Granule>(kernel: &mut Kernel<G>) -> Outcome {
    with_spare(kernel, |kernel, spare| plug(kernel, spare, MemmapHome::Ram))
}
