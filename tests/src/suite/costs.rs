//! What costs a real CPU more than other instructions do: two witnesses agree, and the goals are met.

use super::test::{Test, per_granule};
use crate::bench::costs::{self, Seen};
use crate::bench::figures::{self, Figure};
use crate::report::Remark;
use hotmap_client::dimm::Dimm;
use hotmap_client::error::{Checked, Error};
use hotmap_client::geometry::{GIB, Granule};
use hotmap_client::guest::Guest;
use hotmap_client::machine::Machine;
use hotmap_client::run::Run;
use hotmap_client::{ensure, ensure_eq};

/// A CPU without FEAT_TLBIRANGE, and one with it.
const CPUS: [&str; 2] = ["neoverse-n1", "max"];

/// What does something that the kernel counts.
const OPERATIONS: [&str; 5] =
    ["bench", "bench hugetlb 2M", "bench hugetlb 32M", "bench hugetlb 512M", "audit"];

pub(super) fn tests() -> Vec<Test> {
    per_granule("costs", the_kernel_and_a_plugin_count_the_same)
}

/// Each operation that the kernel counts, it counts as the plugin does, which knows nothing of the kernel but its opcodes.
fn the_kernel_and_a_plugin_count_the_same(run: &Run, granule: Granule) -> Checked<Remark> {
    if !costs::loads_plugins()? {
        return Ok(Remark::Skipped("this QEMU loads no plugins".into()));
    }
    let plugin = costs::plugin()?;
    let mut compared = 0;
    for cpu in CPUS {
        let out = run.path(&format!("counter-{cpu}"));
        let mut machine = Machine { icount: true, ..Machine::firmware() };
        machine.extra = costs::arguments(&plugin, &out);
        let text = operate(run, &machine.granule(granule).cpu(cpu).append("bench=on"))?;
        let seen = std::fs::read_to_string(&out)
            .map_err(|error| Error::Unknown(format!("{}: {error}", out.display())))?;
        let seen = Seen::read(&seen)?;
        for figure in text.lines().filter_map(figures::read) {
            compared += agree(&figure, &seen)?;
        }
    }
    ensure!(compared >= 20, "only {compared} operations were compared");
    Ok(format!("{compared} operations").into())
}

/// A guest that does all that is counted; its transcript.
fn operate(run: &Run, machine: &Machine) -> Checked<String> {
    let mut guest = Guest::boot(run, machine)?;
    let dimm = Dimm::new("counted", GIB).unreserved();
    guest.plug_well(&dimm)?;
    for line in OPERATIONS {
        // A granule does not have each size of a huge page; what is refused is not counted.
        guest.ask(line)?;
    }
    guest.unplug_well(&dimm)?;
    let text = guest.text();
    guest.power_off()?;
    Ok(text)
}

/// 1 if the operation has marks, and both witnesses agree; 0 if it has none.
fn agree(figure: &Figure, seen: &Seen) -> Checked<u32> {
    let Some(marks) = figure.marks else { return Ok(0) };
    let outside = seen.between(marks)?;
    ensure_eq!(outside.seen_by_both(), figure.costs.seen_by_both(), "{}: [{KINDS}]", figure.operation);
    ensure_eq!(outside.eret, figure.costs.exceptions, "{}: exceptions", figure.operation);
    // The meter itself is about a hundred instructions between the marks.
    let more = outside.instructions.checked_sub(figure.instructions);
    ensure!(
        more.is_some_and(|more| more < 200),
        "{}: {} instructions inside, {} outside",
        figure.operation,
        figure.instructions,
        outside.instructions
    );
    Ok(1)
}

/// What is compared, in the order of [`seen_by_both`](costs::Costs::seen_by_both).
const KINDS: &str = "tlbi, tlbi_range, tlbi_local, dsb, isb, cache";
