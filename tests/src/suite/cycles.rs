//! After 100 cycles of plug and unplug the counts are those of the start.

use super::test::{Test, per_granule, slotted};
use hotmap_client::dimm::Dimm;
use hotmap_client::error::{Checked, During};
use hotmap_client::geometry::Granule;
use hotmap_client::guest::Guest;
use hotmap_client::run::Run;
use hotmap_client::{ensure, ensure_eq};

/// Cycles.
const CYCLES: u32 = 100;
/// Cycles with `--long`.
const LONG_CYCLES: u32 = 2000;

pub(super) fn tests() -> Vec<Test> {
    let mut tests = per_granule("cycles/100", |run, granule| comes_and_goes(run, granule, CYCLES));
    let long = per_granule("cycles/2000", |run, granule| comes_and_goes(run, granule, LONG_CYCLES));
    tests.extend(long.into_iter().map(Test::long));
    tests
}

fn comes_and_goes(run: &Run, granule: Granule, cycles: u32) -> Checked<String> {
    let mut guest = Guest::boot(run, &slotted(granule).memory("512M"))?;
    let start = guest.state()?;
    ensure!(start.heap.is_some(), "state has no key heap");
    for cycle in 0..cycles {
        // One, two or three blocks; every third cycle with tenants in them.
        let dimm = Dimm::new("d", u64::from(cycle % 3 + 1) * granule.block());
        let circumstance = format!("cycle {cycle}");
        guest.plug_well(&dimm).during(&circumstance)?;
        if cycle % 3 == 0 {
            guest.tell("tenant new 64").during(&circumstance)?;
        }
        guest.unplug_well(&dimm).during(&circumstance)?;
        if cycle % 3 == 0 {
            guest.tell("tenant check").during(&circumstance)?;
            guest.tell("tenant drop").during(&circumstance)?;
        }
    }
    let end = guest.state()?;
    ensure_eq!(end.pages, start.pages, "pages after {cycles} cycles");
    ensure_eq!(end.zones, start.zones, "zones after {cycles} cycles");
    ensure_eq!(end.heap, start.heap, "heap after {cycles} cycles");
    guest.finish()?;
    Ok(format!("{cycles} cycles"))
}
