//! What costs a real CPU more than other instructions do: two witnesses agree, and the goals are met.

use super::test::{Test, per_granule};
use crate::bench::costs::Seen;
use crate::bench::figures::{self, Figure};
use crate::bench::paid::{self, CPUS};
use crate::report::Remark;
use hotmap_client::error::{Checked, failed};
use hotmap_client::geometry::Granule;
use hotmap_client::run::Run;
use hotmap_client::{ensure, ensure_eq};

pub(super) fn tests() -> Vec<Test> {
    let mut tests = per_granule("costs", the_kernel_and_a_plugin_count_the_same);
    tests.extend(per_granule("costs-goals", what_a_real_cpu_pays_for_is_within_the_goals));
    tests
}

fn what_a_real_cpu_pays_for_is_within_the_goals(run: &Run, granule: Granule) -> Checked<String> {
    let [without, with] = CPUS.map(|cpu| paid::measure(run, granule, cpu));
    let all = [without?, with?];
    let missed: Vec<String> = all.iter().flat_map(paid::Paid::missed).collect();
    match missed.as_slice() {
        [] => Ok(format!("{:?} TLBI for a life", all.map(|paid| paid.life().broadcasts()))),
        missed => failed(missed.join("; ")),
    }
}

/// Each operation that the kernel counts, it counts as the plugin does, which knows nothing of the kernel but its opcodes.
fn the_kernel_and_a_plugin_count_the_same(run: &Run, granule: Granule) -> Checked<Remark> {
    let mut compared = 0;
    for cpu in CPUS {
        let observed = paid::observe(run, granule, cpu)?;
        let Some(seen) = observed.seen else {
            return Ok(Remark::Skipped("this QEMU loads no plugins".into()));
        };
        for figure in observed.text.lines().filter_map(figures::read) {
            compared += agree(&figure, &seen)?;
        }
    }
    ensure!(compared >= 20, "only {compared} operations were compared");
    Ok(format!("{compared} operations").into())
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

/// What is compared, in the order of [`seen_by_both`](crate::bench::costs::Costs::seen_by_both).
const KINDS: &str = "tlbi, tlbi_range, tlbi_local, dsb, isb, cache";
