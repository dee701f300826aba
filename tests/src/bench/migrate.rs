//! What it costs to take a DIMM offline that tenants use: instructions for each page that migrates, and how long a page is
//! unmapped. The machine counts instructions (`-icount`, one CPU, `bench=on`).

use super::costs::{Costs, Counter};
use super::figures::last;
use hotmap_client::dimm::Dimm;
use hotmap_client::ensure;
use hotmap_client::error::{Checked, failed};
use hotmap_client::geometry::{GIB, Granule, size_text};
use hotmap_client::guest::Guest;
use hotmap_client::machine::Machine;
use hotmap_client::run::Run;
use hotmap_client::state::Memmap;
use serde_json::{Value, json};
use std::fmt::Write;
use std::path::Path;

/// The large DIMM, in bytes.
pub const LARGE: u64 = 128 * GIB;
/// Which DIMMs are measured at each granule.
pub const ROWS: [(Memmap, u64); 4] =
    [(Memmap::SelfHosted, GIB), (Memmap::SelfHosted, LARGE), (Memmap::Demand, GIB), (Memmap::Demand, LARGE)];
/// How many times the cost of a page at 1 GiB it may be there, in percent.
pub const GROWTH_GOAL: u64 = 120;

/// A measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Migrate {
    /// The granule.
    pub granule: Granule,
    /// `memmap=`.
    pub memmap: Memmap,
    /// The DIMM's bytes.
    pub size: u64,
    /// How many pages migrated.
    pub pages: u64,
    /// Instructions of the offline, without those of a DIMM that is not in use.
    pub instructions: u64,
    /// What of them costs more than other instructions do.
    pub costs: Costs,
    /// The longest that a page was unmapped, in instructions.
    pub unmapped: u64,
}

/// How many pages are the tenant's, and how many instructions each may cost.
pub const fn goal(granule: Granule) -> (u64, u64) {
    match granule {
        Granule::K4 => (16_128, 600),
        Granule::K16 => (8_000, 1_000),
        Granule::K64 => (4_000, 2_800),
    }
}

/// Measures a DIMM of `size` bytes, with the plugin beside it if there is one.
///
/// # Errors
/// Failed when a figure is missing or zero, or not every page migrated; else as [`Guest`].
pub fn measure(
    run: &Run,
    granule: Granule,
    memmap: Memmap,
    size: u64,
    plugin: Option<&Path>,
) -> Checked<Migrate> {
    let machine = Machine { icount: true, ..Machine::firmware() };
    let machine = machine.granule(granule).cpu("neoverse-n1").maxmem("1T");
    let machine = machine.append(&format!("bench=on memmap={}", memmap.word()));
    let counter = Counter::new(run, plugin);
    let mut guest = Guest::boot(run, &counter.beside(machine))?;
    guest.plug_well(&Dimm::new("bench", size).unreserved())?;
    let pages = goal(granule).0;
    let bytes = pages * granule.bytes();
    let reply = guest.tell(&format!("bench offline {pages}"))?;
    let find = |operation| match last(&reply, operation, bytes) {
        Some(figure) if figure.instructions > 0 => Ok(figure),
        Some(_) => failed(format!("bench: {operation} counted no instructions")),
        None => failed(format!("no 'bench: {operation} {bytes} ...' line: {reply}")),
    };
    let (moved, unmapped) = (find("migrate")?, find("unmapped")?.instructions);
    let (unused, used) = (find("unused")?, find("used")?);
    let instructions = moved.instructions;
    ensure!(unmapped < instructions, "unmapped for {unmapped} of {instructions} instructions");
    guest.finish()?;
    let seen = counter.seen()?;
    let costs = used.counted(seen.as_ref())? - unused.counted(seen.as_ref())?;
    Ok(Migrate { granule, memmap, size, pages, instructions, costs, unmapped })
}

impl Migrate {
    /// Instructions for each page.
    pub const fn each(&self) -> u64 {
        self.instructions / self.pages
    }
}

/// Pairs of a DIMM and a larger one of the same granule: one sentence for each missed goal.
pub fn missed(rows: &[Migrate]) -> Vec<String> {
    let mut missed = Vec::new();
    for row in rows {
        let (is, (_, goal)) = (row.each(), goal(row.granule));
        let machine = format!("{}, memmap={}", row.granule, row.memmap.word());
        if row.size == GIB && is > goal {
            missed.push(format!("instructions of a page that migrates at {machine}: {is}, goal {goal}"));
        }
        let like = |one: &&Migrate| (one.granule, one.memmap, one.size) == (row.granule, row.memmap, GIB);
        let one = rows.iter().find(like);
        if one.is_some_and(|one| is * 100 > one.each() * GROWTH_GOAL) {
            let size = size_text(row.size);
            missed.push(format!(
                "instructions of a page that leaves a DIMM of {size} at {machine}: {is}, goal {GROWTH_GOAL} % of those at 1G"
            ));
        }
    }
    missed
}

/// The table as text.
pub fn text(rows: &[Migrate]) -> String {
    let mut text =
        String::from("\nTaking a DIMM offline that a tenant uses (guest instructions for each page):\n");
    for row in rows {
        let (granule, memmap) = (row.granule.name(), row.memmap.word());
        let (size, pages) = (size_text(row.size), row.pages);
        let (_, goal) = goal(row.granule);
        let _ = writeln!(
            text,
            "{granule:<4} {memmap:<6} {size:>4}   {pages:>5} pages   each {:>5}   goal {goal:>5}   unmapped at most {:>6}",
            row.each(),
            row.unmapped
        );
    }
    text
}

/// A row as JSON.
pub fn json(row: &Migrate) -> Value {
    json!({
        "granule": row.granule.bytes(),
        "memmap": row.memmap.word(),
        "dimm_bytes": row.size,
        "pages": row.pages,
        "instructions": row.instructions,
        "each": row.each(),
        "goal": goal(row.granule).1,
        "unmapped": row.unmapped,
    })
}

#[cfg(test)]
mod tests {
    use super::{Costs, LARGE, Migrate, missed, text};
    use hotmap_client::geometry::{GIB, Granule};
    use hotmap_client::state::Memmap;

    fn row(size: u64, each: u64) -> Migrate {
        Migrate {
            granule: Granule::K4,
            memmap: Memmap::Demand,
            size,
            pages: 16_128,
            instructions: 16_128 * each + 7,
            costs: Costs::default(),
            unmapped: 9_000,
        }
    }

    #[test]
    fn a_page_has_a_goal_and_may_not_cost_more_in_a_large_dimm() {
        assert_eq!(missed(&[row(GIB, 600), row(LARGE, 720)]), Vec::<String>::new());
        assert_eq!(
            missed(&[Migrate { memmap: Memmap::SelfHosted, ..row(GIB, 1) }, row(GIB, 601), row(LARGE, 722)]),
            [
                "instructions of a page that migrates at 4k, memmap=demand: 601, goal 600",
                "instructions of a page that leaves a DIMM of 128G at 4k, memmap=demand: 722, goal 120 % of those at 1G"
            ]
        );
    }

    #[test]
    fn a_row_says_what_a_page_costs_and_how_long_it_is_unmapped() {
        let text = text(&[row(LARGE, 431)]);
        let row = text.lines().find(|line| line.starts_with("4k")).expect("a row");
        let words: Vec<&str> = row.split_whitespace().collect();
        assert_eq!(
            words,
            [
                "4k", "demand", "128G", "16128", "pages", "each", "431", "goal", "600", "unmapped", "at",
                "most", "9000"
            ]
        );
    }
}
