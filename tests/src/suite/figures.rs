//! Goals for instruction counts, which repeat exactly: a regression is a failure, not noise.

use super::test::{Test, per_granule};
use crate::bench::audit;
use crate::bench::measure::{Subject, image_bytes, measure, standard};
use crate::bench::table::Results;
use crate::bench::{alloc, churn, demand, migrate};
use hotmap_client::error::{Checked, failed};
use hotmap_client::geometry::{GIB, Granule};
use hotmap_client::run::Run;
use hotmap_client::state::Memmap;
use hotmap_client::{ensure, ensure_eq};

pub(super) fn tests() -> Vec<Test> {
    let mut tests = per_granule("figures", within_the_goals);
    tests.extend(per_granule("figures-migrate", a_page_that_migrates_costs_the_same_in_a_large_dimm));
    tests.extend(per_granule("figures-demand", memory_on_demand_within_the_goals));
    tests.extend(per_granule("figures-churn", a_million_random_operations_within_the_goal));
    tests.extend(per_granule("figures-audit", an_audit_is_linear_in_blocks));
    tests
}

/// Twice the memory costs twice the instructions, but for what boot memory and whole tables cost.
fn an_audit_is_linear_in_blocks(run: &Run, granule: Granule) -> Checked<String> {
    let [half, whole] = audit::SIZES.map(|gib| audit::measure(run, granule, gib));
    let (half, whole) = (half?, whole?);
    let (one, two) = (half.instructions, whole.instructions);
    ensure!(two * 10 <= one * 21, "{one} instructions for {} GiB, {two} for twice as many", audit::SIZES[0]);
    let results = Results { audits: vec![half, whole], ..Results::default() };
    match results.missed().as_slice() {
        [] => Ok(format!("{} instructions for each GiB", whole.per_gib())),
        missed => failed(missed.join("; ")),
    }
}

/// With the goals of `make bench`, and a DIMM that is not as large as there.
fn a_page_that_migrates_costs_the_same_in_a_large_dimm(run: &Run, granule: Granule) -> Checked<String> {
    let measure = |memmap, size| migrate::measure(run, granule, memmap, size, None);
    let [one, large] = [GIB, 16 * GIB].map(|size| measure(Memmap::SelfHosted, size));
    let [demand, larger] = [GIB, 16 * GIB].map(|size| measure(Memmap::Demand, size));
    let rows = [one?, large?, demand?, larger?];
    let remark = format!("{:?} instructions, unmapped for {}", rows.map(|row| row.each()), rows[0].unmapped);
    match migrate::missed(&rows).as_slice() {
        [] => Ok(remark),
        missed => failed(missed.join("; ")),
    }
}

/// 1 GiB and 1 TiB with `memmap=demand`, and what runs cost there.
fn memory_on_demand_within_the_goals(run: &Run, granule: Granule) -> Checked<String> {
    let subject = Subject { memmap: Memmap::Demand, ..standard(granule, "neoverse-n1") };
    let (life, tebibyte) = (measure(run, subject)?, demand::measure(run, granule)?);
    let alloc = alloc::measure(run, granule)?;
    let mut missed = demand::missed(&life);
    missed.extend(tebibyte.missed());
    missed.extend(alloc.missed());
    match missed.as_slice() {
        [] => Ok(format!("{} instructions; 1 TiB {:?}; {:?}", life.total(), tebibyte.cost, alloc.more())),
        missed => failed(missed.join("; ")),
    }
}

/// Memory on demand is used: at most 10 % more for random operations, and adding has saved what the first of them cost.
fn a_million_random_operations_within_the_goal(run: &Run, granule: Granule) -> Checked<String> {
    let churn = churn::measure(run, granule)?;
    ensure!(churn.demand.life < churn.own.life, "the life of a DIMM costs no less: {churn:?}");
    match churn.missed().as_slice() {
        [] => Ok(churn::text(&[churn]).lines().filter(|line| line.contains("more")).collect()),
        missed => failed(missed.join("; ")),
    }
}

/// The reference CPU's figures meet the goals, and repeat exactly.
fn within_the_goals(run: &Run, granule: Granule) -> Checked<String> {
    let life = measure(run, standard(granule, "neoverse-n1"))?;
    let again = measure(run, standard(granule, "neoverse-n1"))?;
    for (one, two) in [(&life.add, &again.add), (&life.online, &again.online), (&life.remove, &again.remove)]
    {
        ensure_eq!(two, one, "the same operation, counted again");
    }
    ensure!(!life.uses_mops(), "neoverse-n1 clears memory by {}", life.clears_by);
    let remark = format!("{} instructions, boot {}", life.total(), life.boot.instructions);
    let results = Results { reference: vec![life], image: image_bytes()?, ..Results::default() };
    match results.missed().as_slice() {
        [] => Ok(remark),
        missed => failed(missed.join("; ")),
    }
}
